"""The sections of the page on other libraries run, each where its packages are installed."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "ecosystem.md"
LOADED_BY = {"torch.onnx": {"onnx", "onnxscript"}}
"""Packages that a function imports by itself."""


def _sections():
    """Heading and code of each section; that of the introduction comes first."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for heading, text in zip(["", *parts[1::2]], parts[::2], strict=True):
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        yield heading, "\n".join(blocks)


SECTIONS = dict(_sections())
SETUP = SECTIONS.pop("")


def _packages(code):
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return {name.partition(".")[0] for name in names}.union(
        *(packages for name, packages in LOADED_BY.items() if name in code)
    )


def test_the_page_is_read():
    assert {"NumPy", "scikit-learn", "skops", "Lightning", "Hugging Face"} <= set(SECTIONS)
    assert _packages(SECTIONS["ONNX and torch.export"]) == {"onnxruntime", "onnx", "onnxscript"}


@pytest.mark.timeout(900)  # some of these libraries take long to import
@pytest.mark.parametrize("heading", [name for name, code in SECTIONS.items() if code])
def test_a_section_runs(heading, tmp_path):
    """As a user's program: `import kernels` in the checkout would find the folder of ours."""
    code = f"{SETUP}\n{SECTIONS[heading]}"
    lacking = sorted(name for name in _packages(code) if find_spec(name) is None)
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
