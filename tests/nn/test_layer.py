"""SolverLayer: any convex problem in the forward pass, any adjoint in the backward."""

import itertools

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.adjoints import Envelope, Implicit, Unroll
from proxmtl.nn import ProblemTemplate, SolverLayer

X, Y = classification(10, 3, 3)
TASKS = torch.stack([X, 1.1 * X.flip(0), X - 0.2])
PENALTIES = (pm.GroupL2(pm.Groups.from_lists([[0, 1], [2]]), 0.05), pm.SquaredFrobenius(0.02))
STOP = pm.RelativeKKT(1e-13) | pm.MaxIterations(3000)


def make_layer(adjoint=None, *, loss=None, penalties=PENALTIES, intercept=True):
    template = ProblemTemplate(loss or pm.Logistic(), penalties, intercept, {"reduction": "mean"})
    return SolverLayer(template, solver=pm.FISTA(), stop=STOP, adjoint=adjoint)


@pytest.mark.parametrize("method", ["active_set", "fixed_point"])
@pytest.mark.parametrize("features", [X, TASKS], ids=["shared", "tasks"])
def test_solution_and_objective_pass_gradcheck(method, features):
    layer = make_layer(Implicit(method))
    x = features.clone().requires_grad_()
    s = torch.tensor([0.05, 0.02], dtype=torch.float64, requires_grad=True)

    def outcome(x, s):
        found = layer(x, Y, s)
        return found.solution.sin().sum() + found.objective

    options = {"fast_mode": True, "eps": 2e-5, "rtol": 1e-6, "atol": 1e-8, "nondet_tol": 1e-10}
    assert torch.autograd.gradcheck(outcome, (x, s), **options)


def test_unrolled_steps_go_on_from_the_solve():
    x = X.clone().requires_grad_()
    found = make_layer(Unroll(300))(x, Y).solution
    exact = make_layer(Implicit())(x, Y).solution
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-11)
    pair = [torch.autograd.grad(W.sin().sum(), x)[0] for W in (found, exact)]
    torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-6)


def test_the_envelope_passes_gradcheck():
    layer = make_layer(Envelope(), loss=pm.SquaredHinge())
    x = X.clone().requires_grad_()
    s = torch.tensor([0.05, 0.02], dtype=torch.float64, requires_grad=True)
    options = {"fast_mode": True, "eps": 1e-4, "rtol": 1e-6, "atol": 1e-8, "nondet_tol": 1e-10}

    def optimum(x):
        return layer(x, Y, s).objective

    assert torch.autograd.gradcheck(optimum, x, **options)
    (by_s,) = torch.autograd.grad(optimum(x), s)
    W = layer.result.solution[:-1]
    unit = [term.with_strength(1.0).value(W) for term in PENALTIES]
    torch.testing.assert_close(by_s, torch.stack(unit))


def test_ridge_regression_in_closed_form():
    """The solution is (X'X + 2 n lambda)^-1 X'Y: autograd differentiates that by itself."""
    ridge = 0.3
    layer = make_layer(
        Implicit(), loss=pm.Squared(), penalties=pm.SquaredFrobenius(ridge), intercept=False
    )
    x, reference = X.clone().requires_grad_(), X.clone().requires_grad_()
    solution = layer(x, Y).solution
    shift = 2 * ridge * Y.numel() * torch.eye(3, dtype=torch.float64)
    closed = torch.linalg.solve(reference.T @ reference + shift, reference.T @ Y)
    torch.testing.assert_close(solution, closed, rtol=1e-9, atol=1e-12)
    solution.exp().sum().backward()
    closed.exp().sum().backward()
    torch.testing.assert_close(x.grad, reference.grad, rtol=1e-8, atol=1e-12)


def test_a_bilevel_step_lowers_the_outer_loss():
    """Strengths learned on held-out samples by gradient descent on their logarithms."""
    layer = make_layer(Implicit())
    log_strengths = torch.tensor([0.05, 0.02], dtype=torch.float64).log().requires_grad_()
    optimizer = torch.optim.SGD([log_strengths], lr=5.0)
    values = []
    for _ in range(5):
        W = layer(X[:6], Y[:6], log_strengths.exp()).solution
        outer = torch.nn.functional.softplus(-Y[6:] * (X[6:] @ W[:-1] + W[-1])).mean()
        optimizer.zero_grad()
        outer.backward()
        optimizer.step()
        values.append(float(outer.detach()))
    assert all(b < a for a, b in itertools.pairwise(values))


def test_it_starts_from_the_last_solution_and_keeps_the_result():
    layer = make_layer()
    layer(X, Y)
    first = layer.result
    layer(X, Y)
    assert first.status.ok
    assert layer.result.iterations < 0.2 * first.iterations
    layer(X[:, :2], Y)  # another shape: from zero
    assert layer.result.solution.shape == (3, 3)
    cold = SolverLayer(layer.problem, solver=pm.FISTA(), stop=STOP, warm_start=False)
    cold(X, Y)
    cold(X, Y)
    assert cold.result.iterations == first.iterations
    assert not list(layer.parameters())
    assert layer.state_dict() == {}


def test_single_precision_and_autocast():
    layer = SolverLayer(ProblemTemplate(pm.Logistic(), PENALTIES))
    x = X.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x, Y)
    assert found.solution.dtype == torch.float32
    found.objective.backward()
    plain = SolverLayer(ProblemTemplate(pm.Logistic(), PENALTIES))(X.float(), Y)
    assert torch.equal(found.solution, plain.solution)
    assert x.grad.dtype == torch.float32


def test_a_rough_solve_is_not_differentiated_in_silence():
    x = X.clone().requires_grad_()
    template = ProblemTemplate(pm.Logistic(), PENALTIES)
    rough = SolverLayer(template, stop=pm.MaxIterations(2), adjoint=Implicit())
    with pytest.warns(RuntimeWarning, match=r"relative KKT residual of .* \(2 iterations\)"):
        rough(x, Y)
    for adjoint in (Envelope(), Unroll(2)):  # these do not take it for the minimiser
        SolverLayer(template, stop=pm.MaxIterations(2), adjoint=adjoint)(x, Y)


def test_refusals():
    x = X.clone().requires_grad_()
    with pytest.raises(pm.UnsupportedError, match="Implicit"):
        make_layer()(x, Y).solution.sum().backward()
    with pytest.raises(ValueError, match="penalties"):
        make_layer()(x, Y, torch.tensor([1.0]))
    with pytest.raises(ValueError, match="strength"):
        make_layer()(x, Y, torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="ProblemTemplate"):
        SolverLayer(pm.L1(1.0))
    layer = make_layer(Implicit())
    grad = torch.autograd.grad(layer(x, Y).solution.sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="differentiated once"):
        grad.sum().backward()
