"""Features that are read block by block: the same answers, few reads, little memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import proxmtl as pm
from proxmtl.designs import StreamedDesign
from proxmtl.io import InputError, NpyRows, open_shards
from proxmtl.solvers import Backtracking

N, D, M = 500, 12, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)) * np.linspace(0.5, 2, D)
Y = np.sign(X[:, :M] + 0.5 * RNG.standard_normal((N, M)))
Y[7, 1] = np.nan


class Counted:
    """Rows of an array, of which those that are read are counted."""

    def __init__(self, array):
        self.array, self.read = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        found = self.array[rows]
        self.read += len(found)
        return found


def shards(folder, dtype=np.float64, sizes=(200, 1, 299)):
    first = 0
    for number, size in enumerate(sizes):
        np.save(folder / f"part-{number:05}.npy", X[first : first + size].astype(dtype))
        first += size
    return folder


def test_a_device_is_that_of_tensors_made_on_it():
    """As "cuda" is not: tensors say "cuda:0"."""
    for device in ("cpu", torch.device("cpu")):
        design = StreamedDesign(X, device=device)
        assert design.device == torch.empty(0, device=device).device
    with pytest.raises(RuntimeError):
        StreamedDesign(X, device="no such device")


def problem(design, loss=None, penalty=None):
    like = torch.empty(0, dtype=design.dtype)
    targets = pm.Targets.from_labels(Y, reduction="mean", like=like)
    terms = penalty or [pm.L1(0.01), pm.SquaredFrobenius(0.005)]
    return pm.Problem(loss or pm.SquaredHinge(), design, targets, terms)


def test_solutions_are_those_of_features_in_memory(tmp_path):
    streamed = StreamedDesign(open_shards(shards(tmp_path)), intercept=True, memory=30_000)
    memory = pm.SharedDesign(X, intercept=True)
    assert 1 < N // streamed.blocks.rows < N
    for solver in (None, pm.AdPGM(), pm.ProxNewton(), pm.PDHG()):
        found = [pm.minimize(problem(design), solver, tol=1e-9) for design in (streamed, memory)]
        assert all(result.status.ok for result in found)
        distance = (found[0].solution - found[1].solution).norm() / found[1].solution.norm()
        assert distance < 1e-4  # strongly convex: the root of the gap, with room
        assert found[0].objective == pytest.approx(found[1].objective, rel=2e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_features_are_read_as_they_are(dtype, tmp_path):
    parts = open_shards(shards(tmp_path, dtype))
    assert parts.dtype == dtype
    streamed = StreamedDesign(parts, intercept=True, memory=10_000)
    assert streamed.dtype == torch.float32
    memory = pm.SharedDesign(X.astype(dtype).astype(np.float32), intercept=True)
    found = [pm.minimize(problem(design), tol=1e-5) for design in (streamed, memory)]
    assert found[0].objective == pytest.approx(found[1].objective, rel=2e-5)


def test_the_latent_model_takes_them_too():
    groups = pm.Groups.from_lists([[0, 1], [2]])
    found = []
    for design in (
        StreamedDesign(X, intercept=True, memory=20_000),
        pm.SharedDesign(X, intercept=True),
    ):
        targets = pm.Targets.from_labels(Y, reduction="mean")
        posed = pm.LatentProblem(
            pm.SquaredHinge(),
            design,
            targets,
            groups,
            group_strength=0.01,
            l1_strength=0.001,
            frobenius_strength=0.001,
        )
        generator = torch.Generator().manual_seed(0)
        start = (
            torch.randn(D, 2, generator=generator, dtype=torch.float64),
            torch.randn(2, M, generator=generator, dtype=torch.float64),
            torch.zeros(M, dtype=torch.float64),
        )
        result = pm.solvers.run(
            posed, pm.PANOC(), start, pm.RelativeKKT(1e-8) | pm.MaxIterations(2000)
        )
        assert result.status.ok
        found.append(result.objective)
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_gradient_an_iteration_and_a_certificate_read_the_features_once():
    source = Counted(X)
    design = StreamedDesign(source, intercept=True, memory=20_000)
    assert source.read == N  # the check of the values
    posed = problem(design)
    W = posed.zeros() + 0.1
    posed.certificate(W)  # finds the units at zero
    for call in (posed.smooth_value_and_grad, posed.evaluate, posed.certificate):
        source.read = 0
        call(W)
        assert source.read == N
    source.read = 0
    result = pm.minimize(posed, pm.FISTA(Backtracking(first=0.05)), stop=pm.MaxIterations(40))
    # guesses of the next point that fail take another read, and a certificate ends the run
    assert source.read <= N * (1.2 * result.iterations + 3)


def test_bounds_of_the_curvature_hold_with_and_without_room_for_a_gram_matrix():
    targets = pm.Targets.from_labels(Y)
    truth = float(np.linalg.norm(X, 2)) ** 2
    exact = StreamedDesign(X, memory=1 << 20).curvature_by_task(targets)
    assert torch.all(exact >= truth)
    assert torch.all(exact <= 1.0001 * truth)
    bound = StreamedDesign(X, memory=600).curvature_by_task(targets)
    trace = float(np.square(X).sum())
    assert torch.all(bound >= trace)
    assert torch.all(bound <= 1.0001 * trace)


def test_all_samples_alone_are_taken():
    design = StreamedDesign(X)
    assert design.take(torch.arange(N)) is design


def test_some_samples_are_read_alone():
    source = Counted(X)
    design = StreamedDesign([source], intercept=True, memory=20_000)
    rows = torch.tensor([3, 4, 90, 91, 499])
    torch.testing.assert_close(design.samples(0, rows), torch.from_numpy(X)[rows], rtol=0, atol=0)
    source.read = 0
    part = design.take(rows)
    assert source.read == 0
    W = torch.randn(D + 1, M, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    memory = pm.SharedDesign(X[rows.numpy()], intercept=True)
    torch.testing.assert_close(part.scores(W), memory.scores(W))
    torch.testing.assert_close(part.adjoint(W[:5]), memory.adjoint(W[:5]))
    assert part.magnitude() == pytest.approx(memory.magnitude())
    torch.testing.assert_close(part.take(torch.tensor([1, 4])).scores(W), memory.scores(W)[[1, 4]])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "no part"),
        ([X, X[:, :3]], "one width"),
        ([X, X.astype(np.float32)], "one type"),
        ([X[:0]], "one width"),
        (X.astype(int), "give float16, float32 or float64"),
    ],
)
def test_features_that_are_no_matrix_raise(parts, words):
    with pytest.raises(ValueError, match=words):
        StreamedDesign(parts)


def test_a_value_that_is_not_finite_is_named_by_row_and_column():
    bad = X.copy()
    bad[321, 4] = np.inf
    with pytest.raises(ValueError, match="inf, first in row 21 of part 1, feature column 4"):
        StreamedDesign([bad[:300], bad[300:]], memory=5_000)
    with pytest.raises(ValueError, match="a row takes 480"):
        StreamedDesign(X, memory=100)
    with pytest.raises(ValueError, match="do not fit features of 400 samples"):
        problem(StreamedDesign(X[:400]))


def test_files_of_other_kinds_and_files_that_change_raise(tmp_path):
    with pytest.raises(InputError, match="holds no npy, safetensors or parquet file"):
        open_shards(tmp_path)
    folder = shards(tmp_path)
    np.save(tmp_path / "wide.npy", np.ones((3, D + 1)))
    with pytest.raises(InputError, match=r"13 features in float64, and part-00000\.npy has 12"):
        open_shards(folder)
    for name, array, words in [
        ("flat", X[0], r"shape \(12,\)"),
        ("whole", X.astype(int), "save floating-point"),
        ("fortran", np.asfortranarray(X), "columns one after another"),
    ]:
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(InputError, match=words):
            NpyRows(tmp_path / f"{name}.npy")
    with pytest.raises(InputError, match="no such file or directory; are the shards"):
        NpyRows(tmp_path / "nowhere" / "wide.npy")
    path = tmp_path / "part-00000.npy"
    rows = NpyRows(path)
    np.testing.assert_array_equal(rows[3:5], X[3:5])
    np.save(path, X[:150])
    with pytest.raises(InputError, match="has changed since it was opened"):
        rows[0:3]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="announces"):
        NpyRows(path)


def test_shards_are_in_the_order_of_their_numbers(tmp_path):
    for number in range(12):
        np.save(tmp_path / f"part-{number}.npy", np.full((2, 3), float(number)))
    firsts = [part[0:1][0, 0] for part in open_shards(tmp_path).parts]
    assert firsts == list(range(12))


MEASURED = """
import gc, resource, sys
import numpy as np, torch
import proxmtl as pm
from proxmtl import stored_labels
from proxmtl.designs import StreamedDesign
torch.set_num_threads(1)
samples, features, tasks, memory, in_bytes = map(int, sys.argv[1:])

