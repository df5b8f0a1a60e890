"""The page on adding an operation: its files, written out, pass its tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents_cases import check_names

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how_to" / "add_an_operation.md"

CHECKED_CASES = """
import torch
from bench_projection import CASES
for name, make in CASES.items():
    case = make(torch.device("cpu"), name=name)
    for call in case.contenders.values():
        case.check(call())
    print(name, *case.contenders)
"""


@pytest.fixture
def run(tmp_path):
    """Run Python beside the files of the page."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n# (\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for name, code in blocks:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code, encoding="utf-8")

    def call(*arguments, **variables):
        folders = [tmp_path, ROOT / "tests" / "kernels", ROOT / "tests", ROOT]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
        environment |= {"OMP_NUM_THREADS": "1", **variables}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call.folder = tmp_path
    return call


def _tested(run, *options, **variables):
    config = "-q", "-n0", "-c", ROOT / "pyproject.toml"
    return run("-m", "pytest", *config, run.folder / "test_projection.py", *options, **variables)


def test_the_operation_of_the_page_passes_its_tests(run):
    assert "15 passed" in _tested(run)


def test_its_gpu_kernel_passes_in_the_interpreter(run):
    pytest.importorskip("triton", "3.7")
    assert "4 passed" in _tested(run, "-k", "triton", TRITON_INTERPRET="1")


def test_its_case_is_right(run):
    assert run("-c", CHECKED_CASES).startswith("project 4096x1000 ours/numba torch form")


def test_a_slip_in_the_reference_is_noticed(run):
    file = run.folder / "projection" / "naive.py"
    code = file.read_text(encoding="utf-8")
    assert "radius / length" in code
    file.write_text(code.replace("radius / length", "radius / (2 * length)"), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"what_shrinking_takes_away\[1.0-naive\]"):
        _tested(run, "-k", "naive or torch")


def test_the_page_names_files_and_functions_that_exist():
    n_files, n_names = check_names(PAGE, "kernels|tests|bench|docs")
    assert n_files > 12
    assert n_names > 5
