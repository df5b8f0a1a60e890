"""soft_threshold: every backend against float64 loops."""

import pytest
import torch
from arithmetic import assert_same_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from prox_cases import BACKENDS, EXAMPLES, NUMBA_DTYPES, TOLERANCE, close, sums_close, tensors

from proxmtl import kernels


@st.composite
def calls(draw):
    V, axis = draw(tensors(draw(st.sampled_from([0, 1, 7, 40]))))
    number = draw(st.sampled_from([0.0, 0.3, 2.0]))
    spread = torch.rand(V.shape, generator=torch.Generator().manual_seed(1)).to(torch.float64)
    weights = draw(st.sampled_from([number, torch.tensor(number), spread]))
    if isinstance(weights, torch.Tensor) and weights.dim() and V.shape[axis]:
        weights = draw(st.sampled_from([weights, weights.narrow(axis, 0, 1)]))
    return V, weights, draw(st.sampled_from([0.25, 1.0]))


@pytest.mark.parametrize("backend", BACKENDS)
@given(call=calls())
@settings(deadline=None, max_examples=EXAMPLES)
def test_agrees_with_the_loops(backend, call):
    V, weights, step = call
    if backend == "numba" and V.dtype not in NUMBA_DTYPES:
        V = V.float()
    before = V.clone()
    seen, value = kernels.soft_threshold(V, weights, step=step, backend=backend)
    wanted, wanted_value = kernels.soft_threshold(V.double(), weights, step=step, backend="naive")
    assert torch.equal(V, before)
    assert (seen.shape, seen.dtype) == (V.shape, V.dtype)
    assert (value.shape, value.dtype) == ((), torch.float64)
    size = V.abs().amax().item() if V.numel() else 0.0
    close(seen, wanted, V.dtype, size)
    sums_close(value, wanted_value, V.dtype, size * max(V.numel(), 1))


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("weights", [0.5, torch.full((4,), 0.5)])
def test_special_values(backend, weights):
    inf, nan = float("inf"), float("nan")
    seen, value = kernels.soft_threshold(
        torch.tensor([nan, inf, -inf, 0.25]), weights, backend=backend
    )
    torch.testing.assert_close(seen, torch.tensor([nan, inf, -inf, 0.0]), equal_nan=True)
    assert value.isnan()


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("count", [5, 40, 3001])
@pytest.mark.parametrize("shared", [True, False])
def test_unaligned_results_on_cpus(offset, count, shared):
    V = torch.randn(count)
    V[3] = float("nan")
    weights = 0.5 if shared else torch.rand(count)
    memory = torch.full((offset + count + 9,), -7.0)
    out = memory[offset:-9]
    kernels.soft_threshold(V, weights, out=out, backend="numba")
    wanted, _ = kernels.soft_threshold(V, weights, backend="torch")
    torch.testing.assert_close(out, wanted, equal_nan=True)
    assert (memory[:offset] == -7).all()
    assert (memory[-9:] == -7).all()


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
def test_zero_dimensions_and_in_place(backend):
    V = torch.tensor(-2.0)
    seen, value = kernels.soft_threshold(V, 0.5, out=V, backend=backend)
    assert seen is V
    assert (V.item(), value.item()) == (-1.5, 0.75)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_threads_and_blocks(backend, dtype):
    if backend == "numba" and dtype not in NUMBA_DTYPES:
        dtype = torch.float32
    V = torch.randn(401_003).to(dtype)
    seen, value = kernels.soft_threshold(V, 0.5, out=V.clone(), backend=backend)
    wanted = torch.nn.functional.softshrink(V.double(), 0.5)
    close(seen, wanted, dtype)
    sizes = 0.5 * V.double().abs().sum()
    assert_same_sums(value.float(), 0.5 * wanted.abs().sum(), sizes=sizes, length=4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": -0.1}, ValueError, "weights is -0.1"),
        ({"weights": float("nan")}, ValueError, "weights is nan"),
        ({"weights": float("inf")}, ValueError, "weights is inf"),
        ({"weights": -torch.ones(3)}, ValueError, "negative, infinite or NaN"),
        ({"weights": torch.ones(4)}, ValueError, r"broadcasts to \(2, 3\)"),
        ({"weights": torch.ones(3, dtype=torch.int64)}, TypeError, "weights has dtype"),
        ({"step": -1.0}, ValueError, "step is -1.0"),
        ({"V": torch.ones(2, 3, dtype=torch.int32)}, TypeError, "V has dtype torch.int32"),
        ({"out": torch.ones(2, 3).double()}, ValueError, "out has dtype torch.float64"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        kernels.soft_threshold(**{"V": torch.ones(2, 3), "weights": 1.0, **change})


@pytest.mark.parametrize("shape", [(70, 70), (3, 64, 128), (5, 130)])
@pytest.mark.parametrize("transposed", [False, True])
def test_broadcast_weights_on_cpus(shape, transposed):
    V = torch.randn(shape)
    V = V.transpose(-1, -2).contiguous().transpose(-1, -2) if transposed else V
    for which in range(1, 2 ** len(shape)):
        weights = torch.rand([n if which >> k & 1 else 1 for k, n in enumerate(shape)])
        seen, value = kernels.soft_threshold(V, weights, step=0.7, backend="numba")
        wanted, penalty = kernels.soft_threshold(V.double(), weights, step=0.7, backend="torch")
        assert_same_sums(seen, wanted, sizes=V.abs() + weights, length=2)
        sizes = (weights * V.abs()).double().sum()
        assert_same_sums(value.float(), penalty, sizes=sizes, length=4)
