"""Newton's method with exact solves: the minimiser, from either side of n = D, at any labels."""

import itertools

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.estimators import SingleTaskClassifier, SingleTaskClassifierCV
from proxmtl.solvers.newton_cholesky import NewtonDescent

SHAPES = {"fewer features": (60, 8, 4), "fewer labels": (50, 70, 4)}


def posed(shape, *, loss=None, missing=0.3, intercept=True, ridge=0.02, dtype=torch.float64):
    X, Y = classification(*SHAPES[shape], seed=3, missing=missing, shift=0.3, dtype=dtype)
    Y[:, 0] = Y[:, 0].abs() * torch.sign(X[:, 0])  # of another number of labels than the rest
    Y[:20, 0] = 0 if missing else Y[:20, 0]
    design = pm.SharedDesign(X, intercept=intercept)
    t = pm.Targets.from_labels(Y, sample_weight=torch.linspace(0.5, 2, len(X)).to(X), like=X)
    return pm.Problem(loss or pm.SquaredHinge(), design, t, pm.SquaredFrobenius(ridge))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("loss", [pm.SquaredHinge(), pm.Logistic(), pm.Squared()])
def test_the_minimum_is_reached_in_a_few_iterations(shape, missing, intercept, loss):
    problem = posed(shape, loss=loss, missing=missing, intercept=intercept)
    start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(0)).double()
    result = pm.minimize(
        problem,
        pm.NewtonCholesky(),
        x0=start,
        stop=pm.RelativeGap(1e-11, every=1) | pm.MaxIterations(25),
    )
    assert result.status.ok, result
    loose = pm.minimize(problem, pm.FISTA(), stop=pm.RelativeGap(1e-5))
    assert result.certificate.objective <= loose.certificate.objective
    objectives = [record["objective"] for record in result.history]
    assert all(b <= a * (1 + 1e-14) for a, b in itertools.pairwise(objectives))


