"""Measure every kernel on this machine: ``python -m bench.kernels.run``.

From nothing but the checkout and an installed proxmtl: checks each result against float64, times
ours and the competing forms, and writes ``bench/results/<device>.json`` and a roofline plot beside
it. With a GPU that is where it runs; otherwise on the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

# Idle OpenMP threads of torch otherwise spin for milliseconds on the core that the next contender
# needs; it must be said before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from bench.kernels.cases import Case, Suite, suite
from bench.kernels.report import report
from bench.kernels.roofline import plot
from bench.kernels.timing import Ceilings, device_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default="", help="measure cases whose name contains this")
    parser.add_argument("--after", default="", help="begin after the case of this name")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--clock",
        choices=["wall", "processor"],
        default="wall",
        help="processor: with one thread, leaves out what other programs take of a busy machine",
    )
    parser.add_argument("--skip-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--large", action="store_true", help="cases that take gigabytes on a CPU")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    options = parser.parse_args()
    if options.clock == "processor" and (options.threads != 1 or options.device != "cpu"):
        parser.error("--clock processor adds threads up: use it with --device cpu --threads 1")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; leave it out to measure the CPU")
    known = suite(torch.device(options.device)).factories
    if options.after and options.after not in known:
        parser.error(f"--after {options.after!r}: there is no such case; --list names them")
    if not any(options.only in name for name in known):
        parser.error(f"--only {options.only!r}: no case has that in its name; --list names them")
    if options.list:
        print("\n".join(known))
        return
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    ceilings = Ceilings(device)
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / f"{device_name(device)}.json"
    failed = []
    for name, make in chosen(suite(device), options).items():
        torch.compiler.reset()  # or the second shape of a form gets code for any shape
        try:
            case = make(device)
            if options.skip_compile:
                case.contenders.pop("torch.compile", None)
            rows = report(case, ceilings, device, options.seconds, options.clock)
        except Exception:  # noqa: BLE001 - one case of many
            # The other cases are worth having: the machine may not be there again.
            traceback.print_exc()
            failed.append(name)
            if not usable(device):
                print("the device takes no more calls: another process goes on", flush=True)
                again = [sys.executable, "-m", "bench.kernels.run", *sys.argv[1:], "--after", name]
                subprocess.run(again, check=False)
                break
            continue
        merge(target, {**machine(device), "rows": rows})  # at once, for the same reason
        del case
        gc.collect()
    if target.exists():
        draw(target)
    if failed:
        sys.exit(f"no figures for {', '.join(failed)}: see above")


def chosen(cases: Suite, options: argparse.Namespace) -> dict[str, Callable[..., Case]]:
    """Case factories that the options ask for."""
    names = [name for name in cases.factories if options.only in name]
    names = names[names.index(options.after) + 1 :] if options.after else names
    for name in sorted(cases.large.intersection(names)) if not options.large else ():
        print(f"{name}: left out, it takes gigabytes and minutes; pass --large")
        names.remove(name)
    return {name: cases.factories[name] for name in names}


def usable(device: torch.device) -> bool:
    """Whether the device still takes calls: after some errors a process can make none."""
    try:
        torch.zeros(1, device=device).item()
    except Exception:  # noqa: BLE001 - whatever it is, the device isn't usable
        return False
    return True


def draw(target: Path) -> None:
    """The plot beside a result file, where matplotlib is installed."""
    try:
        plot(json.loads(target.read_text()), target.with_suffix(".svg"))
    except ImportError as error:
        print(f"written: {target}, without the plot beside it: {error}")
    else:
        print(f"written: {target} and the plot beside it")


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on, and with."""
    return {
        "device": device_name(device),
        "machine": platform.machine(),
        "torch": torch.__version__,
        **versions("triton", "pytorch-triton", "numba", "numpy"),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "OMP_WAIT_POLICY": os.environ["OMP_WAIT_POLICY"],
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of the packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def merge(target: Path, result: dict[str, Any]) -> None:
    """Keep rows of cases that this run left out."""
    if target.exists():
        measured = {row["case"] for row in result["rows"]}
        old = json.loads(target.read_text())
        result["rows"] = [r for r in old["rows"] if r["case"] not in measured] + result["rows"]
    target.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
