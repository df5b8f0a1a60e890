"""One run of tests in a child of a process that has everything imported but proxmtl."""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HOOK = Path(__file__).parent / "hook"
WORK = ROOT / "build" / "mutants"
HEAVY = (
    "torch",
    "numba",
    "numpy",
    "scipy.optimize",
    "scipy.sparse.linalg",
    "scipy.stats",
    "pandas",
    "sklearn.model_selection",
    "sklearn.svm",
    "matplotlib.figure",
    "safetensors.numpy",
    "typer",
    "rich.table",
    "pytest",
)
MEMORY = 16 << 30
"""Bytes of address space of a child: a mutant may ask for any amount."""
WAITING = 10
"""Seconds by the clock for one of processor time, which a busy machine may take."""


@dataclass(frozen=True)
class Trial:
    """What came out."""

    outcome: str
    """``"passed"``, ``"failed"`` or ``"timeout"``."""
    by: str
    """First test that failed, or that ran when the time was over."""
    seconds: float


def warm_up() -> None:
    """Import what every test imports, once for all children."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in HEAVY:
        importlib.import_module(name)


def run(
    batches: list[list[str]],
    mutant: dict[str, Any] | None = None,
    *,
    without: list[str],
    each: float,
    limit: float,
    collect: bool = False,
) -> Trial:
    """Run tests until the first failure.

    Parameters
    ----------
    batches
        Files or names of tests, in order; a batch is collected when those before it have passed.
    mutant
        Entry of the sample; None: the sources as they are.
    without
        Names of tests to leave out.
    each, limit
        Seconds for one test, and seconds of processor time for all.
    collect
        Import the files of the tests, and run none.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    report = WORK / f"report-{os.getpid()}"
    report.write_text("")
    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        options = [*(f"--deselect={name}" for name in without), *["--collect-only"][: int(collect)]]
        _child(batches, mutant, options, report, (each, limit))
    status = None
    while status is None and time.monotonic() - begin < WAITING * limit:
        time.sleep(0.05)
        done, code = os.waitpid(pid, os.WNOHANG)
        status = code if done else None
    late = status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)
    if status is None:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    seconds = round(time.monotonic() - begin, 2)
    lines = report.read_text().splitlines()
    failed = next((line[2:] for line in lines if line.startswith("F ")), "")
    last = lines[-1][2:] if lines else ""
    if status == 0:
        return Trial("passed", "", seconds)
    return Trial("timeout" if late and not failed else "failed", failed or last, seconds)


def _child(
    batches: list[list[str]],
    mutant: dict[str, Any] | None,
    more: list[str],
    report: Path,
    limits: tuple[float, float],
) -> None:
    each, limit = limits
    code = 3
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit) + 5))
        log = os.open(WORK / "last.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(ROOT)
        if mutant is not None:
            _install(mutant)
        import pytest

        options = ["-x", "-q", "-p", "no:xdist", "-p", "no:benchmark", f"--timeout={each}"]
        # the parent has imported what pytest would like to rewrite
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        for tests in batches:
            code = int(pytest.main([*options, *more, *tests], plugins=[_Reporter(report)]))
            code = 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code  # all are left out
            if code:
                break
    finally:
        sys.stdout.flush()
        os._exit(code)


def _install(mutant: dict[str, Any]) -> None:
    """Let this process and those that it starts import the mutant."""
    described = WORK / f"mutant-{os.getppid()}.json"
    entry = {"module": mutant["module"], "path": str(ROOT / mutant["file"])}
    described.write_text(json.dumps({**entry, "source": mutant["source"]}), encoding="utf-8")
    os.environ["PROXMTL_MUTANT"] = str(described)
    os.environ["PYTHONPATH"] = str(HOOK)
    sys.path.insert(0, str(HOOK))
    sys.modules.pop("sitecustomize", None)
    importlib.import_module("sitecustomize")


class _Reporter:
    """Writes which test runs, and which failed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _say(self, kind: str, name: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{kind} {name}\n")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._say("R", nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._say("F", report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._say("F", report.nodeid)
