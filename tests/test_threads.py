"""Small problems are solved by one thread, and the number of threads is as before afterwards."""

import numpy as np
import pytest
import torch

import proxmtl as pm
from proxmtl import threads


@pytest.fixture
def three():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    return X, np.where(X[:, :2] + 0.5 * rng.standard_normal((30, 2)) > 0, 1.0, -1.0)


def numbers_of(monkeypatch, solve, small):
    """Numbers of threads in the iterations of a solve, where products of a size are small."""
    monkeypatch.setattr(threads, "SMALL", small)
    seen = set()
    solve(lambda _: seen.add(torch.get_num_threads()))
    return seen


@pytest.mark.parametrize(("small", "expected"), [(30 * 2 * 5, {1}), (30 * 2 * 5 - 1, {3})])
def test_a_solve_takes_as_many_threads_as_pay(monkeypatch, three, small, expected):
    X, Y = problem()

    def solve(callback):
        pm.minimize(pm.Problem.of(X, Y, pm.L1(0.01)), "fista", callback=callback)

    assert numbers_of(monkeypatch, solve, small) == expected
    assert torch.get_num_threads() == three


def test_a_problem_by_keyword_is_looked_at_as_well(three):
    @threads.in_few_threads
    def number(problem):
        return torch.get_num_threads()

    posed = pm.Problem.of(*problem())
    assert number(problem=posed) == number(posed) == 1
    assert number(problem=None) == three


@pytest.mark.parametrize(("small", "expected"), [(30 * 2 * 5, {1}), (30 * 2 * 5 - 1, {3})])
def test_so_does_a_fit_with_its_search(monkeypatch, three, small, expected):
    X, Y = problem()
    seen = []
    search = pm.SharedPlusOwnClassifierCV._points

    def noted(*args, **options):
        seen.append(torch.get_num_threads())
        return search(*args, **options)

    monkeypatch.setattr(pm.SharedPlusOwnClassifierCV, "_points", noted)
    monkeypatch.setattr(threads, "SMALL", small)
    pm.SharedPlusOwnClassifierCV(random_state=0).fit(X, Y)
    assert set(seen) == expected
    assert torch.get_num_threads() == three


def test_threads_are_as_before_after_an_error(three):
    def failing():
        with threads.one_thread(small=True):
            assert torch.get_num_threads() == 1
            raise ValueError("of ours")

    with pytest.raises(ValueError, match="of ours"):
        failing()
    assert torch.get_num_threads() == three
    with threads.one_thread(small=False):
        assert torch.get_num_threads() == three
