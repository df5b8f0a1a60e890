"""``report`` through the program: run folders in, a page out, and errors that say what to do."""

import json

import pandas as pd
import pytest

from proxmtl.io import seal_folder

FIT = ("x.npy", "--labels", "y.csv", "--max-passes", "60")


@pytest.fixture
def run(program):
    shared = (
        "-g",
        "g.json",
        "--shared-strength",
        "0.1",
        "--own-strength",
        "10",
        "--max-passes",
        "2000",
    )
    assert program("fit", *FIT, *shared, "--out", "run")[0] == 0


@pytest.fixture
def small_bundle(monkeypatch):
    """The charts' library, which takes seconds to put together, is looked at in other tests."""
    monkeypatch.setattr("proxmtl.report.rendering.vega_bundle", lambda: "window.vegaEmbed = 0;")


@pytest.mark.usefixtures("run", "small_bundle")
def test_a_run_becomes_a_page(program, files):
    code, out, err = program("report", "run")
    assert (code, err) == (0, "")
    assert "1 run, 0.0 MB -> report.html" in out
    page = (files / "report.html").read_text()
    for part in (
        "Scores by attribute",
        "16 held-out rows",
        "stripes",
        "How to reproduce",
        "SHA-256",
    ):
        assert part in page
    assert "<details>" in page
    code, _, err = program("report", "run")
    assert code == 2
    assert "the file exists; give --force" in err
    code, _, err = program("report", "run", "nowhere")
    assert code == 2
    assert "nowhere: no such folder" in err
    code, _, err = program("report", "run", "-o", "nowhere/page.html")
    assert code == 2
    assert "does not exist; create it first" in err
    assert program("report", "run", "--force")[0] == 0


@pytest.mark.usefixtures("run", "small_bundle")
def test_scores_held_out_are_those_of_the_metrics(files):
    from sklearn.metrics import average_precision_score

    held_out = pd.read_csv(files / "run" / "predictions.csv")
    metrics = pd.read_csv(files / "run" / "metrics_by_attribute.csv").set_index("attribute")
    assert list(held_out.columns) == ["row", "attribute", "label", "score"]
    assert held_out["row"].nunique() == 16
    for name, part in held_out.groupby("attribute"):
        found = metrics.loc[name]
        assert len(part) == found["n_observed"]
        assert found["ap"] == pytest.approx(
            average_precision_score(part["label"], part["score"]), rel=1e-5
        )
        assert found["accuracy"] == pytest.approx(
            ((part["score"] > 0) == part["label"]).mean(), rel=1e-5
        )
    labels = pd.read_csv(files / "y.csv")
    known = labels.notna().sum() - metrics["n_observed"]
    assert metrics["fitted_labels"].to_dict() == known.to_dict()
    assert (metrics["fitted_positives"] < metrics["fitted_labels"]).all()


@pytest.mark.usefixtures("run", "small_bundle")
def test_runs_stand_side_by_side(program, files):
    assert program("fit", *FIT, "--auto", "-g", "g.json", "--out", "auto")[0] == 0
    tune = ("--model", "lasso", "--max-passes", "600", "--out", "sub/run")
    (files / "sub").mkdir()
    assert program("tune", *FIT[:3], *tune)[0] == 0
    code, out, err = program("report", "run", "auto", "sub/run", "-o", "page.html")
    assert (code, err) == (0, "")
    assert "3 runs" in out
    page = (files / "page.html").read_text()
    folder = files.name
    for part in (
        f"{folder}/auto has the same AP as {folder}/run for 4 attributes in common.",
        f"sub/run against {folder}/run",
        "paired bootstrap of 16 labelled samples",
        "Reliability",
        "Search of strengths",
        "colors",
    ):
        assert part in page, part
    config = json.loads((files / "auto" / "config.json").read_text())
    assert config["groups"] == {"colors": ["black", "white"], "patterns": ["spots", "stripes"]}


@pytest.mark.usefixtures("run", "small_bundle")
def test_what_a_folder_lacks_is_left_out(program, files):
    folder = files / "run"
    for name in ("predictions.csv", "history.csv", "metrics_by_attribute.csv", "metrics.json"):
        (folder / name).unlink()
    seal_folder(folder)
    code, _, err = program("report", "run")
    assert (code, err) == (0, "")
    page = (files / "report.html").read_text()
    assert "could not be scored" in page
    convergence = page[page.index('id="convergence"') : page.index('id="reproduce"')]
    assert "relative residual" in convergence
    assert "<figure>" not in convergence
    assert 'id="latents"' in page


