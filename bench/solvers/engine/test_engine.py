"""pytest-benchmark view: seconds of our solvers to a relative suboptimality of 1e-6."""

import pytest
import torch

from bench.solvers.engine.cases import CASES
from bench.solvers.engine.contenders import ours, reach
from proxmtl import FISTA, MaxIterations, ProxNewton, RelativeGap, minimize

SOLVERS = {"FISTA": FISTA(), "ProxNewton": ProxNewton()}


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request):
    made = CASES[request.param]()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stop = RelativeGap(1e-8, every=50) | MaxIterations(1000)
    result = minimize(made.problem(), ProxNewton(), stop=stop)
    assert result.status.ok  # no number against an optimum that is none
    yield made, result.certificate.objective
    torch.set_num_threads(threads)


@pytest.mark.parametrize("solver", SOLVERS)
def test_time_to_six_digits(benchmark, case, solver):
    made, best = case
    problem_and_solver = ours(SOLVERS[solver], target=best * (1 + 1e-6))
    curve = benchmark.pedantic(problem_and_solver, args=(made, 20.0), rounds=1)
    benchmark.extra_info["processor_seconds"] = reach(curve, best, 1e-6)
    benchmark.extra_info["iterations"] = len(curve)
