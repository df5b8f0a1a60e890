"""The joint problem is solved on centred features, and nothing else changes."""

import pytest
import torch
from arithmetic import assert_same_sums
from scipy.sparse import csr_matrix
from solver_cases import PAIRS
from strategies import classification

import proxmtl as pm
from proxmtl.latent import Hybrid
from proxmtl.solvers import run

STRENGTHS = {"group_strength": 0.5, "l1_strength": 0.15, "frobenius_strength": 0.1}
each_algorithm = pytest.mark.parametrize("algorithm", ["auto", "gram", "panoc", "palm", "paper"])
X, Y = classification(60, 6, 4, seed=3, missing=0.15)
X = (16 * X).round() / 16  # so that shifts by whole numbers are exact
SHIFT = torch.tensor([40.0, -3.0, 0.0, 1000.0, 8.0, -250.0], dtype=torch.float64)


def model(**options):
    base = {"groups": PAIRS, "reduction": "sum", "algorithm": "panoc", "tol": 1e-6, **STRENGTHS}
    return pm.LatentMTL(**{**base, **options})


def blocks(seed=1, K=3):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in ((6, K), (K, 4), (4,)))


def of_each_task(shift):
    """Features of each task's own, of several lengths, with a mean of its own."""
    rows = [slice(0, 60), slice(0, 31), slice(5, 47), slice(20, 60)]
    parts = [X[r] + (m + 1) * shift for m, r in enumerate(rows)]
    labels = [torch.nan_to_num(Y[r, m], 1.0) for m, r in enumerate(rows)]
    return parts, labels


def problem_of(kind, shift=SHIFT):
    weights = 0.5 + torch.rand(60, 4, generator=torch.Generator().manual_seed(2)).double()
    if kind == "task":
        parts, labels = of_each_task(shift)
        return model().problem(parts, labels)
    features = X + shift
    if kind == "sparse":
        design = pm.SharedDesign(csr_matrix(features.numpy()), intercept=True)
        return model().problem(design, Y, sample_weight=weights)
    return model().problem(features, Y, sample_weight=weights)


@pytest.mark.parametrize("kind", ["shared", "sparse", "task"])
def test_the_problem_inside_is_that_of_a_centred_copy(kind):
    problem = problem_of(kind)
    view = problem.in_units()
    assert view is not problem
    assert view is problem.in_units()  # what is found of it is found once
    assert problem.counts.passes == 0.5
    point = blocks()
    inside = view.inside(point)
    L, S, b = point
    W, t = L @ S, problem.targets
    parts = problem.design.X if kind == "task" else [X + SHIFT] * 4
    weights = t.weights.split([len(p) for p in parts]) if kind == "task" else t.weights.T
    means = [c @ p / c.sum() for p, c in zip(parts, weights, strict=True)]
    copies = [p - m for p, m in zip(parts, means, strict=True)]
    shift = torch.stack([m @ w for m, w in zip(means, W.T, strict=True)])
    sizes = torch.stack([m.abs() for m in means], 1).mul(L.abs() @ S.abs()).sum(0) + b.abs()
    assert_same_sums(inside[2], b + shift, sizes=3 * sizes, length=100)
    assert_same_sums(view.outside(inside)[2], b, sizes=3 * sizes, length=100)
    assert inside[:2] == (L, S)
    # as a problem of its own: on features per task, which takes any mean
    labels = t.labels.split([len(p) for p in parts]) if kind == "task" else t.labels.T
    own = pm.Targets(
        torch.cat(list(labels)),
        torch.cat(list(weights)),
        4,
        torch.arange(4).repeat_interleave(torch.tensor([len(p) for p in parts])),
    )
    explicit = pm.LatentProblem(
        pm.SquaredHinge(), pm.TaskDesign(copies, intercept=True), own, PAIRS, **STRENGTHS
    )
    assert view.objective(inside) == pytest.approx(problem.objective(point), rel=1e-11)
    assert view.objective(inside) == pytest.approx(explicit.objective(inside), rel=1e-11)
    pairs = zip(
        view.smooth_value_and_grads(inside)[1],
        explicit.smooth_value_and_grads(inside)[1],
        strict=True,
    )
    for found, wanted in pairs:
        size = float(wanted.abs().max()) + 1
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9 * size)
    curvatures = zip(view.curvatures(inside), explicit.curvatures(inside), strict=True)
    for j, (found, wanted) in enumerate(curvatures):
        # one spectrum of shared features bounds those of all tasks, from above
        assert bool((found >= wanted * (1 - 1e-9)).all())
        if kind == "task" or j == 2:
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", ["shared", "sparse", "task"])
def test_certificates_are_those_of_the_features_as_they_are(kind):
    problem = problem_of(kind)
    view = problem.in_units()
    point = blocks()
    found, wanted = view.certificate(view.inside(point)), problem.certificate(point)
    assert found.objective == pytest.approx(wanted.objective, rel=1e-11)
    assert found.scale == pytest.approx(wanted.scale, rel=1e-9)
    assert found.blocks == pytest.approx(wanted.blocks, rel=1e-9)
    assert found.scales == pytest.approx(wanted.scales, rel=1e-9)
    assert found.block_gaps == pytest.approx(wanted.block_gaps, rel=1e-9)


