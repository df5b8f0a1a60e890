"""The examples of the README run as they are printed, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


README = _blocks(ROOT / "README.md")


def test_the_readme_has_examples():
    assert len(README) == 2


@pytest.mark.parametrize("number", range(len(README)))
def test_readme_example(number, capsys):
    exec(compile(README[number], f"README.md, example {number + 1}", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_engine_page_runs_from_top_to_bottom():
    code = "\n".join(_blocks(ROOT / "docs" / "engine.md"))
    names = {}
    exec(compile(code, "docs/engine.md", "exec"), names)
    assert names["resumed"].passes > names["result"].passes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
