"""group_shrink: arguments that raise, results over other memory, groups that change in place."""

import pytest
import torch
from prox_cases import tiles

from proxmtl import kernels


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": -1.0}, ValueError, "weights is -1.0"),
        ({"weights": torch.tensor([1.0, float("nan")])}, ValueError, "negative, infinite or NaN"),
        ({"weights": torch.ones(3)}, ValueError, r"weights has shape \(3,\)"),
        ({"step": -1.0}, ValueError, "step is -1.0"),
        ({"l1": float("nan")}, ValueError, "l1 is nan"),
        ({"axis": 2}, ValueError, "axis is 2 but V has 2"),
        ({"axis": 0}, ValueError, "names item 3 but the axis"),
        ({"V": torch.ones(2, 4, dtype=torch.int64)}, TypeError, "V has dtype torch.int64"),
        ({"out": torch.ones(4, 2)}, ValueError, r"out has shape \(4, 2\)"),
        ({"indices": torch.tensor([0, 1, 1, 3])}, ValueError, "overlap"),
        ({"indices": torch.tensor([0, 1, 3, 3])}, ValueError, "item 3 twice in group 1"),
        ({"indptr": torch.tensor([0, 3, 2, 4])}, ValueError, "indptr decreases"),
        ({"indptr": torch.tensor([1, 4])}, ValueError, "must start with 0"),
        ({"indptr": torch.tensor([0, 2])}, ValueError, "indptr ends with 2"),
        ({"indices": torch.tensor([0.0, 1, 2, 3])}, TypeError, "indices has dtype"),
        ({"indices": torch.tensor([-1, 1, 2, 3])}, ValueError, "negative entry -1"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    arguments = {
        "V": torch.ones(2, 4),
        "indptr": torch.tensor([0, 2, 4]),
        "indices": torch.arange(4),
        "weights": 1.0,
        **change,
    }
    with pytest.raises(error, match=message):
        kernels.group_shrink(**arguments)


@pytest.mark.parametrize(
    ("V", "out", "fine"),
    [
        (slice(0, 4), slice(0, 4), True),
        (slice(0, 4), slice(4, 8), True),
        (slice(0, 8, 2), slice(1, 8, 2), True),
        (slice(0, 4), slice(1, 5), False),
        (slice(0, 4), slice(0, 8, 2), False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_go_beside_the_input_or_into_it(V, out, fine, dtype):
    base, groups = torch.randn(3, 8).to(dtype), tiles([1, 3]).both
    V, out = base[:, V], base[:, out]
    wanted, _ = kernels.group_shrink(V.clone(), *groups, 0.5)
    if fine:
        assert torch.equal(kernels.group_shrink(V, *groups, 0.5, out=out)[0], wanted)
        return
    with pytest.raises(ValueError, match="out overlaps the memory of V"):
        kernels.group_shrink(V, *groups, 0.5, out=out)


def test_groups_changed_in_place_are_seen():
    indptr, indices = torch.tensor([0, 2, 4]), torch.tensor([0, 1, 2, 3])
    V = torch.tensor([3.0, 4.0, 0.3, 0.4])
    first, _ = kernels.group_shrink(V, indptr, indices, 1.0)
    indptr[1] = 3
    second, _ = kernels.group_shrink(V, indptr, indices, 1.0)
    fresh, _ = kernels.group_shrink(V, indptr.clone(), indices.clone(), 1.0)
    assert torch.equal(second, fresh)
    assert not torch.equal(first, second)