@each_algorithm
@pytest.mark.parametrize("kind", ["shared", "task"])
def test_a_shift_of_the_features_changes_the_intercepts_alone(algorithm, kind):
    L, S, b = blocks()
    times = torch.arange(1.0, 5.0).double() if kind == "task" else torch.ones(4).double()

    def solved(shift):
        data = of_each_task(shift) if kind == "task" else (X + shift, Y)
        init = (L, S, b - times * (shift @ L @ S))
        return model(algorithm=algorithm, init=init, max_passes=most, tol=tol).solve(*data)

    # both are centred: the same path, while rounding errors are small; inner solves of Newton make
    # them a thousand times larger and more, each, but end at the same point
    most, tol = (100, 1e-6) if algorithm == "gram" else (30, 0.0)
    near, far = solved(torch.ones(6).double()), solved(1 + SHIFT)
    if algorithm == "gram":
        assert near.status is far.status is pm.Status.CONVERGED
        objectives = [each.certificate.objective for each in (near, far)]
        assert objectives[0] == pytest.approx(objectives[1], rel=1e-10)
    else:
        for one, other in zip(near.history, far.history, strict=True):
            assert one["passes"] == other["passes"]
            assert one["objective"] == pytest.approx(other["objective"], rel=1e-7)
    torch.testing.assert_close(far.coef, near.coef, rtol=1e-4, atol=1e-4)
    there = far.intercept + times * (SHIFT @ far.coef)
    torch.testing.assert_close(there, near.intercept, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["shared", "task"])
