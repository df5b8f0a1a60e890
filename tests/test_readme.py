"""The examples of the README run as they are printed, and its links lead somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "bench" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def _blocks(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _run(page, **names):
    """Run the examples of a page of the docs one after the other; the names that they leave."""
    code = "\n".join(_blocks(ROOT / "docs" / page))
    exec(compile(code, f"docs/{page}", "exec"), names)
    return names


README = _blocks(ROOT / "README.md")


def _commands(page):
    """Commands of a page, as lists of words."""
    return [
        shlex.split(line, comments=True)[1:]
        for block in re.findall(
            r"^```console\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
        for line in block.splitlines()
        if line.startswith("proxmtl ")
    ]


COMMANDS = _commands(ROOT / "README.md")
LONG = {"demo", "train", "reproduce"}
"""Commands that take long whatever they are given, or published data; `tests/cli` and
`tests/backbones/experiments` run them on less."""


def test_the_readme_has_examples():
    assert len(README) == 3
    assert {command[0] for command in COMMANDS} >= {"fit", "predict", "compare", "report", *LONG}


@pytest.mark.parametrize("number", range(len(README)))
def test_readme_example(number, capsys):
    exec(compile(README[number], f"README.md, example {number + 1}", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.fixture
def users_files(tmp_path, monkeypatch):
    """The files that the commands of the README name."""
    rng = np.random.default_rng(0)
    names, n = ["red", "bar", "tall", "dark"], 40
    Y = rng.integers(0, 2, (n, 4))
    for folder in ("photos", "new_photos"):
        (tmp_path / folder).mkdir()
        for i in range(n if folder == "photos" else 3):
            pixels = rng.integers(0, 90, (24, 24, 3), dtype=np.uint8)
            pixels[..., 0] += np.uint8(120 * Y[i, 0])
            pixels[:, 8:12] += np.uint8(40 * Y[i, 1])
            pixels[2:6] //= np.uint8(1 + Y[i, 2])
            Image.fromarray(pixels // np.uint8(1 + Y[i, 3])).save(tmp_path / folder / f"{i}.png")
    X = (Y + 0.3 * rng.standard_normal(Y.shape)).astype(np.float32)
    for name, rows in (("features", n), ("new", 5), ("test", 20)):
        np.save(tmp_path / f"{name}.npy", X[:rows] + (name != "features") * np.float32(0.01))
    for name, rows in (("labels", n), ("test", 20)):
        lines = [["image", *names], *([f"{i}.png", *map(str, Y[i])] for i in range(rows))]
        (tmp_path / f"{name}.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    for name, rows in (("features", n), ("test", 20)):
        ids = "id\n" + "".join(f"{i}.png\n" for i in range(rows))
        (tmp_path / f"{name}.ids.csv").write_text(ids)
    (tmp_path / "groups.toml").write_text('colour = ["red", "dark"]\nform = ["bar", "tall"]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.mark.timeout(900)  # ten commands, two of them with a large network
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_commands_of_the_readme_run_one_after_the_other(users_files):
    from proxmtl.cli.app import app

    for command in COMMANDS:
        if command[0] not in LONG:
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 0, (command, result.stderr)
    for page in ("runs/photos/report.html", "runs/features/report.html", "both.html"):
        assert (users_files / page).read_text("utf-8").startswith("<!DOCTYPE html>")
    assert len((users_files / "predictions.csv").read_text().splitlines()) > 3


@pytest.mark.timeout(900)  # as above
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_commands_of_the_page_on_photographs_run_one_after_the_other(users_files):
    from proxmtl.cli.app import app

    commands = _commands(ROOT / "docs" / "how_to" / "images.md")
    names = {command[0] for command in commands}
    assert names == {"fit", "compare", "report", "predict", "evaluate"}
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, (command, result.stderr)
        if "--single-task" in command:
            assert "features of 40 images are there already" in result.stderr
    assert "<img " in (users_files / "comparison.html").read_text("utf-8")
    written = (ROOT / "docs" / "how_to" / "images.md").read_text("utf-8")
    files = re.findall(
        r"`([a-z_]+\.[a-z]+)`", written[written.index("| file |") :].split("\n\n")[0]
    )
    assert len(files) == 8
    for name in files:
        assert (users_files / "runs" / "photos" / name).is_file(), name


def test_the_engine_page_runs_from_top_to_bottom():
    names = _run("explanation/engine.md")
    assert names["resumed"].passes > names["result"].passes


def test_the_page_on_several_processes_runs_in_one(capsys):
    assert _run("how_to/several_processes.md")["result"].status.ok
    assert capsys.readouterr().out.startswith("rank 0 of 1")


def test_the_page_on_features_larger_than_memory_runs():
    names = _run("how_to/larger_than_memory.md")
    assert names["rows"].memory < names["rows"].shape[0] * names["rows"].shape[1] * 4
    assert names["scores"].shape == (2000, 3)
    assert names["again"].coef_.any()


TAUGHT = (
    "tutorials/five_minutes",
    "how_to/embeddings",
    "how_to/missing_labels",
    "how_to/overlapping_groups",
    "how_to/probabilities",
    "explanation/certificates",
)


@pytest.mark.parametrize("page", TAUGHT)
def test_pages_that_teach_run_from_top_to_bottom(page):
    assert _run(f"{page}.md")  # what they claim of their results they assert themselves


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", prose):
        generated = "auto_gallery" in target  # by Sphinx, which follows the link itself
        assert generated or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_loss_of_the_docs_is_complete_and_finds_its_quantile():
    import torch

    names = _run("how_to/add_a_loss.md", __name__="docs")
    assert names["result"].status.ok
    assert names["result"].certificate.gap <= 1e-6
    assert 0.87 <= names["below"] <= 0.93
    scores = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    loss, weights = names["SmoothedPinball"](0.2), torch.rand(50).double()
    slopes = loss.grad(scores, -scores, weights)
    total = loss.value(scores, -scores, weights) + loss.conjugate(slopes, -scores, weights)
    torch.testing.assert_close(total, (slopes * scores).sum())


def test_the_regularizers_page_runs_from_top_to_bottom(capsys):
    _run("reference/regularizers.md", __name__="docs")
    assert capsys.readouterr().out.split() == ["SparseGroupL2", "Bounded", "Sum", "CONVERGED"]


def test_the_layers_page_runs_from_top_to_bottom(capsys):
    _run("how_to/nn.md", __name__="docs")
    assert "features are not used at all" in capsys.readouterr().out


def test_every_penalty_is_in_the_table_of_the_regularizers_page():
    from regularizer_cases import OURS

    page = (ROOT / "docs" / "reference" / "regularizers.md").read_text(encoding="utf-8")
    for name in OURS:
        assert re.search(rf"^\|[^|]*`{name}\(", page, re.MULTILINE), name


def test_every_merge_rule_is_in_the_table_of_the_regularizers_page():
    from proxmtl.regularizers.base import COMBINATIONS

    page = (ROOT / "docs" / "reference" / "regularizers.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(\w+)` \+ `(\w+)`", page))
    ours = [(a, b) for a, b, rule in COMBINATIONS if rule.__module__.startswith("proxmtl")]
    assert listed == {(a.__name__, b.__name__) for a, b in ours}


def test_the_regularizer_of_the_docs_is_complete():
    import torch

    names = _run("how_to/add_a_regularizer.md", __name__="docs")
    assert names["result"].status.ok
    solution = names["result"].solution
    assert int((solution != 0).sum()) == 4
    assert float(solution[:4].max() - solution[:4].min()) < 0.1
    at_zero = names["problem"].with_regularizers(
        names["SortedL1"](names["lambdas"], 1.0001 * names["at_zero"])
    )
    assert float(names["minimize"](at_zero).solution.abs().max()) == 0
    r, v = names["SortedL1"](torch.tensor([3.0, 2.0, 1.0]).double(), 0.5), torch.randn(3).double()
    best = r.prox(v, 1.0)[0]
    cost = lambda x: float((x - v).square().sum() / 2 + r.value(x))  # noqa: E731
    assert all(cost(best) <= cost(best + 0.1 * torch.randn(3)) + 1e-12 for _ in range(50))


def test_the_solver_of_the_docs_is_complete_and_resumes_bitwise():
    names = _run("how_to/add_a_solver.md", __name__="docs")
    assert names["result"].status.ok
    assert names["result"].certificate.relative_gap <= 1e-9
    assert names["resumed"].iterations == names["result"].iterations
    assert names["resumed"].solution.equal(names["result"].solution)
    values = [record["objective"] for record in names["result"].history]
    assert all(v <= max(values[max(0, i - 5) : i]) * (1 + 1e-12) for i, v in enumerate(values) if i)


def test_the_design_of_the_docs_is_complete_and_solved_as_its_matrix(capsys):
    from proxmtl import SharedDesign

    names = _run("how_to/add_a_design.md", __name__="docs")
    assert names["result"].status.ok
    assert "columns in use: [True, False, False]" in capsys.readouterr().out
    problem, dense = names["problem"], SharedDesign(names["dense"].double(), intercept=True)
    same = names["Problem"](problem.loss, dense, problem.targets, problem.regularizers)
    certificate = names["minimize"](same, stop=names["RelativeGap"](1e-6)).certificate
    gaps = certificate.gap + names["result"].certificate.gap
    assert abs(certificate.objective - names["result"].certificate.objective) <= gaps
    with pytest.raises(ValueError, match="between 0 and n_levels - 1"):
        names["CategoricalDesign"](names["codes"], [12, 29, 5])


def test_the_baselines_page_runs_and_names_every_row(capsys):
    from proxmtl import BASELINES

    _run("how_to/baselines.md")
    assert "all-sharing" in capsys.readouterr().out
    text = (ROOT / "docs" / "how_to" / "baselines.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*?) \|", text, re.MULTILINE)
    assert rows == [(row.name, row.row) for row in BASELINES.values()]


def test_the_sharing_page_runs_from_top_to_bottom(capsys):
    names = _run("how_to/sharing.md")
    assert names["probabilities"].shape == (200, 12)
    assert "gain" in capsys.readouterr().out
