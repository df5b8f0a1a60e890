"""Every adjoint against finite differences of solving again, and against each other."""

import itertools

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.adjoints import Envelope, Implicit, Unroll, attach
from proxmtl.designs import FactoredDesign
from proxmtl.latent import LatentMTL
from proxmtl.regularizers import MCP, Box, OverlappingGroupL2

N, D, M = 14, 4, 3
X, Y = classification(N, D, M, missing=0.1)
TASKS = torch.stack([X, X.flip(0) * 1.1, X.roll(3, 0) - 0.1])
GROUPS = pm.Groups.from_lists([[0, 1], [2]])
OVERLAP = pm.Groups.from_lists([[0, 1], [1, 2]])
C = torch.randn(D + 1, M, generator=torch.Generator().manual_seed(1)).double()
RIDGE = pm.SquaredFrobenius(0.3)

CURVED = {
    "none": [pm.SquaredFrobenius(0.5)],
    "l1": [pm.L1(0.6), RIDGE],
    "groups": [pm.GroupL2(GROUPS, 0.7), RIDGE],
    "sparse groups": [pm.SparseGroupL2(GROUPS, 0.4, 0.3), RIDGE],
    "two terms": [pm.L1(0.2), pm.GroupL2(GROUPS, 0.4), RIDGE],
}
FLAT = {
    "max": [pm.LInf(0.8, axis=-1), RIDGE],
    "nuclear": [pm.Nuclear(0.9), RIDGE],
    "variation": [pm.TotalVariation(0.5), RIDGE],
}


def problem_of(features, terms, loss, strengths=None):
    shared = features.ndim == 2
    design = (pm.SharedDesign if shared else pm.TaskDesign)(features, intercept=True)
    targets = pm.Targets.from_labels(Y if shared else list(Y.T))
    if strengths is not None:
        pairs = zip(terms, strengths.tolist(), strict=True)
        terms = [term.with_strength(s) for term, s in pairs]
    return pm.Problem(loss, design, targets, terms)


def solved(problem, start=None):
    result = pm.minimize(problem, pm.FISTA(), start, pm.RelativeKKT(1e-12) | pm.MaxIterations(5000))
    assert result.certificate.relative_kkt < 1e-10
    return result.solution


def strengths_of(terms):
    return torch.tensor([term.strength for term in terms], dtype=torch.float64)


def gradients(features, terms, loss, adjoint, *, objective=False, start=None):
    problem = problem_of(features, terms, loss)
    x, s = features.clone().requires_grad_(), strengths_of(terms).requires_grad_()
    found = attach(problem, solved(problem, start), x, s, adjoint)
    out = found.objective if objective else (C * found.solution).sum()
    return torch.autograd.grad(out, (x, s))


def differences(f, point, directions, h=1e-4):
    """Directional derivatives by central differences of fourth order."""
    return torch.stack(
        [
            (
                8 * (f(point + h * d) - f(point - h * d))
                - f(point + 2 * h * d)
                + f(point - 2 * h * d)
            )
            / (12 * h)
            for d in directions
        ]
    )


def directions_like(point, count=1):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(point.shape, generator=generator).to(point) for _ in range(count)]


def check_against_differences(features, terms, loss, adjoint, *, objective=False, rel=1e-6):
    start = solved(problem_of(features, terms, loss))

    def outcome(x, s):
        problem = problem_of(x, terms, loss, s)
        W = solved(problem, start)
        return problem.objective(W) if objective else (C * W).sum()

    by_x, by_s = gradients(features, terms, loss, adjoint, objective=objective, start=start)
    s0 = strengths_of(terms)
    for grad, point, f in (
        (by_x, features, lambda x: outcome(x, s0)),
        (by_s, s0, lambda s: outcome(features, s)),
    ):
        along = directions_like(point)
        found = torch.stack([(grad * d).sum() for d in along])
        torch.testing.assert_close(found, differences(f, point, along), rtol=rel, atol=rel * 1e-2)
        assert float(found.norm()) > 1e-3


@pytest.mark.parametrize(
    ("loss", "features"), [(pm.SquaredHinge(), X), (pm.Logistic(), TASKS)], ids=["shared", "tasks"]
)
@pytest.mark.parametrize("name", CURVED)
def test_implicit_on_the_active_set(name, loss, features):
    check_against_differences(features, CURVED[name], loss, Implicit(method="active_set"))


