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
        ({"axis": 0}, ValueError, "groups names item 3 but the axis"),
        ({"V": torch.ones(2, 4, dtype=torch.int64)}, TypeError, "V has dtype torch.int64"),
        ({"out": torch.ones(4, 2)}, ValueError, r"out has shape \(4, 2\)"),
        ({"groups": (torch.tensor([0, 2, 4]), torch.tensor([0, 1, 1, 3]))}, ValueError, "overlap"),
        ({"groups": (torch.tensor([0, 2]), torch.arange(4))}, ValueError, "indptr ends with 2"),
        ({"groups": (torch.tensor([0, 4]),)}, TypeError, "groups is of 1; pass a GroupIndex"),
        ({"groups": [[0, 1], [2], [3]]}, TypeError, "groups is of 3; pass a GroupIndex"),
        ({"groups": torch.ones(2, 4)}, TypeError, "groups is Tensor; pass a GroupIndex"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    arguments = {
        "V": torch.ones(2, 4),
        "groups": (torch.tensor([0, 2, 4]), torch.arange(4)),
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
    base, groups = torch.randn(3, 8).to(dtype), tiles([1, 3]).index
    V, out = base[:, V], base[:, out]
    wanted, _ = kernels.group_shrink(V.clone(), groups, 0.5)
    if fine:
        assert torch.equal(kernels.group_shrink(V, groups, 0.5, out=out)[0], wanted)
        return
    with pytest.raises(ValueError, match="out overlaps the memory of V"):
        kernels.group_shrink(V, groups, 0.5, out=out)
