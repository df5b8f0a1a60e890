"""The joint problem: gradients, prox, certificate, invariances, rebalancing, refusals."""

import math

import pytest
import torch
from oracles import finite_difference
from solver_cases import CHAIN, M, data, latent, latent_start, targets
from strategies import classification

import proxmtl as pm
from proxmtl.latent import Alternating, rebalance
from proxmtl.latent.refactor import refactor
from proxmtl.solvers import run
from proxmtl.targets import Targets

with_and_without = pytest.mark.parametrize("intercept", [False, True])
with_own_parts_or_not = pytest.mark.parametrize("own", [None, 0.4], ids=["shared", "own"])
each_family = pytest.mark.parametrize(
    "groups", [pm.Groups.singletons(M), CHAIN], ids=["one", "chain"]
)
STRENGTHS = [(0.6, 0.2, 0.1), (0.6, 0.0, 0.1), (0.6, 0.2, 0.0)]
each_strength = pytest.mark.parametrize("strengths", STRENGTHS, ids=["both", "ridge", "l1"])


@with_own_parts_or_not
@with_and_without
def test_gradients_are_those_of_finite_differences(intercept, own):
    problem = latent(intercept=intercept, own=own)
    blocks = latent_start(problem)
    value, grads = problem.smooth_value_and_grads(blocks)
    assert value == pytest.approx(problem.smooth_value(blocks), rel=1e-13)
    for j, gradient in enumerate(grads):

        def along(block, j=j):
            return problem.smooth_value((*blocks[:j], block, *blocks[j + 1 :]))

        expected = finite_difference(along, blocks[j])
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


@each_family
@each_strength
@with_own_parts_or_not
def test_objective_is_the_formula(groups, strengths, own):
    problem = latent(groups=groups, strengths=strengths, own=own)
    blocks = latent_start(problem)
    L, S, b = blocks[:3]
    V = torch.zeros(1) if own is None else blocks[3]
    X, Y, weight = data()
    mu, gamma, ridge = strengths
    margins = torch.nan_to_num(Y) * (X @ (L @ S + V) + b)
    loss = (weight[:, None] * (1 - margins).clamp_min(0).square() / 2)[~torch.isnan(Y)].sum()
    norm = sum(
        float(w) * float(row[groups.members(g)].norm())
        for row in S
        for g, w in enumerate(groups.weights)
    )
    expected = float(loss) + mu * norm + gamma * float(L.abs().sum()) + ridge * float(L.norm()) ** 2
    expected += (own or 0) * float(V.square().sum())
    assert problem.objective(blocks) == pytest.approx(expected, rel=1e-12)


@with_and_without
@each_strength
@with_own_parts_or_not
def test_prox_of_the_blocks_is_the_prox_of_each(intercept, strengths, own):
    problem = latent(intercept=intercept, strengths=strengths, own=own)
    blocks = latent_start(problem)
    steps = (0.3, 0.05, 0.7, 0.2)[: len(blocks)]
    new, value = problem.prox(blocks, steps)
    assert value == pytest.approx(problem.penalty(new), rel=1e-12)

    def model(j, x):
        swapped = (*new[:j], x, *new[j + 1 :])
        return float((x - blocks[j]).square().sum()) / (2 * steps[j]) + problem.penalty(swapped)

    generator = torch.Generator().manual_seed(0)
    for j in range(len(blocks)):
        for k in range(1, 6):
            noise = torch.randn(new[j].shape, generator=generator, dtype=torch.float64)
            assert model(j, new[j]) <= model(j, new[j] + 10.0**-k * noise) + 1e-12
    if intercept:
        assert torch.equal(new[2], blocks[2])


@with_and_without
@with_own_parts_or_not
def test_curvatures_bound_the_gradient_of_each_block(intercept, own):
    problem = latent(intercept=intercept, own=own)
    blocks = latent_start(problem)
    bounds = problem.curvatures(blocks)
    assert len(bounds) == len(blocks)
    base = problem.smooth_value_and_grads(blocks)[1]
    for seed in range(5):
        other = latent_start(problem, seed=seed)
        for moved in problem.sweep:  # as PALM moves them
            point = tuple(other[j] if j in moved else x for j, x in enumerate(blocks))
            value, _ = problem.smooth_value_and_grads(point)
            model = problem.smooth_value(blocks) + sum(
                float((base[j] * (point[j] - blocks[j])).sum())
                + float((bounds[j] / 2 * (point[j] - blocks[j]).square()).sum())
                for j in moved
            )
            assert value <= model * (1 + 1e-12)


