"""Which tests run a line of a source file: what tracer.py has written down.

Empty without a traced run, and of lines that run when a module is imported.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "mutants"
DATA, SECONDS = WORK / "seen", WORK / "seconds.json"


def tests_running(name: str, line: int) -> list[str]:
    """Tests that run a line of a file, the quickest first; empty where that is not known."""
    found = _contexts(name).get(line, [])
    return sorted((test for test in found if test), key=lambda test: _seconds().get(test, 0.0))


@cache
def _contexts(name: str) -> dict[int, list[str]]:
    if not DATA.is_file():
        return {}
    import coverage  # beside the environment: see the Makefile

    data = coverage.CoverageData(str(DATA))
    data.read()
    found: dict[int, list[str]] = data.contexts_by_lineno(str(ROOT / name))
    return found


@cache
def _seconds() -> dict[str, float]:
    known: dict[str, float] = json.loads(SECONDS.read_text(encoding="utf-8"))
    return known
