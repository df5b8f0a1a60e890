"""Common ground of all tests: poisoned memory, hypothesis profiles, threads."""

import gc
import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # strategies, oracles: tests aren't a package
sys.path.append(str(Path(__file__).parents[1]))  # bench

torch.set_num_threads(int(os.environ.get("PROXMTL_TEST_THREADS", "1")))

# a shell has its background jobs ignore Ctrl-C, and so would the commands that tests interrupt
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
for number in SIGNALS:
    if signal.getsignal(number) is signal.SIG_IGN:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)

_COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
}
# the default profile sees the same examples in every run; the deep one looks for new ones
hypothesis.settings.register_profile("default", max_examples=100, derandomize=True, **_COMMON)
hypothesis.settings.register_profile("deep", max_examples=1000, **_COMMON)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_finish():
    """Leave what imports and the collection of tests made out of garbage collections.

    Looking at all of it takes a fifth of the time of the tests.
    """
    gc.collect()
    gc.freeze()


ALLOCATORS = [
    (torch, "empty"),
    (torch, "empty_like"),
    (torch, "empty_strided"),
    (torch, "empty_permuted"),
    (torch.Tensor, "new_empty"),
    (torch.Tensor, "new_empty_strided"),
]


@pytest.fixture(autouse=True, scope="session")
def poisoned_allocations():
    """Fill fresh memory that the library asks for with NaN: what nobody wrote is seen."""
    with torch.device("meta"):  # its list of functions, made at the first use, has those of torch
        torch.empty(0)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ALLOCATORS:
            patch.setattr(owner, name, _poisoned(getattr(owner, name)))
        yield


@pytest.fixture
def data():
    """The folder of the real data sets, or a skip that says what is missing."""
    from proxmtl.backbones.experiments.datasets import data_root

    root = data_root()
    if not root.is_dir():
        pytest.skip(f"real data: {root} isn't there; set PROXMTL_DATA to the folder of data sets")
    return root


@pytest.fixture
def kernel_calls(monkeypatch):
    """Options of each call of the fused kernel by a design, in order."""
    from proxmtl.designs import fused

    calls, kernel = [], fused.hinge_value_and_grad

    def spy(*args, **options):
        calls.append(options)
        return kernel(*args, **options)

    monkeypatch.setattr(fused, "hinge_value_and_grad", spy)
    return calls


@pytest.fixture(autouse=True)
def signal_handlers():
    """Leave no test the handlers of the one before: a command of the CLI ends with the system's."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _poisoned(allocate):
    def allocate_poisoned(*args, **kwargs):
        fresh = allocate(*args, **kwargs)
        if torch.compiler.is_compiling():  # which can't trace how the caller is found
            return fresh
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("proxmtl") and (fresh.is_floating_point() or fresh.is_complex()):
            fresh.fill_(float("nan"))
        return fresh

    return allocate_poisoned
