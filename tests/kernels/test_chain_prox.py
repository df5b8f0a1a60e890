"""chain_prox: every backend against plain lines, and its optimality conditions."""

import pytest
import torch
from arithmetic import assert_same_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from prox_cases import EXAMPLES

from proxmtl import kernels

BACKENDS = ["torch", "numba"]
ALL = ["naive", *BACKENDS]
entries = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.5]), st.floats(-8, 8, width=32))


@st.composite
def chains(draw):
    rows, n = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    values = draw(st.lists(entries, min_size=rows * n, max_size=rows * n))
    edge = st.sampled_from([0.0, 0.3, 1.0, 2.5])
    weights = draw(st.lists(edge, min_size=rows * (n - 1), max_size=rows * (n - 1)))
    V = torch.tensor(values, dtype=torch.float64).reshape(rows, n)
    return V, torch.tensor(weights, dtype=torch.float64).reshape(rows, n - 1)


@pytest.mark.parametrize("backend", BACKENDS)
@given(chain=chains(), step=st.sampled_from([0.0, 0.2, 1.0, 30.0]))
@settings(deadline=None, max_examples=EXAMPLES)
def test_agrees_with_the_lines(backend, chain, step):
    V, weights = chain
    x, value = kernels.chain_prox(V, weights, step=step, backend=backend)
    wanted, wanted_value = kernels.chain_prox(V, weights, step=step, backend="naive")
    torch.testing.assert_close(x, wanted, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(value, wanted_value, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [2, 50, 1000])
def test_satisfies_the_optimality_conditions(backend, n):
    generator = torch.Generator().manual_seed(n)
    V = torch.randn(2, n, generator=generator, dtype=torch.float64).cumsum(1)
    weights = torch.rand(n - 1, generator=generator, dtype=torch.float64)
    x, _ = kernels.chain_prox(V, weights, step=2.0, backend=backend)
    flow = (V - x).cumsum(1)  # v - x = D'alpha, alpha in its box, at the end that the jump points
    alpha, jumps = flow[:, :-1], x.diff(dim=1)
    tiny = 1e-11 * n
    assert float(flow[:, -1].abs().max()) <= tiny
    assert bool((alpha.abs() <= 2 * weights + tiny).all())
    expected = -2 * weights * jumps.sign()
    assert bool(((alpha - expected).abs() <= tiny)[jumps != 0].all())
    assert 0.1 < float((jumps == 0).double().mean()) < 1.0 or n == 2


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_stride_and_dtype(backend, axis):
    V = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    moved = V.movedim(axis, -1).double()
    wanted, _ = kernels.chain_prox(moved, 0.4, backend="naive")
    x, _ = kernels.chain_prox(V, 0.4, axis=axis, backend=backend)
    assert x.dtype == torch.float32
    sizes = moved.abs().sum(-1, keepdim=True) + 2 * 0.4
    wanted, sizes = wanted.movedim(-1, axis), sizes.movedim(-1, axis)
    # a value is the mean of a run of entries, moved by the strength
    assert_same_sums(x, wanted, sizes=sizes, length=moved.shape[-1] + 4)


@pytest.mark.parametrize("backend", ALL)
def test_what_is_not_finite_stays_in_its_fibre(backend):
    V = torch.ones(3, 4)
    V[1, 2], V[2, 0] = float("nan"), float("inf")
    x, _ = kernels.chain_prox(V, 1.0, backend=backend)
    assert x.isnan().all(1).tolist() == [False, True, True]


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 1), (3,)])
def test_small_sizes(backend, shape):
    V = torch.ones(shape)
    x, value = kernels.chain_prox(V, 0.5, backend=backend)
    assert torch.equal(x, V)
    assert value == 0.0


def test_code_on_disk_serves_other_processes():
    """A compiled function as an argument has a type that no other process knows."""
    from numba import types

    from proxmtl.kernels.numba import chain_prox

    kernels.chain_prox(torch.ones(2, 3), 0.5, backend="numba")
    (signature,) = chain_prox._rows.signatures
    assert all(isinstance(argument, types.Array) for argument in signature)


def test_bad_arguments_are_refused():
    V = torch.ones(2, 3)
    for change, message in [
        ({"weights": -1.0}, "weights is -1.0"),
        ({"weights": torch.ones(3)}, r"weights has shape \(3,\)"),
        ({"step": -1.0}, "step is -1.0"),
        ({"axis": 2}, "axis is 2"),
        ({"V": V.clone().requires_grad_()}, "V requires grad"),
        ({"weights": torch.ones(2, requires_grad=True)}, "weights requires grad"),
    ]:
        with pytest.raises(ValueError, match=message):
            kernels.chain_prox(**{"V": V, "weights": 1.0, **change})
    with pytest.raises(TypeError, match="V has dtype"):
        kernels.chain_prox(torch.ones(3, dtype=torch.int64), 1.0)
    with pytest.raises(kernels.BackendError, match="doesn't implement"):
        kernels.chain_prox(V, 1.0, backend="triton")