class Rows:
    'A few rows over and over.'

    def __init__(self, n):
        self.shape, self.dtype = (n, features), np.dtype(np.float32)
        self.few = np.random.default_rng(0).standard_normal((1000, features), dtype=np.float32)

    def __len__(self):
        return self.shape[0]

    def read_into(self, first, out):
        out[:] = self.few[np.arange(first, first + len(out)) % 1000]

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def solve(n, memory, solver, penalty):
    design = StreamedDesign(Rows(n), intercept=True, memory=memory)
    labels = torch.where(torch.arange(n * tasks).reshape(n, tasks) % 7 < 3, 1.0, -1.0)
    targets = pm.Targets.from_labels(labels, reduction="mean", like=torch.empty(0))
    posed = pm.Problem(pm.SquaredHinge(), design, targets, penalty)
    stop = pm.RelativeGap(1e-12, every=2) | pm.MaxIterations(4)
    pm.minimize(posed, solver, stop=stop)

def both(n, memory):
    solve(n, memory, pm.FISTA(), pm.L1(0.01))
    gc.collect()
    solve(n, memory, pm.LBFGS(), pm.SquaredFrobenius(0.01))

if in_bytes:
    stored_labels.LARGE = 1 << 20  # far larger ones would take minutes
both(3000, 1 << 20)  # compilers, libraries
before = peak()
both(samples, memory)  # the peak is that of the solver that takes more
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux gives it")
@pytest.mark.parametrize(
    ("samples", "features", "tasks", "memory", "matrices"),
    [
        (400_000, 8, 16, 2 << 20, 20),
        (400_000, 8, 16, 2 << 20, 14),
        (40_000, 1024, 1, 24 << 20, 20),
    ],
)
def test_memory_is_that_of_the_budget_and_of_some_scores(
    samples, features, tasks, memory, matrices
):
    """Labels of the second case are kept in one byte, but for the caller's, which count as one.

    The third case reads 156 MiB, and has small scores.
    """
    command = [
        sys.executable,
        "-c",
        MEASURED,
        *map(str, (samples, features, tasks, memory, int(matrices < 20))),
    ]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    converted = 2 * (8 << 20)  # blocks of the products and of the check, in float64
    assert grown <= 1.2 * (memory + matrices * 4 * samples * tasks + converted)
