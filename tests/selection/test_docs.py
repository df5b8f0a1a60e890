"""The page on choosing strengths runs as it is printed."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "selection.md"


@pytest.mark.filterwarnings("ignore::proxmtl.selection.edges.EdgeWarning")
def test_the_page_runs_from_top_to_bottom(capsys):
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    names = {}
    exec(compile(code, "docs/how_to/selection.md", "exec"), names)
    assert capsys.readouterr().out.strip()
    assert names["up"].collapsed
    assert names["stable"].selected(0.8).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
