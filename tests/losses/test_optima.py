"""Every loss with every kind of penalty: optimum, gaps and critical strength against cvxpy."""

import cvxpy as cp
import pytest
import torch
from arithmetic import assert_same_sums
from oracles import LOSS_EXPRESSIONS, norm_expression, optimum
from strategies import LOSS_FACTORIES, label_kind

import proxmtl as pm
from proxmtl.data_term import DataTerm

N, D, M = 30, 4, 3
GROUPS = pm.Groups.from_lists([[0, 2], [1]], weights=[1.0, 1.5])
PENALTIES = {
    "l1": (pm.L1(0.8), lambda W: 0.8 * cp.sum(cp.abs(W))),
    "groups": (
        pm.GroupL2(GROUPS, 0.9),
        lambda W: sum(norm_expression(W[k], GROUPS, 0.9) for k in range(D)),
    ),
    "ridge": (pm.SquaredFrobenius(0.3), lambda W: 0.3 * cp.sum_squares(W)),
}
PRECISE = pm.RelativeGap(1e-9, every=20) | pm.MaxIterations(20_000)
each_loss = pytest.mark.parametrize("name", sorted(LOSS_FACTORIES))
with_and_without = pytest.mark.parametrize("intercept", [False, True])


def example(name, penalty="l1", *, intercept=False, strength=None):
    """A problem with labels of the loss's kind, uneven weights, and some labels missing."""
    loss = LOSS_FACTORIES[name](None)
    kind = label_kind(loss)
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(N, D, generator=generator, dtype=torch.float64) + 0.3
    Z = X @ torch.randn(D, M, generator=generator, dtype=torch.float64)
    Z += torch.randn(N, M, generator=generator, dtype=torch.float64) + 0.4
    weight = 0.5 + torch.rand(N, generator=generator, dtype=torch.float64)
    if kind == "classes":
        classes = Z.argmax(1).double()
        classes[7] = torch.nan
        targets = pm.Targets.from_classes(classes, M, sample_weight=weight)
    else:
        Y = 2 * Z if kind == "real" else Z.sign()
        Y[4, 1] = Y[9, 0] = torch.nan
        targets = pm.Targets.from_labels(Y, sample_weight=weight, coding=kind)
    term = PENALTIES[penalty][0]
    if strength is not None:
        term = term.with_strength(strength)
    return pm.Problem(loss, pm.SharedDesign(X, intercept=intercept), targets, term)


_OPTIMA = {}


def exact(name, penalty, intercept):
    if (name, penalty, intercept) not in _OPTIMA:
        problem = example(name, penalty, intercept=intercept)
        t = problem.targets
        _OPTIMA[name, penalty, intercept] = optimum(
            problem.design.X,
            t.labels,
            t.weights,
            PENALTIES[penalty][1],
            intercept=intercept,
            loss=LOSS_EXPRESSIONS[name](problem.loss),
        )[0]
    return _OPTIMA[name, penalty, intercept]


@each_loss
@pytest.mark.parametrize("penalty", PENALTIES)
@with_and_without
def test_the_optimum_and_every_gap_on_the_way(name, penalty, intercept):
    problem = example(name, penalty, intercept=intercept)
    best = exact(name, penalty, intercept)
    seen = []
    result = pm.minimize(problem, stop=PRECISE, callback=lambda p: seen.append(p.certificate))
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.objective == pytest.approx(best, rel=1e-8)
    # the optimum of cvxpy itself is known to about 1e-9
    assert all(c.gap >= c.objective - best - 1e-8 * best for c in seen)


@each_loss
@with_and_without
def test_gaps_hold_far_from_the_optimum_too(name, intercept):
    problem = example(name, "l1", intercept=intercept)
    best = exact(name, "l1", intercept)
    generator = torch.Generator().manual_seed(0)
    for size in (0.1, 1.0, 10.0):
        point = size * torch.randn(problem.zeros().shape, generator=generator).double()
        certificate = problem.certificate(point)
        assert certificate.gap >= certificate.objective - best - 1e-9 * best
        assert certificate.gap <= 2 * certificate.objective  # 0 is a dual point


