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


def test_the_loss_of_the_docs_is_complete_and_finds_its_quantile():
    import torch

    code = "\n".join(_blocks(ROOT / "docs" / "add_a_loss.md"))
    names = {"__name__": "docs"}
    exec(compile(code, "docs/add_a_loss.md", "exec"), names)
    assert names["result"].status.ok
    assert names["result"].certificate.gap <= 1e-6
    assert 0.87 <= names["below"] <= 0.93
    scores = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    loss, weights = names["SmoothedPinball"](0.2), torch.rand(50).double()
    slopes = loss.grad(scores, -scores, weights)
    total = loss.value(scores, -scores, weights) + loss.conjugate(slopes, -scores, weights)
    torch.testing.assert_close(total, (slopes * scores).sum())
