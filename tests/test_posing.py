"""Problems of arrays, and what a result gives back."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import proxmtl as pm
from proxmtl.io import open_shards
from proxmtl.label_coding import inferred_signs
from proxmtl.losses import LOSS_NAMES, LOSSES

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 5))
SIGNS = np.sign(X[:, :3] + 0.3 * RNG.standard_normal((40, 3)))
SIGNS[3, 1] = np.nan
PENALTY = [pm.L1(0.01), pm.SquaredFrobenius(0.02)]


def by_hand(labels=SIGNS, **options):
    design = pm.SharedDesign(X, intercept=True)
    targets = pm.Targets.from_labels(labels, reduction="mean", **options)
    return pm.Problem(pm.SquaredHinge(), design, targets, PENALTY)


CODED = {
    "signs": SIGNS,
    "zero and one": (SIGNS + 1) / 2,
    "frame": pd.DataFrame((SIGNS + 1) / 2),
    "nullable": pd.DataFrame(SIGNS > 0).astype("boolean").mask(np.isnan(SIGNS)),
    "lists": [[None if np.isnan(y) else y > 0 for y in row] for row in SIGNS],
}


@pytest.mark.parametrize("coding", CODED)
def test_labels_of_every_coding_pose_the_same_problem(coding):
    posed, plain = pm.Problem.of(X, CODED[coding], PENALTY), by_hand()
    assert torch.equal(posed.targets.labels, plain.targets.labels)
    assert torch.equal(posed.targets.weights, plain.targets.weights)
    W = torch.ones(6, 3, dtype=torch.float64)
    assert torch.equal(posed.objective(W), plain.objective(W))


def test_weights_and_reductions_are_those_of_targets():
    weight = RNG.random(40) + 0.1
    posed = pm.Problem.of(X, SIGNS, sample_weight=weight, class_weight="balanced", reduction="sum")
    plain = pm.Targets.from_labels(SIGNS, sample_weight=weight, class_weight="balanced")
    assert torch.equal(posed.targets.weights, plain.weights)
    assert not pm.Problem.of(X, SIGNS, fit_intercept=False).design.intercept


def test_features_are_dense_sparse_or_of_each_task():
    sparse = pm.Problem.of(scipy.sparse.csr_matrix(X), SIGNS)
    assert sparse.design.X.layout == torch.sparse_csr
    parts = [X[:30], X[5:]]
    labels = [SIGNS[:30, 0] > 0, SIGNS[5:, 1]]
    with pytest.raises(ValueError, match="saw"):
        pm.Problem.of(parts, [SIGNS[:30, 0], (SIGNS[5:, 2] + 1) / 2])  # 0, -1 and 1
    tasks = pm.Problem.of(parts, [labels[0], labels[1] > 0])
    assert isinstance(tasks.design, pm.TaskDesign)
    assert tasks.data.shape == (65,)


def test_real_labels_and_classes_go_to_their_losses():
    real = pm.Problem.of(X, X[:, :2] * 3, loss=pm.Huber(2.0))
    assert torch.equal(real.targets.labels, torch.from_numpy(X[:, :2] * 3))
    zeros = pm.Problem.of(X, np.zeros((40, 1)), loss=pm.Squared())
    assert (zeros.targets.weights > 0).all()  # 0 is a label, not a missing one
    classes = pm.Problem.of(X, np.arange(40) % 3, loss=pm.WestonWatkins(3))
    assert classes.data.n_tasks == 3


@pytest.mark.parametrize(
    ("labels", "words"), [(SIGNS * 2, r"saw \[-2.0, 2.0\]"), ([["yes"], ["no"]], "'no', 'yes'")]
)
def test_other_labels_raise(labels, words):
    with pytest.raises(ValueError, match=f"expected 0 and 1.*{words}"):
        inferred_signs(labels)


def test_a_loss_that_is_none_raises():
    with pytest.raises(ValueError, match=r"loss: got 'logit'; .*'logistic'"):
        pm.Problem.of(X, SIGNS, loss="logit")
    with pytest.raises(ValueError, match="loss: got a dict"):
        pm.Problem.of(X, SIGNS, loss={})


def test_coef_and_intercept_are_those_of_the_scores():
    problem = by_hand()
    result = pm.minimize(problem, tol=1e-8)
    scores = torch.from_numpy(X) @ result.coef + result.intercept
    torch.testing.assert_close(scores, problem.scores(result.solution), rtol=1e-12, atol=1e-12)
    assert result.certificate.relative_gap <= 1e-8
    without = pm.minimize(pm.Problem.of(X, SIGNS, PENALTY, fit_intercept=False), max_iter=2)
    assert without.iterations == 2
    assert torch.equal(without.coef, without.solution)
    assert torch.equal(without.intercept, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(
        pm.solve_batch([problem])[0].coef, pm.solve_batch([problem])[0].solution[:-1]
    )


def test_blocks_have_no_coef():
    result = pm.minimize(by_hand(), max_iter=1)
    blocks = type(result)(**{**vars(result), "solution": (result.solution,)})
    with pytest.raises(TypeError, match="blocks"):
        _ = blocks.coef


@pytest.mark.parametrize("option", [{"tol": 1e-3}, {"max_iter": 3}])
def test_limits_beside_a_rule_raise(option):
    with pytest.raises(ValueError, match="put them into stop"):
        pm.minimize(by_hand(), stop=pm.MaxIterations(3), **option)


def test_labels_the_other_way_round_raise_before_their_classes():
    with pytest.raises(ValueError, match=r"shape \(3, 40\) for features of 40.*other way round"):
        pm.Problem.of(X, SIGNS.T)
    with pytest.raises(
        ValueError, match=r"shape \(39, 3\) for features of 40 samples; give one row"
    ):
        pm.Problem.of(X, SIGNS[1:])


def test_a_design_and_shards_are_taken(tmp_path):
    plain = pm.Problem.of(X, SIGNS, PENALTY)
    given = pm.Problem.of(pm.SharedDesign(X, intercept=True), SIGNS, PENALTY)
    np.save(tmp_path / "0.npy", X)
    streamed = pm.Problem.of(open_shards(tmp_path), SIGNS, PENALTY)
    assert isinstance(streamed.design, pm.StreamedDesign)
    W = torch.ones(6, 3, dtype=torch.float64)
    assert torch.equal(given.objective(W), plain.objective(W))
    assert float(streamed.objective(W)) == pytest.approx(float(plain.objective(W)), rel=1e-12)


def test_a_penalty_that_is_not_convex_gets_a_solver_that_takes_it():
    result = pm.minimize(pm.Problem.of(X, SIGNS, pm.MCP(0.05)), max_iter=500)
    assert type(result.state).__name__ == "MFISTAState"
    assert result.objective < pm.Problem.of(X, SIGNS).loss_at_zero


@pytest.mark.parametrize("option", [{"tol": -1.0}, {"max_iter": 0}])
def test_limits_that_are_none_raise_by_their_names(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        pm.minimize(by_hand(), **option)
    with pytest.raises(ValueError, match="problem: got a ndarray"):
        pm.minimize(X)


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_losses_are_given_by_name_too(name):
    named, given = (pm.Problem.of(X, SIGNS, loss=loss) for loss in (name, LOSS_NAMES[name]))
    W = torch.ones_like(named.zeros())
    assert type(named.loss) is type(given.loss)
    assert float(named.objective(W)) == float(given.objective(W))
    assert pm.LatentMTL(loss=name).loss is LOSS_NAMES[name]


def test_the_names_are_those_of_all_losses_of_a_label():
    exported = {getattr(pm, name) for name in LOSSES if hasattr(pm, name)}
    assert {type(loss) for loss in LOSS_NAMES.values()} == exported - {pm.WestonWatkins}