@each_loss
@pytest.mark.parametrize("penalty", ["l1", "groups"])
@with_and_without
def test_zero_is_the_solution_from_the_critical_strength_on(name, penalty, intercept):
    problem = example(name, penalty, intercept=intercept)
    critical = problem.critical_strength()
    for factor, alive in ((1 + 1e-3, False), (1 - 1e-2, True)):
        scaled = example(name, penalty, intercept=intercept, strength=critical * factor)
        result = pm.minimize(scaled, stop=PRECISE)
        W, _ = scaled.design.split(result.solution)
        assert bool((W != 0).any()) == alive
        at_zero = float(scaled.objective(scaled.null_point()))
        if alive:
            assert result.certificate.objective < at_zero * (1 - 1e-9)
        else:
            assert result.certificate.objective == pytest.approx(at_zero, rel=1e-8)


@each_loss
@with_and_without
def test_cvxpy_agrees_on_the_critical_strength(name, intercept):
    problem = example(name, intercept=intercept)
    critical, t = problem.critical_strength(), problem.targets
    for factor, alive in ((1.01, False), (0.95, True)):
        strength = critical * factor
        W = optimum(
            problem.design.X,
            t.labels,
            t.weights,
            lambda W, s=strength: s * cp.sum(cp.abs(W)),
            intercept=intercept,
            loss=LOSS_EXPRESSIONS[name](problem.loss),
        )[1]
        assert (abs(W).max() > 1e-4) == alive


@pytest.mark.parametrize("loss", [pm.Logistic(), pm.Squared()])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fused_kernels_agree_with_the_plain_path(loss, intercept, dtype, kernel_calls):
    generator = torch.Generator().manual_seed(0)
    X = [torch.randn(n, 6, generator=generator, dtype=dtype) for n in (20, 13, 31)]
    labels = [torch.randn(len(x), generator=generator, dtype=dtype) for x in X]
    labels = [y if isinstance(loss, pm.Squared) else torch.where(y > 0, 1.0, -1.0) for y in labels]
    labels[1][4] = torch.nan
    if isinstance(loss, pm.Squared):
        labels[2][3] = 0.0  # a value, not a missing label
    coding = "real" if isinstance(loss, pm.Squared) else "signs"
    t = pm.Targets.from_labels(
        labels,
        coding=coding,
        sample_weight=[torch.rand(len(x), generator=generator) for x in X],
        like=X[0],
    )
    design = pm.TaskDesign(X, intercept=intercept)
    W = torch.randn(design.parameter_shape(t), generator=generator, dtype=dtype)
    value, grad = design.loss_and_grad(DataTerm(loss, t), W)
    assert [call["loss"] for call in kernel_calls] == [loss.kernel]
    plain, residuals = loss.value_and_grad(design.scores(W), t.labels, t.weights)
    # scores are sums over six features, values and gradients over all samples of what they make
    sizes = pm.TaskDesign([x.abs() for x in X], intercept=intercept)
    terms = sizes.scores(W.abs()) + t.labels.abs() + 1
    length = 6 + max(len(x) for x in X) + 8
    assert_same_sums(value, plain, sizes=(t.weights * terms.square()).sum(), length=length)
    assert_same_sums(
        grad, design.adjoint(residuals), sizes=sizes.adjoint(t.weights * terms), length=length
    )
    assert len(kernel_calls) == 1


def test_real_labels_of_a_margin_loss_raise():
    X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    t = pm.Targets.from_labels(X[:, :1] * 3, coding="real", like=X)
    with pytest.raises(ValueError, match=r"SquaredHinge takes -1 and \+1.*Squared, Huber"):
        pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), t)


