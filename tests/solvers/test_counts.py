"""Every product with the features that a solver makes is counted, and no other."""

import pytest
import torch
from solver_cases import SOLVER_FACTORIES

import proxmtl as pm
from proxmtl.kernels import coordinate_descent


class Watched(pm.SharedDesign):
    """Features that tally what is read of them, for M columns; parts tally with the whole."""

    def __init__(self, X, n_tasks, *, intercept=False):
        super().__init__(X, intercept=intercept)
        self.whole, self.read = self.X.numel() * n_tasks, [0.0]

    def scores(self, W):
        self.read[0] += self.X.numel() * W.shape[1] / self.whole
        return super().scores(W)

    def adjoint(self, residuals):
        self.read[0] += self.X.numel() * residuals.shape[1] / self.whole
        return super().adjoint(residuals)


CONVEX = [name for name, make in SOLVER_FACTORIES.items() if isinstance(make()[1], pm.Problem)]


@pytest.mark.parametrize("name", CONVEX)
def test_passes_are_the_products_made(name, monkeypatch):
    columns = []

    def watched(*arguments, **options):
        found = coordinate_descent(*arguments, **options)
        columns.append(float(found.read.sum()))
        return found

    monkeypatch.setattr("proxmtl.solvers.coordinate_newton.coordinate_descent", watched)
    solver, problem, start = SOLVER_FACTORIES[name](torch.float64)
    n_tasks, X = problem.targets.n_tasks, problem.design.X
    design = Watched(X, n_tasks, intercept=problem.design.intercept)
    problem = pm.Problem(problem.loss, design, problem.targets, problem.regularizers)
    problem.prepare()  # curvatures are counted where they are found
    counted, read = problem.counts.passes, design.read[0]
    state = solver.init(problem, start)
    if name == "ProxSVRG":  # finds the curvature of a batch
        counted, read = problem.counts.passes, design.read[0]
    hessians = 0.0
    for _ in range(45):
        if name == "NewtonCholesky":  # D / 2 passes of the labels that bend the loss
            bent = problem.loss.curvature(state.scores, problem.targets.labels)
            bent = bent * problem.targets.weights > 0
            hessians += design.n_features / 2 * float(bent.double().mean())
        before, state = state, solver.step(problem, state)
        if name == "BlockNewton" and state.inner is None:  # and two products with the working set
            hessians += state.grams - before.grams + float(before.rows.double().mean())
    made = (design.read[0] - read) / 2
    if columns:  # entries of some columns, for one task
        made += sum(columns) / (2 * design.X.values().numel() * n_tasks)
    assert made > 40
    assert problem.counts.passes - counted == pytest.approx(made + hessians, rel=1e-12)


def latents(K=200, D=30, n=60):
    """S with L fixed: more latents than features, few of them needed."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n, D, generator=generator, dtype=torch.float64)
    L = torch.randn(D, K, generator=generator, dtype=torch.float64)
    t = pm.Targets.from_labels(torch.sign(X @ L[:, :2]))
    base = Watched(X, 2)
    problem = pm.Problem(pm.SquaredHinge(), pm.FactoredDesign(base, L=L), t, pm.L1(1.0))
    strength = 0.3 * problem.critical_strength()
    base.read[0] = 0.0
    return pm.Problem(pm.SquaredHinge(), problem.design, t, pm.L1(strength)), base


def test_latents_read_all_features_and_count_so():
    problem, base = latents()
    solver = pm.ProxNewton(smallest=4)
    state = solver.init(problem, problem.zeros())
    for _ in range(20):
        state = solver.step(problem, state)
    assert problem.counts.passes == pytest.approx(base.read[0] / 2)
    assert 0 < int((state.inner.x != 0).any(1).sum()) < 50  # few of 200


def test_batches_without_samples_of_a_task_are_taken():
    generator = torch.Generator().manual_seed(0)
    X = [torch.randn(3, 5, generator=generator) for _ in range(100)]
    Y = [torch.tensor([1.0, -1.0, 1.0]) for _ in X]
    terms = [pm.L1(0.3), pm.SquaredFrobenius(1.0)]
    for order in ("samples", "blocks"):
        problem = pm.Problem(pm.SquaredHinge(), pm.TaskDesign(X), pm.Targets.from_labels(Y), terms)
        solver = pm.ProxSVRG(batch=100, order=order)
        result = pm.minimize(problem, solver, stop=pm.RelativeGap(1e-4) | pm.MaxIterations(300))
        assert result.status is pm.Status.CONVERGED
