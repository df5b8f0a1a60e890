"""One suite over every registered regularizer: what a prox must be, whatever the penalty."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from regularizer_cases import (
    CONVEX,
    NAIVE_VALUES,
    NORMS,
    OURS,
    UNWEIGHTED,
    example,
    normal,
    with_items_permuted,
)
from strategies import DTYPES, REGULARIZER_FACTORIES, STEPS, examples, matrices, regularizers

from proxmtl import UnsupportedError

SHAPE = (3, 5)

each = pytest.mark.parametrize("name", sorted(OURS))
each_norm = pytest.mark.parametrize("name", sorted(NORMS))
each_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)

each_penalty = pytest.mark.parametrize("name", sorted(set(OURS) - UNWEIGHTED))
each_convex = pytest.mark.parametrize("name", sorted(CONVEX))

# the naive value is the optimum of a solver
SOLVED_VALUE = {"LatentOverlapGroupL2"}

# an iterative prox that rounds to exact zeros
EXACT_ZEROS = {"OverlappingGroupL2"}

# NaN in one slice reaches the others
COUPLED = {"Nuclear", "SharedPlusOwn", "SquaredGroupL2", "Sum"}


@st.composite
def prox_calls(draw, name):
    """A regularizer, an ordinary point, and a step above zero."""
    r, v = draw(regularizers(name)), draw(matrices(SHAPE, extreme=False))
    return r, v, draw(STEPS.filter(bool))


def prox_objective(r, x, v, step):
    penalty = float(r.value(x))
    if math.isinf(penalty):  # a set is projected on whatever the step
        return penalty
    return float((x - v).square().sum()) / 2 + step * penalty


def test_every_registered_class_has_a_factory_and_a_naive_value():
    assert set(OURS) == set(REGULARIZER_FACTORIES) == set(NAIVE_VALUES)


@each
def test_the_text_of_a_regularizer_shows_its_parameters_alone(name):
    fields = dataclasses.fields(OURS[name])
    fixed = {"strength", "low", "high"}  # of sets, which have a strength of 1
    assert {f.name for f in fields if f.repr and not f.init} <= fixed


@each
def test_penalties_of_strength_zero_are_not_coercive(name):
    r, W = example(name), normal(*SHAPE)
    assert type(r.is_coercive(W)) is bool
    assert not r.with_strength(0.0).is_coercive(W) or r.is_constraint


@each
@given(data=st.data())
@examples(30)
def test_value_is_the_naive_one(name, data):
    r, W = data.draw(regularizers(name)), data.draw(matrices(SHAPE))
    rel = 1e-6 if name in SOLVED_VALUE else 1e-12
    assert float(r.value(W)) == pytest.approx(NAIVE_VALUES[name](r, W), rel=rel)


@each
@given(data=st.data())
@examples(30)
def test_prox_returns_the_value_at_its_point(name, data):
    r, step = data.draw(regularizers(name)), data.draw(STEPS)
    # of entries twelve orders apart the latent norm's value has six digits, as it says
    v = data.draw(matrices(SHAPE, extreme=name != "LatentOverlapGroupL2"))
    x, value = r.prox(v, step)
    assert value.ndim == 0
    assert float(value) == pytest.approx(float(r.value(x)), rel=1e-9, abs=1e-13 * float(r.value(v)))


@each
@given(data=st.data(), seed=st.integers(0, 1000))
@examples(100)
def test_no_competitor_beats_the_prox(name, data, seed):
    r, v, step = data.draw(regularizers(name)), data.draw(matrices(SHAPE)), data.draw(STEPS)
    x, _ = r.prox(v, step)
    starts = [prox_objective(r, torch.zeros_like(v), v, step), prox_objective(r, v, v, step)]
    scale = max(value for value in starts if math.isfinite(value))
    slack = 1e-12 * scale + r.prox_gap(v, step)
    best = prox_objective(r, x, v, step)
    rivals = [torch.zeros_like(v), v, x * 0.999, x * 1.001]
    rivals += [x + 10.0**-k * normal(*SHAPE, seed=seed + k) * (1 + v.abs()) for k in range(6)]
    assert all(best <= prox_objective(r, rival, v, step) + slack for rival in rivals)


@each
@given(data=st.data())
@examples(30)
def test_prox_satisfies_its_kkt_conditions(name, data):
    r, v, step = data.draw(prox_calls(name))
    if not r.exact_prox and name not in EXACT_ZEROS:
        pytest.skip("an inexact zero has no small KKT residual; see test_moreau")
    x, _ = r.prox(v, step)
    residual = r.kkt_residual(x, (x - v) / step)
    assert residual.shape == v.shape
    # the error of an iterative prox is the root of its gap, 1e-7; over a small norm it is more
    tolerance = 1e-12 if r.exact_prox else 1e-5
    assert float(residual.norm()) <= tolerance * (1 + float(v.norm()) / step + r.strength * 40)


@each
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_prox_of_many_ordinary_points_satisfies_its_kkt_conditions(name, step):
    r, v = example(name), normal(200, 5)
    if not r.exact_prox and name not in EXACT_ZEROS:
        pytest.skip("an inexact zero has no small KKT residual; see test_moreau")
    x, _ = r.prox(v, step)
    residual = r.kkt_residual(x, (x - v) / step)
    assert float(residual.norm()) <= (1e-12 if r.exact_prox else 1e-5) * (
        1 + float(v.norm()) / step
    )


@each_norm
@given(data=st.data())
@examples(30)
def test_moreau_the_rest_lies_in_the_dual_ball_and_is_aligned(name, data):
    r, v, step = data.draw(prox_calls(name))
    weights = r.groups.weights if hasattr(r, "groups") else torch.ones(1)
    if r.strength == 0 or bool((weights == 0).any()):
        return  # the identity there: see the tests of zero strength and zero weight
    x, value = r.prox(v, step)
    u = (v - x) / step
    gap = r.prox_gap(v, step) / step
    rounding = 1e-9 * (1 + float(v.norm()) ** 2 / step)
    assert r.dual_norm(u, at=x) <= 1 + 1e-6
    assert float(value) - float((u * x).sum()) <= gap + rounding  # R(x) = <u, x>
    assert float((u * x).sum()) <= float(value) + rounding


@each_convex
@given(data=st.data())
@examples(30)
def test_prox_is_firmly_nonexpansive(name, data):
    r, step = data.draw(regularizers(name)), data.draw(STEPS)
    a = data.draw(matrices(SHAPE, extreme=False))
    b = data.draw(matrices(SHAPE, extreme=False))
    moved = r.prox(a, step)[0] - r.prox(b, step)[0]
    inexact = math.sqrt(2 * r.prox_gap(a, step)) + math.sqrt(2 * r.prox_gap(b, step))
    slack = 1e-12 + 3 * inexact * float((a - b).norm() + 1)
    assert float(moved.square().sum()) <= float((moved * (a - b)).sum()) + slack


@each_penalty
@each_dtype
@given(data=st.data())
@examples(30)
def test_zero_step_and_zero_strength_are_the_identity(name, dtype, data):
    v = data.draw(matrices(SHAPE, dtype=dtype))
    r = data.draw(regularizers(name))
    if r.exact_prox and data.draw(st.booleans()):
        v = v * 1e-30  # whose squares underflow in float32
    for x, _ in (r.prox(v, 0.0), r.with_strength(0.0).prox(v, 1.0)):
        assert torch.equal(x, v)
        assert x.data_ptr() != v.data_ptr()
    assert float(r.with_strength(0.0).value(v)) == 0


@each
@each_dtype
@given(data=st.data())
@examples(30)
def test_zeros_stay_zero_without_nan(name, dtype, data):
    r, step = data.draw(regularizers(name)), data.draw(STEPS)
    if name == "Shifted":
        return  # its zero is elsewhere
    zero = torch.zeros(SHAPE, dtype=dtype)
    x, value = r.prox(zero, step)
    assert torch.equal(x, zero)
    assert float(value) == float(r.value(zero)) == 0
    assert torch.equal(r.kkt_residual(zero, zero), zero)
    assert bool(torch.isfinite(r.kkt_residual(zero, torch.ones_like(zero))).all())


@each
@each_dtype
def test_dtype_device_and_input_are_kept(name, dtype):
    r, v, gradient = example(name), normal(3, 5, dtype=dtype), normal(3, 5, seed=1, dtype=dtype)
    before, gradient_before = v.clone(), gradient.clone()
    x, value = r.prox(v, 0.1)
    residual = r.kkt_residual(v, gradient)
    outputs = [x, value, residual, r.value(v)]
    if name in NORMS:
        r.dual_norm(v, at=gradient)
    assert all(out.dtype == dtype and out.device == v.device for out in outputs)
    assert torch.equal(v, before)
    assert torch.equal(gradient, gradient_before)


@each
def test_strided_input_gives_the_same_answer(name):
    r, v = example(name), normal(5, 3).T
    wide = normal(6, 10)
    assert not v.is_contiguous()
    for view in (v, wide[::2, ::2]):
        assert torch.equal(r.prox(view, 0.3)[0], r.prox(view.contiguous(), 0.3)[0])
        assert torch.equal(r.kkt_residual(view, view), r.kkt_residual(view.clone(), view.clone()))


@each
def test_float32_agrees_with_float64(name):
    r, v = example(name), normal(3, 5)
    x, value = r.prox(v.float(), 0.3)
    exact, exact_value = r.prox(v, 0.3)
    # an iterative prox is accurate to the root of its gap, and the gap to the precision
    tolerance = 2e-6 if r.exact_prox else 3e-4
    torch.testing.assert_close(x.double(), exact, rtol=tolerance, atol=tolerance)
    assert float(value) == pytest.approx(float(exact_value), rel=tolerance)


@each
def test_the_step_may_be_a_tensor(name):
    r, v = example(name), normal(3, 5)
    for dtype in DTYPES.values():
        x, value = r.prox(v, torch.tensor(0.25, dtype=dtype))
        expected, expected_value = r.prox(v, 0.25)
        assert x.dtype == v.dtype
        torch.testing.assert_close(x, expected, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(value, expected_value, rtol=1e-14, atol=1e-14)


@each
@pytest.mark.parametrize("step", [-1.0, -1e-300, math.nan, math.inf])
def test_bad_steps_raise(name, step):
    for given_step in (step, torch.tensor(step, dtype=torch.float64)):
        with pytest.raises(ValueError, match="step: got"):
            example(name).prox(normal(3, 5), given_step)


@each
@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_bad_strengths_raise(name, strength):
    with pytest.raises(ValueError, match="strength: got"):
        example(name, strength=strength)
    with pytest.raises(ValueError, match="strength: got"):
        example(name).with_strength(strength)


@each
def test_nan_is_not_swallowed(name):
    r, v = example(name), normal(3, 5)
    v[1, 2] = math.nan
    x, value = r.prox(v, 0.3)
    assert math.isnan(float(r.value(v)))
    assert math.isnan(float(value))
    assert bool(torch.isnan(x[1, 2]))
    if name not in COUPLED:
        assert bool(torch.isfinite(x[0]).all())  # other slices are not touched by it
    assert bool(torch.isnan(r.kkt_residual(v, normal(3, 5))[1]).any())
    if name in NORMS:
        assert math.isnan(r.dual_norm(v))


@each
@given(data=st.data())
@examples(30)
def test_permuting_items_permutes_the_prox(name, data):
    r, v = data.draw(regularizers(name)), data.draw(matrices(SHAPE, extreme=False))
    step = data.draw(STEPS)
    order = data.draw(st.permutations(range(SHAPE[1])))
    other = with_items_permuted(r, order)
    if other is None:
        return
    atol = (1e-13 if r.exact_prox else 1e-9) * (1 + float(v.norm()))
    atol += 2 * math.sqrt(2 * r.prox_gap(v, step))
    moved, _ = other.prox(v[:, order], step)
    torch.testing.assert_close(moved, r.prox(v, step)[0][:, order], rtol=1e-12, atol=atol)


@each_norm
@given(data=st.data(), power=st.sampled_from([-30, -8, 8, 30]))
@examples(30)
def test_prox_of_a_norm_is_homogeneous(name, data, power):
    r, v = data.draw(regularizers(name)), data.draw(matrices(SHAPE, extreme=False))
    c, step = 2.0**power, data.draw(STEPS)
    atol = (1e-14 if r.exact_prox else 1e-9) * float(v.norm())
    scaled = r.prox(c * v, c * step)[0] / c
    torch.testing.assert_close(scaled, r.prox(v, step)[0], rtol=1e-9, atol=atol)


@each_convex
@given(data=st.data())
@examples(30)
def test_value_is_convex(name, data):
    r = data.draw(regularizers(name))
    a, b = data.draw(matrices(SHAPE)), data.draw(matrices(SHAPE))
    middle, ends = float(r.value((a + b) / 2)), float(r.value(a) + r.value(b)) / 2
    assert middle <= ends * (1 + 1e-12)


@each_norm
@given(data=st.data())
@examples(30)
def test_zero_is_the_solution_exactly_from_the_critical_strength_on(name, data):
    r = data.draw(regularizers(name, strengths=st.just(1.0)))
    gradient = data.draw(matrices(SHAPE, extreme=False))
    critical = r.critical_strength(gradient)
    if critical == 0:  # the descent direction is not even allowed, or there is none
        assert float(r.with_strength(1e-9).prox(-gradient, 1.0)[0].abs().max()) == 0
        return
    if math.isinf(critical):  # something in the gradient is not penalised at all
        assert bool((r.with_strength(1e9).prox(-gradient, 1.0)[0] != 0).any())
        return
    assert float(r.with_strength(critical * (1 + 1e-6)).prox(-gradient, 1.0)[0].abs().max()) == 0
    assert float(r.with_strength(critical * (1 - 1e-3)).prox(-gradient, 1.0)[0].abs().max()) > 0


@each
def test_with_strength_changes_nothing_else(name):
    r = example(name)
    other = r.with_strength(3.0)
    assert type(other) is type(r)
    v = normal(3, 5)
    if r.is_indicator:
        assert other is r
        return
    assert other.strength == 3.0
    assert torch.equal(other.prox(v, 0.1)[0], example(name, strength=3.0).prox(v, 0.1)[0])


@each
def test_what_is_not_supported_says_what_would_do(name):
    r = example(name)
    if not r.is_norm:
        with pytest.raises(UnsupportedError, match="has no dual norm"):
            r.dual_norm(normal(3, 5))
    if r.is_smoothable:
        assert r.smoothed(0.1).smoothness == 0.1
    else:
        with pytest.raises(UnsupportedError, match="OverlappingGroupL2 and GraphFused have"):
            r.smoothed(0.1)


@each_penalty
def test_value_has_a_gradient_where_blocks_are_zero(name):
    W = normal(3, 5)
    W[0] = 0
    W[1, :3] = 0
    W.requires_grad_()
    example(name).value(W).backward()
    assert bool(torch.isfinite(W.grad).all())
    inside = normal(3, 5, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(example(name).value, (inside,))


@each
def test_numpy_of_the_prox_is_writable_and_owned(name):
    x, _ = example(name).prox(normal(3, 5), 0.1)
    assert np.asarray(x).flags.writeable