def test_real_labels_of_any_scale_are_fitted_to_the_same_digits():
    X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = (X @ torch.tensor([[2.0], [0.0], [-1.0]]).double()) + 5
    y[0] += 100  # an outlier
    found = []
    for stretch in (1.0, 1e-5, 1e6):
        t = pm.Targets.from_labels(stretch * y, coding="real")
        design = pm.SharedDesign(X, intercept=True)
        problem = pm.Problem(pm.Huber(0.1 * stretch), design, t, pm.L1(1e-3 * stretch))
        assert problem.critical_strength() > 1e-3 * stretch
        result = pm.minimize(problem, stop=pm.Gap(1e-8 * stretch**2) | pm.MaxIterations(5000))
        assert result.status is pm.Status.CONVERGED
        found.append(result.solution[:, 0] / stretch)
    # the outlier pulls by at most delta / N in each direction
    torch.testing.assert_close(found[0], torch.tensor([2.0, 0, -1, 5]).double(), atol=1e-2, rtol=0)
    torch.testing.assert_close(found[1], found[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(found[2], found[0], atol=1e-3, rtol=0)


def test_weston_watkins_separates_its_classes_and_refuses_tasks():
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(90) % 3
    X = 3 * torch.eye(3)[classes] + 0.5 * torch.randn(90, 3, generator=generator)
    t = pm.Targets.from_classes(classes, 3, like=X)
    problem = pm.Problem(pm.WestonWatkins(3), pm.SharedDesign(X, intercept=True), t, pm.L1(0.5))
    result = pm.minimize(problem)
    assert result.status is pm.Status.CONVERGED
    scores = problem.design.scores(result.solution)
    assert float((scores.argmax(1) == classes).float().mean()) >= 0.97
    ragged = pm.Targets.from_labels([torch.tensor([1.0, -1.0])] * 3)
    with pytest.raises(ValueError, match="takes one column a class"):
        pm.Problem(pm.WestonWatkins(3), pm.TaskDesign([torch.eye(2).double()] * 3), ragged)


class Unbalanced(pm.WestonWatkins):
    """A coupled loss that knows no balanced dual point."""

    def balance(self, residuals, targets):  # noqa: ARG002
        return None


def test_a_loss_without_a_balance_has_no_gap_with_an_intercept():
    t = pm.Targets.from_classes([0, 1, 2, 0, 1, 2], 3)
    X = torch.eye(3, dtype=torch.float64).repeat(2, 1)
    with_bias, without = (
        pm.Problem(Unbalanced(3), pm.SharedDesign(X, intercept=i), t, pm.L1(0.1))
        for i in (True, False)
    )
    assert without.has_gap
    assert not with_bias.has_gap
    assert with_bias.certificate(with_bias.zeros()).gap is None
    assert pm.minimize(with_bias).status is pm.Status.CONVERGED
    with pytest.raises(pm.UnsupportedError, match="makes no dual point"):
        with_bias.balanced(torch.zeros(6, 3).double())


@each_loss
@pytest.mark.parametrize("penalty", ["l1", "groups"])
def test_newton_agrees_on_every_loss(name, penalty):
    problem = example(name, penalty, intercept=True)
    best = exact(name, penalty, True)
    result = pm.minimize(
        problem, pm.ProxNewton(), stop=pm.RelativeGap(1e-9) | pm.MaxIterations(200)
    )
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.objective == pytest.approx(best, rel=1e-8)


@each_loss
def test_the_factored_model_takes_every_loss_and_label(name):
    loss = LOSS_FACTORIES[name](None)
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(60) % 3
    X = 3 * torch.eye(3, 5)[classes] + torch.randn(60, 5, generator=generator)
    signs, kind = 2.0 * torch.nn.functional.one_hot(classes, 3) - 1, label_kind(loss)
    given = {
        "signs": signs,
        "real": pm.Targets.from_labels(3 * signs + 1, coding="real", reduction="mean"),
        "classes": pm.Targets.from_classes(classes, 3, reduction="mean"),
    }[kind]
    model = pm.LatentMTL(
        loss=loss, n_latents=2, group_strength=1e-2, frobenius_strength=1e-2, algorithm="panoc"
    )
    result = model.solve(X.double(), given)
    assert result.status is pm.Status.CONVERGED
    assert result.live_latents == 2
    assert max(result.certificate.block_gaps.values()) <= 1e-3 * result.certificate.objective
    if kind != "signs":
        with pytest.raises(ValueError, match="sample_weight: the Targets given bring their own"):
            model.solve(X.double(), given, torch.ones(60))
