"""hinge_value_and_grad: every backend against float64 loops."""

import mmap

import numpy as np
import pytest
import torch
from hinge_cases import KINDS, LOSSES, calls, random_call
from hypothesis import given, settings
from prox_cases import BACKENDS, EXAMPLES

from proxmtl import kernels


def agree(seen, wanted, tolerance):
    """Equal up to the tolerance times the largest entry; NaN and infinity in the same places."""
    if wanted is None or isinstance(wanted, (tuple, list)):
        assert (seen is None) == (wanted is None)
        for s, w in zip(seen or (), wanted or (), strict=True):
            agree(s, w, tolerance)
        return
    assert (seen.shape, seen.dtype) == (wanted.shape, wanted.dtype)
    finite = wanted[wanted.isfinite()]
    size = finite.abs().max().item() if finite.numel() else 0.0
    torch.testing.assert_close(
        seen, wanted, rtol=0, atol=tolerance * max(size, 1.0), equal_nan=True
    )


def tolerance_of(call):
    features = call["X"] if isinstance(call["X"], list) else [call["X"]]
    wide = any(t.dtype == torch.float64 for t in (call["W"], *features))
    return 1e-13 if wide else 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
@given(call=calls())
@settings(deadline=None, max_examples=EXAMPLES)
def test_agrees_with_the_loops(backend, call):
    with np.errstate(all="ignore"):  # Triton's interpreter computes inf - inf in numpy
        seen = kernels.hinge_value_and_grad(**call, return_scores=True, backend=backend)
    wanted = kernels.hinge_value_and_grad(**call, return_scores=True, backend="naive")
    assert seen.value.dtype == torch.float64
    agree(seen, wanted, tolerance_of(call))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("kind", "rows", "n_features"),
    [
        ("dense", [150] * 2, 300),
        ("ragged", [201, 3, 70], 131),
        ("shared", [210], 257),
        ("shared", [300] * 3, 2100),
        ("shared", [40] * 20, 30),
        ("dense", [9] * 2, 8300),
    ],
)
def test_many_chunks(backend, loss, kind, rows, n_features):
    call = random_call(kind, rows, n_features, loss=loss)
    wanted = kernels.hinge_value_and_grad(**call, return_scores=True, backend="naive")
    for deterministic in (True, False):
        seen = kernels.hinge_value_and_grad(
            **call, return_scores=True, deterministic=deterministic, backend=backend
        )
        agree(seen, wanted, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weighted", [True, False])
def test_blocks_of_shared_rows_on_cpus(monkeypatch, dtype, weighted):
    """More tasks than a pass for each is worth, on several blocks of rows, the last one short."""
    from proxmtl.kernels.numba import hinge

    monkeypatch.setattr(hinge, "_PRODUCT_BYTES", 0)
    call = random_call("shared", [150] * 20, 30, dtype=dtype, weighted=weighted)
    wanted = kernels.hinge_value_and_grad(**call, return_scores=True, backend="naive")
    seen = kernels.hinge_value_and_grad(**call, return_scores=True, backend="numba")
    agree(seen, wanted, 1e-5)


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_missing_label_is_as_if_the_row_were_not_there(backend, loss):
    call = random_call("ragged", [9, 5], 4, dtype=torch.float64, loss=loss)
    kept = [c != 0 for c in call["weights"]]
    if loss != "squared":
        kept = [k & (y != 0) for k, y in zip(kept, call["Y"], strict=True)]
    fewer = dict(call)
    for name in ("X", "Y", "weights"):
        fewer[name] = [t[k] for t, k in zip(call[name], kept, strict=True)]
    assert sum(map(len, fewer["X"])) < 14
    seen = kernels.hinge_value_and_grad(**call, backend=backend)
    wanted = kernels.hinge_value_and_grad(**fewer, backend=backend)
    agree(seen, wanted, 1e-13)


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("loss", LOSSES)
def test_nan_reaches_its_task_and_no_other(backend, loss):
    call = random_call("dense", [6, 6, 6], 5, weighted=False, loss=loss)
    clean = kernels.hinge_value_and_grad(**call, backend=backend)
    call["X"][1, 2, 3] = float("nan")
    result = kernels.hinge_value_and_grad(**call, backend=backend)
    assert result.value[1].isnan()
    assert result.grad[:, 1].isnan().all()
    assert result.grad_bias[1].isnan()
    for seen, wanted in zip(result[:3], clean[:3], strict=True):
        assert torch.equal(seen[..., [0, 2]], wanted[..., [0, 2]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_logistic_loss_of_large_margins(backend):
    X = torch.tensor([-800.0, -40.0, -20.1, -19.9, 19.9, 20.1, 40.0], dtype=torch.float64)
    call = {"X": X[:, None, None], "W": torch.ones(1, 7), "Y": torch.ones(7, 1), "loss": "logistic"}
    seen = kernels.hinge_value_and_grad(**call, backend=backend)
    wanted = kernels.hinge_value_and_grad(**call, backend="naive")
    torch.testing.assert_close(seen.value, wanted.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(seen.grad, wanted.grad, rtol=1e-12, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_left_alone(backend, kind):
    call = random_call(kind, [7, 7], 6)
    flat = [t for v in call.values() if v is not None and not isinstance(v, str) for t in v]
    before = [t.clone() for t in flat]
    assert kernels.hinge_value_and_grad(**call, backend=backend).scores is None
    for tensor, copy in zip(flat, before, strict=True):
        assert torch.equal(tensor.nan_to_num(7), copy.nan_to_num(7))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["shared", "dense"])
def test_bits_do_not_depend_on_the_number_of_threads(kind, loss):
    call = random_call(kind, [801], 300, loss=loss)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(kernels.hinge_value_and_grad(**call, backend="numba"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0][:3], other[:3], strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_offsets_beyond_32_bits(backend):
    stride = 2**31 + 8  # elements: 4 GiB of address space, of which two pages are touched
    try:
        memory = mmap.mmap(-1, 2 * (stride + 8), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        pytest.skip(f"no address space: {error}")
    flat = torch.from_numpy(np.frombuffer(memory, dtype=np.float16))
    X = flat.as_strided((2, 8), (stride, 1))
    X[0], X[1] = 1.0, torch.arange(8)
    W, Y = torch.full((8, 1), 0.01), torch.tensor([[1.0, -1.0]])
    seen = kernels.hinge_value_and_grad(X[None], W, Y, backend=backend)
    wanted = kernels.hinge_value_and_grad(X[None].clone(), W, Y, backend="naive")
    agree(seen, wanted, 1e-6)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"loss": "hinge"}, ValueError, "loss is 'hinge'; choose from squared_hinge"),
        ({"W": torch.ones(4)}, ValueError, r"W has shape \(4,\); give \(D, M\)"),
        ({"W": torch.ones(5, 2)}, ValueError, "X has 4 features and W has 5 rows"),
        ({"W": torch.ones(4, 3)}, ValueError, "X has 2 tasks and W has 3 columns"),
        ({"X": np.ones((2, 3, 4))}, TypeError, "X is a ndarray; give tensors"),
        ({"Y": [[1.0]]}, TypeError, "Y holds a list; give tensors"),
        ({"X": torch.ones(4)}, ValueError, r"X has shape \(4,\); give \(N, D\) shared"),
        ({"X": torch.ones(2, 3, 4).long()}, TypeError, "dtype torch.int64; give one of float64"),
        ({"X": [torch.ones(3, 4), torch.ones(4)]}, ValueError, r"X\[1\] has shape \(4,\)"),
        ({"X": [torch.ones(3, 4), torch.ones(3, 4).half()]}, TypeError, "X mixes dtypes"),
        ({"X": [torch.ones(3, 4)] * 2}, TypeError, "Y is a Tensor; give a sequence of 2 tensors"),
        ({"Y": [torch.ones(3)] * 2}, TypeError, "Y is a list; give one tensor"),
        ({"Y": torch.ones(3, 2)}, ValueError, r"Y has shape \(3, 2\); X and W ask for \(2, 3\)"),
        ({"Y": torch.ones(2, 3).bool()}, TypeError, "Y has dtype torch.bool; give real numbers"),
        ({"weights": torch.ones(2)}, ValueError, r"weights has shape \(2,\)"),
        ({"bias": torch.ones(3)}, ValueError, r"bias has shape \(3,\); give \(2,\)"),
        ({"bias": torch.ones(2, device="meta")}, ValueError, "move all to one device"),
    ],
)
def test_bad_arguments_are_named(change, error, words):
    call = {"X": torch.ones(2, 3, 4), "W": torch.ones(4, 2), "Y": torch.ones(2, 3), **change}
    with pytest.raises(error, match=words):
        kernels.hinge_value_and_grad(**call)


def test_supports_gives_reasons():
    X, W, Y = torch.ones(2, 3, 4), torch.ones(4, 2), torch.ones(2, 3)
    strided = torch.ones(2, 3, 8)[..., ::2]
    answer = kernels.supports("hinge_value_and_grad", X, W, Y)
    assert answer["naive"] == answer["torch"] == answer["numba"] == (True, "")
    ok, reason = kernels.supports("hinge_value_and_grad", strided, W, Y)["numba"]
    assert not ok
    assert "contiguous features" in reason
    with pytest.raises(kernels.BackendError, match="contiguous features"):
        kernels.hinge_value_and_grad(strided, W, Y, backend="numba")
    wanted = kernels.hinge_value_and_grad(X, W, Y)
    assert torch.equal(kernels.hinge_value_and_grad(strided, W, Y).grad, wanted.grad)
