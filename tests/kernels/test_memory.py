"""Where results may go: into an input itself, or apart from all that is read."""

import numpy as np
import pytest
import torch

from proxmtl import kernels
from proxmtl.kernels.memory import checked_apart

GROUPS = kernels.GroupIndex(torch.tensor([0, 2, 5]), torch.arange(5))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("out", lambda out, w: kernels.soft_threshold(out.clone(), w, out=out)),
        ("out", lambda out, w: kernels.soft_threshold(out, w, out=out)),
        ("out", lambda out, w: kernels.group_shrink(out, GROUPS, w[:2], out=out)),
        ("out", lambda out, w: kernels.smoothed_group_grad(out, GROUPS, w[:2], 1.0, out=out)),
        ("X", lambda X, w: kernels.overlap_dual_sweep(X, X.clone(), GROUPS, w[:2])),
        ("dual", lambda xi, w: kernels.overlap_dual_sweep(xi.clone(), xi, GROUPS, w[:2])),
    ],
)
def test_weights_lie_apart_from_what_is_written(name, call):
    base = torch.rand(3, 5)
    with pytest.raises(ValueError, match=f"^{name} overlaps the memory of weights"):
        call(base, base[0])
    call(base[:2], base[2])


def test_what_is_empty_overlaps_nothing():
    whole = torch.zeros(4)
    for pair in ((whole[2:2], whole), (whole, whole[2:2])):
        checked_apart(pair[0], "out", pair[1], "V")
    with pytest.raises(ValueError, match="out overlaps the memory of V"):
        checked_apart(whole[1:2], "out", whole, "V")


def test_two_storages_over_one_array():
    array = np.arange(100.0)
    V, out = torch.from_numpy(array[:90]), torch.from_numpy(array[5:95])
    with pytest.raises(ValueError, match="out overlaps the memory of V"):
        kernels.soft_threshold(V, 0.1, out=out)
    first, second = torch.from_numpy(array[:90:2]), torch.from_numpy(array[1:91:2])
    kernels.soft_threshold(first, 0.1, out=second)


@pytest.mark.parametrize("backend", ["naive", "torch", "numba"])
def test_strides_of_single_entries_do_not_count(backend):
    X = torch.randn(1, 8)
    wanted, _ = kernels.soft_threshold(X, 0.1, backend="naive")
    kernels.soft_threshold(X.t(), 0.1, out=X.view(8, 1), backend=backend)
    torch.testing.assert_close(X, wanted)
