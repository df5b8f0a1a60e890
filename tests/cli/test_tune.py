"""`proxmtl tune`: the strengths it takes are those its table says are best."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from proxmtl.cli.search import _once
from proxmtl.estimators import load_model
from proxmtl.result import Status
from proxmtl.wording import warn

TUNE = ("tune", "x.npy", "--labels", "y.csv", "--out", "run")


def test_hypergradients_choose_the_strength_of_a_convex_model(program, files):
    code, out, _ = program(*TUNE, "--model", "lasso")
    assert code == 0
    trials = pd.read_csv(files / "run" / "trials.csv")
    assert f"{len(trials)} trials" in out
    assert "16 held-out rows" in out
    assert len(trials) > 2
    assert trials["validation_loss"].min() < trials["validation_loss"].iloc[0]
    best = trials.loc[trials["validation_loss"].idxmin(), "strength"]
    config = json.loads((files / "run" / "config.json").read_text())
    assert config["parameters"]["strength"] == pytest.approx(best, rel=1e-6)
    assert config["search"] == {"model": "lasso", "method": "hypergradient", "trials": len(trials)}
    assert config["rows"] == {"fitted": 64, "held_out": 16}
    model = load_model(files / "run")
    assert type(model).__name__ == "LassoClassifier"
    assert model.coef_.shape == (4, 6)
    assert program("evaluate", "run", "x.npy", "-l", "y.csv")[0] == 0


@pytest.mark.parametrize("model", ["s-extract", "ridge", "logistic-ridge", "l21", "decorrelated"])
def test_every_convex_model_can_be_tuned(program, files, model):
    groups = ("--groups", "g.json") if model == "decorrelated" else ()
    code, _, _ = program(*TUNE, *groups, "--model", model, "--max-passes", "300", "--balanced")
    assert code == 0
    trials = pd.read_csv(files / "run" / "trials.csv")
    assert trials["passes"].is_monotonic_increasing
    assert np.isfinite(trials["validation_loss"]).all()
    assert load_model(files / "run").coef_.any()


def test_images_get_their_features_once_for_all_trials(program, photos):
    call = ("tune", "photos", "-l", "photos.csv", "-o", "run", "--network", "untrained")
    grid = ("--model", "logistic-ridge", "--method", "grid", "--points", "2", "--max-passes", "300")
    code, _, err = program(*call, *grid, "--features", "kept.npy", "--no-report")
    assert code == 0, err
    assert len(pd.read_csv(photos / "run" / "trials.csv")) == 2
    assert json.loads((photos / "run" / "config.json").read_text())["images"]["source"] == "photos"
    assert program("predict", "run", "photos", "-o", "p.csv")[0] == 0
    code, _, err = program(*call, *grid, "--features", "kept.npy", "--no-report", "--force")
    assert code == 0
    assert "features of 40 images are there already" in err
    code, _, err = program("tune", "kept.npy", *call[2:])
    assert code == 2
    assert "--network: this is an option of images" in err


def test_fits_that_collapse_or_run_out_are_counted_once(capsys):
    def search():
        with _once():
            for _ in range(3):
                warn(f"LatentMTLClassifier: {Status.COLLAPSED.value}")
                warn("the budget of passes", ConvergenceWarning)
                warn("of something else")
            raise KeyboardInterrupt

    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("default")
        with pytest.raises(KeyboardInterrupt):
            search()
    assert [str(each.message) for each in others] == ["of something else"]
    said = capsys.readouterr().err
    assert said.count("Note:") == 2
    assert "3 fits of the search collapsed to W = 0" in said
    assert "3 fits of the search ended before convergence" in said


def test_attributes_without_weights_are_named(program, files, monkeypatch):
    code, _, err = program("fit", *TUNE[1:], "--own-strength", "1e9", "--shared-strength", "0.1")
    assert (code, "All weights of" in err) == (0, False)
    grid = ("--model", "lasso", "--method", "grid", "--points", "1")
    code, _, err = program(*TUNE, *grid, "--force")
    assert code == 0
    dead = ~load_model(files / "run").coef_.any(axis=1)
    assert dead.any()
    names = [name for name, zero in zip(pd.read_csv(files / "y.csv"), dead, strict=True) if zero]
    named = "" if len(names) == 4 else f": {', '.join(names)}"
    message = (
        f"All weights of {len(names)} of 4 attributes are zero, so they are predicted by the "
        f"intercept alone, alike for every sample{named}. No strength that was tried"
    )
    assert message in err
    monkeypatch.setattr("proxmtl.report.rendering.vega_bundle", lambda: "window.vegaEmbed = 0;")
    assert program("report", "run", "-o", "page.html")[0] == 0
    assert message in (files / "page.html").read_text()


def test_a_grid_chooses_among_the_invariants_of_the_latent_model(program, files):
    options = ("-g", "g.json", "--points", "2", "--max-passes", "40", "--trials", "kept")
    code, out, _ = program(*TUNE, *options)
    assert code == 0
    assert "4 trials" in out
    trials = pd.read_csv(files / "run" / "trials.csv")
    assert sorted(set(trials["mu_gamma"])) == pytest.approx([1e-9, 1e-5])
    assert sorted(set(trials["mu2_lambda"])) == pytest.approx([1e-10, 1e-6])
    best = trials.loc[trials["score"].idxmax()]
    parameters = json.loads((files / "run" / "config.json").read_text())["parameters"]
    for name in ("group_strength", "l1_strength", "frobenius_strength"):
        assert parameters[name] == pytest.approx(best[name], rel=1e-6)
    kept = {path.name: path.stat().st_mtime_ns for path in (files / "kept").iterdir()}
    assert len(kept) == 5
    assert program(*TUNE, *options, "--force")[0] == 0
    again = {path.name: path.stat().st_mtime_ns for path in (files / "kept").iterdir()}
    assert again == kept
    code, _, err = program(*TUNE, *options, "--force", "--seed", "1")
    assert code == 2
    assert "another computation, which differs in its features, labels, model, splits; give" in err
    assert "kept: the same command" not in err
    assert "goes on with" not in err  # of which it is not true
    (files / "other").mkdir()
    (files / "other" / "notes.txt").write_text("x")
    code, _, err = program(*TUNE, *options[:-1], "other", "--force")
    assert code == 2
    assert "give an empty folder." in err
    assert "kept" not in err


def test_a_grid_of_a_convex_model_by_folds(program, files):
    options = ("--model", "lasso", "--method", "grid", "--points", "5", "--folds", "3")
    assert program(*TUNE, *options, "--one-standard-error")[0] == 0
    trials = pd.read_csv(files / "run" / "trials.csv")
    assert len(trials) == 15
    by_strength = trials.groupby("strength")
    means, nonzeros = by_strength["score"].mean(), by_strength["nonzeros"].mean()
    best = means.idxmax()
    error = by_strength["score"].std()[best] / 3**0.5
    sparsest = nonzeros[means >= means[best] - error].idxmin()
    assert sparsest != best
    chosen = json.loads((files / "run" / "config.json").read_text())["parameters"]["strength"]
    assert chosen == pytest.approx(sparsest, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "forest"), "model: got 'forest'"),
        (("--method", "luck"), "method: got 'luck'"),
        (("--method", "hypergradient"), "not convex"),
        (("--model", "lasso", "--folds", "3"), "--folds: this is an option of --method grid"),
        (("--model", "lasso", "--points", "40"), "--points: this is an option of --method grid"),
        (("--one-standard-error",), "an option of several folds"),
        (("--model", "lasso", "--n-latents", "3"), "no latents"),
        (("--model", "lasso", "--own-strength", "0.1"), "own-strength: lasso has no latents"),
        (("--model", "decorrelated"), "needs groups"),
    ],
)
def test_requests_that_make_no_sense(program, files, options, message):
    code, _, err = program(*TUNE, *options)
    assert code == 2
    assert message in err
    assert not (files / "run").exists()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_that_tried_one_value_says_so(program, files):
    code, out, _ = program(*TUNE, "--model", "logistic-ridge", "--max-passes", "1")
    assert code == 0
    assert "1 trial; taken: strength" in out
    assert "strength 0.01 is the only value tried: nothing was compared" in out
    code, out, _ = program(
        *TUNE, "--force", "--model", "ridge", "--method", "grid", "--points", "1"
    )
    assert code == 0
    assert "1 trial; taken: strength" in out
    notes = json.loads((files / "run" / "config.json").read_text())["search"]["notes"]
    assert len(notes) == 1
    assert notes[0].startswith("strength 10 is the only value tried")


@pytest.mark.parametrize("model", ["ridge", "lasso"])
def test_a_range_is_extended_or_its_edge_is_named(program, files, model):
    options = ("--model", model, "--method", "grid", "--points", "3")
    code, out, _ = program(*TUNE, *options)
    assert code == 0
    trials = pd.read_csv(files / "run" / "trials.csv")
    values = sorted(set(trials["strength"]))
    ratios = np.diff(np.log(values))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)  # by its own steps
    chosen = json.loads((files / "run" / "config.json").read_text())["parameters"]["strength"]
    inside = values[0] * 1.001 < chosen < values[-1] * 0.999
    assert inside == ("Note:" not in out)
    if not inside:
        assert len(values) == 3 + 4 or chosen == pytest.approx(values[-1], rel=1e-6)
        assert f"of {len(values)} values tried" in out


def test_the_latent_grid_is_extended_over_its_invariants(program, files):
    options = ("--points", "3", "--max-passes", "8", "--trials", "kept")
    code, out, _ = program(*TUNE, *options)
    assert code == 0
    trials = pd.read_csv(files / "run" / "trials.csv")
    assert len(trials) >= 9
    best = trials.loc[trials["score"].idxmax()]
    for name in ("mu_gamma", "mu2_lambda"):
        at_edge = best[name] in (trials[name].min(), trials[name].max())
        assert at_edge == (f"Note: {name}" in out)
    if len(trials) == 9:
        assert "Note:" not in out
    kept = len(list((files / "kept").iterdir()))
    assert kept >= len(trials)
    assert program(*TUNE, *options, "--force")[0] == 0
    again = pd.read_csv(files / "run" / "trials.csv")
    assert again["score"].tolist() == pytest.approx(trials["score"].tolist())
    assert len(list((files / "kept").iterdir())) == kept