def test_of_no_task_the_objective_rises():
    problem = posed("fewer labels", loss=pm.Logistic(), ridge=1e-6)
    solver, targets = pm.NewtonCholesky(), problem.targets
    start = 30 * torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(1))
    state = solver.init(problem, start.double())

    def by_task(state):
        losses = (problem.loss.pointwise(state.scores, targets.labels) * targets.weights).sum(0)
        return losses + problem.ridge * state.x[:-1].square().sum(0)

    for _ in range(12):
        before, state = by_task(state), solver.step(problem, state)
        assert bool((by_task(state) <= before * (1 + 1e-13)).all())


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_features_give_the_minimum_to_their_precision(shape):
    wide, narrow = (posed(shape, dtype=dtype) for dtype in (torch.float64, torch.float32))
    best = pm.minimize(wide, pm.NewtonCholesky(), stop=pm.RelativeGap(1e-12, every=1))
    found = pm.minimize(narrow, pm.NewtonCholesky(), stop=pm.MaxIterations(12))
    assert found.solution.dtype == torch.float32
    # second order in the rounding of the point, but the features themselves are rounded
    assert found.certificate.objective == pytest.approx(best.certificate.objective, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_descent_goes_on_with_another_ridge_and_reads_no_features_for_it(shape):
    problem = posed(shape)
    state = NewtonDescent.from_zero(problem)
    for _ in range(8):
        state = state.advanced()
    other = problem.with_regularizers(pm.SquaredFrobenius(0.5))
    before = other.counts.passes
    state = NewtonDescent.start(other, state.at)
    assert other.counts.passes == before
    for _ in range(8):
        state = state.advanced()
    best = pm.minimize(other, pm.NewtonCholesky(), stop=pm.RelativeGap(1e-12, every=1))
    x, _ = state.at.point(other)
    torch.testing.assert_close(x, best.solution, rtol=1e-8, atol=1e-10)
    assert state.objective == pytest.approx(best.certificate.objective, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_between_two_points_of_a_descent_lie_those_of_their_parameters(shape):
    problem = posed(shape)
    first = NewtonDescent.from_zero(problem).advanced()
    second = first.advanced()
    between = NewtonDescent.start(problem, first.at.towards(second.at, 1.5))
    ends = (each.at.point(problem)[0] for each in (first, second))
    x = torch.lerp(*ends, 1.5)
    torch.testing.assert_close(between.at.point(problem)[0], x, rtol=1e-8, atol=1e-10)
    assert between.objective == pytest.approx(float(problem.objective(x)), rel=1e-12)


@pytest.mark.parametrize("seed", [1, 4])
def test_a_weak_ridge_takes_few_iterations(seed):
    """Full steps change which rows are beyond the margin: halved ones took 26 and 36 iterations."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    X = normal(100, 20) @ normal(20, 300) + 0.3 * normal(100, 300)
    t = pm.Targets.from_labels(torch.sign(X @ normal(300, 2) + 5 * normal(100, 2)))
    R = pm.SquaredFrobenius(1e-4)
    problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X, intercept=True), t, R)
    stop = pm.RelativeGap(1e-6, every=1) | pm.MaxIterations(20)
    assert pm.minimize(problem, pm.NewtonCholesky(), stop=stop).status.ok


@pytest.mark.parametrize("doubled", ["columns", "rows"])
def test_a_system_that_is_singular_to_rounding_is_solved_all_the_same(doubled):
    X, Y = classification(60, 8, 3, seed=2) if doubled == "columns" else classification(15, 90, 3)
    X, Y = (torch.cat([X, X], 1), Y) if doubled == "columns" else (X.repeat(2, 1), Y.repeat(2, 1))
    t, ridge = pm.Targets.from_labels(Y), pm.SquaredFrobenius(1e-17)
    problem = pm.Problem(pm.Logistic(), pm.SharedDesign(X, intercept=True), t, ridge)
    found = pm.minimize(problem, pm.NewtonCholesky(), stop=pm.MaxIterations(40))
    loose = pm.minimize(problem, pm.FISTA(), stop=pm.MaxIterations(200))
    assert found.certificate.objective <= loose.certificate.objective


def test_one_task_with_missing_labels_and_fewer_of_them_than_features():
    X, Y = classification(40, 70, 1, seed=4)
    Y[::3] = 0
    problem = pm.Problem(
        pm.Logistic(),
        pm.SharedDesign(X, intercept=True),
        pm.Targets.from_labels(Y),
        pm.SquaredFrobenius(0.01),
    )
    kept = torch.ones(40, dtype=torch.bool)
    kept[::3] = False
    alone = pm.Problem(
        pm.Logistic(),
        pm.SharedDesign(X[kept], intercept=True),
        pm.Targets.from_labels(Y[kept]),
        pm.SquaredFrobenius(0.01),
    )
    with_gaps, without = (
        pm.minimize(p, pm.NewtonCholesky(), stop=pm.RelativeGap(1e-12, every=1))
        for p in (problem, alone)
    )
    torch.testing.assert_close(with_gaps.solution, without.solution, rtol=1e-7, atol=1e-9)


def test_a_state_of_other_missing_labels_is_told():
    problem = posed("fewer labels", missing=0.4)
    whole = posed("fewer labels", missing=0.0)
    state = pm.minimize(problem, pm.NewtonCholesky(), stop=pm.MaxIterations(2)).state
    with pytest.raises(ValueError, match="state: is of other missing labels"):
        pm.NewtonCholesky().check_resume(whole, state)


def test_hessians_that_memory_has_no_room_for_raise_and_are_never_chosen(monkeypatch):
    problem = posed("fewer labels")
    assert pm.NewtonCholesky().is_cheaper(problem)
    with monkeypatch.context() as patch:
        patch.setattr("proxmtl.machine.available_memory", lambda: 1 << 12)
        assert pm.NewtonCholesky().is_cheaper(problem)  # free memory changes no result
        with pytest.raises(ValueError, match="NewtonCholesky: Hessians of"):
            pm.minimize(problem, pm.NewtonCholesky())
    monkeypatch.setattr("proxmtl.solvers.newton_cholesky.MOST_BYTES", 1 << 12)
    assert not pm.NewtonCholesky().is_cheaper(problem)


@pytest.mark.parametrize(("n", "d", "times"), [(600, 500, 4), (4000, 150, 14)])
def test_many_labels_of_many_features_are_left_to_an_accelerated_method(n, d, times):
    """Factorisations take the time where features are many, making Hessians where rows are."""
    X, Y = classification(n, d, 3, seed=1)
    targets = pm.Targets.from_labels(Y.repeat(1, times))
    many = pm.Problem(pm.Logistic(), pm.SharedDesign(X), targets, pm.SquaredFrobenius(0.1))
    assert not pm.NewtonCholesky().is_cheaper(many)


def test_other_problems_are_told_what_is_missing():
    problem = posed("fewer labels")
    X, t = problem.design.X, problem.targets
    others = {
        "only penalty": problem.with_regularizers(pm.L1(0.1)),
        "linear far out": pm.Problem(pm.Huber(0.3), problem.design, t, pm.SquaredFrobenius(1.0)),
        "needs one": problem.with_regularizers([]),
        "dense features": pm.Problem(
            pm.SquaredHinge(),
            pm.TaskDesign([X[:, :5]] * 2),
            pm.Targets.from_labels([t.labels[:, m].sign() for m in range(2)]),
            pm.SquaredFrobenius(1.0),
        ),
    }
    for words, other in others.items():
        with pytest.raises(pm.UnsupportedError, match=words):
            pm.minimize(other, pm.NewtonCholesky())
        assert not pm.NewtonCholesky().is_cheaper(other)


@pytest.fixture
def taken(monkeypatch):
    """Problems that the solver began on."""
    seen, init = [], pm.NewtonCholesky.init

    def noted(self, problem, x0):
        seen.append(problem)
        return init(self, problem, x0)

    monkeypatch.setattr(pm.NewtonCholesky, "init", noted)
    return seen


def few_labels(m=3):
    X, Y = classification(60, 300, m, seed=1, missing=0.5)
    return X.numpy(), torch.where(Y == 0, torch.nan, Y).numpy()


@pytest.mark.parametrize("m", [1, 3])
def test_classifiers_take_it_for_few_labels_within_their_budget(m, taken):
    X, Y = few_labels(m)
    assert SingleTaskClassifier(loss="logistic").fit(X, Y).result_.status.ok
    assert len(taken) == 1
    with pytest.warns(match="Budget"):
        SingleTaskClassifier(loss="logistic", max_passes=5).fit(X, Y)
    assert len(taken) == 1


@pytest.mark.parametrize("m", [1, 3])
def test_searches_take_it_once_a_path_and_a_fold(m, taken, monkeypatch):
    begun, from_zero = [], NewtonDescent.from_zero

    def noted(problem):
        begun.append(problem)
        return from_zero(problem)

    monkeypatch.setattr(NewtonDescent, "from_zero", noted)
    model = SingleTaskClassifierCV(cv=3, random_state=0).fit(*few_labels(m))
    assert len(begun) >= 3  # the folds, perhaps further steps of the path
    assert len(begun) % 3 == 0
    assert len(taken) == 1  # the fit
    assert model.search_passes_ > 0
