"""Which tests run which lines, and how long each test takes: one run of the suite, traced.

    PYTHONPATH=build/tracing:bench/mutants python -m pytest -p tracer -n 2 --dist worksteal

A plugin of pytest. Writes build/mutants/seen, a data base of coverage.py with the name of a test
as the context of the lines that it ran, and build/mutants/seconds.json. Lines run in a process that
a test starts are not in it, nor is what compiled code does.
"""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

import coverage
from seen import DATA, ROOT, SECONDS, WORK

SOURCES = ("proxmtl", "kernels", "backbones")


class Tracer:
    """Traces the tests of this process."""

    def __init__(self) -> None:
        self._traced = coverage.Coverage(
            data_file=str(DATA),
            data_suffix=f"{os.getpid()}-{uuid.uuid4().hex}",
            include=[f"{ROOT / name}/*" for name in SOURCES],
            config_file=False,
        )
        self._traced.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._traced.switch_context(nodeid)

    def pytest_runtest_logfinish(self) -> None:
        self._traced.switch_context("")

    def pytest_sessionfinish(self) -> None:
        self._traced.stop()
        self._traced.save()


class Gatherer:
    """In the process that the user started: durations, and in the end one data base of all."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        known = self._seconds.get(report.nodeid, 0.0)
        self._seconds[report.nodeid] = round(known + report.duration, 3)

    def pytest_unconfigure(self) -> None:
        SECONDS.write_text(json.dumps(self._seconds), encoding="utf-8")
        whole = coverage.Coverage(data_file=str(DATA), config_file=False)
        whole.combine([str(WORK)])
        whole.save()


def pytest_configure(config: Any) -> None:
    """Trace where tests run: in the workers of xdist, if there are any."""
    WORK.mkdir(parents=True, exist_ok=True)
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Tracer())
        return
    for old in WORK.glob("seen*"):
        old.unlink()
    config.pluginmanager.register(Gatherer())
    if not config.getoption("numprocesses", None):
        config.pluginmanager.register(Tracer())