@pytest.mark.parametrize("name", FLAT)
def test_implicit_by_the_fixed_point(name):
    check_against_differences(X, FLAT[name], pm.Logistic(), Implicit())


def test_implicit_where_the_prox_is_iterative():
    terms = [OverlappingGroupL2(OVERLAP, 0.5), RIDGE]
    check_against_differences(X, terms, pm.Logistic(), Implicit(), rel=1e-5)


@pytest.mark.parametrize("name", ["none", "sparse groups", *FLAT])
def test_envelope(name):
    terms = (CURVED | FLAT)[name]
    check_against_differences(X, terms, pm.SquaredHinge(), Envelope(), objective=True)


def test_envelope_per_task():
    check_against_differences(TASKS, CURVED["groups"], pm.Logistic(), Envelope(), objective=True)


@pytest.mark.parametrize("name", CURVED)
def test_all_ways_agree(name):
    terms, loss, features = CURVED[name], pm.SquaredHinge(), TASKS if name == "groups" else X
    start = solved(problem_of(features, terms, loss))
    expected = gradients(features, terms, loss, Implicit(method="active_set"), start=start)
    others = [
        Implicit(method="fixed_point", derivative="closed"),
        Implicit(method="fixed_point", derivative="finite"),
        Implicit(method="fixed_point", linear_solver="neumann", max_products=5000),
    ]
    for adjoint in others:
        found = gradients(features, terms, loss, adjoint, start=start)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_unrolling_tends_to_implicit_geometrically():
    terms, loss = CURVED["groups"], pm.Logistic()
    start = solved(problem_of(X, terms, loss))
    exact = gradients(X, terms, loss, Implicit(), start=start)
    errors = []
    for k in (10, 20, 40, 80):
        found = gradients(X, terms, loss, Unroll(k), start=start)
        errors.append(max(float((a - b).norm()) for a, b in zip(found, exact, strict=True)))
    ratios = [b / a for a, b in itertools.pairwise(errors)]
    assert errors[-1] < 0.1 * errors[0]
    assert ratios[1] < 1.5 * ratios[0] ** 2
    assert ratios[2] < 1.5 * ratios[1] ** 2


@pytest.mark.parametrize("objective", [False, True])
@pytest.mark.parametrize("name", ["groups", "nuclear"])
def test_unrolled_steps_are_differentiated_exactly_from_anywhere(name, objective):
    """No minimiser is needed: differences of the steps themselves, from a fixed start."""
    terms, loss, k = (CURVED | FLAT)[name], pm.Logistic(), 4
    start = solved(problem_of(X, terms, loss)) + 0.05 * (C != 0)
    step = 0.02

    def steps(x, s):
        return attach(problem_of(x, terms, loss, s), start, adjoint=Unroll(k, step))

    x, s = X.clone().requires_grad_(), strengths_of(terms).requires_grad_()
    found = attach(problem_of(X, terms, loss), start, x, s, Unroll(k, step))
    out = found.objective if objective else (C * found.solution).sum()
    by_x, by_s = torch.autograd.grad(out, (x, s))

    def value(x, s):
        there = steps(x, s)
        return there.objective if objective else (C * there.solution).sum()

    for grad, point, f in (
        (by_x, X, lambda x: value(x, strengths_of(terms))),
        (by_s, strengths_of(terms), lambda s: value(X, s)),
    ):
        along = directions_like(point)
        expected = differences(f, point, along)
        found = torch.stack([(grad * d).sum() for d in along])
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_the_paper_s_two_phases_give_the_envelope_gradient():
    problem = problem_of(X, CURVED["groups"], pm.SquaredHinge())
    W = solved(problem)
    x = X.clone().requires_grad_()
    by_envelope = torch.autograd.grad(2.5 * attach(problem, W, x).objective, x)[0]
    scores = x @ W[:-1] + W[-1]  # solve, hold W fixed, go back through the data term
    t = problem.targets
    slack = torch.relu(1 - t.labels * scores)
    two_phase = torch.autograd.grad(2.5 * 0.5 * (t.weights * slack.square()).sum(), x)[0]
    torch.testing.assert_close(by_envelope, two_phase, rtol=1e-12, atol=1e-14)


