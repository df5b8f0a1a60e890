"""The Triton backend without a GPU, through Triton's interpreter.

The interpreter replaces the compiler for a whole process, so that the tests run in another one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

FILES = (
    "apg_step",
    "group_shrink",
    "hinge_value_and_grad",
    "overlap_dual_sweep",
    "prox_offsets",
    "smoothed_group_grad",
    "soft_threshold",
)


@pytest.mark.parametrize("name", FILES)
def test_interpreted(name):
    file = Path(__file__).with_name(f"test_{name}.py")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "triton", "-n", "0", str(file)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
