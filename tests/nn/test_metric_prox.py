"""The prox in a diagonal metric, and the adaptive optimizers that need it."""

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.nn import ProximalOptimizer
from proxmtl.regularizers import add
from proxmtl.regularizers.metric import has_direct_form, metric_prox

X, Y = classification(40, 6, 4)
PROBLEM = pm.Problem(pm.Squared(), pm.SharedDesign(X), pm.Targets.from_labels(Y, reduction="mean"))
TREE = pm.Groups.from_lists([[0, 1, 2], [3, 4]])
METRIC = {
    "L1": pm.L1(0.4),
    "ridge": pm.SquaredFrobenius(0.4),
    "elastic net": pm.ElasticNet(0.5, 0.3),
    "groups": pm.GroupL2(TREE, 0.5),
    "rows": pm.L21(0.5),
    "columns": pm.L21(0.5, axis=0),
    "sparse groups": pm.SparseGroupL2(TREE, 0.6),
    "groups, L1, ridge": add([pm.GroupL2(TREE, 0.4), pm.L1(0.1), pm.SquaredFrobenius(0.2)]),
    "L1, ridge": add([pm.L1(0.3), pm.SquaredFrobenius(0.2)]),
    "weighted L1": pm.WeightedL1(torch.linspace(0.0, 1.0, 30).reshape(5, 6).double().T, 0.5),
    "bounds": pm.Box(-0.2, 0.4),
    "overlapping": pm.OverlappingGroupL2(
        pm.Groups.from_lists([[0, 1, 2], [2, 3, 4], [5]]), 0.3, axis=0
    ),
}
ALL = {**METRIC, "nuclear": pm.Nuclear(0.3)}


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("name", METRIC)
def test_the_prox_in_a_diagonal_metric_is_that_of_its_definition(name, scale):
    """By the optimality condition ``(W - X) / t in dR(X)``, the penalty's own KKT residual."""
    R = METRIC[name].with_strength(scale * METRIC[name].strength)
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    W[-1] *= 1e-3
    W[:, 1] *= 1e-3
    exact = name != "overlapping"
    spread = 2.0 if exact else 0.3
    steps = torch.exp(spread * torch.randn(6, 5, generator=generator, dtype=torch.float64))
    near = W
    for _ in range(1 if exact else 4):
        near = metric_prox(R, W, steps, near)
    residual = R.kkt_residual(near, (near - W) / steps)
    assert float(residual.abs().max()) < (1e-10 if exact else 1e-7)
    if name not in ("ridge", "bounds"):
        assert bool((near == 0).any())
    same = metric_prox(R, W, torch.full_like(W, 0.3), W)
    if exact:
        torch.testing.assert_close(same, R.prox(W, 0.3)[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_a_learning_rate_of_zero_moves_nothing(name):
    """The first step of a warm-up, the last of a cosine."""
    R = ALL[name]
    start = torch.linspace(-0.2, 0.4, 30, dtype=torch.float64).reshape(6, 5)  # within the bounds
    for kind in (torch.optim.SGD, torch.optim.Adam):
        W = torch.nn.Parameter(start.clone())
        W.grad = torch.ones_like(W)
        ProximalOptimizer(kind([W], lr=0.0), {W: R}).step()
        assert torch.equal(W.detach(), start)


@pytest.mark.parametrize("name", ALL)
def test_a_coordinate_without_a_step_stays(name):
    R = ALL[name]
    generator = torch.Generator().manual_seed(0)
    W = torch.rand(6, 5, generator=generator, dtype=torch.float64) * 0.4  # within the bounds
    steps = torch.full_like(W, 0.3)
    steps[2, 3] = 0.0
    out = metric_prox(R, W, steps, W)
    assert float(out[2, 3]) == float(W[2, 3])
    assert bool(torch.isfinite(out).all())
    others = steps > 0
    assert name == "bounds" or not bool((out == W)[others].all())
    if has_direct_form(R, W):
        limit = metric_prox(R, W, steps.clamp_min(1e-12), W)
        torch.testing.assert_close(out, limit, rtol=0, atol=1e-10)


def test_a_step_from_the_solution_stays_there_where_the_prox_is_iterated():
    """However much the steps differ: the iteration starts from where the optimizer was."""
    penalty = METRIC["overlapping"].with_strength(0.05)
    problem = PROBLEM.with_regularizers(penalty)
    best = pm.minimize(problem, stop=pm.RelativeKKT(1e-12) | pm.MaxIterations(5000)).solution
    steps = torch.logspace(-3, 0, 6, dtype=torch.float64)[:, None].expand_as(best)
    W = torch.nn.Parameter(best.clone())
    W.grad = steps * problem.smooth_value_and_grad(best)[1]
    sgd = torch.optim.SGD([W], lr=1.0)
    ProximalOptimizer(sgd, {W: penalty}, step_size=lambda *_: steps).step()
    torch.testing.assert_close(W.detach(), best, rtol=0, atol=1e-8)


def test_extreme_steps_stay_finite():
    W = torch.tensor([[1.0, -2.0, 0.5, 0.0, 3.0]])
    steps = torch.tensor([[1e-30, 1e30, 1.0, 1e30, 1e-3]])
    for name in ("L1", "ridge", "groups", "rows", "sparse groups"):
        out = metric_prox(METRIC[name], W, steps, W)
        assert bool(torch.isfinite(out).all())
        assert float(out[0, 1].abs()) < 1e-6  # only the penalty acts on it


ADAM = lambda p: torch.optim.Adam(p, lr=0.03, betas=(0.9, 0.99))  # noqa: E731


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("L1", ADAM),
        ("rows", ADAM),
        ("L1, ridge", ADAM),
        ("L1", lambda p: torch.optim.RMSprop(p, lr=0.01)),
        ("rows", lambda p: torch.optim.Adagrad(p, lr=0.5)),
    ],
)
def test_sparse_features_do_not_lead_adaptive_optimizers_astray(make, name):
    """Words of very different frequency: the steps of the coordinates differ as much."""
    generator = torch.Generator().manual_seed(1)
    often = torch.logspace(0, -2, 6, dtype=torch.float64)
    words = (torch.rand(300, 6, generator=generator, dtype=torch.float64) < often).double()
    signs = torch.sign(
        words @ torch.tensor([1.0, -1, 2, -2, 3, 0]).double()[:, None]
        + torch.randn(300, 5, generator=generator, dtype=torch.float64)
    )
    R = METRIC[name]
    targets = pm.Targets.from_labels(signs, reduction="mean")
    problem = pm.Problem(pm.Squared(), pm.SharedDesign(words), targets, R)
    factor = 0.05 if name == "L1, ridge" else 0.1
    penalties = R.with_strength(factor * R.strength)
    problem = problem.with_regularizers(penalties)
    best = pm.minimize(problem, stop=pm.RelativeKKT(1e-9) | pm.MaxIterations(5000)).solution
    W = torch.nn.Parameter(torch.zeros_like(best))
    inner = make([W])
    optimizer = ProximalOptimizer(inner, {W: penalties})
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (1 + k / 100))
    for _ in range(400):
        optimizer.zero_grad()
        ((words @ W - signs).square().sum() / (2 * signs.numel())).backward()
        optimizer.step()
        schedule.step()
    found = W.detach()
    at_zero = float(problem.objective(torch.zeros_like(best)))
    gap = float(problem.objective(found)) - float(problem.objective(best))
    assert gap < 1e-3 * (at_zero - float(problem.objective(best)))
    torch.testing.assert_close(found, best, rtol=0.02, atol=0.02 * float(best.abs().max()))
