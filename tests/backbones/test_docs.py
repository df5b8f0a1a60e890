"""The pages on training and data run as they are printed."""

import re
from pathlib import Path

import pytest
from documents_cases import check_names

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how_to" / "training.md"
BACKBONE = ROOT / "docs" / "how_to" / "add_a_backbone.md"


def test_the_page_runs_from_top_to_bottom(capsys):
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    names = {}
    exec(compile(code, "docs/how_to/training.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 4
    history = names["trainer"].history
    assert history[-1].objective < 0.95 * history[0].objective


def test_the_page_on_backbones_runs_from_top_to_bottom(capsys):
    text = BACKBONE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    names = {"__name__": "docs"}
    exec(compile(code, "docs/how_to/add_a_backbone.md", "exec"), names)
    assert capsys.readouterr().out.startswith("2 stages, 64 features\n")
    assert names["accuracy"] > 0.8  # half by chance
    history = names["trainer"].history
    assert history[-1].objective < history[0].objective
    assert names["scores"].shape == (60, 4)
    with pytest.raises(ValueError, match=r"stripes takes \(B, 3, 16, 16\)"):
        names["StripesNet"]()(names["torch"].zeros(1, 3, 8, 8))


def test_the_page_on_backbones_names_files_and_functions_that_exist():
    n_files, n_names = check_names(BACKBONE, "backbones|proxmtl|tests|docs")
    assert n_files > 6
    assert n_names == 3


@pytest.mark.data
def test_the_page_on_data_runs_from_top_to_bottom(data, tmp_path, monkeypatch):
    for folder in data.iterdir():
        if folder.is_dir():
            (tmp_path / folder.name).symlink_to(folder.resolve())
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "reference" / "data.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    names = {}
    exec(compile(code, "docs/reference/data.md", "exec"), names)
    assert names["table"].pixels.shape == (1856, 3, 64, 64)
    assert len(names["cells"].values(names["cells"].Y, "granule_type")) == 10298
    assert len(Path("clothing.csv").read_text().splitlines()) == 1857
