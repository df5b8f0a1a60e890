"""Groups and numbers of latent tasks that are found, and sharing without a way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import proxmtl as pm
from proxmtl.estimators import load_model, save_model
from proxmtl.latent.starts import made_start

N, D, M = 150, 12, 6
FAMILIES = [[0, 1, 2], [3, 4, 5]]


def planted(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features, and values of two families of attributes that each hang on one direction."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D))
    directions = rng.normal(size=(D, 2)).repeat(3, axis=1)
    return X, X @ directions + rng.normal(size=(n, M))


X, VALUES = planted()
Y = (VALUES > 0).astype(float)


def members(groups: pm.Groups) -> list[list[int]]:
    return [groups.members(g) for g in range(len(groups))]


@pytest.mark.parametrize(
    "estimator",
    [
        pm.GroupLassoClassifier(groups="auto"),
        pm.LatentMTLClassifier(groups="auto", max_passes=50),
        pm.SharedPlusOwnClassifier(groups="auto", tol=1e-3),
        pm.SharedPlusOwnClassifierCV(groups="auto", cv=2, random_state=0),
        pm.LatentMTLClassifierCV(groups="auto", cv=2, random_state=0, max_passes=50),
        pm.LatentMTLRegressorCV(groups="auto", cv=2, random_state=0, max_passes=50),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::proxmtl.selection.edges.EdgeWarning")
def test_families_are_found(estimator, tmp_path):
    labels = VALUES if "Regressor" in type(estimator).__name__ else Y
    estimator.set_params(label_names=list("abcdef")).fit(X, labels)
    assert members(estimator.groups_) == FAMILIES
    assert {name.removeprefix("like ") for name in estimator.groups_.names} <= set("abcdef")
    save_model(tmp_path / "model", estimator)
    assert members(load_model(tmp_path / "model").groups_) == FAMILIES


def test_families_of_tasks_with_rows_of_their_own_are_found_by_their_classifiers():
    parts = [planted(200, seed=m) for m in range(M)]
    rng = np.random.default_rng(9)
    weights = rng.normal(size=(D, 2)).repeat(3, axis=1)
    labels = [(x @ weights[:, m] > 0).astype(int) for m, (x, _) in enumerate(parts)]
    model = pm.SharedPlusOwnClassifier(groups="auto", tol=1e-3).fit([x for x, _ in parts], labels)
    assert members(model.groups_) == FAMILIES


@pytest.mark.parametrize("kind", [pm.SharedPlusOwnClassifier, pm.LatentMTLClassifier])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_passes_that_find_groups_are_those_of_the_fit(kind):
    options = {"tol": 1e-9, "max_passes": 30}
    found = kind(groups="auto", **options).fit(X, Y)
    given = kind(groups=found.groups_, **{**options, "max_passes": 500}).fit(X, Y)
    assert members(found.groups_) == FAMILIES
    assert found.result_.passes <= 30
    spent = found.result_.passes - kind(groups=FAMILIES, max_passes=10).fit(X, Y).result_.passes
    assert spent > 10  # a fit of so few passes without them
    assert given.result_.passes <= 500


@pytest.mark.parametrize("most", [20, 60])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_start_of_a_latent_fit_is_in_its_budget(most, monkeypatch):
    """Products with all rows outside certificates, counted where they are made."""
    import proxmtl.counts as counting

    whole = []
    charge = counting.OracleCounts.charge

    def spying(self, **products):
        whole.append((id(self), sum(products.values()) / 2))
        charge(self, **products)

    monkeypatch.setattr(counting.OracleCounts, "charge", spying)
    model = pm.LatentMTLClassifierCV(cv=2, random_state=0, fallback=False, max_passes=most).fit(
        X, Y
    )
    assert model.result_.passes <= most
    joint = whole[-1][0]  # the counts of the last solve
    solve = sum(passes for key, passes in whole if key == joint)
    assert model.result_.passes >= solve - 1e-6


def test_a_training_part_finds_groups_without_the_rows_held_out(monkeypatch):
    from proxmtl.estimators import cross_validated, search

    seen = []
    found = search.groups_for

    def spying(given, problem, *others):
        seen.append(len(problem.targets.labels))
        return found(given, problem, *others)

    for module in (search, cross_validated):  # of training parts, and of all rows
        monkeypatch.setattr(module, "groups_for", spying)
    pm.SharedPlusOwnClassifierCV(groups="auto", cv=3, random_state=0).fit(X, Y)
    assert set(seen[:3]) == {2 * N // 3}
    assert seen[-1] == N


@pytest.mark.parametrize("kind", [pm.SharedPlusOwnClassifierCV, pm.LatentMTLClassifierCV])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_fallback_all_attributes_share(kind):
    rng = np.random.default_rng(1)
    labels = (X @ rng.normal(size=(D, M)) > 0).astype(float)  # nothing in common
    options = {"cv": 2, "random_state": 0, "max_passes": 100}
    chosen = kind(**options).fit(X, labels)
    forced = kind(fallback=False, **options).fit(X, labels)
    assert not chosen.sharing_.all()
    assert forced.sharing_.all()
    assert np.isfinite(forced.report_["shared_strength"]).all()


def test_as_many_latents_as_the_trace_norm_has_directions():
    labels = torch.from_numpy(np.sign(VALUES))
    options = {"groups": pm.Groups.single(M), "own_strength": 0.01, "max_passes": 300}
    for init in ("trace", "best", "svd", "paper"):
        found = pm.LatentMTL(n_latents="auto", init=init, **options).solve(X, labels)
        assert found.L.shape[1] <= 3
        assert found.passes <= 300
    given = pm.LatentMTL(n_latents="auto", init=(found.L, found.S), **options).solve(X, labels)
    assert given.L.shape[1] == found.L.shape[1]  # a start that is given is as large as it is


def looked(labels, most=1000.0, **options):
    """Latents found for the start of single tasks, and the passes that took beyond the start's."""
    spent, K = [], 0
    for n_latents in ("auto", None):
        problem = pm.LatentMTL(pm.Groups.single(M), **options).problem(X, labels)
        with problem.counts.limited(most):
            start = made_start(problem, "svd", n_latents, torch.Generator().manual_seed(0))
        spent.append(problem.counts.passes)
        K = K or start[0].shape[1]
    return K, spent[0] - spent[1]


