"""The pages on training and data run as they are printed."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_page_runs_from_top_to_bottom(capsys):
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    names = {}
    exec(compile(code, "docs/training.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 4
    history = names["trainer"].history
    assert history[-1].objective < 0.95 * history[0].objective


@pytest.mark.data
def test_the_page_on_data_runs_from_top_to_bottom(data, tmp_path, monkeypatch):
    for folder in ("clothing_attributes", "awa1", "wbcatt"):
        (tmp_path / folder).symlink_to((data / folder).resolve())
    monkeypatch.chdir(tmp_path)
    text = PAGE.with_name("data.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    names = {}
    exec(compile(code, "docs/data.md", "exec"), names)
    assert names["table"].pixels.shape == (1856, 3, 64, 64)
    assert len(names["cells"].values(names["cells"].Y, "granule_type")) == 10298
    assert len(Path("clothing.csv").read_text().splitlines()) == 1857
