"""Kernel tests: shared cases. Memory is poisoned for all tests, see ``tests/conftest.py``.

numpy's allocator isn't: numba knows ``np.empty`` by identity and compiles nothing that calls
another.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # prox_cases: test modules aren't a package
