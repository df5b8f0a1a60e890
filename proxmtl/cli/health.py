"""What an installation has, what it lacks, and what is wrong with it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from packaging.requirements import Requirement

from proxmtl import kernels
from proxmtl.cli.crash import log_folders
from proxmtl.io.errors import first_line
from proxmtl.kernels.dispatch import requested_backend
from proxmtl.machine import available_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Finding", "findings"]

State = Literal["ok", "off", "fault"]
EXTRAS = {
    "parquet": "features from parquet files",
    "triton": "GPU kernels",
    "pretrained": "EfficientNet-Lite0 with ImageNet weights: fit on images, extract, train",
    "logs": "train --tensorboard",
    "report": "fit --report and the command report",
    "images": "train with colour augmentation",
    "descriptors": "the row cf of reproduce clothing",
}
"""Optional extras for users, and what they give; others are for development."""


class Finding(NamedTuple):
    """One line of the examination."""

    area: str
    name: str
    state: State
    """``"off"``: optional, and not there; ``"fault"``: to be mended."""
    text: str


def findings() -> list[Finding]:
    """Examine the installation: packages, extras, devices, backends, memory, folders, a solve."""
    parts = (_packages, _extras, _devices, _backends, _memory, _folders, _solve)
    return [finding for part in parts for finding in part()]


def _packages() -> Iterator[Finding]:
    yield Finding("versions", "proxmtl", "ok", metadata.version("proxmtl"))
    enough = sys.version_info >= (3, 11)
    needs = "" if enough else "; 3.11 or newer is needed"
    yield Finding("versions", "python", _state(enough), f"{platform.python_version()}{needs}")
    for wanted in _requirements(""):
        found = _version(wanted.name)
        if found is None:
            yield Finding("versions", wanted.name, "fault", f"not installed; pip install {wanted}")
        else:
            right = wanted.specifier.contains(found, prereleases=True)
            more = "" if right else f"; {wanted.specifier} is needed"
            yield Finding("versions", wanted.name, _state(right), f"{found}{more}")


def _extras() -> Iterator[Finding]:
    for extra, gives in EXTRAS.items():
        missing = [wanted.name for wanted in _requirements(extra) if not _version(wanted.name)]
        if missing:
            text = f"{gives}; pip install 'proxmtl[{extra}]' ({', '.join(missing)})"
            yield Finding("extras", extra, "off", text)
        else:
            yield Finding("extras", extra, "ok", gives)


def _requirements(extra: str) -> list[Requirement]:
    """Packages of an extra on this machine; of a blank one, those that are always needed."""
    lines = [Requirement(line) for line in metadata.requires("proxmtl") or ()]
    always = [line for line in lines if line.marker is None or line.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    return [
        line
        for line in lines
        if line not in always and line.marker is not None and line.marker.evaluate({"extra": extra})
    ]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads (OMP_NUM_THREADS)"
    yield Finding("devices", "cpu", "ok", f"{platform.machine()}, {threads}")
    if not torch.cuda.is_available():
        built = torch.version.cuda or getattr(torch.version, "hip", None)
        why = "no GPU is seen by the driver" if built else "torch is a build for CPUs"
        yield Finding("devices", "cuda", "off", why)
    for number in range(torch.cuda.device_count()):
        of = torch.cuda.get_device_properties(number)
        size = f"{of.total_memory / 2**30:.0f} GiB, compute capability {of.major}.{of.minor}"
        yield Finding("devices", f"cuda:{number}", "ok", f"{of.name}, {size}")


def _backends() -> Iterator[Finding]:
    asked = requested_backend()
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        x = torch.arange(-4, 4, dtype=torch.float32, device=device) / 4
        right, _ = kernels.soft_threshold(x, 0.25, backend="naive")
        for backend, (able, why) in kernels.supports("soft_threshold", x, 0.25).items():
            area = f"kernels on {device}"
            if not able:
                yield Finding(area, backend, "off", why)
                continue
            try:
                found, _ = kernels.soft_threshold(x, 0.25, backend=backend)
            except kernels.BackendError as error:
                yield Finding(area, backend, "off", first_line(error))
                continue
            chosen = ", asked for by PROXMTL_BACKEND" if backend == asked else ""
            same = torch.equal(found, right)  # differences of such numbers are exact
            text = f"works{chosen}" if same else "gives wrong results; please report it"
            yield Finding(area, backend, _state(same), text)


def _memory() -> Iterator[Finding]:
    free = available_memory()
    text = "not known on this system" if free is None else f"{free / 2**30:.1f} GiB are free"
    yield Finding("memory", "main", "ok", text)


def _folders() -> Iterator[Finding]:
    places = {
        "temporary files": [Path(tempfile.gettempdir())],
        "logs of errors": log_folders(),
        "compiled kernels": _kernel_folders(),
    }
    for name, folders in places.items():
        able = [folder for folder in folders if _takes_files(folder)]
        # without the last kernels are compiled in each process
        state: State = "ok" if able else "fault" if name == "temporary files" else "off"
        listed = ", ".join(map(str, folders))
        yield Finding("folders", name, state, str(able[0]) if able else f"no access to {listed}")


def _kernel_folders() -> list[Path]:
    """Where numba keeps what it compiled, in the order in which it looks."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return [Path(chosen)]
    beside = Path(str(kernels.__file__)).parent / "numba" / "__pycache__"
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return [beside, Path(cache) if cache else Path("~/.cache").expanduser()]


def _takes_files(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the nearest one above that is there."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _solve() -> Iterator[Finding]:
    from proxmtl.minimization import minimize  # noqa: PLC0415 - may be what is broken
    from proxmtl.problem import Problem  # noqa: PLC0415 - as above
    from proxmtl.regularizers import L1  # noqa: PLC0415 - as above

    X = torch.arange(40, dtype=torch.float64).reshape(10, 4).cos()
    try:
        result = minimize(Problem.of(X, X[:, :2] > 0, L1(0.01)), tol=1e-6)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        text = f"{type(error).__name__}: {first_line(error)}"
        yield Finding("solver", "a lasso", "fault", text)
    else:
        text = f"{result.status.name}, relative gap {result.certificate.relative_gap:.1g}"
        yield Finding("solver", "a lasso", _state(result.status.ok), text)


def _state(right: bool) -> State:
    return "ok" if right else "fault"
