"""GroupIndex: checked once, never changed, and what is derived from it is made once."""

import copy
import gc
import multiprocessing
import pickle
import weakref

import pytest
import torch
from prox_cases import from_lists, strided, sums_close, tiles

from proxmtl import kernels
from proxmtl.kernels import GroupIndex, group_index

DISJOINT = {
    "tiles": tiles([5, 1, 0, 6]),
    "pieces in another order": from_lists([[7, 8], [0, 1, 2], [], [4]], 12),
    "scattered": from_lists([[3, 0], [1, 4, 11]], 12),
    "one": tiles([12]),
    "none": from_lists([], 12),
}
WINDOWS = from_lists([[0, 1, 2, 3], [2, 3, 4], [4, 5], [11]], 12)
BACKENDS = ["naive", "torch", "numba"]


@pytest.mark.parametrize(
    ("indptr", "indices", "error", "message"),
    [
        ([0, 2, 4], [0, 1, 3, 3], ValueError, "indices names item 3 twice in group 1"),
        ([0, 3, 2, 4], [0, 1, 2, 3], ValueError, "indptr decreases"),
        ([0, 2**63 - 1, -2, 2], [0, 1], ValueError, "indptr decreases"),  # differences overflow
        ([0, 2, 4], [0, 2**45, 2**45, 2**45], ValueError, f"names item {2**45} twice in group 1"),
        ([1, 4], [0, 1, 2, 3], ValueError, "indptr must start with 0"),
        (torch.arange(0), [0, 1, 2, 3], ValueError, "indptr must start with 0"),
        ([0, 2], [0, 1, 2, 3], ValueError, "indptr ends with 2 but indices has 4 entries"),
        ([0, 4], [-1, 1, 2, 3], ValueError, "indices has the negative entry -1"),
        ([[0, 4]], [0, 1, 2, 3], ValueError, "indptr has 2 dimensions"),
        ([0.0, 4.0], [0, 1, 2, 3], TypeError, "indptr has dtype torch.float32"),
        ([0, 4], [True, False, True, True], TypeError, "indices has dtype torch.bool"),
    ],
)
def test_what_describes_no_groups_raises(indptr, indices, error, message):
    with pytest.raises(error, match=message):
        GroupIndex(torch.as_tensor(indptr), torch.as_tensor(indices))


def test_lists_raise():
    with pytest.raises(TypeError, match="indptr is a list; pass an int64 tensor"):
        GroupIndex([0, 4], torch.arange(4))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
@pytest.mark.parametrize("stride", [1, 2])
def test_integers_of_any_dtype_and_stride(dtype, stride):
    bounds, members = (t.to(dtype).repeat_interleave(stride)[::stride] for t in WINDOWS.both)
    index = GroupIndex(bounds, members)
    assert (index.n_groups, index.n_members) == (4, 10)
    assert torch.equal(index.indptr, WINDOWS.indptr)
    assert torch.equal(index.indices, WINDOWS.indices)


def calls(groups, backend, axis=1):
    """Results of all operations on these groups."""
    V = torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shape = [12, 12]
    shape[axis] = 10
    x, dual = V.clone(), torch.zeros(shape, dtype=torch.float64)
    options = {"axis": axis, "backend": backend}
    swept = kernels.overlap_dual_sweep(x, dual, groups, 0.4, **options)
    smoothed = kernels.smoothed_group_grad(V, groups, 0.4, 0.5, **options)
    return x, dual, *swept, *smoothed