def test_objective_and_solution_together():
    terms = CURVED["groups"]
    problem = problem_of(X, terms, pm.Logistic())
    W = solved(problem)
    x = X.clone().requires_grad_()
    found = attach(problem, W, x, adjoint=Implicit())
    both = torch.autograd.grad(2 * found.objective + (C * found.solution).sum(), x)[0]
    one = gradients(X, terms, pm.Logistic(), Implicit(), objective=True)[0]
    other = gradients(X, terms, pm.Logistic(), Implicit())[0]
    torch.testing.assert_close(both, 2 * one + other)


# ------------------------------------------------------------------ the factored problem


STRENGTHS = torch.tensor([0.05, 0.02, 0.01], dtype=torch.float64)


def factored(x, s, init=None):
    model = LatentMTL(
        GROUPS,
        n_latents=2,
        group_strength=float(s[0]),
        l1_strength=float(s[1]),
        frobenius_strength=float(s[2]),
        loss=pm.Logistic(),
        algorithm="panoc",
        init="svd" if init is None else init,
        tol=1e-12,
        max_passes=20000,
    )
    result = model.solve(x, Y)
    assert result.certificate.relative_kkt < 1e-9
    return model.problem(x, Y), (result.L, result.S, result.intercept)


def test_the_factored_problem_with_its_cross_block():
    problem, blocks = factored(X, STRENGTHS)
    q = C[:-1]

    def outcome(x, s):
        L, S, b = factored(x, s, blocks)[1]
        return (q * (L @ S)).sum() + (C[-1] * b).sum()

    x, s = X.clone().requires_grad_(), STRENGTHS.clone().requires_grad_()
    (L, S, b), objective = attach(problem, blocks, x, s, Implicit())
    by_x, by_s = torch.autograd.grad((q * (L @ S)).sum() + (C[-1] * b).sum(), (x, s))
    for grad, point, f in (
        (by_x, X, lambda x: outcome(x, STRENGTHS)),
        (by_s, STRENGTHS, lambda s: outcome(X, s)),
    ):
        along = [d * 0.1 * point.abs().mean() for d in directions_like(point)]
        found = torch.stack([(grad * d).sum() for d in along])
        torch.testing.assert_close(found, differences(f, point, along, 1e-3), rtol=1e-5, atol=1e-8)
    # (a L, S / a) is the same W: a free check
    in_mu, in_gamma, in_lambda = (by_s * STRENGTHS).tolist()
    assert abs(in_mu - in_gamma - 2 * in_lambda) <= 1e-7 * float(by_s.norm())
    assert float(objective.detach()) == pytest.approx(problem.certificate(blocks).objective)


def test_the_envelope_of_the_factored_problem():
    problem, blocks = factored(X, STRENGTHS)
    x, s = X.clone().requires_grad_(), STRENGTHS.clone().requires_grad_()
    by_x, by_s = torch.autograd.grad(attach(problem, blocks, x, s).objective, (x, s))

    def value(x, s):
        there, point = factored(x, s, blocks)
        return torch.tensor(there.objective(point), dtype=torch.float64)

    along = directions_like(X)
    found = torch.stack([(by_x * d).sum() for d in along])
    expected = differences(lambda x: value(x, STRENGTHS), X, along)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    L, S = blocks[:2]
    norms = torch.stack([S[:, :2].norm(dim=1), S[:, 2].abs()]).sum()
    torch.testing.assert_close(by_s, torch.stack([norms, L.abs().sum(), L.square().sum()]))


# ------------------------------------------------------------------ refusals and parts


