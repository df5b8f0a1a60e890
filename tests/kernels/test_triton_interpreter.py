"""The Triton backend without a GPU, through Triton's interpreter.

The interpreter replaces the compiler for a whole process, so that the tests run in another one.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

triton = pytest.importorskip("triton")

# Triton 3.6's interpreter makes a Python number of an array of one entry, which NumPy 2.5 refuses:
# any loop with a bound from a tensor ends there, ours or not.
pytestmark = pytest.mark.skipif(
    tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)
    and np.lib.NumpyVersion(np.__version__) >= "2.5.0",
    reason="the interpreter of Triton before 3.7 doesn't run with NumPy 2.5",
)

FILES = (
    "group_shrink",
    "hinge_value_and_grad",
    "overlap_dual_sweep",
    "prox_offsets",
    "sampled",
    "smoothed_group_grad",
    "soft_threshold",
)


# A process takes as long to start as a file does to run, so that one takes several files; there are
# two, as a small machine has two cores.
PROCESSES = 2


@pytest.mark.parametrize("process", range(PROCESSES))
def test_interpreted(process):
    names = FILES[process::PROCESSES]
    files = [str(Path(__file__).with_name(f"test_{name}.py")) for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-rp", "-k", "triton", "-n", "0", *files]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = set(re.findall(r"^PASSED \S*/test_(\w+)\.py", done.stdout, re.MULTILINE))
    assert passed == set(names)
