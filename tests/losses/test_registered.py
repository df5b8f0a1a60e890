"""One suite over every registered loss: derivative, curvature, conjugate, weights, Bregman."""

import math

import numpy as np
import pytest
import torch
from arithmetic import assert_same_sums
from hypothesis import given
from hypothesis import strategies as st
from strategies import LOSS_FACTORIES, examples, label_kind, labelled_scores

from proxmtl import L1, Problem, SharedDesign, SquaredHinge, Targets, minimize
from proxmtl.certified import measured
from proxmtl.data_term import DataTerm
from proxmtl.losses import LOSSES, Loss, best_intercept

OURS = {n: c for n, c in LOSSES.items() if c.__module__.startswith("proxmtl")}
LOSS = {name: LOSS_FACTORIES[name](None) for name in sorted(LOSS_FACTORIES)}
KIND = {name: label_kind(loss) for name, loss in LOSS.items()}
each = pytest.mark.parametrize("name", LOSS)
each_scalar = pytest.mark.parametrize("name", [n for n in LOSS if KIND[n] != "classes"])

GRID = torch.linspace(-60, 60, 240_001, dtype=torch.float64)


def signs(*values):
    return torch.tensor(values, dtype=torch.float64)


def draw(data, name):
    return LOSS[name], data.draw(labelled_scores(LOSS[name]))


def like(tensor, seed):
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed)).to(tensor)


def some(name, n, *, seed=0, spread=1.0):
    """Scores and labels of n samples of a loss's own kind, every class among them."""
    generator = torch.Generator().manual_seed(seed)
    columns = LOSS[name].n_classes if KIND[name] == "classes" else 4
    z = spread * torch.randn(n, columns, generator=generator, dtype=torch.float64)
    if KIND[name] == "classes":
        index = torch.randperm(n, generator=generator) % columns
        return z, 2 * torch.nn.functional.one_hot(index, columns).to(z) - 1
    y = torch.randn(n, columns, generator=generator, dtype=torch.float64)
    return z, y if KIND[name] == "real" else torch.where(y < 0.3, -1.0, 1.0).to(z)


def test_every_registered_class_has_a_factory():
    assert set(OURS) == set(LOSS_FACTORIES)


@each
@given(data=st.data())
@examples(30)
def test_value_is_the_weighted_sum(name, data):
    loss, (z, y, c) = draw(data, name)
    expected = math.fsum((c * loss.pointwise(z, y)).flatten().tolist())
    assert float(loss.value(z, y, c)) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert float(loss.value(z, y)) == pytest.approx(float(loss.pointwise(z, y).sum()), rel=1e-12)
    assert bool((loss.pointwise(z, y) >= 0).all())


@each
@given(data=st.data())
@examples(30)
def test_derivative_is_that_of_autograd(name, data):
    loss, (z, y, c) = draw(data, name)
    leaf = z.clone().requires_grad_()
    loss.value(leaf, y, c).backward()
    torch.testing.assert_close(loss.grad(z, y, c), leaf.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss.grad(z, y), loss.derivative(z, y))


@each
@given(data=st.data(), seed=st.integers(0, 99))
@examples(30)
def test_curvature_product_is_the_derivative_of_the_gradient(name, data, seed):
    loss, (z, y, c) = draw(data, name)
    direction, step = like(z, seed), 1e-6
    before, after = z - step * direction, z + step * direction
    slope = (loss.grad(after, y, c) - loss.grad(before, y, c)) / (2 * step)
    product = loss.curvature_product(z, y, c, direction)
    jump = (loss.curvature(after, y) - loss.curvature(before, y)).abs().amax(-1) > 1e-3
    smooth = (
        ~jump
        if loss.coupled
        else (loss.curvature(after, y) == loss.curvature(before, y))
        | ((loss.curvature(after, y) - loss.curvature(before, y)).abs() < 1e-3)
    )
    torch.testing.assert_close(product[smooth], slope[smooth], atol=1e-4, rtol=1e-4)
    assert float((product * direction).sum()) >= -1e-12  # convex
    assert product.shape == z.shape