def test_a_look_at_the_number_of_latents_takes_few_passes():
    labels = torch.from_numpy(np.sign(VALUES))
    K, passes = looked(labels)
    assert 2 <= K <= 6
    assert 10 < passes <= 40
    # and half of those that are left, at most
    assert looked(labels, 60.0)[1] <= 30


def test_a_look_ends_where_all_latents_are_alive():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(np.sign(X @ np.linalg.qr(rng.normal(size=(D, M)))[0]))
    K, passes = looked(labels, group_strength=1e-6, frobenius_strength=1e-6)
    assert K == M
    assert passes <= 15  # of the 27 iterations of the whole path


def test_all_latents_where_passes_are_too_few_to_look():
    found = pm.LatentMTL(n_latents="auto", max_passes=10).solve(
        X, torch.from_numpy(np.sign(VALUES))
    )
    assert found.L.shape[1] == M


def test_any_whole_number_of_latents_is_one():
    class Two:
        def __index__(self):
            return 2

    labels = torch.from_numpy(np.sign(VALUES))
    for given in (Two(), np.int64(2), torch.tensor(2)):
        model = pm.LatentMTL(n_latents=given, max_passes=10)
        assert type(model.n_latents) is int
        assert model.solve(X, labels).L.shape[1] == 2


@pytest.mark.parametrize("given", ["some", 0, -1, 1.5, True, np.ones(2)])
def test_other_numbers_of_latents_raise(given):
    with pytest.raises(ValueError, match=r"n_latents: got .*use a whole number.*'auto' or None"):
        pm.LatentMTL(n_latents=given)
