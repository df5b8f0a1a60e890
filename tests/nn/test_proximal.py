"""ProximalOptimizer: solutions it reaches, and the interface of torch optimizers that it keeps."""

import re
from pathlib import Path

import pytest
import torch
from strategies import classification

from proxmtl import (
    L1,
    L21,
    Box,
    ElasticNet,
    GroupL2,
    Groups,
    MaxIterations,
    OverlappingGroupL2,
    Problem,
    RelativeKKT,
    SharedDesign,
    SparseGroupL2,
    Squared,
    SquaredFrobenius,
    Targets,
    WeightedL1,
    minimize,
)
from proxmtl.nn import ProximalOptimizer, proximal_step_size
from proxmtl.nn.proximal import KNOWN
from proxmtl.regularizers import add
from proxmtl.regularizers.metric import metric_prox

X, Y = classification(40, 6, 4)
PENALTY = GroupL2(Groups.from_lists([[0, 1], [2, 3]]), 0.3)
PROBLEM = Problem(Squared(), SharedDesign(X), Targets.from_labels(Y, reduction="mean"), PENALTY)


def loss_of(W):
    return (X @ W - Y).square().sum() / (2 * Y.numel())


def weights():
    return torch.nn.Parameter(torch.ones(6, 4, dtype=torch.float64))


def train(make, steps, *, penalty=PENALTY, schedule=None):
    W = weights()
    optimizer = ProximalOptimizer(make([W]), {W: penalty})
    scheduler = None if schedule is None else schedule(optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(W).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return W.detach(), optimizer


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1.0},
        {"lr": 0.5, "momentum": 0.8},
        {"lr": 0.5, "momentum": 0.8, "nesterov": True},
        {"lr": 1.0, "momentum": 0.8, "dampening": 0.5},
    ],
    ids=str,
)
def test_sgd_reaches_the_certified_solution_with_its_zeros(options):
    strength = 0.3 * PROBLEM.critical_strength() / PENALTY.strength * PENALTY.strength
    penalty = PENALTY.with_strength(strength)
    exact = minimize(PROBLEM.with_regularizers(penalty), stop=RelativeKKT(1e-10)).solution
    found, _ = train(lambda p: torch.optim.SGD(p, **options), 400, penalty=penalty)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-8)
    assert bool((exact == 0).any())
    assert torch.equal(found == 0, exact == 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=0.02),
        lambda p: torch.optim.Adam(p, lr=0.02, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.0),
        lambda p: torch.optim.RMSprop(p, lr=0.005),
        lambda p: torch.optim.Adagrad(p, lr=0.3),
        lambda p: torch.optim.Adadelta(p, lr=1.0),
    ],
    ids=["Adam", "AMSGrad", "AdamW", "RMSprop", "Adagrad", "Adadelta"],
)
def test_adaptive_optimizers_come_near_it_with_exact_zeros(make):
    strength = 0.5 * PROBLEM.critical_strength()
    penalty = PENALTY.with_strength(strength)
    problem = PROBLEM.with_regularizers(penalty)
    best = float(problem.objective(minimize(problem).solution))
    first = float(problem.objective(weights().detach()))
    found, _ = train(make, 400, penalty=penalty)
    assert float(problem.objective(found)) < best + 0.1 * (first - best)
    assert bool((found == 0).any())


def test_the_step_of_the_prox_is_how_far_a_constant_gradient_moves_the_parameter():
    gradient = torch.full((6, 4), 0.37).double()
    makers = [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.2),
        lambda p: torch.optim.Adam(p, lr=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.5),
        lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0),
        lambda p: torch.optim.NAdam(p, lr=0.1),
    ]
    for make in makers:
        W = weights()
        optimizer = make([W])
        for _ in range(400):
            before = W.detach().clone()
            W.grad = gradient.clone()
            optimizer.step()
        step = proximal_step_size(optimizer, optimizer.param_groups[0], W)
        torch.testing.assert_close(before - W.detach(), step * gradient, rtol=2e-2, atol=0)


def test_schedulers_and_groups_go_through():
    W, bias = weights(), torch.nn.Parameter(torch.zeros(4).double())
    sgd = torch.optim.SGD([{"params": [W]}, {"params": [bias], "lr": 0.5}], lr=1.0)
    optimizer = ProximalOptimizer(sgd, {0: PENALTY})
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    seen = []

    def step_size(_optimizer, group, _parameter):
        seen.append(group["lr"])
        return 0.0

    optimizer.step_size = step_size
    for _ in range(3):
        optimizer.zero_grad()
        (loss_of(W) + bias.square().sum()).backward()
        optimizer.step()
        scheduler.step()
    assert seen == [1.0, 0.5, 0.25]
    assert [group["lr"] for group in sgd.param_groups] == [0.125, 0.0625]
    extra = torch.nn.Parameter(torch.zeros(2))
    optimizer.add_param_group({"params": [extra]})
    assert len(sgd.param_groups) == len(optimizer.param_groups) == 3
    optimizer.zero_grad()
    assert W.grad is None


def test_a_parameter_without_a_gradient_is_left_alone():
    W, other = weights(), weights()
    optimizer = ProximalOptimizer(torch.optim.SGD([W, other], lr=1.0), {0: L1(0.5)})
    loss_of(W).backward()
    optimizer.step()
    assert torch.equal(other, weights())
    assert not torch.equal(W, weights())