@each
@given(data=st.data())
@examples(30)
def test_fused_value_and_grad_agree_with_their_parts(name, data):
    loss, (z, y, c) = draw(data, name)
    before = [t.clone() for t in (z, y, c)]
    for weights in (c, None):
        value, residual = loss.value_and_grad(z, y, weights)
        torch.testing.assert_close(value, loss.value(z, y, weights), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(residual, loss.grad(z, y, weights), rtol=1e-12, atol=1e-12)
        assert residual.data_ptr() not in {t.data_ptr() for t in (z, y, c)}
    assert all(torch.equal(now, then) for now, then in zip((z, y, c), before, strict=True))


@each
@given(data=st.data(), seed=st.integers(0, 99), size=st.sampled_from([0.1, 1.0, 30.0]))
@examples(30)
def test_convex_with_the_curvature_bound_it_states(name, data, seed, size):
    loss, (a, y, _) = draw(data, name)
    b = a + size * like(a, seed)
    middle = float(loss.value((a + b) / 2, y))
    ends = float(loss.value(a, y) + loss.value(b, y)) / 2
    assert middle <= ends + 1e-12 * (1 + ends)
    change = float((loss.derivative(a, y) - loss.derivative(b, y)).norm())
    assert change <= loss.curvature_bound * float((a - b).norm()) * (1 + 1e-12) + 1e-12
    curvature = loss.curvature(a, y)
    assert bool((curvature >= 0).all() & (curvature <= loss.curvature_bound).all())


@each_scalar
@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_curvature_bound_is_attained(name, y):
    loss, label = LOSS[name], signs(y)
    slopes = loss.derivative(GRID, label).diff() / GRID.diff()
    assert float(slopes.max()) == pytest.approx(loss.curvature_bound, rel=1e-3)


@each_scalar
@given(u=st.floats(-5, 5).map(lambda u: round(u, 6)), y=st.sampled_from([-1.0, 1.0, 0.4]))
@examples(30)
def test_conjugate_is_the_supremum(name, u, y):
    loss, label = LOSS[name], signs(y if KIND[name] == "real" else math.copysign(1, y))
    values = u * GRID - loss.pointwise(GRID, label)
    conjugate = float(loss.pointwise_conjugate(signs(u), label))
    if math.isinf(conjugate):  # then the supremum is attained at an end of any grid, and grows
        assert int(values.argmax()) in (0, len(GRID) - 1)
    else:
        assert conjugate == pytest.approx(float(values.max()), abs=1e-6)


@each
@given(data=st.data(), shift=st.floats(-2, 2))
@examples(30)
def test_fenchel_young(name, data, shift):
    loss, (z, y, c) = draw(data, name)
    at_the_gradient = loss.grad(z, y, c)
    value, conjugate = loss.value(z, y, c), loss.conjugate(at_the_gradient, y, c)
    product = float((at_the_gradient * z).sum())
    assert float(value + conjugate) == pytest.approx(product, rel=1e-9, abs=1e-9)
    other = z + shift * like(z, 0)
    elsewhere = float(loss.value(other, y, c) + conjugate)
    assert elsewhere >= float((at_the_gradient * other).sum()) - 1e-9


@each
@given(data=st.data())
@examples(30)
def test_missing_labels_contribute_nothing(name, data):
    loss, (z, y, c) = draw(data, name)
    missing = c == 0
    other_z = torch.where(missing, torch.full_like(z, 7.0), z)
    other_y = torch.where(missing, -y, y)
    assert float(loss.value(z, y, c)) == float(loss.value(other_z, other_y, c))
    assert bool((loss.grad(z, other_y, c)[missing] == 0).all())
    assert float(loss.bregman(other_z, z, y, c)) == pytest.approx(0, abs=1e-300)
    kept = ~missing[:, 0] if loss.coupled else ~missing
    value = loss.value(z[kept], y[kept], c[kept])
    assert float(value) == pytest.approx(float(loss.value(z, y, c)), rel=1e-12, abs=1e-300)
    assert math.isfinite(float(loss.conjugate(loss.grad(z, y, c), y, c)))
    if bool(missing.any()):
        assert float(loss.conjugate(torch.where(missing, 1.0, 0.0).to(z), y, c)) == math.inf


@each
@given(data=st.data(), seed=st.integers(0, 99), size=st.sampled_from([0.01, 0.3, 1.0, 20.0]))
@examples(30)
def test_bregman_is_its_definition_and_never_negative(name, data, seed, size):
    loss, (old, y, c) = draw(data, name)
    new = old + size * like(old, seed)
    expected = (
        loss.value(new, y, c) - loss.value(old, y, c) - (loss.grad(old, y, c) * (new - old)).sum()
    )
    bregman = float(loss.bregman(new, old, y, c))
    scale = float(loss.value(new, y, c) + loss.value(old, y, c))
    assert bregman == pytest.approx(float(expected), rel=1e-9, abs=1e-12 * (1 + scale))
    assert bregman >= 0
    assert float(loss.bregman(old, old, y, c)) == 0
    unweighted = loss.bregman(new, old, y, torch.ones_like(y))
    assert float(loss.bregman(new, old, y)) == pytest.approx(float(unweighted), rel=1e-12)


@each
@pytest.mark.parametrize("scale", [1e-3, 1e-5])
@pytest.mark.parametrize("spread", [1.0, 20.0])
def test_bregman_keeps_its_digits_in_float32(name, scale, spread):
    loss, (old, y) = LOSS[name], some(name, 120, spread=spread)
    old, y = old.float(), y.float()
    new = old + scale * like(old, 1)
    exact = float(loss.bregman(new.double(), old.double(), y.double()))
    allowed = loss.bregman_error(old, torch.ones_like(old), float(loss.value(old, y)))
    assert abs(float(loss.bregman(new, old, y)) - exact) <= 1e-2 * exact + allowed
    if scale == 1e-3:  # and the allowance is small
        assert allowed <= 1e-2 * exact


@each
@given(data=st.data(), largest=st.sampled_from([0.0, 0.3, 1.0, 5.0, math.inf]))
@examples(15)
@pytest.mark.parametrize("offset", [0.0, 1.5, -2.0])
def test_dual_scale_is_feasible_and_beats_the_grid(name, data, largest, offset):
    loss, (z, y, c) = draw(data, name)
    dual = loss.grad(z, y, c)
    if bool((dual == 0).all()):
        offset = 0.0
    scale = loss.dual_scale([(dual, y, c)], largest, offset)
    assert 0 <= scale <= largest
    found = scale * offset - float(loss.conjugate(scale * dual, y, c))
    assert math.isfinite(found)
    if type(loss).dual_scale is not Loss.dual_scale:  # a closed form: the best there is
        best = max(
            s * offset - float(loss.conjugate(s * dual, y, c))
            for s in np.linspace(0, min(largest, 6.0), 25)
        )
        assert found >= best - 1e-9


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_nan_is_not_swallowed(name, dtype):
    loss, (z, y) = LOSS[name], some(name, 6)
    z, y = z.to(dtype), y.to(dtype)
    z[1] = math.nan
    value, residual = loss.value_and_grad(z, y, torch.ones_like(y))
    assert value.dtype == residual.dtype == dtype
    assert math.isnan(float(value))
    assert torch.isnan(residual).any(-1).tolist() == [False, True] + 4 * [False]
    assert torch.isnan(loss.pointwise(z, y)).any(-1).tolist() == [False, True] + 4 * [False]
    assert math.isnan(float(loss.bregman(z, torch.zeros_like(z), y)))


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_far_scores_overflow_nowhere(name, dtype, size):
    loss, (z, y) = LOSS[name], some(name, 30)
    z, y, c = (size * z).to(dtype), y.to(dtype), torch.ones(z.shape, dtype=dtype)
    value, residual = loss.value_and_grad(z, y, c)
    curvature = loss.curvature_product(z, y, c, c)
    bregman = loss.bregman(-z, z, y)
    for result in (value, residual, curvature, bregman, loss.conjugate(residual, y, c)):
        assert bool(torch.isfinite(result).all())
    assert float(value) == pytest.approx(float(loss.value(z.double(), y.double())), rel=1e-4)


def targets_of(name, n=40, *, seed=0):
    """Targets with uneven weights and some labels missing."""
    _, y = some(name, n, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    weight = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    weight[5:9] = 0
    if KIND[name] == "classes":
        return Targets.from_classes(y.argmax(1), y.shape[1], sample_weight=weight)
    return Targets.from_labels(y, sample_weight=weight, coding=KIND[name])


@each
@pytest.mark.parametrize("seed", range(5))
def test_balance_sums_to_zero_in_the_domain_and_keeps_what_is_balanced(name, seed):
    loss, t = LOSS[name], targets_of(name, seed=seed)
    scores = like(t.labels, seed) * 2
    residuals = loss.grad(scores, t.labels, t.weights)
    balanced = loss.balance(residuals, t)
    size = float(residuals.abs().sum())
    assert float(t.per_task(balanced).abs().max()) <= 1e-13 * size
    assert math.isfinite(float(loss.conjugate(balanced, t.labels, t.weights)))
    assert float(balanced.abs().sum()) > 0.05 * size  # zero would balance, and certify nothing
    torch.testing.assert_close(loss.balance(balanced, t), balanced, rtol=1e-9, atol=1e-12)


@each
@pytest.mark.parametrize("seed", range(3))
def test_the_adjoint_of_the_dual_point_is_made_of_one_read(name, seed):
    loss, t = LOSS[name], targets_of(name, seed=seed)
    X = like(torch.empty(len(t.labels), 4, dtype=torch.float64), seed + 9)
    design, data = SharedDesign(X, intercept=True), DataTerm(loss, t)
    W = like(torch.empty(5, t.n_tasks, dtype=torch.float64), seed + 5)
    found = measured(design, data, W, balance=True)
    dual, slope = found.dual
    sizes = X.abs().T @ found.residuals.abs()
    assert_same_sums(slope[:-1], design.adjoint(dual)[:-1], sizes=4 * sizes, length=len(X) + 8)
    assert_same_sums(
        slope[-1], torch.zeros(t.n_tasks), sizes=4 * found.residuals.abs().sum(0), length=len(X)
    )
    assert not torch.equal(dual, found.residuals)


@pytest.mark.parametrize("seed", range(20))
def test_a_gap_is_no_lie_where_a_loss_balances_in_its_own_way(seed):
    """Another dual point than that of the companion: its adjoint is its own, of a second read."""

    class Mine(SquaredHinge):
        def balance(self, residuals, targets):
            return 0.5 * super().balance(residuals, targets)

    t = targets_of("SquaredHinge", seed=seed)
    X = like(torch.empty(len(t.labels), 4, dtype=torch.float64), seed + 9)
    problem = Problem(Mine(), SharedDesign(X, intercept=True), t, L1(1.0))
    LOSSES.pop("Mine")
    best = minimize(problem, tol=1e-10).certificate
    W = like(torch.empty(5, t.n_tasks, dtype=torch.float64), seed + 5)
    certificate = problem.certificate(W)
    assert certificate.gap >= certificate.objective - best.objective - best.gap


@each
@pytest.mark.parametrize("stretch", [1.0, 1e-4, 1e6])
def test_best_intercept_has_no_slope_left(name, stretch):
    loss, t = LOSS[name], targets_of(name)
    if KIND[name] == "real":
        t = Targets(t.labels * stretch + 3 * stretch, t.weights, t.n_tasks)
    best = best_intercept(loss, t)
    slope = t.per_task(loss.grad(t.broadcast(best).expand_as(t.labels), t.labels, t.weights))
    assert float(slope.abs().max()) <= 1e-12 * float(t.weights.sum()) * max(stretch, 1)
    at = float(loss.value(best.expand_as(t.labels), t.labels, t.weights))
    for column in range(t.n_tasks):
        for move in (0.01 * stretch, -0.01 * stretch):
            other = best.clone()
            other[column] += move
            value = float(loss.value(other.expand_as(t.labels), t.labels, t.weights))
            assert value >= at * (1 - 1e-14)


@each
@pytest.mark.parametrize("bad", [0.0, 2.0, math.nan])
def test_labels_it_does_not_take_raise(name, bad):
    if KIND[name] == "real":
        bad, message = math.nan, r"takes real numbers; saw nan"
    elif KIND[name] == "classes":
        message = "takes one column a class"
    else:
        message = r"labels: .* takes -1 and \+1"
    labels = torch.tensor([1.0, bad])
    with pytest.raises(ValueError, match=message):
        LOSS[name].check_labels(labels, torch.tensor([1.0, 1.0]))
    if KIND[name] != "classes":
        LOSS[name].check_labels(labels, torch.tensor([1.0, 0.0]))
