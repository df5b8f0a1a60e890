"""PDHG on overlapping groups: copies of the items, certificates by the dual, exact zeros."""

import numpy as np
import pytest
import torch

import proxmtl as pm
from proxmtl.regularizers.splitting import Memberships
from proxmtl.solvers.choice import choose
from proxmtl.solvers.pdhg import PDHGState

ITEMS, SLICES = 40, 3


def groups():
    rng = np.random.default_rng(4)
    lists = [rng.choice(ITEMS, 5, replace=False).tolist() for _ in range(30)]
    lists += rng.permutation(ITEMS).reshape(-1, 4).tolist()  # each item is in one
    return pm.Groups.from_lists(lists, ITEMS, weights=rng.uniform(0.5, 2.0, len(lists)).tolist())


def problem(strength=1.5, *, axis=0, dtype=torch.float64, intercept=True, ridge=()):
    g = torch.Generator().manual_seed(0)
    D, M = (ITEMS, SLICES) if axis == 0 else (SLICES, ITEMS)
    X = torch.randn(60, D, generator=g, dtype=torch.float64)
    scores = X @ torch.randn(D, M, generator=g, dtype=torch.float64)
    Y = torch.where(scores + torch.randn(60, M, generator=g, dtype=torch.float64) > 0, 1.0, -1.0)
    penalty = pm.OverlappingGroupL2(groups(), strength, axis=axis)
    return pm.Problem.of(
        X.to(dtype), Y, [penalty, *ridge], fit_intercept=intercept, reduction="sum"
    )


