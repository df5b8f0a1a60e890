"""The commands, one after the other, as a new user would try them."""

import csv
import json
import re
import shutil
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from proxmtl.estimators import LatentMTLClassifier, SharedPlusOwnClassifier, load_model, save_model
from proxmtl.io import seal_folder

RUN_FILES = {
    "manifest.json",
    "model.safetensors",
    "model.json",
    "fitted_rows.npy",
    "predictions.csv",
    "metrics_by_attribute.csv",
    "metrics.json",
    "history.csv",
    "config.json",
    "split.csv",
    "plots/latents.png",
    "plots/convergence.png",
    "plots/attributes.png",
}
FIT = ("fit", "x.npy", "--labels", "y.csv", "--groups", "g.json", "--out", "run")
QUICK = ("--max-passes", "60")


def _files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _table(path):
    with path.open() as stream:
        header, *rows = csv.reader(stream)
    return header, np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])


def test_fit_predict_evaluate_inspect(program, files):
    code, out, _ = program(*FIT, *QUICK)
    assert code == 0
    assert "16 held-out rows" in out
    assert "colors" in out
    assert "Total" in out
    assert _files(files / "run") == RUN_FILES

    metrics = json.loads((files / "run" / "metrics.json").read_text())
    assert set(metrics["groups"]) == {"colors", "patterns", "Total"}
    history = pd.read_csv(files / "run" / "history.csv")
    assert history["iteration"].iloc[0] == 0
    # from the start to the point that was returned
    fit, last = metrics["fit"], history.iloc[-1]
    written = [fit["iterations"], fit["passes"], fit["certificate"]["objective"]]
    np.testing.assert_allclose(
        last[["iteration", "passes", "objective"]].astype(float), written, rtol=1e-7
    )
    config = json.loads((files / "run" / "config.json").read_text())
    assert config["rows"] == {"fitted": 64, "held_out": 16}
    assert [entry["path"] for entry in config["inputs"]] == ["x.npy", "y.csv", "g.json"]

    assert program("predict", "run", "x.npy", "--out", "p.csv")[0] == 0
    assert program("predict", "run", "x.npy", "--out", "s.csv", "--scores")[0] == 0
    names, labels = _table(files / "p.csv")
    assert names == ["black", "white", "spots", "stripes"]
    names, scores = _table(files / "s.csv")
    assert names == ["black", "white", "spots", "stripes"]
    np.testing.assert_array_equal(labels, scores > 0)
    model = load_model(files / "run")
    expected = model.decision_function(np.load(files / "x.npy"))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)

    code, out, _ = program("evaluate", "run", "x.npy", "-l", "y.csv", "-a", "--out", "m.csv")
    assert code == 0
    assert "stripes" in out
    accuracy, f1 = pd.read_csv(files / "m.csv")[["accuracy", "f1"]].to_numpy().T
    _, truth = _table(files / "y.csv")
    right = np.where(np.isnan(truth), np.nan, (scores > 0) == truth)
    np.testing.assert_allclose(accuracy, np.nanmean(right, axis=0), rtol=1e-5)
    assert min(accuracy) > 0.8
    pairs = [(truth[seen, m], scores[seen, m] > 0) for m, seen in enumerate(~np.isnan(truth.T))]
    np.testing.assert_allclose(f1, [f1_score(y > 0, z) for y, z in pairs], rtol=1e-5)

    plot = files / "run" / "plots" / "convergence.png"
    plot.write_bytes(plot.read_bytes() + b"edited")
    code, _, err = program("inspect", "run")
    assert code == 0
    assert "Warning: run: not as they were written, or not there: plots/convergence.png." in err
    seal_folder(files / "run")
    code, out, err = program("inspect", "run")
    assert err == ""
    assert code == 0
    assert "LatentMTLClassifier" in out
    assert "patterns" in out
    assert "live latents" in out


def test_parts_of_their_own_are_fitted_saved_and_shown(program, files):
    code, out, err = program(*FIT, *QUICK, "--own-strength", "0.01")
    assert code == 0, err
    assert re.search(r"own parts +\d+% of the squared weights", out)
    model = load_model(files / "run")
    assert model.own_strength == 0.01
    rounding = 16 * np.finfo(np.float32).eps * np.abs(model.coef_).max()
    np.testing.assert_allclose(model.coef_.T, model.L_ @ model.S_ + model.V_, atol=rounding)
    assert re.search(r"own strength +0\.01", program("inspect", "run")[1])
    assert program("predict", "run", "x.npy", "--out", "s.csv", "--scores")[0] == 0
    expected = model.decision_function(np.load(files / "x.npy"))
    np.testing.assert_allclose(_table(files / "s.csv")[1], expected, rtol=1e-5)
    code, _, err = program(*FIT, "--own-strength", "0", "--force")
    assert code == 2
    assert "own_strength: got 0" in err or "own-strength: got 0" in err