def shrunk(groups, backend, axis=1, l1=0.0):
    V = torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return kernels.group_shrink(V, groups, 0.4, axis=axis, l1=l1, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_pair_gives_what_its_index_gives(backend, axis):
    for groups in DISJOINT.values():
        for l1 in (0.0, 0.1):
            index = GroupIndex(*groups.both)
            wanted = shrunk(groups.both, backend, axis, l1)
            for seen in (shrunk(index, backend, axis, l1), shrunk(index, backend, axis, l1)):
                assert torch.equal(seen[0], wanted[0])
                assert seen[1] == wanted[1]
    wanted = calls(WINDOWS.both, backend, axis)
    for seen in (calls(WINDOWS.index, backend, axis), calls(WINDOWS.index, backend, axis)):
        assert all(torch.equal(s, w) for s, w in zip(seen, wanted, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("before", [False, True], ids=["unused", "used"])
def test_nothing_that_is_written_to_tensors_reaches_an_index(backend, before):
    indptr, indices = (t.clone() for t in WINDOWS.both)
    index, wanted = GroupIndex(indptr, indices), calls(WINDOWS.both, backend)
    if before:
        calls(index, backend)
    for tensor in (indptr, indices, index.indptr, index.indices):
        tensor.numpy()[...] = 0
    for array in (*index.arrays, index.sizes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert all(torch.equal(s, w) for s, w in zip(calls(index, backend), wanted, strict=True))
    assert torch.equal(index.indices, WINDOWS.indices)


def test_a_pair_that_was_written_to_is_seen():
    indptr, indices = torch.tensor([0, 2, 4]), torch.tensor([0, 1, 2, 3])
    V = torch.tensor([3.0, 4.0, 0.3, 0.4])
    first, _ = kernels.group_shrink(V, (indptr, indices), 1.0)
    indptr.numpy()[1] = 3
    second, _ = kernels.group_shrink(V, (indptr, indices), 1.0)
    wanted, _ = kernels.group_shrink(V, tiles([3, 1]).index, 1.0, backend="naive")
    torch.testing.assert_close(second, wanted)
    assert not torch.equal(first, second)


def pickled(index):
    return pickle.loads(pickle.dumps(index))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_are_the_same_groups(copied):
    index = WINDOWS.index
    calls(index, "torch")
    seen = copied(index)
    assert torch.equal(seen.indptr, index.indptr)
    assert torch.equal(seen.indices, index.indices)
    for s, w in zip(calls(seen, "torch"), calls(index, "torch"), strict=True):
        assert torch.equal(s, w)


def test_it_says_what_it_holds():
    assert repr(WINDOWS.index) == "GroupIndex(4 groups, 10 members, overlapping)"
    assert repr(DISJOINT["none"].index) == "GroupIndex(0 groups, 0 members, disjoint)"


@pytest.fixture
def checks(monkeypatch):
    """Names of the tensors that were checked."""
    seen, check = [], group_index._integers
    monkeypatch.setattr(
        group_index, "_integers", lambda tensor, name: seen.append(name) or check(tensor, name)
    )
    return seen


def test_groups_of_an_index_are_checked_once(checks):
    groups = GroupIndex(*tiles([2, 3]).both)
    V, weights = torch.randn(4, 5, requires_grad=True), torch.ones(2, requires_grad=True)
    x, value = kernels.group_shrink(V, groups, weights)
    smoothed = kernels.smoothed_group_grad(V, groups, 0.4, 0.5)
    (x.sum() + value + smoothed.value).backward()
    with torch.no_grad():
        kernels.overlap_dual_sweep(V, torch.zeros(4, 5), groups, 0.1)
    assert checks == ["indptr", "indices"]
    kernels.group_shrink(V, (groups.indptr, groups.indices), 1.0)
    assert checks == 2 * ["indptr", "indices"]


def test_what_is_derived_is_made_once_and_goes_with_the_index():
    groups, cpu = GroupIndex(*WINDOWS.both), torch.device("cpu")
    made = [*groups.on(cpu), groups.owners(12, cpu), groups.filled(12), groups.levels]
    again = [*groups.on(cpu), groups.owners(12, cpu), groups.filled(12), groups.levels]
    assert all(a is b for a, b in zip(made, again, strict=True))
    kernels.group_shrink(torch.ones(4, 12), index := GroupIndex(*DISJOINT["tiles"].both), 1.0)
    kernels.group_shrink(torch.ones(12, 4), index, 1.0, axis=0)
    alive = [weakref.ref(each) for each in (groups, index, made[3], made[4])]
    del groups, index, made, again
    gc.collect()
    assert [each() for each in alive] == [None] * 4


@pytest.mark.parametrize("l1", [0.0, 0.1])
def test_an_index_serves_any_number_of_shapes(l1):
    """More than it keeps plans of, in turns."""
    groups = DISJOINT["tiles"].index
    for _ in range(2):
        for rows in range(1, 90):
            V = torch.randn(rows, 12)
            seen, value = kernels.group_shrink(V, groups, 0.5, l1=l1, backend="numba")
            wanted, penalty = kernels.group_shrink(V, groups, 0.5, l1=l1, backend="torch")
            torch.testing.assert_close(seen, wanted)
            sums_close(value, penalty, V.dtype)
    for axis, shape in [(0, (12, 3)), (0, (12,)), (1, (2, 12, 3)), (2, (2, 3, 12)), (1, (12, 12))]:
        V = torch.randn(shape)
        for each in (V, V.double(), strided(V, "transposed")):
            seen, _ = kernels.group_shrink(each, groups, 0.5, axis=axis, l1=l1, backend="numba")
            wanted, _ = kernels.group_shrink(each, groups, 0.5, axis=axis, l1=l1, backend="torch")
            torch.testing.assert_close(seen, wanted)


@pytest.mark.parametrize("kind", ["one row", "many fibres", "fibres longer than a block"])
@pytest.mark.parametrize("each", [False, True])
def test_groups_of_several_fibres_fill_a_block(kind, each):
    rows, sizes = {
        "one row": (1, [3, 0, 17, 40]),
        "many fibres": (701, [11, 6, 4, 2]),
        "fibres longer than a block": (9, [7] * 300 + [33, 1, 19] * 40),
    }[kind]
    groups = tiles(sizes)
    V = torch.randn(rows, groups.n_items, dtype=torch.float64)
    weights = torch.rand(len(sizes), dtype=torch.float64) if each else 0.7
    seen, value = kernels.group_shrink(V, groups.index, weights, step=2.0, backend="numba")
    wanted, penalty = kernels.group_shrink(V, groups.index, weights, step=2.0, backend="torch")
    torch.testing.assert_close(seen, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(value, penalty)


def test_weights_that_were_written_to_are_looked_at_again():
    V, weights = torch.ones(2, 12), torch.ones(4)
    kernels.group_shrink(V, DISJOINT["tiles"].index, weights)
    weights[2] = -1
    with pytest.raises(ValueError, match="weights has a negative, infinite or NaN entry"):
        kernels.group_shrink(V, DISJOINT["tiles"].index, weights)


# ------------------------------------------------------------------ wherever it is first used


def spawned(groups, connection):
    """Of a process of its own: what it finds in groups that were sent to it."""
    connection.send([part.tolist() for part in (groups.indptr, groups.indices)])


def test_an_index_is_sent_to_another_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    groups = GroupIndex(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 5]))
    ours, theirs = context.Pipe()
    process = context.Process(target=spawned, args=(groups, theirs))
    process.start()
    assert ours.poll(240)
    assert ours.recv() == [[0, 2, 3], [0, 1, 5]]
    process.join()
    assert process.exitcode == 0
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pt"
        torch.save(groups, path, _use_new_zipfile_serialization=zipped)
        again = torch.load(path, weights_only=False)
        assert again.indices.tolist() == [0, 1, 5]
    again = torch.load(path, map_location="meta", weights_only=False)
    assert again.indptr.tolist() == [0, 2, 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_made_in_inference_mode_serves_training_too(backend):
    with torch.inference_mode():
        groups = GroupIndex(*WINDOWS.both)
        calls(groups, backend)
        groups.owners(12, torch.device("cpu"))
    V = torch.randn(12, 12, dtype=torch.float64, requires_grad=True)
    found = kernels.smoothed_group_grad(V, groups, 0.4, 0.5, backend=backend)
    (grad,) = torch.autograd.grad(found.value, V)
    torch.testing.assert_close(grad, found.grad)


def test_tables_lie_where_they_are_said_to_whatever_the_default_device():
    expected = calls(GroupIndex(*WINDOWS.both), "torch")
    fresh = GroupIndex(*WINDOWS.both)
    with torch.device("meta"):
        assert len(fresh.levels) == 3
        fresh.owners(12, torch.device("cpu"))
    for found, known in zip(calls(fresh, "torch"), expected, strict=True):
        assert torch.equal(found, known)


def test_far_items_take_no_memory():
    far = torch.tensor([0, 2**45, 2**63 - 1])
    groups = GroupIndex(torch.tensor([0, 1, 3]), far)
    assert groups.is_disjoint
    assert groups.n_items_needed == 2**63
    with pytest.raises(ValueError, match=f"item {2**63 - 1} but the axis"):
        kernels.group_shrink(torch.ones(4), groups, 1.0)
    assert not GroupIndex(torch.tensor([0, 1, 2]), torch.tensor([2**45, 2**45])).is_disjoint