@each_family
@with_and_without
def test_certificate_holds_the_figures_of_the_convex_blocks(groups, intercept):
    problem = latent(groups=groups, intercept=intercept)
    blocks = latent_start(problem)
    L, S = blocks[:2]
    c = problem.certificate(blocks)
    assert c.gap is None  # nothing bounds the distance to a global minimum
    assert c.objective == pytest.approx(problem.objective(blocks), rel=1e-12)
    in_s = problem.s_problem(L)
    of_s = in_s.certificate(in_s.design.join(S, blocks[2] if intercept else None))
    of_l = problem.l_problem(S, blocks[2] if intercept else None).certificate(L)
    assert c.blocks["S"] == pytest.approx(of_s.blocks["W"], rel=1e-9)
    assert c.blocks["L"] == pytest.approx(of_l.blocks["W"], rel=1e-9)
    assert c.block_gaps["S"] == pytest.approx(of_s.gap, rel=1e-9)
    assert c.block_gaps["L"] == pytest.approx(of_l.gap, rel=1e-9)
    assert c.kkt == pytest.approx(math.hypot(*c.blocks.values()))
    cached = problem.s_problem(L, cached=True)
    again = cached.certificate(cached.design.join(S, blocks[2] if intercept else None))
    assert again.gap == pytest.approx(of_s.gap, rel=1e-9)


@with_and_without
@pytest.mark.parametrize("fitted", [False, True])
def test_gaps_bound_what_each_block_alone_can_gain(intercept, fitted):
    problem = latent(intercept=intercept, own=0.4)
    blocks = latent_start(problem, scale=0.2)
    if fitted:
        stop = pm.RelativeKKT(1e-7) | pm.MaxIterations(5000)
        blocks = run(problem, pm.PANOC(), blocks, stop).solution
    certificate = problem.certificate(blocks)
    assert certificate.objective == pytest.approx(problem.objective(blocks), rel=1e-12)
    for name, gap in certificate.block_gaps.items():
        held = ("intercept",) if name == "L" else ()
        moved = tuple(
            j
            for j, other in enumerate(problem.block_names)
            if other == name or (other == "intercept" and other not in held)
        )
        alone = pm.PALM(order=(moved,))
        lowest = run(problem, alone, blocks, pm.MaxIterations(3000), null=False).objective
        gain = certificate.objective - lowest
        assert -1e-9 <= gain <= gap + 1e-9
        assert gap <= (1e-6 if fitted else math.inf)
    assert set(certificate.block_gaps) == {"L", "S", "own"}


def test_own_parts_of_their_own_are_ridge_classifiers():
    problem = latent(own=0.4)
    L, S, *_ = latent_start(problem)
    X, *_ = data()
    alone = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X, intercept=True), targets(), problem.own
    )
    best = pm.minimize(alone, stop=pm.RelativeGap(1e-12) | pm.MaxIterations(5000))
    V, b = alone.design.split(best.solution)
    found = problem.certificate((0 * L, 0 * S, b, V))
    assert found.objective == pytest.approx(best.objective, rel=1e-12)
    assert found.scales["own"] == pytest.approx(alone.residual_scales["W"])
    assert found.blocks["own"] <= 1e-5 * found.scales["own"]
    assert found.block_gaps["own"] <= 1e-9 * best.objective


