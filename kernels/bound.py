"""Calls that are checked once and run many times on the same memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from .dispatch import Arguments, load, operations, requested_backend, serve
from .fibres import checked_scale
from .library import requires_grad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["BoundCall", "bind"]


class BoundCall:
    """One operation on fixed tensors; made by `bind`.

    On small tensors a call's arguments take longer to check than to compute with. Here the checks,
    the choice of the backend and the tables of a call are made once. It remembers its step: use it
    from one thread.
    """

    def __init__(
        self, name: str, args: Arguments, backend: str | None, given: Iterable[Any] = ()
    ) -> None:
        self._operation = operations()[name]
        # also those that the arguments hold a view or a copy of
        self._places = [(tensor, _place(tensor)) for tensor in _tensors(given)]
        self._asked = requested_backend() if backend is None else backend
        self.backend = ""
        """Name of the backend that serves the calls."""
        self._args: Any = args
        self._step: float | None = getattr(args, "step", None)
        self._choose()

    def __call__(self, step: float | None = None) -> Any:
        """Run on what the tensors hold now.

        Parameters
        ----------
        step : float, optional
            Another step from this call on, for operations that have one.

        Raises
        ------
        ValueError
            The operation has no step, the step is negative, infinite or NaN, or a tensor has other
            memory than when it was bound (``tensor.data = ...``, ``resize_``).
        """
        if step is not None and step != self._step:
            if self._step is None:
                raise ValueError(f"step is {step}, and this operation has none; leave it out")
            self._step = checked_scale(step, "step")
            self._args = replace(self._args, step=self._step)
            self._run = self._prepared()
        for tensor, place in self._places:
            if _place(tensor) != place:
                raise ValueError(
                    "a tensor of this bound call has another shape, dtype or memory than it had "
                    "then; bind again"
                )
        while True:
            try:
                return serve(self._args, self._run)
            except Exception as error:
                if not self._operation.lost(self.backend, error):
                    raise
            self._choose()

    def _choose(self) -> None:
        self.backend = self._operation.select(self._args, self._asked)
        self._run = self._prepared()

    def _prepared(self) -> Callable[[], Any]:
        module = load(self._operation.modules[self.backend])
        prepare = getattr(module, "prepare", None)
        return partial(module.run, self._args) if prepare is None else prepare(self._args)


def bind(operation: str, *args: Any, backend: str | None = None, **kwargs: Any) -> BoundCall:
    """Check a call once, to run it many times on what its tensors will hold then.

    Parameters
    ----------
    operation : str
        Name of the operation; its public arguments follow. Give ``out=`` where the operation has
        it: without, whether calls share one result is up to the backend. Main tensors (V, X, Z,
        grad, dual, and W in the accumulation dtype) are looked at in every call. Leave groups,
        weights, labels and biases as they are while you use it: whether a later change is seen is
        up to the backend. For other ones, bind again.
    backend : str, optional
        As in `use_backend`; the choice is made here, for good, unless the compiler of a backend
        that was chosen automatically fails.

    Returns
    -------
    BoundCall
        Call it without arguments. It records no graph for autograd.

    Raises
    ------
    ValueError
        When no operation has that name, an argument is invalid, or a tensor requires grad.
    TypeError
        A dtype that isn't served.
    BackendError
        The backend asked for can't serve the call.
    """
    known = operations()
    if operation not in known:
        raise ValueError(
            f"operation {operation!r} doesn't exist; choose from {', '.join(sorted(known))}"
        )
    if requires_grad(*args, *kwargs.values()):
        raise ValueError("a tensor requires grad, and bound calls record no graph; detach it")
    given = [*args, *kwargs.values()]
    return BoundCall(operation, known[operation].bind(*args, **kwargs), backend, given)


def _tensors(given: Iterable[Any]) -> Iterator[torch.Tensor]:
    for each in given:
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, (tuple, list)):
            yield from _tensors(each)


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
