"""ProximalOptimizer: solutions it reaches, and the interface of torch optimizers that it keeps."""

import copy
import pickle
import re
from pathlib import Path

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.nn import ProximalOptimizer, proximal_step_size
from proxmtl.nn.proximal import KNOWN

X, Y = classification(40, 6, 4)
PENALTY = pm.GroupL2(pm.Groups.from_lists([[0, 1], [2, 3]]), 0.3)
PROBLEM = pm.Problem(
    pm.Squared(), pm.SharedDesign(X), pm.Targets.from_labels(Y, reduction="mean"), PENALTY
)


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
    exact = pm.minimize(PROBLEM.with_regularizers(penalty), stop=pm.RelativeKKT(1e-10)).solution
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
    best = float(problem.objective(pm.minimize(problem).solution))
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


def test_momentum_that_never_fades_leaves_the_learning_rate():
    """Its steps have no limit; the rate is at least their unit."""
    W = weights()
    for momentum in (1.0, 1.5):
        optimizer = torch.optim.SGD([W], lr=0.25, momentum=momentum)
        W.grad = torch.ones_like(W)
        optimizer.step()
        assert proximal_step_size(optimizer, optimizer.param_groups[0], W) == 0.25


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
    optimizer = ProximalOptimizer(torch.optim.SGD([W, other], lr=1.0), {0: pm.L1(0.5)})
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
    second.inner.load_state_dict(first.state_dict())  # the inner one's groups are new lists now
    assert second.state is second.inner.state
    assert second.param_groups is second.inner.param_groups


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
def test_a_copy_goes_on_as_the_original_does(copied):
    W = weights()
    optimizer = ProximalOptimizer(torch.optim.Adam([W], lr=0.05), {W: PENALTY})
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(W).backward()
        optimizer.step()
    other, second = copied((W, optimizer))
    for parameter, each in ((W, optimizer), (other, second)):
        each.zero_grad()
        loss_of(parameter).backward()
        each.step()
    assert other is not W
    assert torch.equal(other, W)
    assert float(second.penalty()) == float(optimizer.penalty()) > 0


def test_a_closure_and_a_scaler_go_through():
    W = weights()
    inner = torch.optim.LBFGS([W], max_iter=4)
    optimizer = ProximalOptimizer(inner, {W: pm.L1(0.0)}, step_size=lambda *_: 1.0)

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
        ({0: PENALTY, W: pm.L1(1.0)}, "twice"),
        ({W: pm.GroupL2(pm.Groups.single(9), 1.0)}, "9"),
    ):
        with pytest.raises(ValueError, match=match):
            ProximalOptimizer(sgd, penalties)


def test_without_penalties_it_is_the_optimizer():
    found, optimizer = train(lambda p: torch.optim.SGD(p, lr=1.0), 3, penalty=pm.L1(0.0))
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
            ProximalOptimizer(inner, {W: pm.L1(0.1)})
        ProximalOptimizer(inner, {W: pm.L1(0.1)}, step_size=lambda *_: 0.01)
    assert unknown.isdisjoint(kind.__name__ for kind in KNOWN)


def test_the_documentation_names_the_optimizers_that_are_known():
    text = (Path(__file__).parents[2] / "docs" / "how_to" / "nn.md").read_text(encoding="utf-8")
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
