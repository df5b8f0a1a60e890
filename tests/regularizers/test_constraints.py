"""Constraints in sums, in float32, without strength; what is free and what is not."""

import math

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.regularizers import Bounded, Conjugate, Masked, Scaled, Separable, Shifted, Sum, add

M = 5
PAIR = pm.Groups.from_lists([[0, 1]], M)


def problem(*terms, dtype=torch.float64, seed=2):
    X, Y = classification(40, 6, M, seed=seed, shift=0.2)
    return pm.Problem(
        pm.Logistic(), pm.SharedDesign(X.to(dtype)), pm.Targets.from_labels(Y.to(dtype)), terms
    )


@pytest.mark.parametrize(
    "terms",
    [
        (pm.L1(0.3), pm.NonNegative(), pm.Nuclear(0.5)),
        (pm.Nuclear(0.5), Bounded(pm.L1(0.3), pm.NonNegative())),
        (pm.L1(0.1), Separable(((range(M), Bounded(pm.L1(0.2), pm.Box(-0.1, 0.2))),))),
        (
            pm.Nuclear(0.2),
            Masked(Bounded(pm.L1(0.2), pm.Box(-0.1, 0.2)).inner, torch.ones(M) > 0),
            pm.Box(-1, 1),
        ),
    ],
)
def test_sums_with_a_constraint_end_inside_it(terms):
    result = pm.minimize(problem(*terms), stop=pm.RelativeKKT(1e-6) | pm.MaxIterations(3000))
    assert result.status is pm.Status.CONVERGED
    assert math.isfinite(result.certificate.objective)
    assert result.certificate.kkt_kind == "fixed point"
    assert all(math.isfinite(record["objective"]) for record in result.history)


def test_splitting_agrees_and_refuses_a_second_set():
    terms = (pm.L1(0.3), pm.NonNegative(), pm.Nuclear(0.5))
    stop = pm.RelativeKKT(1e-7) | pm.MaxIterations(5000)
    whole, split = (pm.minimize(problem(*terms), solver, stop=stop) for solver in (None, pm.PDHG()))
    assert split.certificate.objective == pytest.approx(whole.certificate.objective, rel=1e-6)
    with pytest.raises(pm.UnsupportedError, match="infinite outside a set each"):
        problem(Bounded(pm.GroupL2(PAIR, 0.2), pm.NonNegative()), Conjugate(pm.L1(1.0)))


@pytest.mark.parametrize(
    "terms",
    [
        (pm.Box(-0.1, 0.1),),
        (pm.L1(0.2), pm.Box(-0.1, 0.1)),
        (pm.Nuclear(0.3), pm.Box(-0.1, 0.1)),
        (Conjugate(pm.L1(0.1)),),
        (pm.Nuclear(3.0),),
        (pm.Box(-0.1, 0.3), pm.SquaredFrobenius(0.2)),
    ],
)
def test_float32_is_certified_like_float64(terms):
    stop = pm.RelativeKKT(2e-5) | pm.MaxIterations(500)
    ends = [
        pm.minimize(problem(*terms, dtype=dtype), stop=stop)
        for dtype in (torch.float32, torch.float64)
    ]
    assert all(end.status is pm.Status.CONVERGED for end in ends)
    single, double = (end.certificate for end in ends)
    assert single.objective == pytest.approx(double.objective, rel=1e-5)
    assert single.solved_in == "float32"
    if double.gap is not None:
        assert math.isfinite(single.gap)


def test_constraints_are_changed_by_their_bounds():
    for wrapped in (
        lambda: Shifted(pm.Box(-1, 1), torch.zeros(M)),
        lambda: Scaled(pm.NonNegative(), 2.0),
    ):
        with pytest.raises(ValueError, match="change the bounds themselves"):
            wrapped()


def test_points_well_outside_are_not_moved_inside():
    outside = torch.full((6, M), 0.1001)
    assert (
        problem(pm.Box(-0.1, 0.1), dtype=torch.float32).certificate(outside).objective == math.inf
    )


def test_constraints_project_without_step_and_strength():
    W = torch.tensor([[-1.0, 0.5]]).double()
    for r in (
        pm.NonNegative(),
        Bounded(pm.L1(1.0), pm.NonNegative()),
        Sum((pm.Nuclear(1.0), pm.NonNegative())),
    ):
        for out, value in (r.prox(W, 0.0), r.with_strength(0.0).prox(W, 1.0)):
            assert out.tolist() == [[0.0, 0.5]]
            assert math.isfinite(float(value))
        assert float(r.with_strength(0.0).value(W)) == math.inf


