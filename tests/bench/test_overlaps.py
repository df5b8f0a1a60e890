"""The problems of bench/scale/overlaps.py at a small size: the solvers agree."""

import pytest

import proxmtl as pm
from bench.scale import overlaps


@pytest.mark.parametrize("what", ["features", "tasks"])
def test_both_solvers_agree_at_a_small_size(what):
    posed = overlaps.problem(what, 60, 0.5, items=200)
    stop = pm.RelativeGap(1e-4) | pm.MaxIterations(5000)
    found = [pm.minimize(posed, kind(), stop=stop) for kind in overlaps.SOLVERS.values()]
    assert all(result.status.ok for result in found)
    assert abs(found[0].objective - found[1].objective) <= found[0].gap + found[1].gap
    zeros = [float((result.solution == 0).double().mean()) for result in found]
    assert all(0.3 < share < 1 for share in zeros)
