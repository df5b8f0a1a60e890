"""Solves that are interrupted, and go on from their checkpoint along the same path."""

import pickle

import pytest
import torch
from solver_cases import PAIRS, SOLVER_FACTORIES, convex, data

import proxmtl as pm
from proxmtl.io import Checkpoint, InputError
from proxmtl.latent import LatentMTL
from proxmtl.solvers.steps import NoRestart

CONVEX = sorted(
    name for name, make in SOLVER_FACTORIES.items() if isinstance(make()[1], pm.Problem)
)


class Held(Checkpoint):
    """A checkpoint in memory, written after each iteration, that is lost by no kill."""

    def __init__(self):
        super().__init__("nowhere", seconds=0)
        self.content = None

    def load(self, *_):
        return None if self.content is None else pickle.loads(self.content)

    def save(self, fields, *_):
        self.content = pickle.dumps(fields)


class Killed(BaseException):
    """In place of a signal."""


def killed_at(iteration):
    def callback(progress):
        if progress.iteration == iteration:
            raise Killed

    return callback


def described(result):
    """All that a run says, but for its time; passes are sums of fractions."""
    records = [(each["iteration"], each["objective"]) for each in result.history]
    return result.status, result.reason, result.returned, result.iterations, records


@pytest.mark.parametrize("name", CONVEX)
def test_a_killed_solve_goes_on_along_its_path(name, tmp_path):
    solver, problem, start = SOLVER_FACTORIES[name]()
    stop = pm.MaxIterations(9)
    whole = pm.minimize(problem, solver, start, stop)
    kept = Checkpoint(tmp_path / "kept", seconds=0)
    _, problem, _ = SOLVER_FACTORIES[name]()
    with pytest.raises(Killed):
        pm.minimize(problem, solver, start, stop, checkpoint=kept, callback=killed_at(5))
    (path,) = (tmp_path / "kept").iterdir()
    assert path.name == "rank-0-of-1-iteration-4.pt"
    _, problem, _ = SOLVER_FACTORIES[name]()
    resumed = pm.minimize(problem, solver, start, stop, checkpoint=kept)
    assert torch.equal(resumed.solution, whole.solution)
    assert described(resumed) == described(whole)
    assert resumed.passes == pytest.approx(whole.passes, rel=1e-12)  # a sum of fractions
    # the end is kept, too: the same call has nothing left to do
    again = pm.minimize(problem, solver, start, stop, checkpoint=kept)
    assert torch.equal(again.solution, whole.solution)
    assert described(again) == described(whole)


@pytest.mark.parametrize("stop", [pm.MaxPasses(30), pm.ObjectiveChange(1e-4), pm.RelativeKKT(1e-2)])
def test_a_run_that_rose_returns_its_lowest_point_wherever_it_was_killed(stop):
    """FISTA without restarts rises; what came before the kill counts as what came after it."""
    solver = pm.FISTA(restart=NoRestart())
    start = 3 * torch.ones_like(convex().zeros())
    whole = pm.minimize(convex("l1"), solver, start, stop)
    if isinstance(stop, pm.MaxPasses):
        assert whole.returned == "iterate 23, the lowest seen"
    for iteration in range(1, whole.iterations + 1):
        kept = Held()
        with pytest.raises(Killed):
            pm.minimize(
                convex("l1"), solver, start, stop, checkpoint=kept, callback=killed_at(iteration)
            )
        for _ in range(2):  # what is finished stays so
            found = pm.minimize(convex("l1"), solver, start, stop, checkpoint=kept)
            assert torch.equal(found.solution, whole.solution)
            assert described(found) == described(whole)
            assert found.certificate == whole.certificate


def test_the_latent_model_goes_on(tmp_path):
    X, Y, _ = data()
    model = LatentMTL(PAIRS, n_latents=2, max_passes=40, tol=1e-9)
    whole = model.solve(X, Y)
    kept = Checkpoint(tmp_path, seconds=0)
    with pytest.raises(Killed):
        model.solve(X, Y, checkpoint=kept, callback=killed_at(10))
    resumed = model.solve(X, Y, checkpoint=kept)
    assert torch.equal(resumed.coef, whole.coef)
    with pytest.raises(InputError, match="another computation: its penalties"):
        LatentMTL(PAIRS, n_latents=2, group_strength=0.5).solve(X, Y, checkpoint=kept)
    with pytest.raises(ValueError, match="state, checkpoint: give one"):
        model.solve(X, Y, checkpoint=kept, state=resumed.state)


def test_states_of_other_solves_and_damaged_files_raise(tmp_path):
    problem, stop = convex(), pm.MaxIterations(3)
    kept = Checkpoint(tmp_path)
    result = pm.minimize(problem, pm.FISTA(), stop=stop, checkpoint=kept)
    with pytest.raises(ValueError, match="state, checkpoint: give one"):
        pm.minimize(problem, pm.FISTA(), stop=stop, checkpoint=kept, state=result.state)
    with pytest.raises(InputError, match="its solver is FISTA, and this one's is PGD"):
        pm.minimize(problem, pm.PGD(), stop=stop, checkpoint=kept)
    with pytest.raises(InputError, match="another computation: its penalties"):
        pm.minimize(convex("l1"), pm.FISTA(), stop=stop, checkpoint=kept)
    with pytest.raises(ValueError, match="made with other data"):
        pm.minimize(convex(seed=4), pm.FISTA(), stop=stop, checkpoint=kept)
    (path,) = tmp_path.iterdir()
    (tmp_path / "rank-0-of-2-iteration-3.pt").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="by a run of 2 processes, and this one has 1"):
        pm.minimize(problem, pm.FISTA(), stop=stop, checkpoint=kept)
    (tmp_path / "rank-0-of-2-iteration-3.pt").unlink()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="delete the folder to start anew"):
        pm.minimize(problem, pm.FISTA(), stop=stop, checkpoint=kept)
    with pytest.raises(ValueError, match="seconds: got -1"):
        Checkpoint(tmp_path, seconds=-1)


def test_writes_are_as_rare_as_asked(tmp_path, monkeypatch):
    kept, times = Checkpoint(tmp_path, seconds=1000.0), []
    save = Checkpoint.save
    monkeypatch.setattr(
        Checkpoint, "save", lambda self, *rest: (times.append(rest[2]), save(self, *rest))
    )
    pm.minimize(convex(), pm.FISTA(), stop=pm.MaxIterations(30), checkpoint=kept)
    assert times == [30]
