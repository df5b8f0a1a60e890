"""pytest-benchmark view of the cases: ``make bench``, or ``pytest bench --benchmark-only``.

The benchmark's own columns are times of ours. Beside them, in ``extra_info`` and with `-s` on the
screen, stands what ``run.py`` would write: ours and its competitors in turns with probes of
the machine.
"""

import pytest
import torch

from bench.kernels.cases import suite
from bench.kernels.report import report
from bench.kernels.timing import Ceilings

# torch's own compiler imports what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def ceilings():
    return Ceilings(DEVICE)


@pytest.mark.parametrize("name", sorted(suite(DEVICE).factories.keys() - suite(DEVICE).large))
def test_case(benchmark, ceilings, name):
    torch.compiler.reset()  # or the second shape of a form gets code for any shape
    case = suite(DEVICE).factories[name](DEVICE)
    rows = report(case, ceilings, DEVICE, seconds=0.1)  # no number for a wrong result
    ours = next(row for row in rows if row["contender"].startswith("ours/"))
    call = case.contenders[ours["contender"]]

    def run():
        call()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(run, rounds=9, warmup_rounds=1)
    benchmark.extra_info |= {
        "gb_per_second": ours["gb_per_second"],
        f"fraction_of_{ours['limit']}": ours["fraction_of_limit"],
        "ms": ours["ms"],
        "times_as_fast_as": {
            row["contender"]: row["ms"]["p50"] / ours["ms"]["p50"]
            for row in rows
            if not row["contender"].startswith("ours/")
        },
    }