@pytest.mark.usefixtures("small_bundle")
def test_a_fit_on_all_rows_has_no_scores_held_out(program, files):
    code, _, err = program("fit", *FIT, "--holdout", "0", "--out", "run")
    assert code == 0
    assert "Scores are of the 80 training rows, which the model was fitted on: they are" in err
    assert not (files / "run" / "predictions.csv").exists()
    assert program("report", "run")[0] == 0
    assert "too good to expect" in (files / "report.html").read_text()
    assert program("fit", *FIT, "--out", "held")[0] == 0
    code, _, err = program("compare", "held", "run")
    assert code == 0
    assert "run: Scores are of the 80 training rows" in err
    assert "held: Scores" not in err


@pytest.mark.usefixtures("run", "small_bundle")
@pytest.mark.parametrize(
    "name", ["metrics_by_attribute.csv", "predictions.csv", "history.csv", "model.json"]
)
def test_damage_is_an_error_that_names_the_file(program, files, name):
    path = files / "run" / name
    content = path.read_bytes()
    path.write_bytes(content[:-2] + (b"8\n" if content[-2:-1] == b"9" else b"9\n"))
    code, _, err = program("report", "run")
    assert code == 2
    assert f"run/{name}" in err
    assert "copy the folder again" in err
    path.unlink()
    code, _, err = program("report", "run")
    assert code == 2
    assert name in err
    assert not (files / "report.html").exists()


@pytest.mark.usefixtures("run", "small_bundle")
@pytest.mark.parametrize("name", ["metrics_by_attribute.csv", "predictions.csv", "history.csv"])
@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "model,attribute\nmodel,mauve\n"])
def test_another_table_that_was_sealed_is_an_error(program, files, name, text):
    (files / "run" / name).write_text(text)
    seal_folder(files / "run")
    code, _, err = program("report", "run")
    assert code == 2
    assert f"run/{name}: is no table as proxmtl writes it" in err


@pytest.mark.usefixtures("run", "small_bundle")
def test_a_run_of_an_earlier_version_is_an_error(program, files):
    (files / "run" / "metrics_by_attribute.csv").rename(files / "run" / "metrics.csv")
    seal_folder(files / "run")
    (files / "other").mkdir()
    for command in (("report", "run"), ("compare", "run", "other")):
        code, _, err = program(*command)
        assert code == 2
        assert "run: an earlier version of proxmtl wrote this run (metrics.csv)" in err


def test_folders_that_are_no_runs_are_errors(program, files):
    (files / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        code, _, err = program("report", folder)
        assert code == 2
        assert folder in err
        assert not (files / "report.html").exists()


@pytest.mark.usefixtures("run", "small_bundle")
def test_the_same_folder_twice_is_an_error(program):
    code, _, err = program("report", "run", "./run")
    assert code == 2
    assert "given twice" in err


@pytest.mark.usefixtures("run")
def test_a_package_that_is_missing_is_named_with_its_extra(program, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "altair", None)
    for name in list(sys.modules):
        if name.startswith("proxmtl.report.") and name.endswith(
            ("page", "charts", "vega", "rendering", "searches")
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(
        "importlib.metadata.requires", lambda _: ["altair>=6; extra == 'report'", "torch"]
    )
    code, _, err = program("report", "run")
    assert code == 2
    assert "pip install 'proxmtl[report]'" in err


@pytest.mark.usefixtures("small_bundle")
def test_a_run_of_networks_has_its_epochs(program, photos, files):
    options = ("--side", "8", "--max-passes", "20", "--epochs", "2", "--learning-rate", "0.0001")
    assert program("train", "photos", "-l", "photos.csv", *options, "--out", "cnn")[0] == 0
    code, _, err = program("report", "cnn")
    assert (code, err) == (0, "")
    page = (files / "report.html").read_text()
    assert "AttributeCNN" in page
    assert "mean AP by epoch" in page
    assert 'id="convergence"' in page
