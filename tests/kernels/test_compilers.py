"""A backend whose compiler fails is passed over, and what needs it goes on."""

import logging

import numpy as np
import pytest
import torch

from proxmtl import kernels
from proxmtl.estimators import LatentMTLClassifier
from proxmtl.kernels import compilers, dispatch

numba = pytest.importorskip("numba")

GROUPS = kernels.GroupIndex(torch.tensor([0, 2, 5]), torch.arange(5))
V = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _sweep(**options):
    X, dual = V.clone(), torch.zeros(6, 5, dtype=torch.float64)
    gap, value = kernels.overlap_dual_sweep(X, dual, GROUPS, 0.3, sweeps=2, **options)
    return X, dual, gap, value


def _hinge(**options):
    return kernels.hinge_value_and_grad(V, V[:5, :2], V[:, :2].sign(), **options)[:2]


CALLS = {
    "soft_threshold": lambda **o: kernels.soft_threshold(V, 0.3, **o),
    "soft_threshold in place": lambda **o: kernels.soft_threshold(x := V.clone(), 0.3, out=x, **o),
    "group_shrink": lambda **o: kernels.group_shrink(V, GROUPS, 0.3, **o),
    "overlap_dual_sweep": _sweep,
    "smoothed_group_grad": lambda **o: kernels.smoothed_group_grad(V, GROUPS, 0.3, 1, **o),
    "hinge_value_and_grad": _hinge,
    "chain_prox": lambda **o: kernels.chain_prox(V, 0.3, **o),
}  # fmt: skip


@pytest.fixture
def fresh(monkeypatch):
    """What this process has found out about backends, put aside for a test."""
    monkeypatch.setattr(dispatch, "_faults", {})
    monkeypatch.setattr(dispatch, "_reported", set())


@pytest.fixture
def no_compiler(fresh, monkeypatch):
    """Replace numba's compiler by one that fails, for every kernel whatever was compiled before."""
    attempts = []

    def fails(*args, **kwargs):
        attempts.append(args)
        raise numba.core.errors.LoweringError("Failed in nopython mode pipeline\n\nmore lines")

    for module in {o.modules["numba"] for o in dispatch.operations().values()}:
        loaded = dispatch.load(module)
        for name in ("run_pieces", "parallel"):
            if hasattr(loaded, name):
                monkeypatch.setattr(loaded, name, fails)
    return attempts


@pytest.mark.parametrize("name", CALLS)
def test_the_next_backend_serves_the_same_call(no_compiler, caplog, name):
    wanted = CALLS[name](backend="torch")
    with caplog.at_level(logging.WARNING, logger="proxmtl.kernels.dispatch"):
        for seen in (CALLS[name](), CALLS[name]()):
            for got, want in zip(seen, wanted, strict=True):
                torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert len(no_compiler) == 1  # found out once
    (record,) = caplog.records
    assert "falling back from backend numba" in record.getMessage()
    assert "fails to compile, with LoweringError: Failed in nopython mode" in record.getMessage()


@pytest.mark.parametrize("name", CALLS)
def test_a_backend_asked_for_by_name_raises_with_the_reason(no_compiler, name):
    for _ in range(2):
        with pytest.raises(kernels.BackendError, match=r"numba.*fails to compile, with Lowering"):
            CALLS[name](backend="numba")
    with kernels.use_backend("numba"), pytest.raises(kernels.BackendError, match="fails to comp"):
        CALLS[name]()


def test_all_operations_say_it_in_one_line(no_compiler, caplog):
    with caplog.at_level(logging.WARNING, logger="proxmtl.kernels.dispatch"):
        for call in CALLS.values():
            call()
    assert len(caplog.records) == 1


def test_a_fit_goes_on(no_compiler):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    Y = (X @ rng.normal(size=(5, 4)) > 0).astype(float)
    options = {"groups": [[0, 1], [1, 2, 3]], "max_passes": 100}  # overlapping
    model = LatentMTLClassifier(**options).fit(X, Y)
    assert no_compiler
    with kernels.use_backend("torch"):
        wanted = LatentMTLClassifier(**options).fit(X, Y)
    np.testing.assert_array_equal(model.coef_, wanted.coef_)


def test_numba_itself_unable_to_compile(fresh, monkeypatch):
    """The real dispatcher: a kernel whose source numba can't type."""
    module = dispatch.load("proxmtl.kernels.numba.chain_prox")

    @numba.njit
    def untyped(v, radius, x):
        return v.no_such_attribute

    monkeypatch.setattr(module, "_rows", untyped)
    torch.testing.assert_close(CALLS["chain_prox"](), CALLS["chain_prox"](backend="torch"))
    with pytest.raises(kernels.BackendError, match="fails to compile, with TypingError"):
        CALLS["chain_prox"](backend="numba")


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError(), KeyboardInterrupt()])
def test_other_errors_are_raised(fresh, monkeypatch, error):
    module = dispatch.load("proxmtl.kernels.numba.soft_threshold")

    def fails(*args):
        raise error

    monkeypatch.setattr(module, "run_pieces", fails)
    with pytest.raises(type(error)):
        CALLS["soft_threshold"]()
    assert not dispatch._faults[module.__name__]


@pytest.mark.parametrize("package", ["numba", "llvmlite.binding", "triton.compiler"])
def test_what_a_compiler_raises_is_known_by_where_it_came_from(package):
    """Also plain exceptions, such as LLVM's, where a frame is the compiler's."""
    names = {"__name__": package}
    exec("def compile():\n    raise RuntimeError('Broken module found')", names)
    with pytest.raises(RuntimeError) as caught:
        names["compile"]()
    assert compilers.compiler_failed(caught.value)
    assert compilers.in_one_line(caught.value) == "RuntimeError: Broken module found"
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("ours")
    assert not compilers.compiler_failed(caught.value)


def test_compiled_code_that_raises_is_no_failure_of_the_compiler():
    @numba.njit
    def divide(a, b):
        return a // b

    with pytest.raises(ZeroDivisionError) as caught:
        divide(1, 0)
    assert not compilers.compiler_failed(caught.value)
