"""The choice of a backend never lies."""

import logging
import subprocess
import sys

import pytest
import torch

from proxmtl import kernels
from proxmtl.kernels import dispatch


@pytest.fixture
def call():
    X, W, Y = torch.randn(2, 5, 3), torch.randn(3, 2), torch.ones(2, 5)
    return lambda **options: kernels.hinge_value_and_grad(X, W, Y, **options)


@pytest.fixture
def toy(monkeypatch):
    """An operation whose numba module refuses and whose torch module answers."""
    monkeypatch.setattr(dispatch, "_reported", set())

    class Refuses:
        supports = staticmethod(lambda _: (False, "It is closed on Sundays."))
        run = staticmethod(lambda _: "numba")

    class Serves:
        supports = staticmethod(lambda _: (True, ""))
        run = staticmethod(lambda _: "torch")

    modules = {"numba": Refuses, "torch": Serves}
    monkeypatch.setattr(dispatch, "load", modules.__getitem__)
    return dispatch.Operation(name="toy", bind=lambda x: x, modules={k: k for k in modules})


def test_named_backend_raises_with_the_reason(toy):
    with pytest.raises(kernels.BackendError, match=r"toy.*'numba'.*closed on Sundays.*torch"):
        toy.run(torch.zeros(1), "numba")


def test_automatic_choice_falls_back_and_logs_once(toy, caplog):
    with caplog.at_level(logging.WARNING, logger="proxmtl.kernels.dispatch"):
        assert [toy.run(torch.zeros(1)) for _ in range(3)] == ["torch"] * 3
    assert [r.getMessage() for r in caplog.records] == [
        "toy: falling back from backend numba: It is closed on Sundays."
    ]


def test_backend_without_an_implementation_is_named(toy):
    with pytest.raises(kernels.BackendError, match="doesn't implement toy"):
        toy.run(torch.zeros(1), "naive")


def test_precedence_argument_context_environment(call, monkeypatch):
    seen = []
    original = dispatch.load
    monkeypatch.setattr(dispatch, "load", lambda path: seen.append(path) or original(path))
    monkeypatch.setenv(dispatch.ENVIRONMENT_VARIABLE, "naive")
    call()
    with kernels.use_backend("torch"):
        call()
        call(backend="numba")
    call()
    assert [path.split(".")[-2] for path in dict.fromkeys(seen)] == ["naive", "torch", "numba"]
    assert seen[-1].split(".")[-2] == "naive"


def test_context_nests_and_is_left_on_error():
    def fail():
        with kernels.use_backend("naive"):
            assert dispatch.requested_backend() == "naive"
            raise KeyError

    with kernels.use_backend("torch"):
        with pytest.raises(KeyError):
            fail()
        assert dispatch.requested_backend() == "torch"
    assert dispatch.requested_backend() == "auto"


def test_unknown_names_are_refused(call, monkeypatch):
    with pytest.raises(ValueError, match="cuda"), kernels.use_backend("cuda"):
        pass
    with pytest.raises(ValueError, match="choose from auto, naive, torch, numba, triton"):
        call(backend="fortran")
    monkeypatch.setenv(dispatch.ENVIRONMENT_VARIABLE, "opencl")
    with pytest.raises(ValueError, match="PROXMTL_BACKEND names the backend 'opencl'"):
        call()
    with pytest.raises(ValueError, match="operation 'sort' doesn't exist"):
        kernels.supports("sort")


def test_missing_package_is_a_reason_not_a_crash(call, monkeypatch):
    monkeypatch.setattr(dispatch, "_installed", lambda _: False)
    monkeypatch.setattr(dispatch, "_reported", set())
    torch.testing.assert_close(call().grad, call(backend="torch").grad)
    with pytest.raises(kernels.BackendError, match="numba isn't installed"):
        call(backend="numba")


def test_a_package_that_fails_to_start_is_passed_over(call, monkeypatch, caplog):
    def fails(path):
        if ".numba." in path:
            raise SystemError("numpy is too new")
        return original(path)

    original = dispatch.load
    monkeypatch.setattr(dispatch, "load", fails)
    monkeypatch.setattr(dispatch, "_faults", {})
    monkeypatch.setattr(dispatch, "_reported", set())
    with caplog.at_level(logging.WARNING, logger="proxmtl.kernels.dispatch"):
        seen = [call() for _ in range(2)]
    assert torch.equal(seen[1].grad, call(backend="torch").grad)
    assert len(caplog.records) == 1
    assert "falling back from backend numba" in caplog.text
    assert "fails to start, with SystemError: numpy is too new." in caplog.text
    assert not kernels.backends()["numba"]
    assert kernels.backends()["torch"]
    with pytest.raises(kernels.BackendError, match="SystemError: numpy is too new"):
        call(backend="numba")


@pytest.mark.parametrize("backend", ["auto", "numba", "torch"])
def test_autocast_changes_nothing(backend):
    X, W, Y = torch.randn(30, 8), torch.randn(8, 20), torch.randn(30, 20).sign()

    def run():
        return kernels.hinge_value_and_grad(X, W, Y, backend=backend)

    wanted = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = run()
    assert seen.grad.dtype == torch.float32
    assert torch.equal(seen.grad, wanted.grad)
    assert torch.equal(seen.value, wanted.value)


def test_import_needs_neither_triton_nor_numba():
    code = "import sys, proxmtl.kernels; print({'numba', 'triton'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize("name", sorted(kernels.operations()))
def test_every_operation_has_its_oracle_and_a_portable_backend(name):
    assert {"naive", "torch"} <= set(kernels.operations()[name].modules)
