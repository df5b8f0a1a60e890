"""One suite over every registered loss: derivative, curvature, conjugate, weights, Bregman."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import LOSS_FACTORIES, examples, labelled_scores

from proxmtl.losses import LOSSES

OURS = {n: c for n, c in LOSSES.items() if c.__module__.startswith("proxmtl")}
each = pytest.mark.parametrize("name", sorted(OURS))

GRID = torch.linspace(-60, 60, 240_001, dtype=torch.float64)


def make(name):
    return LOSS_FACTORIES[name](None)


def signs(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_every_registered_class_has_a_factory():
    assert set(OURS) == set(LOSS_FACTORIES)


@each
@given(case=labelled_scores())
@examples(50)
def test_value_is_the_weighted_sum(name, case):
    loss, (z, y, c) = make(name), case
    expected = math.fsum((c * loss.pointwise(z, y)).flatten().tolist())
    assert float(loss.value(z, y, c)) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert float(loss.value(z, y)) == pytest.approx(float(loss.pointwise(z, y).sum()), rel=1e-12)
    assert bool((loss.pointwise(z, y) >= 0).all())


@each
@given(case=labelled_scores())
@examples(50)
def test_derivative_is_that_of_autograd(name, case):
    loss, (z, y, c) = make(name), case
    kink = (y * z - 1).abs() < 1e-9
    leaf = z.clone().requires_grad_()
    loss.value(leaf, y, c).backward()
    torch.testing.assert_close(loss.grad(z, y, c), leaf.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss.grad(z, y), loss.derivative(z, y))
    step = 1e-6
    slope = (loss.derivative(z + step, y) - loss.derivative(z - step, y)) / (2 * step)
    torch.testing.assert_close(loss.curvature(z, y)[~kink], slope[~kink], atol=1e-4, rtol=1e-4)


@each
@given(case=labelled_scores())
@examples(50)
def test_fused_value_and_grad_agree_with_their_parts(name, case):
    loss, (z, y, c) = make(name), case
    before = [t.clone() for t in (z, y, c)]
    for weights in (c, None):
        value, residual = loss.value_and_grad(z, y, weights)
        torch.testing.assert_close(value, loss.value(z, y, weights), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(residual, loss.grad(z, y, weights), rtol=1e-12, atol=1e-12)
        assert residual.data_ptr() not in {t.data_ptr() for t in (z, y, c)}
    assert all(torch.equal(now, then) for now, then in zip((z, y, c), before, strict=True))


@each
@given(z=st.floats(-50, 50), w=st.floats(-50, 50), y=st.sampled_from([-1.0, 1.0]))
@examples(50)
def test_convex_with_the_curvature_bound_it_states(name, z, w, y):
    loss = make(name)
    a, b, label = signs(z), signs(w), signs(y)
    middle = float(loss.pointwise((a + b) / 2, label))
    assert middle <= float(loss.pointwise(a, label) + loss.pointwise(b, label)) / 2 + 1e-9
    change = float((loss.derivative(a, label) - loss.derivative(b, label)).abs())
    assert change <= loss.curvature_bound * abs(z - w) * (1 + 1e-12) + 1e-12
    assert 0 <= float(loss.curvature(a, label)) <= loss.curvature_bound


@each
@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_curvature_bound_is_attained(name, y):
    loss, label = make(name), signs(y)
    slopes = loss.derivative(GRID, label).diff() / GRID.diff()
    assert float(slopes.max()) == pytest.approx(loss.curvature_bound, rel=1e-3)


@each
@given(u=st.floats(-5, 5), y=st.sampled_from([-1.0, 1.0]))
@examples(50)
def test_conjugate_is_the_supremum(name, u, y):
    loss, label = make(name), signs(y)
    values = u * GRID - loss.pointwise(GRID, label)
    conjugate = float(loss.pointwise_conjugate(signs(u), label))
    if math.isinf(conjugate):  # then the supremum is attained at an end of any grid, and grows
        assert int(values.argmax()) in (0, len(GRID) - 1)
    else:
        assert conjugate == pytest.approx(float(values.max()), abs=1e-6)


@each
@given(case=labelled_scores(), shift=st.floats(-2, 2))
@examples(50)
def test_fenchel_young(name, case, shift):
    loss, (z, y, c) = make(name), case
    at_the_gradient = loss.grad(z, y, c)
    value, conjugate = loss.value(z, y, c), loss.conjugate(at_the_gradient, y, c)
    product = float((at_the_gradient * z).sum())
    assert float(value + conjugate) == pytest.approx(product, rel=1e-9, abs=1e-9)
    elsewhere = float(loss.value(z + shift, y, c) + conjugate)
    assert elsewhere >= float((at_the_gradient * (z + shift)).sum()) - 1e-9


@each
@given(case=labelled_scores())
@examples(50)
def test_missing_labels_contribute_nothing(name, case):
    loss, (z, y, c) = make(name), case
    missing = c == 0
    other_z = torch.where(missing, torch.full_like(z, 7.0), z)
    other_y = torch.where(missing, -y, y)
    assert float(loss.value(z, y, c)) == float(loss.value(other_z, other_y, c))
    assert bool((loss.grad(z, y, c)[missing] == 0).all())
    assert float(loss.bregman(other_z, z, y, c)) == pytest.approx(0, abs=1e-300)
    kept = loss.value(z[~missing], y[~missing], c[~missing])
    assert float(kept) == pytest.approx(float(loss.value(z, y, c)), rel=1e-12, abs=1e-300)
    assert math.isfinite(float(loss.conjugate(loss.grad(z, y, c), y, c)))
    if bool(missing.any()):
        assert float(loss.conjugate(torch.where(missing, 1.0, 0.0).to(z), y, c)) == math.inf


@each
@given(case=labelled_scores(), seed=st.integers(0, 99))
@examples(50)
def test_bregman_is_its_definition_and_never_negative(name, case, seed):
    loss, (old, y, c) = make(name), case
    new = old + torch.randn(old.shape, generator=torch.Generator().manual_seed(seed)).to(old)
    expected = (
        loss.value(new, y, c) - loss.value(old, y, c) - (loss.grad(old, y, c) * (new - old)).sum()
    )
    bregman = float(loss.bregman(new, old, y, c))
    assert bregman == pytest.approx(float(expected), rel=1e-9, abs=1e-10)
    assert bregman >= 0
    assert float(loss.bregman(old, old, y, c)) == 0
    unweighted = loss.bregman(new, old, y, torch.ones_like(y))
    assert float(loss.bregman(new, old, y)) == pytest.approx(float(unweighted), rel=1e-12)


@each
@pytest.mark.parametrize("scale", [1e-3, 1e-5])
def test_bregman_keeps_its_digits_in_float32(name, scale):
    loss = make(name)
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(400, generator=generator)
    new = old + scale * torch.randn(400, generator=generator)
    y = torch.where(torch.rand(400, generator=generator) < 0.5, 1.0, -1.0)
    exact = float(loss.bregman(new.double(), old.double(), y.double()))
    allowed = loss.bregman_error(old, torch.ones_like(old), float(loss.value(old, y)))
    assert abs(float(loss.bregman(new, old, y)) - exact) <= 1e-2 * exact + allowed


@each
@given(case=labelled_scores(), largest=st.sampled_from([0.0, 0.3, 1.0, 5.0, math.inf]))
@examples(50)
@pytest.mark.parametrize("offset", [0.0, 1.5, -2.0])
def test_dual_scale_is_feasible_and_beats_the_grid(name, case, largest, offset):
    loss, (z, y, c) = make(name), case
    dual = loss.grad(z, y, c)
    if bool((dual == 0).all()):
        offset = 0.0
    scale = loss.dual_scale(dual, y, c, largest, offset)
    assert 0 <= scale <= largest
    if type(loss).dual_scale is LOSSES["SquaredHinge"].dual_scale:
        best = max(
            s * offset - float(loss.conjugate(s * dual, y, c))
            for s in np.linspace(0, min(largest, 6.0), 25)
        )
        assert scale * offset - float(loss.conjugate(scale * dual, y, c)) >= best - 1e-9


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_nan_is_not_swallowed(name, dtype):
    loss = make(name)
    z = torch.tensor([0.5, math.nan, -2.0], dtype=dtype)
    y = torch.tensor([1.0, -1.0, 1.0], dtype=dtype)
    value, residual = loss.value_and_grad(z, y, torch.ones_like(y))
    assert value.dtype == residual.dtype == dtype
    assert math.isnan(float(value))
    assert torch.isnan(residual).tolist() == [False, True, False]
    assert torch.isnan(loss.pointwise(z, y)).tolist() == [False, True, False]


@each
@pytest.mark.parametrize("bad", [0.0, 2.0, math.nan])
def test_labels_it_does_not_take_raise(name, bad):
    labels = torch.tensor([1.0, bad])
    with pytest.raises(ValueError, match=r"labels: .* takes -1 and \+1"):
        make(name).check_labels(labels, torch.tensor([1.0, 1.0]))
    make(name).check_labels(labels, torch.tensor([1.0, 0.0]))


def test_squared_hinge_by_hand():
    loss = make("SquaredHinge")
    y, z = signs(1, 1, -1, -1), signs(0, 2, 0.5, -1)
    assert loss.pointwise(z, y).tolist() == [0.5, 0.0, 1.125, 0.0]
    assert loss.derivative(z, y).tolist() == [-1.0, 0.0, 1.5, 0.0]
    assert loss.curvature(z, y).tolist() == [1.0, 0.0, 1.0, 0.0]
