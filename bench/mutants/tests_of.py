"""Which tests see a mutant: those that run its line, the quickest first; else by name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

from seen import tests_running

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
MODULES = 12
"""Most files for a module that has no folder of tests."""
VARIED = 150
"""Tests of a line, each of another function, that are collected first: most mutants end there."""
BELOW = 4
"""Lines below one that runs at import, such as a decorator: the first of a test stands for it."""
MOST = 1500
"""Tests of a line that are run, at most."""
# Of a package, beside its folder.
BESIDE = {
    "estimators": ["test_estimators.py", "test_estimator_inputs.py", "test_shared_plus_own.py"],
    "experiments": ["estimators/test_label_forms.py"],
    "losses": ["test_bad_input.py"],
    "latent": ["test_bad_input.py"],
    "report": ["test_report.py", "cli/test_commands.py", "cli/test_program.py"],
    "solvers": ["test_stopping.py", "test_bad_input.py", "latent"],
    "designs": ["test_bad_input.py"],
}


def tests_for(mutant: dict[str, Any]) -> list[list[str]]:
    """Tests to run on a mutant, in batches: names of tests, or files where its line is not known.

    Of the tests that run the line the quickest one of each function comes first, and of these those
    of the line's own package.
    """
    name = mutant["file"]
    lines = range(mutant["line"], mutant["line"] + 1 + BELOW)
    known = next(filter(None, (tests_running(name, line) for line in lines)), [])
    if not known:
        return [tests_of(name, mutant["scope"])]
    own = f"tests/{_package(name)}/"
    ordered = sorted(known, key=lambda test: not test.startswith(own))
    functions: dict[str, str] = {}
    for test in ordered:
        functions.setdefault(test.split("[")[0], test)
    first = list(functions.values())[:VARIED]
    rest = [test for test in ordered if test not in set(first)]
    return [batch for batch in (first, rest[: MOST - len(first)]) if batch]


def tests_of(name: str, scope: str) -> list[str]:
    """Test files for a change in a file, within a dotted scope, in the order to run them."""
    package = _package(name)
    stem, names = Path(name).stem, _names(name, scope)
    places = [TESTS / package, *(TESTS / beside for beside in BESIDE.get(package, []))]
    found = [path for place in (places if package else [TESTS]) for path in _files(place)]
    ranked = sorted(found, key=lambda path: (-_score(path, stem, names), str(path)))
    if not package:
        ranked = [path for path in ranked if _score(path, stem, names)][:MODULES]
    return [str(path.relative_to(ROOT)) for path in ranked]


def _package(name: str) -> str:
    """Folder of tests of a source file; empty for a module of its own."""
    folder, *rest = Path(name).parts
    return folder if folder != "proxmtl" else rest[0] if len(rest) > 1 else ""


def _score(path: Path, stem: str, names: tuple[frozenset[str], frozenset[str]]) -> int:
    """How much a test file has to do with the names around a change, and with its module."""
    words, (near, public) = _words(path), names
    called = stem.strip("_") in path.stem or path.stem.removeprefix("test_") in stem
    own = path.stem == f"test_{stem}" or f"proxmtl.{stem} " in _text(path)
    return 100 * len(near & words) + 200 * own + 30 * called + len(public & words)


def _names(name: str, scope: str) -> tuple[frozenset[str], frozenset[str]]:
    public = _public(ROOT / name)
    # what uses a module of its own stands for it, and what uses that
    pending = [Path(name).stem] if Path(name).parent.name == "proxmtl" else []
    users: set[Path] = set()
    while pending:
        importing = f"from proxmtl.{pending.pop()} import"
        for path in (ROOT / "proxmtl").rglob("*.py"):
            if path not in users and importing in _text(path):
                users.add(path)
                public |= _public(path)
                pending += [path.stem] if path.parent.name == "proxmtl" else []
    near = frozenset(part for part in scope.split(".") if part and not part.startswith("_"))
    return near, public


@cache
def _public(path: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.parse(_text(path)).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    )


@cache
def _files(place: Path) -> tuple[Path, ...]:
    if place.is_file():
        return (place,)
    return tuple(sorted(place.rglob("test_*.py")))


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _words(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", _text(path)))
