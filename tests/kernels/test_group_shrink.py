"""group_shrink: every backend against float64 loops, and the properties of a prox."""

import itertools

import pytest
import torch
from arithmetic import assert_same_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from prox_cases import (
    BACKENDS,
    EXAMPLES,
    NUMBA_DTYPES,
    TOLERANCE,
    close,
    disjoint_groups,
    from_lists,
    sums_close,
    tensors,
    tiles,
    weights_for,
)

from proxmtl import kernels


def shrink_roundings(groups):
    """A root halves the relative error of a sum of squares; then a quotient, and few roundings."""
    return max(len(group) for group in groups) / 2 + 8


@st.composite
def calls(draw):
    groups = draw(disjoint_groups())
    V, axis = draw(tensors(groups.n_items))
    step = draw(st.sampled_from([0.0, 0.2, 1.0]))
    l1 = draw(st.sampled_from([0.0, 0.4]))
    return V, groups, weights_for(draw, groups.n_groups), step, axis, l1


@pytest.mark.parametrize("backend", BACKENDS)
@given(call=calls())
@settings(deadline=None, max_examples=EXAMPLES)
def test_agrees_with_the_loops(backend, call):
    V, groups, weights, step, axis, l1 = call
    options = {"step": step, "axis": axis, "l1": l1}
    if backend == "numba" and V.dtype not in NUMBA_DTYPES:
        V = V.float()
    before = V.clone()
    seen, value = kernels.group_shrink(V, groups.index, weights, **options, backend=backend)
    wanted, wanted_value = kernels.group_shrink(
        V.double(), groups.index, weights, **options, backend="naive"
    )
    assert torch.equal(V, before)
    assert (seen.shape, seen.dtype, value.shape, value.dtype) == (
        V.shape,
        V.dtype,
        (),
        torch.float64,
    )
    size = V.abs().amax().item() if V.numel() else 0.0
    close(seen, wanted, V.dtype, size)
    sums_close(value, wanted_value, V.dtype, size * max(V.numel(), 1))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("layout", ["in place", "fresh", "transposed", "sliced"])
@pytest.mark.parametrize("axis", [0, 1])
def test_result_goes_where_it_is_asked(backend, layout, axis, dtype):
    if backend == "numba" and dtype not in NUMBA_DTYPES:
        with pytest.raises(kernels.BackendError, match="serves float32 and float64"):
            kernels.soft_threshold(torch.ones(2, dtype=dtype), 1.0, backend=backend)
        return
    groups = from_lists([[3, 0], [1, 4, 5]], 7)
    V = torch.randn(7, 7).to(dtype)
    wanted, _ = kernels.group_shrink(V, groups.index, 0.5, l1=0.1, axis=axis, backend="naive")
    out = {
        "in place": V,
        "fresh": torch.full_like(V, float("nan")),
        "transposed": torch.full_like(V, float("nan")).t(),
        "sliced": torch.full((7, 14), float("nan"), dtype=dtype)[:, ::2],
    }[layout]
    seen, _ = kernels.group_shrink(
        V, groups.index, 0.5, l1=0.1, axis=axis, out=out, backend=backend
    )
    assert seen is out
    close(out, wanted, dtype)


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("l1", [0.0, 0.2])
@pytest.mark.parametrize("groups", [tiles([2, 3]), from_lists([[4, 1], [0, 2]], 5)])
@pytest.mark.parametrize("axis", [0, 1])
def test_nan_stays_in_its_group(backend, groups, axis, l1):
    V = torch.ones(5, 5)
    V[2, 2] = float("nan")
    seen, value = kernels.group_shrink(V, groups.index, 0.5, axis=axis, l1=l1, backend=backend)
    group = next(group for group in groups if 2 in group)
    expected = torch.zeros(5, dtype=torch.bool)
    expected[group] = True
    fibre = seen[2] if axis == 1 else seen[:, 2]
    assert torch.equal(fibre.isnan(), expected)
    assert seen.isnan().sum() == len(group)
    assert value.isnan()


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("groups", [tiles([3, 3]), tiles([1, 5]), from_lists([[5, 1], [0]], 6)])
@pytest.mark.parametrize("axis", [0, 1])
def test_zero_group_and_zero_threshold(backend, groups, axis):
    V = torch.zeros(6, 6)
    seen, value = kernels.group_shrink(V, groups.index, 0.0, axis=axis, backend=backend)
    assert torch.equal(seen, V)
    assert value == 0
    V = torch.randn(6, 6) * 1e-30
    seen, _ = kernels.group_shrink(V, groups.index, 3.0, step=0.0, axis=axis, backend=backend)
    assert torch.equal(seen, V)
    seen, value = kernels.group_shrink(V, groups.index, 1.0, axis=axis, backend=backend)
    assert not seen[(slice(None), 1) if axis else 1].any()
    assert value == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [[5000], [1, 4097, 3], [600] * 7, [1] * 5000, [17] * 400])
