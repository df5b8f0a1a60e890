"""Features of any scale are solved, or refused in a sentence before the first iteration."""

import pytest
import torch
from solver_cases import PAIRS, data, targets

import proxmtl as pm
from proxmtl.designs.products import largest_curvature

SOLVERS = [
    pm.PGD,
    pm.FISTA,
    pm.MFISTA,
    pm.AdPGM,
    pm.DavisYin,
    pm.PDHG,
    pm.ProxSVRG,
    pm.ProxNewton,
    pm.SPGD,
]


def scaled(factor, dtype=torch.float32):
    X, *_ = data(dtype=dtype)
    t = targets(dtype=dtype)
    one = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), t, pm.GroupL2(PAIRS, 1.0))
    strength = 0.2 * one.critical_strength() * factor
    return pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(factor * X), t, pm.GroupL2(PAIRS, strength)
    )


@pytest.mark.parametrize("factor", [1e25, 1e-30])
@pytest.mark.parametrize("solver", SOLVERS)
def test_features_out_of_range_are_refused_in_a_sentence(solver, factor):
    seen = []
    with pytest.raises(ValueError, match=r"features: the curvature .* float32; rescale"):
        pm.minimize(scaled(factor), solver(), stop=pm.MaxIterations(5), callback=seen.append)
    assert not seen


def test_a_batch_refuses_them_too():
    problem = scaled(1e25)
    with pytest.raises(ValueError, match=r"features: the curvature .* float32; rescale"):
        pm.solve_batch([problem, problem.with_regularizers(pm.GroupL2(PAIRS, 1.0))])


@pytest.mark.parametrize("factor", [2.0**40, 2.0**-40])
@pytest.mark.parametrize("solver", [pm.FISTA, pm.AdPGM, pm.ProxNewton])
def test_features_of_a_large_range_are_solved_alike(solver, factor):
    # powers of two: nothing is rounded otherwise, so the path is the same
    ends = [
        pm.minimize(scaled(f, torch.float64), solver(), stop=pm.MaxIterations(30))
        for f in (1.0, factor)
    ]
    torch.testing.assert_close(ends[1].solution * factor, ends[0].solution, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("factor", [1e25, 1e-30])
def test_curvatures_that_float32_has_no_room_for_are_found(factor):
    X = torch.randn(200, 180, generator=torch.Generator().manual_seed(0))
    expected, _ = largest_curvature(X)
    found, _ = largest_curvature(factor * X)
    assert found == pytest.approx(expected * factor**2, rel=1e-2)


def test_curvatures_that_nothing_has_room_for_are_infinite():
    for n, d in ((200, 180), (20, 4)):
        X = torch.full((n, d), 1e200, dtype=torch.float64)
        assert largest_curvature(X)[0] == float("inf")


@pytest.mark.parametrize("batched", [False, True])
def test_labels_of_any_scale_are_solved_to_the_same_relative_gap(batched):
    X, Y, _ = data(missing=0.0)
    ends = []
    for factor in (1.0, 2.0**-30):
        t = pm.Targets.from_labels(factor * Y, coding="real", reduction="mean")
        problem = pm.Problem(pm.Squared(), pm.SharedDesign(X), t, pm.GroupL2(PAIRS, 0.01 * factor))
        stop = pm.RelativeGap(1e-8) | pm.MaxIterations(500)
        ends.append(
            pm.solve_batch([problem], stop=stop)[0] if batched else pm.minimize(problem, stop=stop)
        )
    assert ends[0].status is ends[1].status is pm.Status.CONVERGED
    assert ends[0].iterations == ends[1].iterations > 0
    torch.testing.assert_close(ends[1].solution * 2.0**30, ends[0].solution, rtol=1e-9, atol=1e-12)
