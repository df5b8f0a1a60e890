"""The page on training runs as it is printed."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_page_runs_from_top_to_bottom(capsys):
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    names = {}
    exec(compile(code, "docs/training.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 4
    history = names["trainer"].history
    assert history[-1].objective < 0.95 * history[0].objective