@pytest.mark.parametrize(
    "option",
    [
        ("--algorithm", "palm"),
        ("--own-strength", "1"),
        ("--n-latents", "2"),
        ("--l1-strength", "1"),
    ],
)
def test_options_of_the_other_model_are_refused_not_ignored(program, files, option):
    code, _, err = program(*FIT, "--single-task", "0.01", *option)
    assert code == 2
    assert option[0] in err
    assert "option of the latent model" in " ".join(err.split())
    assert not (files / "run").exists()


@pytest.mark.parametrize("model", [("--single-task", "0.01"), ("--auto",)])
def test_every_model_takes_an_accuracy(program, files, model):
    """The advice after a budget that ran out names it."""
    for tol in ([], ["--tol", "0.01"]):
        assert program(*FIT, *model, *tol, "--force")[0] == 0
        fitted = load_model(files / "run")
        assert fitted.tol == (0.01 if tol else type(fitted)().tol)


def test_a_group_of_all_attributes_is_named_where_it_was_given(program, files):
    X, Y = np.load(files / "x.npy"), np.zeros((80, 2))
    Y[::2, 0] = Y[::3, 1] = 1
    (files / "y2.csv").write_text("a,b\n" + "".join(f"{y[0]:.0f},{y[1]:.0f}\n" for y in Y))
    for name, groups in (("given", {"all": ["a", "b"]}), ("none", None)):
        model = SharedPlusOwnClassifier(groups=groups, label_names=["a", "b"]).fit(X, Y)
        save_model(files / name, model)
        assert ("all" in program("evaluate", name, "x.npy", "-l", "y2.csv")[1]) == (name == "given")


def test_the_record_has_the_hashes_of_what_was_read(program, files, monkeypatch):
    def entries(*names):
        read = [(name, (files / name).read_bytes()) for name in names]
        return [
            {"path": name, "bytes": len(content), "sha256": sha256(content).hexdigest()}
            for name, content in read
        ]

    (files / "x.ids.csv").write_text("id\n" + "".join(f"{i}\n" for i in range(80)))
    expected = entries("x.npy", "x.ids.csv", "y.csv", "g.json")
    fit = LatentMTLClassifier.fit

    def meanwhile(self, X, *args, **options):
        np.save(files / "x.npy", np.zeros((3, 2)))
        (files / "y.csv").write_text("other\n1\n")
        return fit(self, X, *args, **options)

    monkeypatch.setattr(LatentMTLClassifier, "fit", meanwhile)
    assert program(*FIT, "--max-passes", "5", "--match", "position")[0] == 0
    assert json.loads((files / "run" / "config.json").read_text())["inputs"] == expected


def test_the_baseline_has_a_certified_gap(program, files):
    code, out, _ = program(*FIT, "--single-task", "0.01", "--holdout", "0")
    assert code == 0
    assert "certified" in out
    assert "the 80 training rows" in out
    assert _files(files / "run") == RUN_FILES - {"plots/latents.png", "predictions.csv"}
    assert program("inspect", "run")[0] == 0


def test_identifiers_match_rows(program, files):
    frame = pd.DataFrame(np.load(files / "x.npy"), columns=[f"f{i}" for i in range(6)])
    frame.insert(0, "image", [f"{i}.jpg" for i in range(80)])
    frame.to_parquet(files / "x.parquet")
    header, *rows = (files / "y.csv").read_text().splitlines()
    named = [f"{i}.jpg,{row}" for i, row in enumerate(rows)]
    (files / "ids.csv").write_text("\n".join([f"image,{header}", *named[::-1]]) + "\n")
    every = (*QUICK, "--holdout", "0")  # rows without names are held out by their place
    assert program("fit", "x.parquet", "-l", "ids.csv", "-o", "by_id", *every)[0] == 0
    assert program("fit", "x.npy", "-l", "y.csv", "-o", "by_row", *every)[0] == 0
    by_id, by_row = load_model(files / "by_id"), load_model(files / "by_row")
    np.testing.assert_array_equal(by_id.coef_, by_row.coef_)
    assert program("predict", "by_id", "x.parquet", "-o", "p.csv")[0] == 0
    assert (files / "p.csv").read_text().startswith("id,black,white,spots,stripes\n0.jpg,")