def test_a_second_derivative_is_refused_with_the_reason():
    problem = problem_of(X, CURVED["groups"], pm.Logistic())
    x = X.clone().requires_grad_()
    objective = attach(problem, solved(problem), x).objective
    (once,) = torch.autograd.grad(objective, x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        once.square().sum().backward()


def test_what_cannot_be_done_says_what_can():
    problem = problem_of(X, CURVED["groups"], pm.Logistic())
    W, x = solved(problem), X.clone().requires_grad_()
    with pytest.raises(pm.UnsupportedError, match="Implicit"):
        attach(problem, W, x).solution.sum().backward()
    with pytest.raises(pm.UnsupportedError, match="fixed_point"):
        attach(problem_of(X, FLAT["nuclear"], pm.Logistic()), W, x, adjoint=Implicit("active_set"))
    with pytest.raises(pm.UnsupportedError, match="unsmoothed"):
        attach(problem.smoothed(0.1), W, x, adjoint=Implicit())
    with pytest.raises(pm.UnsupportedError, match="unsmoothed"):
        attach(problem.smoothed(0.1), W, x, adjoint=Unroll(2))
    nuclear = problem_of(X, FLAT["nuclear"], pm.Logistic())
    with pytest.raises(pm.UnsupportedError, match="'finite'"):
        attach(nuclear, W, x, adjoint=Unroll(2, derivative="closed"))
    with pytest.raises(ValueError, match="features"):
        attach(problem, W, X[1:], adjoint=Implicit())
    with pytest.raises(ValueError, match="strengths"):
        attach(problem, W, x, torch.tensor([1.0, 2.0]))
    L = torch.eye(D, 2).double()
    part = pm.Problem(
        pm.Squared(), FactoredDesign(pm.SharedDesign(X), L=L), problem.targets, pm.L1(1.0)
    )
    with pytest.raises(pm.UnsupportedError, match="SharedDesign"):
        attach(part, part.zeros(), x)
    joint, blocks = factored(X, STRENGTHS)
    for adjoint in (Unroll(2), Implicit("fixed_point")):
        with pytest.raises(pm.UnsupportedError, match="Implicit"):
            attach(joint, blocks, x, adjoint=adjoint)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Implicit("active"), "method"),
        (lambda: Implicit(linear_solver="lu"), "linear_solver"),
        (lambda: Implicit(derivative="exact"), "derivative"),
        (lambda: Implicit(tolerance=0.0), "tolerance"),
        (lambda: Unroll(0), "steps"),
        (lambda: Unroll(1, step=-1.0), "step"),
    ],
)
def test_bad_options(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_direction_without_curvature_is_warned_of():
    """Two equal features without a ridge: how the weight is split between them is free."""
    doubled = torch.cat([X[:, :1], X[:, :1]], dim=1)
    problem = pm.Problem(
        pm.Squared(), pm.SharedDesign(doubled), pm.Targets.from_labels(Y), pm.L1(0.1)
    )
    W = solved(problem)
    assert bool((W != 0).all())
    x = doubled.clone().requires_grad_()
    free = torch.tensor([[1.0], [-1.0]]).double().expand_as(W)
    out = (free * attach(problem, W, x, adjoint=Implicit()).solution).sum()
    with pytest.warns(RuntimeWarning, match="SquaredFrobenius"):
        out.backward()


def test_strengths_that_have_no_slope():
    problem = problem_of(X, [MCP(0.2, 3.0), pm.SquaredFrobenius(1.0)], pm.Squared())
    W = torch.full((D + 1, M), 0.8).double()  # in the flat part for 0.2, not for twice that
    s = torch.tensor([0.2, 1.0], requires_grad=True)
    with pytest.raises(pm.UnsupportedError, match="linearly"):
        attach(problem, W, (), s, Implicit()).solution.sum().backward()
    boxed = problem_of(X, [Box(-0.05, 0.05), RIDGE], pm.Squared())
    s = strengths_of(boxed.regularizers).requires_grad_()
    attach(boxed, solved(boxed), (), s, Implicit()).solution.square().sum().backward()
    assert float(s.grad[0]) == 0
    assert float(s.grad[1]) != 0


def test_single_precision_features_get_their_own_dtype():
    terms = CURVED["groups"]
    x = X.float().requires_grad_()
    problem = problem_of(x.detach(), terms, pm.Logistic())
    W = solved(problem_of(X, terms, pm.Logistic())).float()
    (C * attach(problem, W, x, adjoint=Implicit()).solution).sum().backward()
    assert x.grad.dtype == torch.float32
    exact = gradients(X, terms, pm.Logistic(), Implicit())[0]
    torch.testing.assert_close(x.grad, exact.float(), rtol=1e-3, atol=1e-5)
