"""Strengths in units of the data: the same model whatever the scale, and what the data say."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

import proxmtl as pm
from proxmtl.latent import signal, strengths
from proxmtl.latent.strengths import RelativeStrengths, shared_strengths
from proxmtl.nn import LatentMTLHead

EPS = np.finfo(np.float64).eps
RNG = np.random.default_rng(5)
N, D, M = 60, 8, 6
X = RNG.normal(size=(N, D)) * RNG.uniform(0.2, 3, D) + RNG.normal(size=D)
LINEAR = X @ RNG.normal(size=(D, 2)) @ RNG.normal(size=(2, M))
NUMBERS = LINEAR + 2 * RNG.normal(size=(N, M))
LABELS = (np.median(NUMBERS, axis=0) < NUMBERS).astype(float)
MISSING = np.where(RNG.random((N, M)) < 0.4, np.nan, LABELS)
MODELS = {
    "shared": (pm.SharedPlusOwnClassifier, MISSING),
    "latent": (pm.LatentMTLClassifier, MISSING),
    "shared numbers": (pm.SharedPlusOwnRegressor, NUMBERS),
    "latent numbers": (pm.LatentMTLRegressor, NUMBERS),
}


def posed(features, labels):
    """A problem of signs without a penalty."""
    targets = pm.Targets.from_labels(2 * labels - 1, reduction="mean")
    return pm.Problem(pm.Logistic(), pm.SharedDesign(features, intercept=True), targets)


def predictions(model, features):
    return getattr(model, "decision_function", model.predict)(features)


@pytest.mark.parametrize("power", [-27, 27])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_those_of_features_in_another_unit(name, standardize, power):
    """Near 1e-8 and 1e8, by powers of two: products are then the same numbers."""
    kind, labels = MODELS[name]
    model = kind(standardize=standardize, max_passes=3000).fit(X, labels)
    other = kind(standardize=standardize, max_passes=3000).fit(2.0**power * X, labels)
    expected = predictions(model, X)
    found = predictions(other, 2.0**power * X)
    # cube roots of the strengths round, and descents of some hundred steps carry that on
    assert abs(found - expected).max() <= 1e4 * EPS * abs(expected).max()


@pytest.mark.parametrize("power", [-400, -280, 280, 400])
def test_strengths_follow_the_scale_to_the_end_of_the_range(power):
    """Squares of slopes, which go as squares of features, would leave float64."""
    found, _ = shared_strengths(posed(2.0**power * X, MISSING), pm.Groups.single(M), None)
    shared, own = shared_strengths(posed(X, MISSING), pm.Groups.single(M), None)[0]
    assert found.shared / 2.0**power == pytest.approx(shared, rel=1e3 * EPS)
    assert found.own / 2.0 ** (2 * power) == pytest.approx(own, rel=1e3 * EPS)


@pytest.mark.parametrize("offset", [1.0, 1000.0])
def test_without_an_intercept_features_are_not_centred_in_the_unit(offset):
    features = offset + 1e-9 * X
    targets = pm.Targets.from_labels(2 * LABELS - 1, reduction="mean")
    problem = pm.Problem(pm.Logistic(), pm.SharedDesign(features), targets)
    expected = (features**2).sum(1).mean() / LABELS.size
    assert strengths.own_unit(problem, None) == pytest.approx(expected, rel=1e3 * EPS)


def test_bad_strengths_raise_before_groups_are_looked_for(monkeypatch):
    """Which may take a fit of its own."""
    monkeypatch.setattr("proxmtl.estimators.latent.groups_for", None)
    monkeypatch.setattr("proxmtl.estimators.shared_plus_own.groups_for", None)
    with pytest.raises(ValueError, match="shared_strength: got inf"):
        pm.LatentMTLClassifier(groups="auto", shared_strength=np.inf).fit(X, LABELS)
    with pytest.raises(ValueError, match="own_strength: got -1"):
        pm.SharedPlusOwnClassifier(groups="auto", own_strength=-1.0).fit(X, LABELS)


def members(model):
    return [model.groups_.members(g) for g in range(len(model.groups_))]


def test_later_sets_keep_the_groups_of_the_first():
    model = pm.LatentMTLClassifier(groups="auto").partial_fit(X[:40], LABELS[:40])
    first = members(model)
    assert members(pm.LatentMTLClassifier(groups="auto").fit(X[20:], LABELS[20:])) != first
    assert members(model.partial_fit(X[20:], LABELS[20:])) == first


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("name", MODELS)
def test_standardised_predictions_are_those_of_features_times_any_number(name, scale):
    kind, labels = MODELS[name]
    expected = predictions(kind(max_passes=3000).fit(X, labels), X)
    found = predictions(kind(max_passes=3000).fit(scale * X, labels), scale * X)
    assert abs(found - expected).max() <= 1e4 * EPS * abs(expected).max()


def left_out(features, labels, ridge):
    """Sum of the squared errors of ridge regressions without one row, at that row."""
    norms = ((features - features.mean(0)) ** 2).sum(1).mean()
    total = 0.0
    for i in range(len(features)):
        kept = np.arange(len(features)) != i
        x, y = features[kept], labels[kept]
        centred = x - x.mean(0)
        gram = centred.T @ centred + 2 * ridge * norms * np.eye(x.shape[1])
        w = np.linalg.solve(gram, centred.T @ (y - y.mean()))
        total += (labels[i] - y.mean() - (features[i] - x.mean(0)) @ w) ** 2
    return total / len(features)


def test_the_ridge_has_the_least_error_on_labels_left_out():
    """By fitting again without each row, one by one."""
    weights = torch.full((N, M), 1 / (N * M), dtype=torch.float64)
    targets = pm.Targets(torch.from_numpy(NUMBERS), weights, M)
    problem = pm.Problem(pm.Squared(), pm.SharedDesign(X, intercept=True), targets)
    copies = torch.ones(N, M, dtype=torch.float64)
    norms = float(((X - X.mean(0)) ** 2).sum(1).mean())
    errors = [sum(left_out(X, NUMBERS[:, m], r) for m in range(M)) for r in signal.RIDGES]
    best = int(np.argmin(errors))
    found = signal.ridge_of_labels(problem, copies, norms)
    assert 0 < best < len(errors) - 1
    before, at, after = errors[best - 1 : best + 2]
    step = (before - after) / (2 * (before - 2 * at + after))
    expected = signal.RIDGES[best] * (signal.RIDGES[1] / signal.RIDGES[0]) ** step
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", [pm.SharedPlusOwnClassifier, pm.LatentMTLClassifier])
def test_a_row_of_weight_two_is_two_rows(kind):
    counts = RNG.integers(0, 3, N)
    counts[:4] = 1
    rows = np.repeat(np.arange(N), counts)
    weighted = kind(max_passes=3000).fit(X, MISSING, counts.astype(float))
    repeated = kind(max_passes=3000).fit(X[rows], MISSING[rows])
    names = ("shared_strength_", "own_strength_")
    if kind is pm.SharedPlusOwnClassifier:
        pairs = [(getattr(weighted, name), getattr(repeated, name)) for name in names]
    else:
        pairs = list(zip(weighted.strengths_.values(), repeated.strengths_.values(), strict=True))
    for one, other in pairs:
        assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_strengths_of_sparse_features_are_those_of_dense_ones(standardize, intercept):
    thin = np.where(RNG.random(X.shape) < 0.5, 0.0, X)
    found = [
        pm.SharedPlusOwnClassifier(standardize=standardize, fit_intercept=intercept).fit(
            each, MISSING
        )
        for each in (csr_array(thin), thin)
    ]
    for name in ("shared_strength_", "own_strength_"):
        one, other = (getattr(model, name) for model in found)
        assert one == pytest.approx(other, rel=1e-9)


def test_strengths_of_tasks_with_rows_of_their_own_are_those_of_one_matrix():
    sizes = (25, 20, 15)
    starts = np.cumsum([0, *sizes])
    wide = np.full((N, 3), np.nan)
    for m, (a, b) in enumerate(itertools.pairwise(starts)):
        wide[a:b, m] = LABELS[a:b, m]
    parts = [X[a:b] for a, b in itertools.pairwise(starts)]
    vectors = [LABELS[a:b, m] for m, (a, b) in enumerate(itertools.pairwise(starts))]
    one = pm.SharedPlusOwnClassifier().fit(parts, vectors)
    other = pm.SharedPlusOwnClassifier().fit(X, wide)
    assert one.shared_strength_ == pytest.approx(other.shared_strength_, rel=1e-9)
    assert one.own_strength_ == pytest.approx(other.own_strength_, rel=1e-9)


def noise_of(features, labels):
    """Spectral norm of the slope that chance alone leads to, by eigenvalues."""
    centred = features - features.mean(0)
    p = labels.mean(0)
    residuals = (labels - p) / labels.size
    covariance = centred.T @ (centred * (residuals**2).sum(1)[:, None])
    norms = (centred**2).sum(1).mean()
    alike = np.linalg.eigvalsh(residuals.T @ residuals)[-1]
    return np.sqrt(np.linalg.eigvalsh(covariance)[-1] + norms * alike)


def test_the_share_of_noise_is_that_of_eigenvalues():
    problem = posed(X, LABELS)
    null = strengths._Null.of(problem, None)
    everyone = pm.Groups.single(M)
    found = null.noise_share(everyone) * null.critical(everyone)
    exact = noise_of(X, LABELS)
    # the power method comes from below; the eigenvalue is half of the square at least
    assert 0.9 * exact <= found <= exact * (1 + 100 * EPS)


def test_labels_without_a_relation_to_features_share_nothing():
    alone = pm.SharedPlusOwnClassifier().fit(X, RNG.permutation(LABELS))
    related = pm.SharedPlusOwnClassifier().fit(X, LABELS)
    latent = pm.LatentMTLClassifier().fit(X, RNG.permutation(LABELS))
    assert alone.shared_strength_ > 1.5 * related.shared_strength_
    assert alone.n_shared_ <= related.n_shared_
    assert latent.result_.live_latents <= 1


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_own_parts_of_rare_classes_have_a_weaker_ridge(share):
    """A label of theirs tells the logistic loss little: ``p (1 - p)``."""
    labels = (np.quantile(NUMBERS, 1 - share, axis=0) < NUMBERS).astype(float)
    problem = posed(X, labels)
    found, units = shared_strengths(problem, pm.Groups.single(M), None)
    copies = torch.ones(N, M, dtype=torch.float64)
    norms = float(((X - X.mean(0)) ** 2).sum(1).mean())
    ridge = signal.ridge_of_labels(problem, copies, norms)
    p = labels.mean(0)
    assert units.own == pytest.approx(norms / (N * M), rel=1e-12)
    # intercepts at zero weights are found to 1e-6 or better
    assert found.own == pytest.approx(2.5 * (p * (1 - p)).mean() * ridge * units.own, rel=1e-5)


@pytest.mark.parametrize("own", ["auto", np.inf])
def test_the_strengths_of_the_paper_are_those_of_the_engine(own):
    accuracy = {"tol": 1e-9, "max_passes": 5000}
    model = pm.LatentMTLClassifier(
        group_strength=5e-3, own_strength=own, groups="singletons", **accuracy
    ).fit(X, LABELS)
    moments = (X - X.mean(0)) / X.std(0)
    expected = pm.LatentMTL(group_strength=5e-3, **accuracy).solve(moments, 2 * LABELS - 1)
    assert model.strengths_ == {
        "group_strength": 5e-3,
        "l1_strength": 1e-4,
        "frobenius_strength": 1e-4,
        "own_strength": None,
    }
    torch.testing.assert_close(model.result_.coef, expected.coef, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared_strength": 0.5, "l1_strength": 0.1}, "shared_strength, l1_strength"),
        ({"shared_strength": 0.0}, "shared_strength: got 0.0"),
        ({"own_strength": None}, "own_strength: got None"),
        ({"own_strength": "weak"}, "own_strength: got 'weak'"),
        ({"shared_strength": np.inf, "own_strength": np.inf}, "both are inf"),
    ],
)
def test_strengths_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        pm.LatentMTLClassifier(**options).fit(X, LABELS)


def test_a_head_finds_its_strengths_in_the_first_solve_and_keeps_them():
    head = LatentMTLHead(
        D, M, pm.Groups.single(M), relative=RelativeStrengths(0.4, 0.5), dtype=torch.float64
    )
    with pytest.raises(ValueError, match="first solve"):
        head.penalty()
    signs = torch.from_numpy(2 * LABELS - 1)
    features = torch.from_numpy(X)
    head.solve(features, signs)
    problem = pm.Problem(
        head.model.loss,
        pm.SharedDesign(features, intercept=True),
        pm.Targets.from_labels(signs, reduction="mean"),
    )
    expected = RelativeStrengths(0.4, 0.5).absolute(problem, pm.Groups.single(M))
    for name, value in expected.items():
        assert getattr(head.model, name) == pytest.approx(value, rel=1e-9)
    assert head.strengths.tolist() == list(map(head.model.__getattribute__, expected))
    before = head.strengths.clone()
    head.solve(2 * features, signs)
    assert torch.equal(head.strengths, before)
    again = LatentMTLHead(
        D, M, head.model.groups, relative=RelativeStrengths(0.4, 0.5), dtype=torch.float64
    )
    again.load_state_dict(head.state_dict())
    assert again.model == head.model
    assert float(again.penalty()) == float(head.penalty())


@pytest.mark.parametrize("passes", [1, 5, 20, 21, 40, 60])
@pytest.mark.parametrize("groups", [None, "singletons", [[0, 1, 2], [2, 3, 4, 5]]], ids=str)
def test_a_start_that_the_budget_ends_is_none(passes, groups):
    model = pm.LatentMTLClassifier(groups=groups, max_passes=passes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, MISSING)
    assert model.result_.passes <= passes
    assert np.isfinite(model.coef_).all()