def test_features_far_from_zero_are_solved_to_a_small_residual(kind):
    problem = problem_of(kind, 1e4 * torch.ones(6).double())
    solver = model(algorithm="auto", max_passes=800, tol=1e-4)
    result = solver.solve(problem.design, problem.targets)
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.relative_kkt <= 1e-4
    near = problem_of(kind, torch.ones(6).double())
    start = (result.L, result.S)
    again = model(algorithm="auto", init=start, max_passes=800).solve(near.design, near.targets)
    assert again.certificate.objective == pytest.approx(result.certificate.objective, rel=1e-6)
    torch.testing.assert_close(again.coef, result.coef, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("algorithm", ["auto", "paper"])
def test_sparse_features_are_solved_as_dense_ones(algorithm):
    """Counts, as of words: most are zero, and no column has the mean zero."""
    counts = (2 * X).clamp_min(0).round()
    assert 0.3 < float((counts == 0).double().mean()) < 0.9
    solver = model(algorithm=algorithm, max_passes=30, tol=0.0)
    dense = solver.solve(counts, Y)
    sparse = solver.solve(pm.SharedDesign(csr_matrix(counts.numpy()), intercept=True), Y)
    # the same path, but for what the curvatures take
    torch.testing.assert_close(sparse.coef, dense.coef, rtol=0.1, atol=0.05)


@each_algorithm
def test_a_start_is_given_and_returned_for_the_features_as_they_are(algorithm):
    best = model(algorithm="auto", tol=1e-8, max_passes=900).solve(X + SHIFT, Y)
    assert best.status is pm.Status.CONVERGED
    again = model(algorithm=algorithm, max_passes=7).solve(X + SHIFT, Y, warm_start=best)
    assert again.certificate.objective <= best.certificate.objective * (1 + 1e-12)
    torch.testing.assert_close(again.coef, best.coef, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.intercept, best.intercept, rtol=1e-4, atol=1e-3)


def test_a_resumed_solve_far_from_zero_takes_the_same_path():
    through = model(tol=0.0, max_passes=120)
    whole = through.solve(X + SHIFT, Y)
    half = model(tol=0.0, max_passes=50).solve(X + SHIFT, Y)
    state = type(half.state).from_state_dict(half.state.state_dict())
    rest = through.solve(X + SHIFT, Y, state=state)
    assert torch.equal(whole.L, rest.L)
    assert torch.equal(whole.intercept, rest.intercept)
    assert whole.passes == rest.passes


def test_centred_features_are_taken_as_they_are():
    labels = torch.where(Y > 0, 1.0, -1.0).double()  # none missing: the means are zero for all
    centred = X - X.mean(0)
    for design in (
        pm.SharedDesign(centred, intercept=True),
        pm.TaskDesign([centred] * 4, intercept=True),
    ):
        targets = labels if isinstance(design, pm.SharedDesign) else list(labels.T)
        problem = model().problem(design, targets)
        assert problem.in_units() is problem
        point = blocks()
        assert problem.inside(point) is point
        assert problem.counts.passes == 0.5
        problem.prepare()  # the same product serves for the intercepts' curvature
        assert problem.counts.passes - problem.design.curvature_passes == 0.5
    without = model(fit_intercept=False).problem(X + SHIFT, labels)
    assert without.in_units() is without
    assert without.counts.passes == 0


def test_points_that_do_not_fit_raise_before_they_are_moved():
    problem = problem_of("shared")
    L, S, b = blocks()
    for bad, message in (
        ((L, S), "init: 2 blocks; this problem.s are .L, S, intercept."),
        ((L[:4], S, b), "init: L and S have shapes"),
    ):
        with pytest.raises(ValueError, match=message):
            run(problem, pm.PANOC(), bad, pm.MaxIterations(2))
    assert problem.counts.passes == 0


def test_no_product_is_made_beyond_the_limit():
    problem = problem_of("shared")
    with problem.counts.limited(0.3):
        assert problem.in_units() is problem
    assert problem.in_units() is not problem


def test_samples_without_a_label_or_weight_are_not_in_the_means():
    labels, weights = torch.nan_to_num(Y), torch.ones(60, 4, dtype=torch.float64)
    weights[labels == 0] = 0
    weights[:5], weights[:, 2] = 0, 0
    features = X + SHIFT
    features[:5] = 1e9  # of no weight
    problem = pm.LatentProblem(
        pm.SquaredHinge(),
        pm.SharedDesign(features, intercept=True),
        pm.Targets(labels, weights, 4),
        PAIRS,
        **STRENGTHS,
    )
    means = problem.in_units().design.means
    assert bool((means[:, 2] == 0).all())
    seen = (labels[:, 0] != 0) & (torch.arange(60) >= 5)
    torch.testing.assert_close(means[:, 0], features[seen].mean(0))


def test_the_solve_ends_where_that_of_a_centred_copy_does():
    options = {"algorithm": "auto", "tol": 1e-8, "max_passes": 900}
    labels = torch.nan_to_num(Y, 1.0)
    features = X + SHIFT
    copy = features - features.mean(0)
    found = model(**options).solve(features, labels)
    wanted = model(**options).solve(copy, labels)
    assert found.status is wanted.status is pm.Status.CONVERGED
    assert found.certificate.objective == pytest.approx(wanted.certificate.objective, rel=1e-9)
    torch.testing.assert_close(found.coef, wanted.coef, rtol=1e-5, atol=1e-6)
    there = found.intercept + features.mean(0) @ found.coef
    torch.testing.assert_close(there, wanted.intercept, rtol=1e-5, atol=1e-5)


def test_a_state_of_other_coordinates_raises():
    features = X + 5
    model = pm.LatentMTL(max_passes=40, tol=0)
    saved = model.solve(features, Y).state.state_dict()
    assert saved["data"]["origin"] > 0
    older = {name: figure for name, figure in saved["data"].items() if name != "origin"}
    for data in (older, {**saved["data"], "origin": 0.0}):
        state = Hybrid.state_type.from_state_dict({**saved, "data": data})
        with pytest.raises(ValueError, match=r"points are in other coordinates \(origin\)"):
            pm.LatentMTL(max_passes=60, tol=0).solve(features, Y, state=state)


def test_centred_intercepts_have_curvatures_of_their_own():
    problem = pm.LatentMTL().problem(X + 3, Y)
    assert problem._intercept_coupling > 0.5
    assert problem.in_units()._intercept_coupling == 0
