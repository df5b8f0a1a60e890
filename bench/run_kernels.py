"""Measure every kernel on this machine: ``python bench/run_kernels.py``.

From nothing but the checkout and an installed proxmtl: checks each result against float64, times
ours and the competing forms, and writes ``bench/results/<device>.json`` and a roofline plot beside
it. With a GPU that is where it runs; otherwise on the CPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.kernels.cases import Case, suite
from bench.kernels.roofline import plot
from bench.kernels.timing import bandwidth, device_name, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default="", help="measure cases whose name contains this")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each contender")
    parser.add_argument("--skip-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    device = torch.device(options.device)
    limits = bandwidth(device) | {"flops": matmul_rate(device)}
    print(f"{device_name(device)}: read {limits['read']:.1f} GB/s, copy {limits['copy']:.1f} GB/s,")
    print(f"  float32 matrix product {limits['flops']:.0f} GFLOP/s\n")
    rows: list[dict[str, Any]] = []
    for name, make in suite(device).factories.items():
        if options.only in name:
            case = make(device)
            if options.skip_compile:
                case.contenders.pop("torch.compile", None)
            rows += report(case, limits, device, options.seconds)
            del case
            gc.collect()
    result = {
        "device": device_name(device),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "limits_gb_per_second": {k: limits[k] for k in ("read", "copy")},
        "matmul_gflop_per_second": limits["flops"],
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / f"{device_name(device)}.json"
    merge(target, result)
    plot(json.loads(target.read_text()), target.with_suffix(".png"))
    print(f"written: {target} and the plot beside it")


def report(
    case: Case, limits: dict[str, float], device: torch.device, seconds: float
) -> list[dict[str, Any]]:
    """One row a contender; a contender with a wrong result raises before it is timed."""
    print(case.name)
    rows: list[dict[str, Any]] = []
    for label, call in case.contenders.items():
        case.check(call())
        times = measure(call, device, seconds=seconds)
        rate = case.n_bytes / 1e6 / times.p50
        work = case.flops / 1e6 / times.p50
        fraction = (work if case.limit == "flops" else rate) / limits[case.limit]
        rows.append(
            {
                "case": case.name,
                "operation": case.operation,
                "contender": label,
                "ms": times.to_dict(),
                "gb_per_second": rate,
                "gflop_per_second": work,
                "intensity": case.flops / case.n_bytes,
                "limit": case.limit,
                "fraction_of_limit": fraction,
            }
        )
        print(
            f"  {label:40s} p20 {times.p20:8.3f}  p50 {times.p50:8.3f}  p80 {times.p80:8.3f} ms"
            f"  {rate:7.1f} GB/s  {100 * fraction:5.1f} % of {case.limit}"
        )
    return rows


def matmul_rate(device: torch.device) -> float:
    """GFLOP/s of the library's float32 product."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = torch.randn(2, n, n, device=device)
    return 2 * n**3 / 1e6 / measure(lambda: a @ b, device, seconds=1.0).p50


def merge(target: Path, result: dict[str, Any]) -> None:
    """Keep rows of cases that this run left out."""
    if target.exists():
        measured = {row["case"] for row in result["rows"]}
        old = json.loads(target.read_text())
        result["rows"] = [r for r in old["rows"] if r["case"] not in measured] + result["rows"]
    target.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
