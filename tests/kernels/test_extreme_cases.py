"""Every backend on the parameters of the table of extremes."""

import pytest
from extreme_kernels import NAIVE, OPERATIONS, RIGHT, cases, outcome
from prox_cases import BACKENDS

from proxmtl import kernels

RUNS = [
    (operation, name, backend)
    for operation in OPERATIONS
    for name, case in cases().items()
    for backend in (NAIVE, *BACKENDS)
    # loops over 10^5 rows take seconds, and so does the total variation in torch
    if case.of is None or backend not in (NAIVE, "torch" if operation == "chain_prox" else "")
]


@pytest.mark.parametrize(("operation", "name", "backend"), RUNS)
def test_extremes(operation, name, backend):
    case = cases()[name]
    seen = outcome(operation, case, backend)
    assert case.expects(seen), seen


def test_the_judge_tells_wrong_answers(monkeypatch):
    case = cases()["1e160"]
    assert outcome("group_shrink", case, "torch") == RIGHT
    shrink = kernels.group_shrink
    for factor in (1 + 1e-12, float("nan"), float("inf")):
        monkeypatch.setattr(
            kernels,
            "group_shrink",
            lambda *args, c=factor, **options: (c * shrink(*args, **options)[0], 0.0),
        )
        seen = outcome("group_shrink", case, "torch")
        assert seen.startswith("wrong: result 0")
        assert not case.expects(seen)
