"""Choice of the backend that serves a call.

An *operation* (see `proxmtl.kernels.ops`) binds the caller's arguments once into a frozen
dataclass; a *backend module* serves it with two functions::

    supports(args) -> tuple[bool, str]      # the reason is a sentence when the answer is no
    run(args) -> result

A backend asked for by name, in the call, by `use_backend` or by the environment variable
``PROXMTL_BACKEND`` (in this order of precedence), serves the call or raises with the reason.
The automatic choice takes the first backend that can, and logs once what it passed over.
Backend modules are imported on first use: nothing here imports triton or numba.

A backend whose compiler fails, at its import or in a call, can't serve the operation in this
process any more: the automatic choice goes on with the next one in the same call.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

from .compilers import compiler_failed, in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BACKENDS = ("naive", "torch", "numba", "triton")
ENVIRONMENT_VARIABLE = "PROXMTL_BACKEND"
AUTOMATIC = "auto"

# The oracle is never chosen automatically: it is right, and slow by design.
_PREFERENCE = {"cuda": ("triton", "torch"), "cpu": ("numba", "torch")}
_NEEDS_PACKAGE = {"numba": "numba", "triton": "triton"}

_logger = logging.getLogger(__name__)
_chosen: ContextVar[str | None] = ContextVar("proxmtl_backend", default=None)
_reported: set[tuple[str, str, str]] = set()
_faults: dict[str, str] = {}
"""Modules of backends that were imported, and why one can't be used: a sentence, or nothing."""


class BackendError(RuntimeError):
    """A backend asked for by name can't serve the call; the message says why."""


class Arguments(Protocol):
    """What dispatch needs to know of an operation's bound arguments.

    Those of an operation that writes to the caller's tensors have ``written`` too, a tuple of them.
    """

    @property
    def device(self) -> torch.device:
        """Device that holds the tensors of the call."""


class BackendModule(Protocol):
    """What a backend's module offers for one operation."""

    def supports(self, args: Any) -> tuple[bool, str]:
        """Whether this call can be served, and why not."""

    def run(self, args: Any) -> Any:
        """Serve the call. Code is compiled before anything of the caller's is written."""


