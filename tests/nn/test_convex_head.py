"""The head of any convex penalty, and what all solved heads share: centring, units, coding."""

import math

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.nn import ConvexHead, LatentMTLHead, ProblemTemplate, ProximalOptimizer, SolverLayer
from proxmtl.nn.linear import Centred

N, D, M = 30, 5, 4
X, Y = classification(N, D, M, missing=0.1)
X = X + torch.linspace(1, 3, D).double()  # means that centring has to take out
PER_TASK = torch.stack([X + 0.1 * m for m in range(M)])
PENALTIES = (pm.GroupL2(pm.Groups.from_lists([[0, 1], [2, 3]]), 0.03), pm.SquaredFrobenius(0.02))
EXACT = pm.RelativeKKT(1e-11) | pm.MaxPasses(20000)


def make_head(**options):
    options = {"loss": pm.Logistic(), "stop": EXACT, "dtype": torch.float64, **options}
    return ConvexHead(D, M, PENALTIES, **options)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("features", [X, PER_TASK], ids=["shared", "tasks"])
def test_it_is_the_solution_of_the_problem_as_it_stands(features, intercept):
    """A certificate on the features as they were: centring and its way back change nothing."""
    head = make_head(fit_intercept=intercept)
    weight = torch.linspace(0.5, 1.5, N).double()
    result = head.solve(features, Y, weight)
    assert result.status.ok
    options = {"reduction": "mean", "sample_weight": weight if features is X else [weight] * M}
    problem = ProblemTemplate(pm.Logistic(), PENALTIES, intercept, options)(features, Y)
    certificate = problem.certificate(result.solution)
    assert certificate.relative_kkt < 1e-9
    assert float(head.loss(features, Y, weight)) == pytest.approx(certificate.objective, rel=1e-12)
    scores = problem.design.scores(result.solution)
    expected = scores if features is X else scores.reshape(M, N).T
    torch.testing.assert_close(head(features), expected)
    of_scores = float(head.objective(head(features), Y, weight))
    assert of_scores == pytest.approx(certificate.objective, rel=1e-12)
    again = head.solve(features, Y, weight)
    assert again.iterations < 0.2 * result.iterations


def test_a_solve_is_resumed_exactly():
    whole = make_head().solve(X, Y, stop=pm.MaxPasses(40))
    part = make_head().solve(X, Y, stop=pm.MaxPasses(20))
    for state in (part.state, part.state.state_dict()):
        rest = make_head().solve(X, Y, state=state, stop=pm.MaxPasses(40))
        assert torch.equal(rest.solution, whole.solution)


@pytest.mark.parametrize("features", [X, PER_TASK], ids=["shared", "tasks"])
@pytest.mark.parametrize("reduction", ["mean", "task_mean", "sum"])
def test_the_gradient_is_that_of_the_optimal_value(reduction, features):
    scale = {"mean": 1, "task_mean": M, "sum": N * M}[reduction]
    penalties = [term.with_strength(scale * term.strength) for term in PENALTIES]
    head = ConvexHead(
        D, M, penalties, loss=pm.Logistic(), reduction=reduction, stop=EXACT, dtype=torch.float64
    )
    head.solve(features, Y)
    x = features.clone().requires_grad_()
    loss = head.loss(x, Y)
    (grad,) = torch.autograd.grad(loss, x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    h = 1e-5
    ends = [head.solve(features + s * direction, Y).certificate.objective for s in (h, -h)]
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(float((grad * direction).sum()), rel=1e-5)
    # networks see the same units under each reduction: mean losses, summed over the tasks
    head.solve(features, Y)
    full = torch.where(torch.isnan(Y), 1.0, Y)
    head.take_labels(full)
    scores = head(features)
    mean = torch.nn.functional.softplus(-full * scores).mean(0).sum()
    torch.testing.assert_close(head.network_loss(features, full), mean)


def test_trained_parameters_and_prox_reach_the_solution():
    exact = make_head()
    exact.solve(X, Y)
    head = make_head(trainable=True)
    centred = X - X.mean(0)
    optimizer = torch.optim.SGD(head.parameters(), lr=2.0, momentum=0.8)
    wrapped = ProximalOptimizer(optimizer, head.penalties())
    for _ in range(400):
        wrapped.zero_grad()
        head.loss(centred, Y).backward()
        wrapped.step()
    torch.testing.assert_close(head.W.detach(), exact.W.detach(), rtol=1e-5, atol=1e-7)


def test_state_dict_and_repr():
    head = make_head(class_weight="balanced")
    head.solve(X, Y)
    other = make_head(class_weight="balanced")
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(X), head(X))
    assert float(other.loss(X, Y)) == float(head.loss(X, Y))
    assert "n_tasks=4" in repr(head)
    with pytest.raises(ValueError, match="n_features"):
        ConvexHead(0, M, PENALTIES)
    with pytest.raises(ValueError, match="4"):
        ConvexHead(D, 3, PENALTIES)


