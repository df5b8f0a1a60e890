import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from solver_cases import CHAIN, PAIRS, D, M, convex, data, targets
from strategies import LOSS_FACTORIES, examples

import proxmtl as pm
import proxmtl.selection.path as path_module
from proxmtl.io import InputError
from proxmtl.selection import solve_latent_path, solve_path, strength_grid, with_strengths
from proxmtl.selection.strengths import geometric

TIGHT = pm.RelativeGap(1e-9) | pm.MaxIterations(20000)
PENALTIES = {
    "l1": [pm.L1(1.0)],
    "elastic": [pm.L1(1.0), pm.SquaredFrobenius(0.3)],
    "groups": [pm.GroupL2(PAIRS, 1.0)],
    "rows": [pm.GroupL2(pm.Groups.singletons(D), 1.0, axis=0)],
    "overlap": [pm.OverlappingGroupL2(CHAIN, 1.0)],
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("intercept", [False, True])
def test_the_path_starts_at_zero_and_leaves_it_at_once(penalty, intercept):
    X, *_ = data()
    design = pm.SharedDesign(X, intercept=intercept)
    problem = pm.Problem(pm.SquaredHinge(), design, targets(), PENALTIES[penalty])
    # the certificate of an overlapping norm is itself iterative: tight ones take long
    stop = TIGHT if penalty != "overlap" else pm.RelativeGap(1e-5) | pm.MaxIterations(500)
    path = solve_path(problem, n=4, ratio=0.2, stop=stop)
    assert path.strengths[0] == problem.critical_strength()
    assert path.strengths[-1] == 0.2 * path.strengths[0]
    weights = [design.split(solution)[0] for solution in path.solutions]
    assert not weights[0].any()
    assert weights[1].any()
    assert not path.stopped_early
    assert all(point.status is pm.Status.CONVERGED for point in path.points)
    for strength, point in zip(path.strengths, path.points, strict=True):
        alone = pm.minimize(with_strengths(problem, strength), stop=stop)
        # each is as far above the optimum as its gap says, at most
        apart = point.certificate.objective - alone.certificate.objective
        assert -alone.certificate.gap - 1e-12 <= apart <= point.certificate.gap + 1e-12
        again = with_strengths(problem, strength).certificate(point.solution)
        assert again.objective == point.certificate.objective
    support = [int((w != 0).sum()) for w in weights]
    assert support[0] < support[1] <= support[-1]


@pytest.mark.parametrize("name", sorted(LOSS_FACTORIES))
@pytest.mark.parametrize("intercept", [False, True])
@examples(1)
@given(draws=st.data())
def test_critical_strength_of_every_loss_is_where_its_path_begins(name, intercept, draws):
    """Just above it zero is the solution, just below it is not."""
    loss = LOSS_FACTORIES[name](draws.draw)
    X, *_ = data()
    if loss.coupled:
        labels = pm.Targets.from_classes((X[:, 0] > 0.3).to(X) + (X[:, 1] > 0.6).to(X), 3, like=X)
    else:
        labels = targets()
    problem = pm.Problem(loss, pm.SharedDesign(X, intercept=intercept), labels, pm.L1(1.0))
    stop = TIGHT if problem.has_gap else pm.RelativeKKT(1e-9) | pm.MaxIterations(20000)
    critical = problem.critical_strength()
    assert 0 < critical < math.inf
    path = solve_path(problem, [critical * 1.001, critical, critical * 0.99], stop=stop)
    nonzero = [bool(problem.design.split(w)[0].any()) for w in path.solutions]
    assert nonzero == [False, False, True]
    assert all(p.certificate.relative_kkt <= 1e-4 for p in path.points)
    # not by the path's shortcut: a solve from elsewhere ends at the same objective
    start = torch.full_like(problem.zeros(), 0.1)
    alone = pm.minimize(with_strengths(problem, critical * 1.001), x0=start, stop=stop)
    expected = alone.certificate.objective
    assert path.certificates[0].objective == pytest.approx(expected, rel=1e-8)


def test_warm_starts_save_passes():
    problem = convex("elastic", intercept=True)
    path = solve_path(problem, n=12, ratio=0.01, stop=TIGHT)
    cold = sum(
        pm.minimize(with_strengths(problem, s), stop=TIGHT).passes for s in path.strengths[1:]
    )
    assert path.passes < 0.9 * cold


def test_a_rule_ends_the_path():
    problem = convex("l1")
    path = solve_path(problem, n=10, until=lambda point: bool(point.solution.any()))
    assert path.stopped_early
    assert len(path) == 2
    assert path.solutions[-1].any()


def test_a_ridge_has_a_path_too_if_strengths_are_given():
    problem = convex("ridge")
    path = solve_path(problem, [3.0, 1.0], stop=TIGHT)
    norms = [float(solution.norm()) for solution in path.solutions]
    assert 0 < norms[0] < norms[1]
    with pytest.raises(pm.UnsupportedError, match="no non-smooth"):
        solve_path(problem)


def test_a_path_goes_on_where_it_was(tmp_path, monkeypatch):
    problem = convex("groups", intercept=True)
    whole = solve_path(problem, n=5, stop=TIGHT)
    folder = tmp_path / "path"
    solve_path(problem, n=5, stop=TIGHT, folder=folder, until=lambda point: len(point.reason) < 40)
    (folder / "point_0003.safetensors").unlink(missing_ok=True)
    calls = []
    solve = path_module.minimize

    def counted(*args):
        calls.append(args)
        return solve(*args)

    monkeypatch.setattr(path_module, "minimize", counted)
    resumed = solve_path(problem, n=5, stop=TIGHT, folder=folder)
    assert 0 < len(calls) < 4
    for a, b in zip(whole.points, resumed.points, strict=True):
        assert torch.equal(a.solution, b.solution)
        assert a.certificate == b.certificate
    calls.clear()
    solve_path(problem, n=5, stop=TIGHT, folder=folder)
    assert not calls


def test_a_folder_of_another_path_is_refused(tmp_path):
    solve_path(convex("l1"), [3.0, 1.0], folder=tmp_path / "a")
    with pytest.raises(InputError, match="strengths"):
        solve_path(convex("l1"), [3.0, 2.0], folder=tmp_path / "a")
    with pytest.raises(InputError, match=r"gradient.*negative_sum, positive_sum"):
        solve_path(convex("l1", seed=1), [3.0, 1.0], folder=tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        solve_path(convex("l1"), [3.0], folder=tmp_path / "b")
    (tmp_path / "a" / "point_0001.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match="remove it to compute it again"):
        solve_path(convex("l1"), [3.0, 1.0], folder=tmp_path / "a")
    (tmp_path / "a" / "settings.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"settings.json: .*remove the folder"):
        solve_path(convex("l1"), [3.0, 1.0], folder=tmp_path / "a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strengths": []}, "at least one"),
        ({"strengths": [1.0, -1.0]}, ">= 0"),
        ({"strengths": [math.nan]}, "finite"),
        ({"ratio": 1.0}, "ratio"),
        ({"n": 0}, "n: got 0"),
    ],
)
def test_bad_paths_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        solve_path(convex("l1"), **options)


def test_strengths_are_replaced_in_order():
    problem = convex("elastic")
    both = with_strengths(problem, [5.0, 7.0])
    assert [r.strength for r in both.regularizers] == [5.0, 7.0]
    assert both.counts is problem.counts
    one = with_strengths(problem, 5.0)
    assert [r.strength for r in one.regularizers] == [5.0, 0.3]
    with pytest.raises(ValueError, match="2 penalties"):
        with_strengths(problem, [1.0])
    with pytest.raises(ValueError, match="2 squared norms"):
        with_strengths(problem.with_regularizers([pm.SquaredFrobenius(1.0)] * 2), 3.0)


def test_no_grid_where_nothing_makes_the_solution_zero():
    part = pm.Groups.from_lists([[0, 1]], 4)
    with pytest.raises(pm.UnsupportedError, match="give the strengths"):
        strength_grid(convex("l1").with_regularizers(pm.GroupL2(part, 1.0)))


# ------------------------------------------------------------------ the factored model


def test_the_factored_path_goes_up_to_the_collapse(tmp_path):
    X, Y, _ = data(missing=0.0)
    model = pm.LatentMTL(PAIRS, n_latents=3, group_strength=0.01, max_passes=150)
    path = solve_latent_path(model, X, Y, n=12, growth=4.0, folder=tmp_path / "p")
    assert path.collapsed
    assert path.results[-1].status is pm.Status.COLLAPSED
    assert not any(result.collapsed for result in path.results[:-1])
    assert path.strengths == [0.01 * 4.0**i for i in range(len(path))]
    assert 3 <= len(path) < 12
    zeros = [int((result.S == 0).sum()) for result in path.results]
    assert zeros[-1] == 3 * M > zeros[0]
    again = solve_latent_path(model, X, Y, n=12, growth=4.0, folder=tmp_path / "p")
    assert all(torch.equal(a.L, b.L) for a, b in zip(path.results, again.results, strict=True))
    assert again.passes == path.passes
    # what the docstring warns of: downwards from the collapse everything stays zero
    down = pm.LatentMTL(PAIRS, n_latents=3, group_strength=path.strengths[0]).solve(
        X, Y, warm_start=path.results[-1]
    )
    assert down.collapsed


@pytest.mark.parametrize("strengths", [[0.1, 0.1], [0.2, 0.1], [0.0, 0.1]])
def test_the_factored_path_does_not_go_down(strengths):
    X, Y, _ = data(missing=0.0)
    with pytest.raises(ValueError, match="upwards"):
        solve_latent_path(pm.LatentMTL(), X, Y, strengths)


def test_a_folder_with_other_groups_or_another_stop_is_refused(tmp_path):
    first, second = (pm.Groups.from_lists(lists) for lists in ([[0, 1], [2, 3]], [[0, 2], [1, 3]]))
    problem = convex("l1").with_regularizers(pm.GroupL2(first, 1.0))
    solve_path(problem, [2.0], folder=tmp_path / "path")
    other = problem.with_regularizers(pm.GroupL2(second, 1.0))
    with pytest.raises(InputError, match="penalties"):
        solve_path(other, [2.0], folder=tmp_path / "path")
    with pytest.raises(InputError, match="stop"):
        solve_path(problem, [2.0], stop=pm.MaxIterations(1), folder=tmp_path / "path")


@pytest.mark.parametrize("end", [0.0, -0.5, math.inf, math.nan])
def test_grids_have_ends_that_are_positive(end):
    for ends in ((end, 1.0), (1.0, end)):
        with pytest.raises(ValueError, match="strengths: got an end of"):
            geometric(*ends, 3)
    with pytest.raises(ValueError, match="n: got 0"):
        geometric(1.0, 2.0, 0)
    assert geometric(4.0, 1.0, 1) == [4.0]
    assert geometric(4.0, 1.0, 3) == [4.0, 2.0, 1.0]


def wide(loss, n_groups=100):
    g = torch.Generator().manual_seed(0)
    X = torch.randn(60, 5 * n_groups, dtype=torch.float64, generator=g)
    y = X[:, :10].sum(1) + 0.1 * torch.randn(60, dtype=torch.float64, generator=g)
    groups = pm.Groups.from_lists([list(range(a, a + 5)) for a in range(0, 5 * n_groups, 5)])
    labels = pm.Targets.from_labels(y[:, None].sign(), coding="signs")
    return pm.Problem(loss, pm.SharedDesign(X), labels, pm.GroupL2(groups, 1.0, axis=0))


def test_points_of_a_path_are_solved_on_few_features():
    problem = wide(pm.Logistic())
    path = solve_path(problem, n=4, ratio=0.3)
    for strength, point in zip(path.strengths[1:], path.points[1:], strict=True):
        again = with_strengths(problem, strength).certificate(point.solution)
        assert point.certificate.relative_gap == pytest.approx(again.relative_gap, abs=1e-12)
        assert again.relative_gap <= 1e-6
        assert "working set" in point.reason
        # two products with all features to choose a set, or two sets
        assert point.passes < 0.3 * pm.minimize(with_strengths(problem, strength)).passes
        assert point.iterations > 0


def test_a_path_goes_on_with_all_features_where_sets_do_not_suffice():
    problem = wide(pm.Squared(), n_groups=20)  # 100 features: any set holds more than half
    path = solve_path(problem, n=3, ratio=0.1)
    assert [point.status for point in path.points] == [pm.Status.CONVERGED] * 3
    assert not any("working set" in point.reason for point in path.points)


def test_points_start_ahead_of_the_last_ones():
    """Without a sign that changes, a solution under the squared loss is linear in the strength."""
    X = torch.linalg.qr(torch.randn(30, 6, dtype=torch.float64))[0]  # then soft thresholds of X'y
    Y = X @ torch.arange(1.0, 7.0, dtype=torch.float64)[:, None]
    labels = pm.Targets.from_labels(Y, coding="real")
    problem = pm.Problem(pm.Squared(), pm.SharedDesign(X), labels, pm.L1(1.0))
    scale = problem.critical_strength()
    path = solve_path(problem, [0.1 * scale, 0.06 * scale, 0.03 * scale], stop=TIGHT)
    first, second, third = path.points
    assert third.iterations < second.iterations
    expected = second.solution + 0.75 * (second.solution - first.solution)
    torch.testing.assert_close(third.solution, expected, rtol=1e-6, atol=1e-6)