def test_an_existing_run_is_kept_without_force(program, files):
    assert program(*FIT, *QUICK)[0] == 0
    before = (files / "run" / "model.json").read_bytes()
    code, _, err = program(*FIT, *QUICK, "--seed", "7")
    assert code == 2
    assert "--force" in err
    assert (files / "run" / "model.json").read_bytes() == before
    assert program(*FIT, *QUICK, "--seed", "7", "--force")[0] == 0
    assert (files / "run" / "model.json").read_bytes() != before


def _edit(name, old, new):
    def change(files):
        path = files / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def _features(change):
    def apply(files):
        np.save(files / "x.npy", change(np.load(files / "x.npy")))

    return apply


def _nothing(files):
    del files


BAD_FITS = {
    "no features": (_nothing, ["fit", "no.npy", *FIT[2:]], ["no.npy", "no such file"]),
    "no labels": (lambda f: (f / "y.csv").unlink(), FIT, ["y.csv", "no such file"]),
    "no groups": (lambda f: (f / "g.json").unlink(), FIT, ["g.json", "no such file"]),
    "row count": (
        _features(lambda X: X[:-1]),
        FIT,
        ["y.csv", "80 rows of labels for 79 rows of features in x.npy"],
    ),
    "int8": (_features(lambda X: X.astype("int8")), FIT, ["x.npy", "int8", "scale"]),
    "nan": (_features(lambda X: X * np.nan), FIT, ["x.npy", "480 of 480 features"]),
    "label": (_edit("y.csv", "\n", "\noui,0,0,0\n"), FIT, ["y.csv, line 2", "'black'", "'oui'"]),
    "member": (
        _edit("g.json", "spots", "dots"),
        FIT,
        ["g.json", "'patterns'", "'dots'", "spelling"],
    ),
    "group total": (_edit("g.json", "colors", "Total"), FIT, ["g.json: a group is called 'Total'"]),
    "group file": (_edit("g.json", "{", "["), FIT, ["g.json", "cannot be parsed"]),
    "one class": (
        lambda f: (f / "y.csv").write_text("a,b\n" + "1,0\n1,1\n" * 40),
        ("fit", "x.npy", "-l", "y.csv", "-o", "run"),
        ["y.csv: 'a' has only yes in the 80 rows"],
    ),
    "one class each": (
        lambda f: (f / "y.csv").write_text("a,b,c,d,e\n" + "1,0,,1,0\n1,0,,0,0\n" * 40),
        ("fit", "x.npy", "-l", "y.csv", "-o", "run"),
        ["'a' has only yes; 'b', 'e' have only no; 'c' has no label", "--min-positives 1"],
    ),
    "strength": (_nothing, [*FIT, "--group-strength", "-1"], ["--group-strength: got -1.0"]),
    "algorithm": (_nothing, [*FIT, "--algorithm", "magic"], ["algorithm", "magic"]),
    "out is a file": (_nothing, [*FIT[:-1], "x.npy"], ["x.npy", "this is a file"]),
    "out is full": (_nothing, [*FIT[:-1], ".", "--force"], ["not empty", "model.json"]),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_input_of_fit_is_one_paragraph(program, files, case):
    change, command, expected = BAD_FITS[case]
    change(files)
    before = _files(files)
    code, out, err = program(*command)
    assert code == 2
    assert err.startswith("Error: ")
    assert len(err.strip().splitlines()) == 1
    for part in expected:
        assert part in err
    assert out == ""
    assert _files(files) == before


BAD_USES = {
    "no run": (["predict", "no", "x.npy", "-o", "p.csv"], ["no: no such folder"]),
    "file exists": (["predict", "run", "x.npy", "-o", "y.csv"], ["y.csv", "--force"]),
    "other features": (["predict", "run", "few.npy", "-o", "p.csv"], ["few.npy", "fitted on 6"]),
    "no attribute": (["evaluate", "run", "x.npy", "-l", "few.csv"], ["few.csv", "'white'"]),
    "damaged": (["inspect", "damaged"], ["model.safetensors", "manifest.json", "again"]),
    "config": (["inspect", "config"], ["config.json", "SHA-256", "again"]),
    "other kind": (["inspect", "other"], ["model.json", "'Forest'", "LatentMTLClassifier"]),
    "not whole": (["inspect", "half"], ["model.json", "does not describe a whole"]),
}


def test_bad_input_of_the_other_commands(program, files):
    assert program(*FIT, "--max-passes", "5")[0] == 0
    np.save(files / "few.npy", np.zeros((3, 2)))
    (files / "few.csv").write_text("black,spots,stripes\n" + "1,0,0\n" * 80)
    for name in ("damaged", "config", "other", "half"):
        shutil.copytree(files / "run", files / name)
    with (files / "damaged" / "model.safetensors").open("ab") as stream:
        stream.write(b"\0")
    _edit("other/model.json", '"LatentMTLClassifier"', '"Forest"')(files)
    _edit("half/model.json", '"is_vector"', '"vector"')(files)
    for name in ("other", "half"):
        seal_folder(files / name)
    _edit("config/config.json", '"seed": 0', '"seed": 1')(files)
    for case, (command, expected) in BAD_USES.items():
        code, _, err = program(*command)
        assert code == 2, case
        assert len(err.strip().splitlines()) == 1, case
        for part in expected:
            assert part in err, case


def test_debug_shows_the_traceback(program):
    with pytest.raises(ValueError, match="no such folder"):
        program("--debug", "inspect", "nowhere")


@pytest.mark.filterwarnings("default")
def test_a_collapsed_fit_is_called_that(program):
    code, out, err = program(*FIT, "--group-strength", "100")
    assert code == 0
    warning = next(line for line in err.splitlines() if line)
    assert warning.startswith("Warning: LatentMTLClassifier: The model collapsed")
    assert "live latents" in out
    assert program("inspect", "run")[0] == 0


def test_fit_finds_out_whether_to_share(program, files):
    code, out, _ = program(*FIT, "--auto")
    assert code == 0
    assert "sharing" in out
    sharing = pd.read_csv(files / "run" / "sharing.csv")
    assert sharing["attribute"].tolist() == ["black", "white", "spots", "stripes"]
    assert {"shared", "score", "score_alone", "gain", "gain_error"} <= set(sharing.columns)
    candidates = pd.read_csv(files / "run" / "candidates.csv")
    assert np.isinf(candidates["shared_strength"]).any()
    model = load_model(files / "run")
    assert model.predict_proba(np.load(files / "x.npy")).shape == (80, 4)
    code, shown, _ = program("inspect", "run")
    assert code == 0
    for name, row in sharing.set_index("attribute").iterrows():
        line = next(line.split() for line in shown.splitlines() if line.split()[:1] == [name])
        assert line[1:4] == [
            "yes" if row["shared"] else "no",
            f"{100 * row['score_alone']:.1f}",
            f"{100 * row['score']:.1f}",
        ]
    assert shown.split("sharing", 1)[1].split()[:3] == out.split("sharing", 1)[1].split()[:3]
    # a figure for people: the model is inspected without it too
    (files / "run" / "sharing.csv").unlink()
    assert program("inspect", "run")[0] == 0
    code, _, err = program(*FIT, "--auto", "--group-strength", "1", "--force")
    assert code == 2
    assert "--auto, which chooses" in err


@pytest.mark.parametrize("options", [("--auto",), ("--max-passes", "20")])
def test_a_model_without_groups_is_scored_without_groups(program, options):
    """Not with the names g0, g1, ... of groups of one, nor with one group of all."""
    call = ["fit", "x.npy", "-l", "y.csv", "-o", "run", *options]
    for command in (call, ["evaluate", "run", "x.npy", "-l", "y.csv"]):
        code, out, _ = program(*command)
        assert code == 0
        table = out[out.index("group ") : out.index("Total")]
        assert [line.split()[0] for line in table.splitlines() if line.strip(" ─")] == ["group"]


def test_attributes_in_no_group_keep_their_names_beside_a_group_called_like_one(program, files):
    (files / "g.toml").write_text('stripes = ["black", "white"]\n')
    assert program(*FIT[:4], "-g", "g.toml", "-o", "run", *QUICK)[0] == 0
    code, out, _ = program("inspect", "run")
    assert code == 0
    assert re.findall(r"^\W*(stripes|spots|stripes \(alone\)|item\d+)  ", out, re.MULTILINE) == [
        "stripes",
        "spots",
        "stripes (alone)",
    ]


@pytest.mark.parametrize("command", ["fit", "tune"])
def test_a_group_of_weight_0_is_named_with_its_file_unless_it_is_of_tables_alone(
    program, files, command
):
    groups = '[groups]\ncolors = ["black", "white"]\npair = ["spots", "stripes"]\n'
    (files / "g.toml").write_text(f"{groups}[weights]\npair = 0\n")
    call = (command, *FIT[1:4], "-g", "g.toml", "-o", "run", "--max-passes", "20")
    code, _, err = program(*call)
    assert code == 2
    assert "g.toml: groups: group 'pair' has weight 0, and nothing would penalise" in err
    assert "give it a positive weight, or leave the group out" in err
    convex = ("--single-task", "0.1") if command == "fit" else ("--model", "ridge")
    assert program(*call, *convex)[0] == 0