def test_the_blocks_of_the_paper_leave_no_own_part_out():
    problem = latent(own=0.4)
    L, S, b, V = latent_start(problem)
    for pose in (lambda: problem.s_problem(L), lambda: problem.l_problem(S, b)):
        with pytest.raises(pm.UnsupportedError, match="own_strength"):
            pose()
    with pytest.raises(pm.UnsupportedError, match="own_strength"):
        run(problem, Alternating(), (L, S, b, V), pm.MaxIterations(1))
    for blocks, match in (
        ((L, S, b), r"3 blocks.*L, S, intercept, own"),
        ((L, S, b, V[:, :-1]), "own has shape"),
        ((L, S, b[:-1], V), "intercept has shape"),
        ((L, S, b, V / 0), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=match):
            problem.check_point(blocks)


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_only_two_combinations_of_the_strengths_matter(factor):
    mu, gamma, ridge = 0.6, 0.2, 0.1
    one = latent(strengths=(mu, gamma, ridge))
    other = latent(strengths=(factor * mu, gamma / factor, ridge / factor**2))
    L, S, b = latent_start(one)
    assert other.objective((factor * L, S / factor, b)) == pytest.approx(
        one.objective((L, S, b)), rel=1e-12
    )


@each_family
@each_strength
def test_rebalancing_keeps_w_and_never_raises_the_objective(groups, strengths):
    problem = latent(groups=groups, strengths=strengths)
    for seed in range(8):
        L, S, b = latent_start(problem, seed=seed, scale=10.0 ** (seed - 4))
        new_L, new_S = rebalance(problem, L, S)
        torch.testing.assert_close(new_L @ new_S, L @ S, rtol=1e-10, atol=0)
        assert problem.objective((new_L, new_S, b)) <= problem.objective((L, S, b)) * (1 + 1e-12)
        _, gamma, ridge = strengths
        for k in range(L.shape[1]):
            left = gamma * new_L[:, k].abs().sum() + 2 * ridge * new_L[:, k].square().sum()
            right = problem.group_norm.value(new_S[k : k + 1])
            assert float(left) == pytest.approx(float(right), rel=1e-9)
        twice = rebalance(problem, new_L, new_S)
        torch.testing.assert_close(twice[0], new_L, rtol=1e-9, atol=0)


def test_rebalancing_removes_half_dead_latents():
    problem = latent()
    L, S, _ = latent_start(problem)
    L[:, 0], S[1] = 0, 0
    new_L, new_S = rebalance(problem, L, S)
    assert not bool(new_L[:, :2].any() or new_S[:2].any())
    torch.testing.assert_close(new_L @ new_S, L @ S)
    assert bool(torch.isfinite(new_L).all() and torch.isfinite(new_S).all())


@each_family
def test_refactoring_keeps_w_and_never_raises_the_penalty(groups):
    problem = latent(groups=groups)
    for seed in range(3):
        L, S, b = latent_start(problem, seed=seed)
        new_L, new_S = refactor(problem, L, S)
        torch.testing.assert_close(new_L @ new_S, L @ S, rtol=1e-8, atol=1e-8)
        balanced = problem.penalty((*rebalance(problem, L, S), b))
        assert problem.penalty((new_L, new_S, b)) <= balanced * (1 + 1e-12)


@with_and_without
def test_factors_balance_at_a_stationary_point(intercept):
    problem = latent(intercept=intercept)
    result = run(problem, pm.PANOC(), latent_start(problem), pm.MaxIterations(1500))
    assert result.certificate.relative_kkt < 1e-5
    L, S = result.solution[:2]
    assert bool((L != 0).any())
    for k in range(L.shape[1]):
        left = 0.2 * float(L[:, k].abs().sum()) + 0.2 * float(L[:, k].square().sum())
        right = float(problem.group_norm.value(S[k : k + 1]))
        assert left == pytest.approx(right, rel=1e-3, abs=1e-3)
    assert max(result.certificate.block_gaps.values()) < 1e-4


def test_zero_is_a_strict_local_minimum():
    problem = latent()
    L, S, b = latent_start(problem)
    biased = run(problem, pm.PALM(order=((1, 2), (0,))), (0 * L, 0 * S, b), pm.MaxIterations(300))
    at_zero = biased.certificate
    assert at_zero.relative_kkt < 1e-6
    for seed in range(5):
        L, S, _ = latent_start(problem, seed=seed, scale=1e-4)
        assert problem.objective((L, S, biased.solution[2])) > at_zero.objective


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ((0.0, 0.2, 0.1), "group_strength: got 0.0; it must be > 0"),
        ((0.6, 0.0, 0.0), "l1_strength, frobenius_strength: got 0.0 and 0.0; one must be > 0"),
    ],
)
def test_problems_without_a_minimum_are_refused(strengths, message):
    with pytest.raises(ValueError, match=message):
        latent(strengths=strengths)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (pm.Groups.from_lists([[0, 1]], n_items=M), r"tasks \[2, 3\] are in no group"),
        (pm.Groups.from_lists([[0, 1], [2, 3]], weights=[1, 0]), "a group has weight 0"),
        (pm.Groups.singletons(M + 1), "made for 5 tasks, the labels have 4"),
    ],
)
def test_groups_that_leave_a_task_free_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        latent(groups=groups)


def test_features_shared_or_repeated_per_task_give_one_problem():
    X, Y = classification(30, 5, 3, seed=8, missing=0.2)
    options = {"group_strength": 0.5, "l1_strength": 0.1, "frobenius_strength": 0.1}
    groups = pm.Groups.from_lists([[0, 1], [2]])
    one = pm.LatentProblem(
        pm.SquaredHinge(),
        pm.SharedDesign(X, intercept=True),
        Targets.from_labels(Y),
        groups,
        **options,
    )
    kept = [~torch.isnan(Y[:, m]) for m in range(3)]
    ragged = pm.LatentProblem(
        pm.SquaredHinge(),
        pm.TaskDesign([X[k] for k in kept], intercept=True),
        Targets.from_labels([Y[k, m] for m, k in enumerate(kept)]),
        groups,
        **options,
    )
    generator = torch.Generator().manual_seed(1)
    shapes = ((5, 2), (2, 3), (3,))
    blocks = tuple(torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes)
    assert one.objective(blocks) == pytest.approx(ragged.objective(blocks), rel=1e-12)
    pairs = zip(
        one.smooth_value_and_grads(blocks)[1], ragged.smooth_value_and_grads(blocks)[1], strict=True
    )
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-10) for a, b in pairs)


def test_points_that_do_not_fit_raise():
    problem = latent()
    L, S, b = latent_start(problem)
    for bad, message in (
        ((L[:3], S, b), r"L and S have shapes \(3, 3\) and \(3, 4\)"),
        ((L, S), r"2 blocks; this problem.s are .L, S, intercept."),
        ((L, S * math.nan, b), "a factor holds NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            problem.check_point(bad)


def test_passes_are_counted_as_products_with_the_features():
    problem = latent()
    blocks = latent_start(problem)
    assert targets().n_tasks == M
    problem.smooth_value(blocks)
    assert problem.counts.passes == 0.5
    problem.smooth_value_and_grads(blocks)
    assert problem.counts.passes == 1.5
    problem.certificate(blocks)
    assert problem.counts.passes == 1.5  # certificates are not part of the count