@pytest.mark.parametrize("l1", [0.0, 0.3])
def test_blocks_and_threads(backend, sizes, l1):
    groups = tiles(sizes)
    rows = 1 if backend == "triton" else 40
    V = torch.randn(rows, groups.n_items, dtype=torch.float64)
    weights = torch.rand(len(sizes), dtype=torch.float64) * 3
    seen, value = kernels.group_shrink(V, groups.index, weights, l1=l1, backend=backend)
    soft = V.sign() * (V.abs() - l1).clamp(min=0)
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    norms = torch.zeros(rows, len(sizes), dtype=torch.float64)
    norms = norms.index_add(1, owner, soft**2).sqrt()
    left = (norms - weights).clamp(min=0)
    scale = torch.where(norms > 0, left / norms, 0.0)
    wanted = soft * scale[:, owner]
    torch.testing.assert_close(seen, wanted, rtol=1e-12, atol=1e-12)
    penalty = (left * weights).sum() + l1 * wanted.abs().sum()
    torch.testing.assert_close(value, penalty, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif("triton" not in BACKENDS, reason="run by test_triton_interpreter")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("groups", [tiles([5, 70, 0, 1]), from_lists([list(range(69, 2, -1))], 76)])
@pytest.mark.parametrize("l1", [0.0, 0.1])
def test_triton_walks_groups_longer_than_a_program(monkeypatch, dtype, groups, l1):
    from proxmtl.kernels.triton import group_shrink, prox_config

    monkeypatch.setattr(group_shrink, "longest_tile", lambda *_, **__: 32)
    monkeypatch.setattr(prox_config, "LONG_SHRINK_BLOCK", 128)
    V = torch.randn(2, 76, dtype=dtype)
    V[1, 30] = float("nan")
    weights = torch.rand(groups.n_groups, dtype=torch.float64)
    options = {"step": 0.5, "l1": l1}
    wanted, penalty = kernels.group_shrink(V, groups.index, weights, **options, backend="naive")
    seen, value = kernels.group_shrink(V, groups.index, weights, **options, out=V, backend="triton")
    close(seen, wanted, dtype, 4.0)
    close(value, penalty, dtype, 200.0)


@pytest.mark.parametrize("size", [1, 2, 10, 33, 64, 1000])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("offset", [0, 3])
def test_unaligned_results_on_cpus(size, shared, offset):
    groups = tiles([size] * 37)
    V = torch.randn(50, groups.n_items)
    weights = 1.0 if shared else torch.rand(37)
    memory = torch.full((V.numel() + offset,), float("nan"))
    out = memory[offset:].view(V.shape)
    _, value = kernels.group_shrink(V, groups.index, weights, out=out, backend="numba")
    wanted, penalty = kernels.group_shrink(V, groups.index, weights, backend="torch")
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(value, penalty)
    assert memory[:offset].isnan().all()


@pytest.mark.parametrize("columns", [64, 37])
def test_columns_on_cpus(columns):
    """Across memory, with vectors that fit the rows and with some that don't."""
    groups = tiles([4, 9, 1])
    V = torch.randn(groups.n_items, columns)
    out = torch.full_like(V, float("nan"))
    _, value = kernels.group_shrink(V, groups.index, 0.7, axis=0, out=out, backend="numba")
    wanted, penalty = kernels.group_shrink(V, groups.index, 0.7, axis=0, backend="torch")
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(value, penalty)


@pytest.mark.parametrize(
    ("shape", "lists"),
    [
        ((300, 5, 4), [[0, 3], [4, 1]]),
        ((2, 40, 2100), [list(range(k, k + 4)) for k in range(0, 36, 4)]),
        ((1, 30, 3000), [list(range(30))]),
        ((1, 600, 7), [[5, 4, 3]]),
    ],
)
@pytest.mark.parametrize("l1", [0.0, 0.2])
def test_threads_change_no_bit_across_memory(monkeypatch, shape, lists, l1):
    from proxmtl.kernels.numba import group_shrink, pool

    monkeypatch.setattr(pool, "WORTH_A_THREAD", 500)
    cuts = []
    run = group_shrink.run_pieces
    monkeypatch.setattr(
        group_shrink, "run_pieces", lambda *call: cuts.append(len(call[1])) or run(*call)
    )
    groups, V = from_lists(lists, shape[1]), torch.randn(shape)
    weights, results = torch.rand(len(lists)), []
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(
                kernels.group_shrink(V, groups.index, weights, axis=1, l1=l1, backend="numba")
            )
    finally:
        torch.set_num_threads(threads)
    wanted, value = kernels.group_shrink(
        V.double(), groups.index, weights, axis=1, l1=l1, backend="torch"
    )
    assert min(cuts) > 1
    assert cuts[0] == cuts[1]
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    _, penalty = kernels.group_shrink(
        V.double(), groups.index, weights, step=0.0, axis=1, l1=l1, backend="torch"
    )
    length = shrink_roundings(groups)
    assert_same_sums(results[0][0], wanted, sizes=V.abs(), length=length)
    assert_same_sums(results[0][1].float(), value, sizes=penalty, length=length)


@pytest.mark.parametrize(
    "sizes",
    [
        [1] * 9 + [19, 2] * 40,
        [3] * 700 + [2500, 1],
        [0, 5, 41] * 60,
        [100, 3, 2500, 64, 131, 8] * 3,  # long ones: each is a loop
    ],
)
@pytest.mark.parametrize("offset", [0, 3])
def test_neighbouring_groups_on_cpus(monkeypatch, sizes, offset):
    """Vectors begin and end anywhere in groups, fibres and shares; threads change no bit."""
    from proxmtl.kernels.numba import pool

    monkeypatch.setattr(pool, "WORTH_A_THREAD", 3000)
    groups = tiles(sizes)
    V = torch.randn(21, groups.n_items)
    V[1, 5] = float("nan")
    weights = torch.rand(groups.n_groups) * 3
    memory = torch.full((V.numel() + offset + 9,), -7.0)
    out = memory[offset:-9].view(V.shape)
    _, value = kernels.group_shrink(V, groups.index, weights, out=out, backend="numba")
    wanted, _ = kernels.group_shrink(V, groups.index, weights, backend="torch")
    torch.testing.assert_close(out, wanted, equal_nan=True)
    assert value.isnan()
    assert (memory[:offset] == -7).all()
    assert (memory[-9:] == -7).all()
    V[1, 5] = 2.0
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(kernels.group_shrink(V, groups.index, weights, backend="numba"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def pieces_of_a_fibre():
    """Groups that are pieces of 9000 items, in any order, with items in none between them."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randperm(9000, generator=generator)[:301].sort().values.tolist()
    pieces = [list(range(a, b)) for a, b in itertools.pairwise(edges)]
    order = torch.randperm(300, generator=generator).tolist()
    lists = [pieces[k] for k in order[:250]]
    lists[3].reverse()
    lists.insert(5, [])
    return from_lists(lists, 9000)


@pytest.mark.parametrize("l1", [0.0, 0.3])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("shared", [True, False])
def test_pieces_of_a_fibre_in_any_order_on_cpus(l1, rows, shared):
    """Items in no group change nothing and add nothing."""
    groups = pieces_of_a_fibre()
    assert len(groups.indices) < 8000
    weights = 0.7 if shared else torch.rand(groups.n_groups) * 2
    loose = torch.ones(9000, dtype=torch.bool)
    loose[groups.indices] = False
    V = torch.randn(rows, 9000)
    V[-1, loose.nonzero()[7]] = 3e30  # its square is infinite
    seen, value = kernels.group_shrink(V, groups.index, weights, l1=l1, backend="numba")
    wanted, penalty = kernels.group_shrink(
        V.double(), groups.index, weights, l1=l1, backend="torch"
    )
    _, before = kernels.group_shrink(
        V.double(), groups.index, weights, step=0.0, l1=l1, backend="torch"
    )
    length = shrink_roundings(groups)
    assert_same_sums(seen, wanted, sizes=V.abs(), length=length)
    assert_same_sums(value.float(), penalty, sizes=before, length=length)
    assert l1 or torch.equal(seen[:, loose], V[:, loose])


@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_what_is_not_finite_in_no_group_is_not_in_the_penalty(long, axis):
    groups = from_lists([list(range(70 if long else 7)), [99]], 100)
    V = torch.ones(2, 100)
    V[0, 80], V[1, 90] = float("nan"), float("inf")
    V = V if axis else V.T.contiguous()
    seen, value = kernels.group_shrink(V, groups.index, 0.1, axis=axis, backend="numba")
    wanted, penalty = kernels.group_shrink(V, groups.index, 0.1, axis=axis, backend="torch")
    torch.testing.assert_close(seen, wanted, equal_nan=True)
    torch.testing.assert_close(value, penalty)


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
def test_huge_and_tiny_entries_keep_their_direction(backend):
    V = torch.tensor([[3e25, 4e25], [3e-25, 4e-25]], dtype=torch.float64)
    seen, _ = kernels.group_shrink(V, tiles([2]).index, 1e-25, backend=backend)
    torch.testing.assert_close(seen, torch.tensor([[3e25, 4e25], [2.4e-25, 3.2e-25]]).double())