def always(args: Any) -> tuple[bool, str]:
    """``supports`` of a backend that serves every call, as the naive one and torch do."""
    del args
    return True, ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation and where its backends live.

    Parameters
    ----------
    name : str
        Public name, the one of the function in `proxmtl.kernels`.
    bind : callable
        Takes the public arguments, validates them, returns the frozen argument object that
        backends receive. Raises ValueError or TypeError with a sentence.
    modules : mapping of str to str
        Backend name to the dotted path of the module that offers ``supports`` and ``run``.
    """

    name: str
    bind: Callable[..., Any]
    modules: Mapping[str, str]

    def supports(self, args: Arguments) -> dict[str, tuple[bool, str]]:
        """Answer of each backend for these bound arguments."""
        return {backend: self._verdict(backend, args) for backend in BACKENDS}

    def select(self, args: Arguments, backend: str | None = None) -> str:
        """Name of the backend that serves these bound arguments.

        Raises
        ------
        BackendError
            When the backend asked for by name can't serve the call.
        ValueError
            When no backend has that name.
        """
        asked = requested_backend() if backend is None else _checked(backend, "backend")
        if asked != AUTOMATIC:
            ok, reason = self._verdict(asked, args)
            if not ok:
                others = [b for b in BACKENDS if b != asked and self._verdict(b, args)[0]]
                raise BackendError(
                    f"{self.name}: backend {asked!r} was asked for and can't serve this call: "
                    f"{reason} Backends that can: {', '.join(others) or 'none'}; or ask for "
                    f"{AUTOMATIC!r}."
                )
            return asked
        refusals = []
        for candidate in _PREFERENCE.get(args.device.type, ("torch",)):
            ok, reason = self._verdict(candidate, args)
            if ok:
                return candidate
            refusals.append(f"{candidate}: {reason}")
            self._report(candidate, reason)
        raise BackendError(f"{self.name}: no backend can serve this call. {' '.join(refusals)}")

    def run(self, args: Arguments, backend: str | None = None) -> Any:
        """Serve bound arguments with the selected backend.

        Raises
        ------
        BackendError
            When the backend asked for by name can't serve the call, or its compiler fails.
        """
        while True:
            chosen = self.select(args, backend)
            module = load(self.modules[chosen])
            try:
                return on_device(args.device, module.run, args)
            except Exception as error:
                if not self._lost(chosen, error):
                    raise
            finally:  # kernels write past torch's accounts; also before an interruption
                for tensor in getattr(args, "written", ()):
                    if not tensor.is_inference():
                        torch.autograd.graph.increment_version(tensor)

    def _lost(self, backend: str, error: Exception) -> bool:
        """Whether an exception of a backend means that it can't serve this operation any more.

        The next choice then passes it over, and a request by name raises with the reason.
        """
        package = _NEEDS_PACKAGE.get(backend)
        if package is None or not compiler_failed(error):
            return False
        _logger.debug("%s: backend %s can't compile", self.name, backend, exc_info=error)
        _faults[self.modules[backend]] = (
            f"The package {package} is installed and fails to compile, with {in_one_line(error)}."
        )
        return True

    def _verdict(self, backend: str, args: Arguments) -> tuple[bool, str]:
        if backend not in self.modules:
            return False, f"It doesn't implement {self.name}."
        broken = _broken(backend, self.modules[backend])
        return (False, broken) if broken else load(self.modules[backend]).supports(args)

    def _report(self, backend: str, reason: str) -> None:
        # A package that doesn't work is said once, not for each operation in turn.
        broken = bool(_broken(backend, self.modules.get(backend, "")))
        key = ("", backend, "") if broken else (self.name, backend, reason)
        if key not in _reported:
            _reported.add(key)
            _logger.warning("%s: falling back from backend %s: %s", self.name, backend, reason)


_operations: dict[str, Operation] = {}


def register(operation: Operation) -> Operation:
    """Add an operation to the registry.

    Raises
    ------
    ValueError
        When the name is taken or a backend name is unknown.
    """
    if operation.name in _operations:
        raise ValueError(f"operation {operation.name!r} is registered already; choose another name")
    for backend in operation.modules:
        _checked(backend, "modules")
    _operations[operation.name] = operation
    return operation


def register_everywhere(name: str, bind: Callable[..., Any]) -> Operation:
    """Add an operation that every backend has, in a module of its name."""
    modules = {backend: f"{__package__}.{backend}.{name}" for backend in BACKENDS}
    return register(Operation(name=name, bind=bind, modules=modules))


def operations() -> Mapping[str, Operation]:
    """Every registered operation by name."""
    return dict(_operations)


def backends() -> dict[str, bool]:
    """Backend names, and whether the package each needs is installed and works."""
    modules = {name: path for each in _operations.values() for name, path in each.modules.items()}
    return {name: not _broken(name, modules[name]) for name in BACKENDS}


def supports(operation: str, *args: Any, **kwargs: Any) -> dict[str, tuple[bool, str]]:
    """Which backends can serve a call, and why the others can't.

    Parameters
    ----------
    operation : str
        Name of the operation; its public arguments follow.

    Returns
    -------
    dict
        Backend name to ``(ok, reason)``; the reason is empty when ok.

    Raises
    ------
    ValueError
        When no operation has that name, or the arguments are invalid.
    """
    if operation not in _operations:
        raise ValueError(
            f"operation {operation!r} doesn't exist; choose from {', '.join(sorted(_operations))}"
        )
    chosen = _operations[operation]
    return chosen.supports(chosen.bind(*args, **kwargs))


def is_compiled(operation: str) -> bool:
    """Whether numba serves the calls of an operation on CPU tensors that name no backend.

    Not so where its compiler is missing or fails, or another backend was asked for.
    """
    module = _operations[operation].modules["numba"]
    return requested_backend() in {AUTOMATIC, "numba"} and not _broken("numba", module)


def requested_backend() -> str:
    """Return the backend asked for by `use_backend` or the environment, or ``"auto"``."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    return _checked(os.environ.get(ENVIRONMENT_VARIABLE) or AUTOMATIC, ENVIRONMENT_VARIABLE)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Serve every call inside the block with one backend.

    Parameters
    ----------
    name : {"auto", "naive", "torch", "numba", "triton"}
        Takes precedence over the environment variable ``PROXMTL_BACKEND``. Holds for the
        current thread (context) only.

    Raises
    ------
    ValueError
        When no backend has that name.
    """
    token = _chosen.set(_checked(name, "name"))
    try:
        yield
    finally:
        _chosen.reset(token)


@lru_cache
def load(module: str) -> BackendModule:
    """Import a backend's module on first use."""
    return cast("BackendModule", importlib.import_module(module))


def on_device(device: torch.device, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call in the dtypes of the arguments, whatever autocast asks for, on their device."""
    kind = device.type
    if _has_autocast(kind) and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            return on_device(device, call, *arguments)
    if kind != "cuda":
        return call(*arguments)
    # Triton launches on the current device, which need not be the one of the tensors.
    with torch.cuda.device(device):
        return call(*arguments)


@lru_cache
def _has_autocast(kind: str) -> bool:
    return torch.amp.is_autocast_available(kind)


def _broken(backend: str, module: str) -> str:
    """Why a backend can't be used at all: a sentence, or nothing."""
    package = _NEEDS_PACKAGE.get(backend)
    if package is None:
        return ""
    if not _installed(package):
        return f"The package {package} isn't installed (pip install {package})."
    if module not in _faults:
        try:
            load(module)
        except Exception as error:  # a package that fails to start raises anything
            _logger.debug("%s can't be imported", module, exc_info=True)
            _faults[module] = (
                f"The package {package} is installed and fails to start, with {in_one_line(error)}."
            )
        else:
            _faults[module] = ""
    return _faults[module]


@lru_cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _checked(name: str, where: str) -> str:
    if name != AUTOMATIC and name not in BACKENDS:
        raise ValueError(
            f"{where} names the backend {name!r}, which doesn't exist; choose from "
            f"{', '.join((AUTOMATIC, *BACKENDS))}"
        )
    return name