def test_penalties_of_single_entries_are_clipped_to_any_box():
    weights = torch.tensor([1.0, 0.0, 2.0])
    both = Bounded(pm.WeightedFrobenius(weights, 0.5), pm.Box(-0.2, 0.3))
    v = torch.tensor([[2.0, 2.0, 0.4], [-2.0, -0.1, -4.0]], dtype=torch.float64)
    expected = torch.tensor([[0.3, 0.3, 0.4 / 3], [-0.2, -0.1, -0.2]], dtype=torch.float64)
    torch.testing.assert_close(both.prox(v, 1.0)[0], expected)
    with pytest.raises(TypeError):
        pm.NonNegative(low=-1.0)  # a box of other bounds is a Box


def test_what_is_free_is_not_called_penalised():
    free = pm.SquaredGroupL2(PAIR, 1.0)
    assert not free.is_coercive(torch.zeros(1, 3))
    assert not problem(free).has_gap
    assert problem(pm.SquaredGroupL2(pm.Groups.single(M), 1.0)).has_gap
    assert problem(Separable(((range(M), pm.L1(0.5)),))).has_gap
    assert not problem(Separable(((range(3), pm.L1(0.5)),))).has_gap
    assert not problem(Masked(pm.L1(1.0), torch.arange(M) > 0)).has_gap
    assert not problem(pm.GroupL2(PAIR, 1.0), pm.SquaredFrobenius(1.0)).smoothed(0.1).has_gap


def test_weights_of_any_kind_add_exactly():
    a = pm.WeightedL1(torch.tensor([1, 2, 3]), 1.0)
    b = pm.WeightedL1(torch.tensor([0.5, 0.5, 0.5]), 1.0)
    W = torch.ones(2, 3)
    both = add([a, b])
    assert float(both.value(W)) == float(a.value(W)) + float(b.value(W)) == 15.0
    assert float(a.dual_norm(torch.tensor([0.25, 0.5, 3.0]))) == 1.0


def test_rows_sum_with_an_l1_norm_in_one_prox():
    p = problem(pm.L1(0.3), pm.L21(0.4))
    assert isinstance(p.regularizer, pm.SparseGroupL2)
    assert p.terms == (pm.L1(0.3), pm.L21(0.4))
    groups = pm.Groups.single(M)
    assert add([pm.GroupL2(groups, 0.1), pm.GroupL2(groups, 0.3)]).strength == pytest.approx(0.4)


def test_other_penalties_replace_smoothed_ones_too():
    smooth = problem(pm.GroupL2(PAIR, 0.5)).smoothed(0.1)
    assert len(smooth.smooth_terms) == 1
    assert smooth.with_regularizers(pm.L1(0.1)).smooth_terms == ()


def test_critical_strengths_of_made_up_penalties():
    g = torch.tensor([[0.5, -2.0, 1.0, 0.2, 3.0]]).double()
    blocks = Separable((((0, 1), pm.L1(1.0)), ((2, 3, 4), pm.L1(2.0))))
    assert blocks.critical_strength(g) == pytest.approx(2.0)
    masked = Masked(pm.ElasticNet(1.0, 0.5), torch.ones(5, dtype=torch.bool))
    assert masked.critical_strength(g) == pm.ElasticNet(1.0, 0.5).critical_strength(g)
    assert masked.conjugate(g) == pm.ElasticNet(1.0, 0.5).conjugate(g)
    bounded = Bounded(pm.L1(1.0), pm.Box(-1.0, 0.0))
    assert bounded.critical_strength(g) == 3.0  # only a positive gradient pulls below zero
    assert Bounded(pm.L1(1.0), pm.NonNegative()).critical_strength(g) == 2.0
    with pytest.raises(pm.UnsupportedError, match="critical_strength: none is known for Sum"):
        problem(pm.Nuclear(0.1), pm.NonNegative()).critical_strength()


def test_the_maximum_norm_of_nothing_is_zero():
    assert float(pm.LInf(1.0, axis=-1).value(torch.zeros(3, 0))) == 0.0
