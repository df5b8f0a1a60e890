"""The tool that tries the tests: what it changes, and what it calls noticed."""

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

MUTANTS = Path(__file__).parents[2] / "bench" / "mutants"
ROOT = MUTANTS.parents[1]


@pytest.fixture
def tool(monkeypatch):
    """Import a module of the tool."""
    monkeypatch.syspath_prepend(str(MUTANTS))
    return __import__


def test_annotations_aliases_messages_and_compiled_code_are_spared(tool):
    source = textwrap.dedent("""\
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            x = 1 + 2
        Array = int | float
        size: int | None = 3 + 4
        def f(a: int | None) -> int | None:
            if a > 5:
                raise ValueError(f"{a + 6}")
            return a - 7
        @compiled
        def g(a):
            return a + 8
        def h(a):
            return a + 9
        k = compiled(h)
        """)
    around = tool("places").Surroundings.of(source)
    lines = source.splitlines()
    places = [(n, column) for n, line in enumerate(lines, 1) for column in range(len(line))]
    kept = [lines[n - 1][c] for n, c in places if not around.spares((n, c))]
    numbers = [sign for sign in kept if sign.isdigit()]
    assert numbers == ["3", "4", "5", "7"]
    assert "|" not in kept
    assert around.scope(9) == "f"


def test_tests_of_a_package_come_with_the_likeliest_first(tool):
    tests_of = tool("tests_of").tests_of
    found = tests_of("proxmtl/losses/weston_watkins.py", "WestonWatkins.value")
    assert found[0].startswith("tests/losses/")
    assert "tests/losses/test_registered.py" in found
    assert tests_of("proxmtl/groups.py", "Groups")[0] == "tests/test_groups.py"
    for path in (ROOT / "proxmtl").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        assert tests_of(name, "") or path.name in {"__init__.py", "__main__.py"}, name


def test_reasons_of_equivalent_mutants_are_sentences():
    table = tomllib.loads((MUTANTS / "equivalent.toml").read_text(encoding="utf-8"))
    for name, entry in table.items():
        assert len(name) == 12
        assert entry["reason"].endswith(".")


TOY = "def half(x):\n    return x / 2\n"
TEST = """
import subprocess, sys
sys.path.append({folder!r})
import toy

def test_it():
    assert toy.half(4) == 2

def test_in_another_process():
    code = "import sys; sys.path.append({folder!r}); import toy; assert toy.half(8) == 4"
    subprocess.run([sys.executable, "-c", code], check=True)
"""
TRIAL = """
import sys
sys.path.insert(0, {tool!r})
import trial
mutant = {{"module": "toy", "file": {toy!r}, "source": {source!r}}}
for given in (None, mutant):
    for test in ("test_it", "test_in_another_process"):
        seen = trial.run([[{test!r} + "::" + test]], given, without=[], each=60, limit=100)
        print(seen.outcome, seen.by.split("::")[-1])
mutant["source"] = "while True: pass"
seen = trial.run([[{test!r}]], mutant, without=[], each=60, limit=3)
print(seen.outcome)
"""


def test_a_change_is_noticed_here_and_in_started_processes(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    test = tmp_path / "test_toy.py"
    test.write_text(TEST.format(folder=str(tmp_path)))
    code = TRIAL.format(
        tool=str(MUTANTS),
        toy=str(tmp_path / "toy.py"),
        source=TOY.replace("/", "*"),
        test=str(test),
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert out.stdout.splitlines() == [
        "passed ",
        "passed ",
        "failed test_it",
        "failed test_in_another_process",
        "timeout",
    ]
    assert (tmp_path / "toy.py").read_text() == TOY
