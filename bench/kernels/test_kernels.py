"""pytest-benchmark view of the cases: ``make bench``, or ``pytest bench --benchmark-only``."""

import pytest
import torch

from bench.kernels.cases import suite

# torch's own compiler imports what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", sorted(suite(DEVICE).factories.keys() - suite(DEVICE).large))
def test_case(benchmark, name):
    case = suite(DEVICE).factories[name](DEVICE)
    ours = next(call for label, call in case.contenders.items() if label.startswith("ours/"))
    case.check(ours())  # no number for a wrong result

    def run():
        ours()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(run, rounds=9, warmup_rounds=1)
    benchmark.extra_info["gb_per_second"] = case.n_bytes / 1e9 / benchmark.stats["median"]