def test_means_are_left_where_they_cannot_be_taken_out():
    sparse = X.to_sparse()
    assert Centred(sparse).features is sparse
    parts = Centred([X, X[:7]])
    assert [len(part) for part in parts.features] == [N, 7]
    assert max(float(part.mean(0).abs().max()) for part in parts.features) < 1e-14
    W, b = torch.ones(D, 2).double(), torch.zeros(2).double()
    assert torch.equal(Centred(X, wanted=False).inside(W, b), b)
    torch.testing.assert_close(parts.outside(W, parts.inside(W, b)), b)
    design = pm.SharedDesign(Centred(X).features, intercept=True)
    scores = design.scores(torch.cat([W, Centred(X).inside(W, b)[None]]))
    torch.testing.assert_close(scores, X @ W)


# ------------------------------------------------------------------ the coding of labels

ZERO_ONE = (Y > 0).double()  # a missing label reads as no, as it does where 0 means no
WITH_ZEROS = torch.nan_to_num(Y)


@pytest.mark.parametrize(
    "call",
    [
        lambda head: head.solve(X, ZERO_ONE),
        lambda head: head.take_labels(ZERO_ONE),
        lambda head: head.loss(X[:8], ZERO_ONE[:8]),
        lambda head: head.network_loss(X[:8], ZERO_ONE[:8]),
        lambda head: head.loss(X[:8], 0 * Y[:8]),
        lambda head: (head.take_labels(Y), head.loss(X[:8], WITH_ZEROS[:8])),
        lambda head: (head.take_labels(Y), head.loss(X[:8], ZERO_ONE[:8])),
        lambda head: head.loss(X[:8], 2 * Y[:8]),
    ],
)
def test_labels_in_another_coding_are_refused(call):
    for head in (make_head(), LatentMTLHead(D, M, max_passes=20, dtype=torch.float64)):
        with pytest.raises(ValueError, match="labels: "):
            call(head)


def test_a_layer_and_a_proximal_step_refuse_them_too():
    layer = SolverLayer(ProblemTemplate(pm.Logistic(), PENALTIES))
    with pytest.raises(ValueError, match="looks like 0/1 coding"):
        layer(X, ZERO_ONE)
    with pytest.raises(ValueError, match="looks like 0/1 coding"):
        LatentMTLHead(D, M, dtype=torch.float64).prox_step(X, ZERO_ONE)


def test_zeros_for_missing_labels_are_taken_where_the_training_set_has_them():
    head, plain = make_head(), make_head()
    head.solve(X, WITH_ZEROS)
    plain.solve(X, Y)
    assert torch.equal(head.W, plain.W)
    ones = torch.where(Y > 0, 1.0, 0.0)  # a batch of one class, the others missing
    expected = plain.loss(X, torch.where(ones == 0, math.nan, ones))
    torch.testing.assert_close(head.loss(X, ones), expected)
    other = make_head()
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other.loss(X, ones), expected)
    torch.testing.assert_close(make_head().loss(X, WITH_ZEROS), make_head().loss(X, Y))
    assert pm.Targets.from_labels(WITH_ZEROS).labels.shape == (N, M)


def test_strengths_without_a_minimum_are_refused_at_once():
    with pytest.raises(ValueError, match="l1_strength, frobenius_strength"):
        LatentMTLHead(D, M, l1_strength=0.0, frobenius_strength=0.0)
    with pytest.raises(ValueError, match="group_strength"):
        LatentMTLHead(D, M, group_strength=0.0)


def test_means_are_exact_to_the_last_digit_of_the_features():
    z = torch.randn(300_000, 1, generator=torch.Generator().manual_seed(0))
    X = 101325 + 30 * z
    for features in (X, X[None]):
        centred = Centred(features)
        # what is left of the mean is its rounding to float32
        assert float(centred.features.double().mean().abs()) <= 101325 * 2.0**-24
        assert float(centred.means.double() - X.double().mean()) <= 101325 * 2.0**-24
