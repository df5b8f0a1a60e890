"""Groups and numbers of latent tasks that ``fit`` finds."""

import numpy as np
import pandas as pd
import pytest

from proxmtl.estimators import load_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FIT = ("fit", "f.npy", "--labels", "l.csv", "--out", "run", "--holdout", "0")


@pytest.fixture
def families(files):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 12))
    values = X @ rng.normal(size=(12, 2)).repeat(3, axis=1) + rng.normal(size=(150, 6))
    np.save(files / "f.npy", X)
    pd.DataFrame((values > 0).astype(int), columns=list("abcdef")).to_csv(
        files / "l.csv", index=False
    )
    return files


@pytest.mark.parametrize("options", [("--auto", "--latent"), ("--max-passes", "30")])
def test_families_are_found_and_stand_in_the_tables(program, families, options):
    code, out, err = program(*FIT, "--groups", "auto", *options)
    assert code == 0, err
    groups = load_model(families / "run").groups_
    assert [groups.members(g) for g in range(len(groups))] == [[0, 1, 2], [3, 4, 5]]
    for name in groups.names:
        assert name.startswith("like ")
        assert name in out


def test_as_many_latents_as_the_trace_norm_has(program, families):
    options = ("--n-latents", "auto", "--own-strength", "0.01", "--groups", "auto")
    assert program(*FIT, *options, "--max-passes", "100")[0] == 0
    assert load_model(families / "run").L_.shape[1] < 6


def test_a_file_called_auto_is_read(program, families):
    (families / "auto").write_text("nonsense")
    code, _, err = program(*FIT, "--groups", "auto")
    assert code == 2
    assert "auto" in err
    assert "toml" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--latent",), "--latent: this is an option of --auto; add that, or leave it out."),
        (
            ("--single-task", "1", "--latent"),
            "--latent: this is an option of --auto, not of --single",
        ),
        (("--auto", "--groups", "auto"), "--groups: 'auto' finds groups for the latent model"),
        (("--single-task", "0.1", "--groups", "auto"), "--groups: 'auto' finds groups"),
        (("--n-latents", "0"), "--n-latents: got '0'; give a whole number from 1 on, or auto."),
        (("--n-latents", "many"), "--n-latents: got 'many'"),
    ],
)
def test_options_that_do_nothing_raise(program, families, options, said):
    code, _, err = program(*FIT, *options)
    assert code == 2
    assert said in " ".join(err.split())