def test_state_goes_from_one_to_another():
    make = lambda p: torch.optim.Adam(p, lr=0.05)  # noqa: E731
    whole, _ = train(make, 20)
    half, first = train(make, 10)
    W = torch.nn.Parameter(half.clone())
    second = ProximalOptimizer(make([W]), {W: PENALTY})
    second.load_state_dict(first.state_dict())
    for _ in range(10):
        second.zero_grad()
        loss_of(W).backward()
        second.step()
    assert torch.equal(W.detach(), whole)
    assert second.state is second.inner.state
    assert second.param_groups is second.inner.param_groups


def test_a_closure_and_a_scaler_go_through():
    W = weights()
    inner = torch.optim.LBFGS([W], max_iter=4)
    optimizer = ProximalOptimizer(inner, {W: L1(0.0)}, step_size=lambda *_: 1.0)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(W)
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == pytest.approx(
        float(loss_of(weights()).detach())
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    W = weights()
    optimizer = ProximalOptimizer(torch.optim.SGD([W], lr=1.0), {W: PENALTY})
    scaler.scale(loss_of(W)).backward()
    scaler.step(optimizer)
    scaler.update()
    plain, _ = train(lambda p: torch.optim.SGD(p, lr=1.0), 1)
    torch.testing.assert_close(W.detach(), plain)
    before = W.detach().clone()
    W.grad = torch.full_like(W, torch.inf)  # a step that overflowed takes no prox either
    scaler.step(optimizer)
    assert torch.equal(W, before)


def test_bad_arguments():
    W = weights()
    sgd = torch.optim.SGD([W], lr=1.0)
    with pytest.raises(ValueError, match="optimizer"):
        ProximalOptimizer([W], {})
    for penalties, match in (
        ({1: PENALTY}, "group 1"),
        ({weights(): PENALTY}, "no parameter"),
        ({0: PENALTY, W: L1(1.0)}, "twice"),
        ({W: GroupL2(Groups.single(9), 1.0)}, "9"),
    ):
        with pytest.raises(ValueError, match=match):
            ProximalOptimizer(sgd, penalties)


def test_without_penalties_it_is_the_optimizer():
    found, optimizer = train(lambda p: torch.optim.SGD(p, lr=1.0), 3, penalty=L1(0.0))
    assert float(optimizer.penalty()) == 0
    W = weights()
    plain = torch.optim.SGD([W], lr=1.0)
    for _ in range(3):
        plain.zero_grad()
        loss_of(W).backward()
        plain.step()
    assert torch.equal(found, W.detach())


def test_optimizers_of_unknown_steps_ask_for_a_rule_before_any_step():
    unknown = {"ASGD", "Adafactor", "Adamax", "LBFGS", "RAdam", "Rprop"}
    for name in unknown:
        W = weights()
        inner = getattr(torch.optim, name)([W], lr=0.01)
        with pytest.raises(ValueError, match=f"steps of {name} is not known.* give step_size="):
            ProximalOptimizer(inner, {W: L1(0.1)})
        ProximalOptimizer(inner, {W: L1(0.1)}, step_size=lambda *_: 0.01)
    assert unknown.isdisjoint(kind.__name__ for kind in KNOWN)


def test_the_documentation_names_the_optimizers_that_are_known():
    text = (Path(__file__).parents[2] / "docs" / "nn.md").read_text(encoding="utf-8")
    section = text.split("## Exact zeros")[1].split("## ")[0]
    (line,) = [line for line in section.splitlines() if line.startswith("Known: ")]
    assert re.findall(r"`(\w+)`", line.split(".")[0]) == [kind.__name__ for kind in KNOWN]


def test_an_adaptive_step_is_known_after_the_first():
    W = weights()
    optimizer = torch.optim.Adam([W], lr=0.1)
    with pytest.raises(ValueError, match="has not moved it yet"):
        proximal_step_size(optimizer, optimizer.param_groups[0], W)


def test_centred_rmsprop_steps_by_its_variance():
    W = weights()
    inner = torch.optim.RMSprop([W], lr=0.01, centered=True)
    for _ in range(3):
        inner.zero_grad()
        loss_of(W).backward()
        inner.step()
    state = inner.state[W]
    expected = 0.01 / ((state["square_avg"] - state["grad_avg"].square()).sqrt() + 1e-8)
    torch.testing.assert_close(proximal_step_size(inner, inner.param_groups[0], W), expected)


# ------------------------------------------------------------------ a step for each coordinate

TREE = Groups.from_lists([[0, 1, 2], [3, 4]])
METRIC = {
    "L1": L1(0.4),
    "ridge": SquaredFrobenius(0.4),
    "elastic net": ElasticNet(0.5, 0.3),
    "groups": GroupL2(TREE, 0.5),
    "rows": L21(0.5),
    "columns": L21(0.5, axis=0),
    "sparse groups": SparseGroupL2(TREE, 0.6),
    "groups, L1, ridge": add([GroupL2(TREE, 0.4), L1(0.1), SquaredFrobenius(0.2)]),
    "L1, ridge": add([L1(0.3), SquaredFrobenius(0.2)]),
    "weighted L1": WeightedL1(torch.linspace(0.0, 1.0, 30).reshape(5, 6).double().T, 0.5),
    "bounds": Box(-0.2, 0.4),
    "overlapping": OverlappingGroupL2(Groups.from_lists([[0, 1, 2], [2, 3, 4], [5]]), 0.3, axis=0),
}


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
    targets = Targets.from_labels(signs, reduction="mean")
    problem = Problem(Squared(), SharedDesign(words), targets, R)
    factor = 0.05 if name == "L1, ridge" else 0.1
    penalties = R.with_strength(factor * R.strength)
    problem = problem.with_regularizers(penalties)
    best = minimize(problem, stop=RelativeKKT(1e-9) | MaxIterations(5000)).solution
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
