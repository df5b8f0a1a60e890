"""LatentMTL end to end: descent, agreement, collapse, equivalent data, warm starts."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from solver_cases import PAIRS
from strategies import classification

from proxmtl import Groups, LatentMTL, MaxPasses, RelativeKKT, Status
from proxmtl.latent.initial import check_room, rebalance

STRENGTHS = {"group_strength": 0.5, "l1_strength": 0.15, "frobenius_strength": 0.1}
ALGORITHMS = ["auto", "gram", "panoc", "palm", "paper"]
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
X, Y = classification(60, 6, 4, seed=3, missing=0.15)


def model(**options):
    base = {"groups": PAIRS, "reduction": "sum", "max_passes": 100, "tol": 1e-5, **STRENGTHS}
    base["algorithm"] = "panoc"
    return LatentMTL(**{**base, **options})


def tight(**options):
    return model(**{"algorithm": "auto", "max_passes": 250, "tol": 1e-7, **options})


def same(a, b, tolerance):
    torch.testing.assert_close(a.coef, b.coef, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(a.intercept, b.intercept, rtol=tolerance, atol=tolerance)


@each_algorithm
@pytest.mark.parametrize("init", ["svd", "paper", "trace", "best"])
def test_descends_and_says_only_what_it_reached(algorithm, init):
    # a whole sweep of Algorithm 1 is to fit in beside the start
    fitted = model(algorithm=algorithm, init=init, max_passes=400 if algorithm == "paper" else 100)
    problem = fitted.problem(X, Y)
    result = fitted.solve(X, Y)
    objectives = [record["objective"] for record in result.history]
    assert result.certificate.objective <= objectives[0] * (1 + 1e-9)
    blocks = (result.L, result.S, result.intercept)
    assert result.certificate.objective == pytest.approx(problem.objective(blocks), rel=1e-10)
    assert result.certificate.gap is None
    assert result.status is not Status.CONVERGED or result.certificate.relative_kkt <= 1e-5
    assert result.passes <= result.budget * 1.5 + 100
    assert result.certificate == problem.certificate(blocks)
    assert result.coef.shape == (6, 4)
    assert result.L.shape[1] == result.S.shape[0] == 4


@each_algorithm
def test_converged_means_that_the_returned_point_has_the_accuracy(algorithm):
    tolerance = 0.5 if algorithm == "paper" else 3e-2  # Algorithm 1 is that slow
    result = model(algorithm=algorithm, tol=tolerance, max_passes=1500).solve(X, Y)
    assert result.status is Status.CONVERGED
    assert result.certificate.relative_kkt <= tolerance


def test_what_float32_converged_to_is_not_rounded_away():
    """Of features five deviations from zero, where the latents are scaled after the last check."""
    seen = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        centred = torch.randn(200, 20, generator=generator)
        scores = centred @ torch.randn(20, 8, generator=generator)
        labels = torch.sign(scores + 0.5 * torch.randn(200, 8, generator=generator))
        result = LatentMTL(max_passes=600).solve(centred + 5, labels)
        if result.status is Status.CONVERGED:
            seen.append(result.certificate.relative_kkt)
    assert seen
    assert max(seen) <= 1e-3


@pytest.mark.parametrize("accuracy", [0.3, 0.1, 0.03, 1e-2])
@pytest.mark.parametrize("algorithm", ["auto", "panoc"])
def test_a_result_is_rebalanced_whatever_accuracy_ended_it(algorithm, accuracy):
    stop = RelativeKKT(accuracy, every=1) | MaxPasses(500)
    fitted = model(algorithm=algorithm, tol=1e-9)
    problem = fitted.problem(X, Y)
    result = fitted.solve(X, Y, stop=stop)
    assert result.status is Status.CONVERGED
    again = (*rebalance(problem, result.L, result.S), result.intercept)
    assert result.certificate.objective == pytest.approx(problem.objective(again), rel=1e-12)


def test_a_budget_used_up_is_said():
    result = model(max_passes=60, tol=1e-12).solve(X, Y)
    assert result.status is Status.BUDGET
    assert result.reason == "60 passes"
    assert 57 < result.passes <= 60
    assert result.history[-1]["passes"] <= result.passes
    assert result.history[0]["passes"] > 10  # those of the start are in the count


@pytest.mark.parametrize("algorithm", ["palm"])
def test_palm_is_monotone(algorithm):
    from proxmtl import PALM, MaxIterations
    from proxmtl.solvers import run

    problem = model().problem(X, Y)
    start = (torch.randn(6, 3, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64))
    for inertial in (True, False):
        solver = PALM(order=((1, 2), (0,)), inertial=inertial)
        blocks = (*start, torch.zeros(4, dtype=torch.float64))
        result = run(problem, solver, blocks, MaxIterations(150))
        objectives = [problem.objective(blocks), *[r["objective"] for r in result.history]]
        assert all(b <= a for a, b in pairwise(objectives))
        assert result.state.objective == pytest.approx(problem.objective(result.solution))


def test_algorithms_agree_from_one_start_when_run_long():
    start = model(max_passes=40).solve(X, Y)
    init = (start.L, start.S, start.intercept)
    ends = [
        model(algorithm=a, init=init, max_passes=500, tol=1e-6).solve(X, Y).certificate.objective
        for a in ALGORITHMS
    ]
    assert max(ends[:3]) == pytest.approx(min(ends), rel=1e-2)  # Algorithm 1 takes far longer
    assert max(ends) < start.certificate.objective


@pytest.mark.parametrize(
    ("algorithm", "strength"),
    [*((a, "group_strength") for a in ALGORITHMS[:-1]), *((a, "l1_strength") for a in ALGORITHMS)],
)
def test_collapse_under_huge_strengths_is_reported(algorithm, strength):
    result = model(algorithm=algorithm, max_passes=300, **{strength: 1e4}).solve(X, Y)
    assert result.collapsed
    assert result.live_latents == 0
    assert result.status is Status.COLLAPSED
    assert "lower group_strength" in result.status.value
    assert float(result.coef.abs().max()) == 0


def test_smoothing_leaves_no_zeros_and_paper_mode_does_not_pretend():
    strong = model(algorithm="paper", group_strength=1e4, max_passes=100)
    result = strong.solve(X, Y)
    assert result.status is Status.BUDGET
    assert 0 < float(result.state.blocks[1].abs().max()) < 0.1
    # W = 0 is lower than that, and is what is returned, but no descent has arrived there
    assert result.collapsed
    assert result.returned == "W = 0"
    assert result.certificate.relative_kkt < 1e-12


PALE = 0.006 * X  # as the features of an untrained network


@each_algorithm
@pytest.mark.parametrize("budget", [1, 2, 3, 5, 10, 40])
@pytest.mark.parametrize("init", ["svd", "paper", "trace", "best", "zero", "given"])
def test_no_budget_is_passed_and_nothing_is_worse_than_the_start_or_no_weights(
    algorithm, budget, init
):
    if init == "given":
        generator = torch.Generator().manual_seed(5)
        init = tuple(
            torch.randn(shape, generator=generator, dtype=torch.float64)
            for shape in ((6, 3), (3, 4), (4,))
        )
    fitted = model(algorithm=algorithm, init=init, max_passes=budget)
    problem = fitted.problem(PALE, Y)
    result = fitted.solve(PALE, Y)
    assert result.passes <= budget
    assert result.history == [] or result.history[-1]["passes"] <= budget
    blocks = (result.L, result.S, result.intercept)
    _, without = problem.null(blocks)
    assert result.certificate == problem.certificate(blocks)
    assert result.certificate.objective <= without * (1 + 1e-12)
    if isinstance(init, tuple):
        assert result.certificate.objective <= problem.objective(init) * (1 + 1e-12)
    if result.status is Status.COLLAPSED:
        assert result.collapsed
    if result.returned == "W = 0":
        assert result.certificate.objective == pytest.approx(without, rel=1e-12)
        assert result.status is not Status.BUDGET or result.reason == f"{budget} passes"


def test_a_start_that_is_a_solution_is_kept_by_any_budget():
    best = tight(max_passes=600).solve(X, Y)
    for algorithm in ALGORITHMS:
        again = model(algorithm=algorithm, max_passes=7).solve(X, Y, warm_start=best)
        assert again.certificate.objective <= best.certificate.objective * (1 + 1e-12)
        assert again.passes <= 7


@pytest.mark.parametrize("scale", [1e-6, 0.006, 1.0, 300.0])
def test_the_start_takes_as_many_passes_whatever_the_scale_of_the_features(scale):
    from proxmtl.latent.initial import single_task_weights

    problem = model().problem(scale * X, Y)
    weights = single_task_weights(problem)
    assert problem.counts.passes < 40
    reference = single_task_weights(model().problem(X, Y))
    torch.testing.assert_close(scale * weights[:-1], reference[:-1], rtol=0.2, atol=0.2)


def test_curvatures_fit_into_a_budget_too():
    # of one task alone, with more features than a Gram matrix is formed for
    generator = torch.Generator().manual_seed(0)
    wide = [torch.randn(200, 150, generator=generator, dtype=torch.float64) for _ in range(2)]
    labels = [torch.sign(part[:, 0]) for part in wide]
    for algorithm in ALGORITHMS:
        for budget in (4, 30):
            fitted = LatentMTL(algorithm=algorithm, max_passes=budget)
            problem = fitted.problem(wide, labels)
            result = fitted.solve(wide, labels)
            assert result.passes <= budget
            blocks = (result.L, result.S, result.intercept)
            assert result.certificate.objective <= problem.null(blocks)[1] * (1 + 1e-12)


def test_a_tiny_start_collapses_and_is_reported():
    tiny = (1e-6 * torch.ones(6, 2), 1e-6 * torch.ones(2, 4))
    result = model(algorithm="palm", init=tiny).solve(X, Y)
    assert result.status is Status.COLLAPSED
    assert model().solve(X, Y).status is not Status.COLLAPSED


@pytest.mark.parametrize("reduction", ["sum", "mean", "task_mean"])
def test_missing_labels_are_dropped_samples(reduction):
    kept = [~torch.isnan(Y[:, m]) for m in range(4)]
    parts, labels = [X[k] for k in kept], [Y[k, m] for m, k in enumerate(kept)]
    options = model(reduction=reduction, class_weight="balanced")
    masked, dropped = options.problem(X, Y), options.problem(parts, labels)
    blocks = (torch.eye(6)[:, :4].double(), torch.eye(4).double(), torch.ones(4).double())
    assert masked.objective(blocks) == pytest.approx(dropped.objective(blocks), rel=1e-12)
    zeros = options.problem(X, torch.nan_to_num(Y))
    assert zeros.objective(blocks) == masked.objective(blocks)


def test_stacked_features_per_task_are_solved_as_shared_features():
    init = (torch.eye(6)[:, :4], torch.eye(4))
    shared = tight(init=init).solve(X, Y)
    stacked = tight(init=init).solve(X.expand(4, -1, -1).clone(), Y)
    assert shared.certificate.objective == pytest.approx(stacked.certificate.objective, rel=1e-6)
    same(shared, stacked, 1e-3)


@pytest.mark.parametrize("reduction", ["sum", "mean", "task_mean"])
@pytest.mark.parametrize("class_weight", [None, "balanced", (0.5, 2.0)])
def test_integer_weights_are_repetitions_and_zero_weights_omissions(reduction, class_weight):
    weight = torch.arange(60) % 3
    options = model(reduction=reduction, class_weight=class_weight)
    weighted = options.problem(X, Y, sample_weight=weight.double())
    rows = torch.repeat_interleave(torch.arange(60), weight)
    repeated = options.problem(X[rows], Y[rows])
    generator = torch.Generator().manual_seed(2)
    shapes = ((6, 2), (2, 4), (4,))
    blocks = tuple(torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes)
    assert weighted.objective(blocks) == pytest.approx(repeated.objective(blocks), rel=1e-12)


def test_class_weights_are_duplicated_samples():
    doubled = torch.cat([X, X])
    labels = torch.cat([Y, torch.where(Y > 0, Y, math.nan)])
    one = model(class_weight=(1.0, 2.0)).problem(X, Y)
    two = model().problem(doubled, labels)
    blocks = (torch.ones(6, 1).double(), torch.ones(1, 4).double(), torch.zeros(4).double())
    assert one.objective(blocks) == pytest.approx(two.objective(blocks), rel=1e-12)


def test_strengths_scale_with_the_reduction():
    count = int((~torch.isnan(Y)).sum())
    mean = model(reduction="mean").problem(X, Y)
    scaled = {name: value * count for name, value in STRENGTHS.items()}
    total = LatentMTL(groups=PAIRS, reduction="sum", **scaled).problem(X, Y)
    blocks = (torch.ones(6, 1).double(), torch.ones(1, 4).double(), torch.zeros(4).double())
    assert total.objective(blocks) == pytest.approx(count * mean.objective(blocks), rel=1e-12)


@each_algorithm
def test_warm_starts_go_on_where_the_last_solve_ended(algorithm):
    fitted = model(algorithm=algorithm, max_passes=80)
    first = fitted.solve(X, Y)
    kept = first.L.clone(), first.S.clone()
    second = fitted.solve(X, Y, warm_start=first)
    slack = 1e-3 if algorithm == "paper" else 1e-9  # SPGD may give up its smoothing error
    assert second.certificate.objective <= first.certificate.objective * (1 + slack)
    assert torch.equal(first.L, kept[0])
    assert torch.equal(first.S, kept[1])
    assert second.passes <= 80 * 1.5 + 60


def test_partial_fit_warm_starts_on_the_next_set():
    other_X, other_Y = classification(60, 6, 4, seed=3, missing=0.3)
    fitted = model(max_passes=60)
    first = fitted.partial_fit(X, Y)
    second = fitted.partial_fit(other_X, other_Y, previous=first)
    cold = fitted.problem(other_X, other_Y)
    assert second.certificate.objective <= cold.objective((first.L, first.S, first.intercept))
    assert torch.equal(first.coef, fitted.solve(X, Y).coef)


def test_resumed_solve_takes_the_same_path():
    through = model(algorithm="panoc", tol=0.0, max_passes=120)
    whole = through.solve(X, Y)
    half = through.solve(X, Y, stop=MaxPasses(50))
    rest = through.solve(X, Y, state=half.state)
    assert torch.equal(whole.L, rest.L)
    assert whole.iterations == rest.iterations


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_scores_come_from_the_factors(fit_intercept):
    result = model(fit_intercept=fit_intercept).solve(X, Y)
    scores = result.decision_function(X)
    torch.testing.assert_close(scores, X @ result.L @ result.S + result.intercept)
    assert torch.equal(result.decision_function(X.numpy()), scores)
    parts = result.decision_function([X[:5]] * 4)
    torch.testing.assert_close(torch.stack(parts, dim=1), scores[:5])
    assert fit_intercept == bool(result.intercept.any())
    observed = ~torch.isnan(Y)
    assert float((torch.sign(scores) == Y)[observed].double().mean()) > 0.75


def test_seeds_decide_the_random_parts_only():
    more = {"n_latents": 6, "init": "paper", "max_passes": 30}
    a, b, c = (model(random_state=s, **more).solve(X, Y) for s in (0, 0, 1))
    assert torch.equal(a.L, b.L)
    assert not torch.equal(a.L, c.L)


def test_inputs_are_not_modified_and_may_be_read_only():
    features, labels = X.numpy().copy(), Y.numpy().copy()
    kept = features.copy(), labels.copy()
    for array in (features, labels):
        array.flags.writeable = False
    one = model().solve(features, labels)
    np.testing.assert_array_equal(features, kept[0])
    np.testing.assert_array_equal(labels, kept[1])
    swapped = model().solve(features[::-1].astype(">f8"), labels[::-1])
    assert swapped.certificate.objective == pytest.approx(one.certificate.objective, rel=1e-2)


def test_float32_features_stay_float32():
    result = model().solve(X.float(), Y)
    assert result.L.dtype == result.S.dtype == torch.float32
    assert result.certificate.solved_in == "float32"


def test_callback_and_custom_stops():
    seen = []
    result = model().solve(X, Y, callback=lambda p: seen.append((p.iteration, p.passes)))
    assert seen
    assert all(b > a for a, b in pairwise(seen))
    stopped = model().solve(X, Y, stop=RelativeKKT(0.5, every=1) | MaxPasses(500))
    assert stopped.passes < result.passes
    assert model().solve(X, Y, callback=lambda _: True).status is Status.INTERRUPTED


def test_overlapping_groups_and_no_groups():
    chain = Groups.from_lists([[0, 1, 2], [2, 3]])
    for groups in (None, chain):
        result = model(groups=groups, max_passes=60).solve(X, Y)
        assert result.certificate.objective < model(groups=groups).problem(X, Y).objective(
            (torch.zeros(6, 1).double(), torch.zeros(1, 4).double(), torch.zeros(4).double())
        )


def test_as_many_latent_tasks_as_memory_holds_are_taken_and_no_more(monkeypatch):
    room = 7 * 4 * 8 * (10 + 5)  # four copies of the factors of seven
    for module in ("proxmtl.machine", "proxmtl.latent.initial"):
        monkeypatch.setattr(f"{module}.available_memory", lambda: room)
    check_room(7, 10, 5)
    with pytest.raises(ValueError, match=r"n_latents: 8 latent tasks of 10 .* 7 would fit"):
        check_room(8, 10, 5)