CASES = {
    "features": {},
    "tasks": {"axis": -1, "strength": 14.0},
    "no intercept": {"intercept": False},
    "ridge": {"ridge": (pm.SquaredFrobenius(0.3),)},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_agrees_with_the_exact_prox(options):
    posed = problem(**options)
    stop = pm.RelativeGap(1e-7) | pm.MaxIterations(20_000)
    exact, split = (pm.minimize(posed, solver, stop=stop) for solver in (pm.FISTA(), pm.PDHG()))
    assert split.status.ok
    assert abs(split.objective - exact.objective) <= split.gap + exact.gap
    zeros = exact.solution == 0
    assert 0 < int(zeros.sum()) < zeros.numel()
    # those of a group whose dual vector stays on its sphere are zero in the limit only
    found = split.solution == 0
    assert not bool((found & ~zeros).any())
    assert int(found.sum()) >= 0.9 * int(zeros.sum())
    assert float(split.solution[zeros].abs().max()) <= 1e-3 * float(exact.solution.abs().max())


def test_float32_converges_with_exact_zeros():
    result = pm.minimize(
        problem(dtype=torch.float32), pm.PDHG(), stop=pm.RelativeGap(1e-4) | pm.MaxIterations(5000)
    )
    assert result.status.ok
    assert int((result.solution == 0).sum()) > 0


@pytest.mark.parametrize("iterations", [1, 10, 100])
@pytest.mark.parametrize("ridge", [(), (pm.SquaredFrobenius(0.3),)])
def test_gap_and_residual_are_upper_bounds_of_those_of_the_norm_itself(iterations, ridge):
    posed = problem(ridge=ridge)
    result = pm.minimize(posed, pm.PDHG(), stop=pm.MaxIterations(iterations))
    lowest = pm.minimize(posed, pm.FISTA(), stop=pm.RelativeGap(1e-10) | pm.MaxIterations(5000))
    alone = posed.certificate(result.solution)
    known = result.certificate
    assert known.objective == alone.objective
    assert known.gap >= known.objective - lowest.objective - lowest.gap
    # the residual is the least one, by duals that are known to the root of the prox's gap
    assert known.kkt >= alone.kkt * (1 - 1e-6)


def test_the_dual_norm_by_any_decomposition_is_an_upper_bound():
    norm = pm.OverlappingGroupL2(groups(), 1.3, axis=0)
    g = torch.Generator().manual_seed(1)
    U = torch.randn(ITEMS, SLICES, generator=g, dtype=torch.float64)
    split = norm.splitting
    some = 0.1 * torch.randn(split.forward(U).shape, generator=g, dtype=torch.float64)
    assert split.certified_by(some).dual_norm(U) >= norm.dual_norm(U) * (1 - 1e-6)


def test_the_image_has_the_value_of_the_norm_and_its_transpose():
    norm = pm.OverlappingGroupL2(groups(), 1.3, axis=0)
    g = torch.Generator().manual_seed(1)
    W = torch.randn(ITEMS, SLICES, generator=g, dtype=torch.float64)
    split = norm.splitting
    image = split.forward(W)
    torch.testing.assert_close(split.inner.value(image), norm.value(W))
    Z = torch.randn(image.shape, generator=g, dtype=torch.float64)
    inner = (split.transposed(Z, W) * W).sum()
    torch.testing.assert_close((Z * image).sum(), inner)
    assert image.square().sum() <= split.squared_operator_norm(W) * W.square().sum()


def test_a_tree_keeps_its_prox():
    tree = pm.Groups.from_lists([[0, 1, 2, 3], [0, 1], [3]], 4)
    assert pm.OverlappingGroupL2(tree, 1.0).splitting is None
    assert isinstance(pm.OverlappingGroupL2(groups(), 1.0).splitting, Memberships)


def test_zeros_that_raise_the_objective_are_not_taken():
    posed = problem(strength=1e-3)  # no group is zero, but all dual vectors start inside
    result = pm.minimize(posed, pm.PDHG(), stop=pm.MaxIterations(3))
    assert not bool((result.solution[:-1] == 0).any())


def test_dual_vectors_outside_their_balls_certify_no_less():
    g = torch.Generator().manual_seed(1)
    norm = pm.OverlappingGroupL2(groups(), 1e-4, axis=0)
    U = torch.randn(ITEMS, SLICES, generator=g, dtype=torch.float64)
    W = torch.randn(ITEMS, SLICES, generator=g, dtype=torch.float64)
    split = norm.splitting
    at_sphere = split.inner.prox(split.forward(W), 1e-9)[0] - split.forward(W)
    outside = split.certified_by(-3e9 * at_sphere)  # three times the radius
    assert outside.ridged_conjugate(U, 0.3) >= norm.ridged_conjugate(U, 0.3) * (1 - 1e-9)
    assert bool(
        (
            norm.layout.member_norms(outside.shares)
            <= 1e-4 * norm.groups.by_size.weights * (1 + 1e-12)
        ).all()
    )


def test_a_float32_run_with_a_weak_penalty_and_a_ridge_has_a_valid_gap():
    ridge = (pm.SquaredFrobenius(0.3),)
    narrow = problem(strength=1e-4, dtype=torch.float32, ridge=ridge)
    result = pm.minimize(narrow, pm.PDHG(), stop=pm.MaxIterations(300))
    lowest = pm.minimize(
        problem(strength=1e-4, ridge=ridge),
        pm.FISTA(),
        stop=pm.RelativeGap(1e-12) | pm.MaxIterations(3000),
    )
    # features are float32 numbers in one problem alone: objectives agree to their rounding
    slack = 1e-6 * lowest.objective
    assert result.gap >= result.objective - lowest.objective - slack


def test_a_state_of_other_groups_is_not_resumed():
    state = pm.minimize(problem(), pm.PDHG(), stop=pm.MaxIterations(4)).state
    fewer = pm.Groups.from_lists([range(k, k + 6) for k in range(0, 35, 3)], ITEMS)
    other = problem().with_regularizers(pm.OverlappingGroupL2(fewer, 1.5, axis=0))
    with pytest.raises(ValueError, match="dual variable has shape"):
        pm.minimize(other, pm.PDHG(), stop=pm.MaxIterations(6), state=state)


def test_a_saved_run_goes_on_bit_by_bit():
    whole = pm.minimize(problem(), pm.PDHG(), stop=pm.MaxIterations(24))
    half = pm.minimize(problem(), pm.PDHG(), stop=pm.MaxIterations(9))
    saved = PDHGState.from_state_dict(half.state.state_dict())
    resumed = pm.minimize(problem(), pm.PDHG(), stop=pm.MaxIterations(24), state=saved)
    assert torch.equal(resumed.solution, whole.solution)


def test_auto_takes_the_copies_where_there_are_many():
    rng = np.random.default_rng(0)
    lists = [rng.choice(3000, 10, replace=False).tolist() for _ in range(5500)]
    many = pm.Groups.from_lists(lists, 3000)
    X = rng.normal(size=(20, 3000))

    def chosen(groups, *more):
        penalties = [pm.OverlappingGroupL2(groups, 1.0, axis=0), *more]
        posed = pm.Problem.of(X, np.where(X[:, :1] > 0, 1, -1), penalties)
        return type(choose(posed).solver)

    few = pm.Groups.from_lists(lists[:1500], 3000)
    ridge = pm.SquaredFrobenius(0.1)
    assert chosen(many) is chosen(many, ridge) is pm.PDHG
    assert chosen(few) is pm.FISTA  # exact proxes take as long
    assert chosen(many, pm.L1(1.0)) is not pm.PDHG  # certificates would take the prox
