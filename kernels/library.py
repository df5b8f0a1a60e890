"""The operations as ``torch.library`` custom ops: autograd, fake tensors and torch.compile.

torch sees one opaque call; the backend is chosen inside it, at run time. An operation needs a
schema, the call, a fake that gives shapes, dtypes and strides, and a backward; ``opcheck`` tests
hold it. A custom op may return neither its inputs nor two views of one memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import forward_ad

from .fibres import checked_like

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dispatch import Operation

NAMESPACE = "proxmtl"

# Most arguments that are no tensors: to tell that one is no sequence either takes longer.
_PLAIN = (float, int, str, type(None))


def needs_library(*given: Any) -> bool:
    """Whether a call has to go through torch's dispatcher: under torch.compile or autograd.

    Raises
    ------
    RuntimeError
        A tensor among these has a tangent.
    """
    refuse_tangent(*given)
    return torch.compiler.is_compiling() or (torch.is_grad_enabled() and requires_grad(*given))


def requires_grad(*given: Any) -> bool:
    """Whether a tensor among these, or in sequences of them, requires grad."""
    for each in given:
        if isinstance(each, _PLAIN):
            continue
        if isinstance(each, torch.Tensor):
            if each.requires_grad:
                return True
        elif isinstance(each, Sequence) and requires_grad(*each):
            return True
    return False


def refuse_tangent(*given: Any) -> None:
    """Raise if a tensor has a forward-mode tangent: the result would come without one.

    Raises
    ------
    RuntimeError
        If a tensor among these, or in sequences of them, has a tangent.
    """
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:  # noqa: SLF001 - one look
        return
    for each in given:
        if isinstance(each, torch.Tensor):
            dual = forward_ad.unpack_dual(each)  # type: ignore[no-untyped-call]
            if dual.tangent is not None:
                raise RuntimeError(
                    "an argument has a tangent, and operations of kernels have no forward-mode "
                    "derivative; take the gradient by backward(), or write the operation in torch"
                )
        elif isinstance(each, Sequence) and not isinstance(each, str):
            refuse_tangent(*each)


def through_library(out: Any, *inputs: Any, **constants: Any) -> bool:
    """Whether the call goes through torch's dispatcher: under torch.compile or autograd.

    Raises
    ------
    ValueError
        The result's memory requires grad, or is given where an input requires it; one of the
        constants requires grad: there is no derivative with respect to it.
    RuntimeError
        An argument has a tangent of forward-mode differentiation.
    """
    refuse_tangent(out, *inputs, *constants.values())
    recorded = torch.is_grad_enabled()
    if recorded:
        for name, given in constants.items():
            refuse_derivative(name, given)
        if requires_grad(out):
            raise ValueError("out requires grad; write to it under torch.no_grad(), or detach it")
        recorded = requires_grad(*inputs)
    if not recorded and not torch.compiler.is_compiling():
        return False
    if out is not None and recorded:
        raise ValueError("out was given and an input requires grad; detach it, or drop out")
    if out is not None:
        checked_like(out, inputs[0], "out", "the input")
    return True


def refuse_derivative(name: str, given: Any) -> None:
    """Raise if an argument without a derivative requires grad.

    Raises
    ------
    ValueError
        With the name of the argument.
    """
    if torch.is_grad_enabled() and requires_grad(given):
        raise ValueError(f"{name} requires grad and has no derivative here; detach it")


def refuse_graph(name: str) -> None:
    """Raise if autograd records a backward: the graph would miss second-derivative terms.

    Raises
    ------
    RuntimeError
        When autograd records the backward, as ``create_graph=True`` asks for.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"{name} is differentiable once, and create_graph=True asks for a graph of its "
            "backward; leave it out, or write the operation in torch where you need second "
            "derivatives"
        )


class Arguments:
    """Base of the arguments of an operation on V whose result may go to ``out``."""

    __slots__ = ()
    V: torch.Tensor
    out: torch.Tensor | None

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.V.device

    @property
    def written(self) -> tuple[torch.Tensor, ...]:
        """The caller's tensors that the call writes to."""
        return () if self.out is None else (self.out,)


def as_weights(weights: torch.Tensor | float, like: torch.Tensor) -> torch.Tensor:
    """Weights as the tensor that a custom op takes."""
    if isinstance(weights, torch.Tensor):
        return weights
    return torch.full((), float(weights), dtype=torch.float64, device=like.device)


def split_number(given: torch.Tensor | float) -> tuple[float, torch.Tensor | None]:
    """A number for a custom op, or, beside 0, the 0-d tensor that holds it.

    torch.compile makes code for each value of a number, and one code for all values of a tensor.
    """
    if not isinstance(given, torch.Tensor):
        return given, None
    return 0.0, given


def prox_fake(V: Any, *_: Any) -> tuple[Any, Any]:
    """Result and value of a prox, without entries."""
    return torch.empty_like(V), V.new_empty((), dtype=torch.float64)


def define(
    operation: Operation,
    schema: str,
    fake: Callable[..., Any],
    autograd: tuple[Callable[..., None], Callable[..., Any]] | None = None,
    *,
    out_at: int | None = None,
    mutates: tuple[str, ...] = (),
) -> Any:
    """Register an operation whose arguments, by the names of the schema, are those of its ``bind``.

    Two things differ from ``bind``: groups are a pair of tensors, and a number may be given by a
    0-d tensor, ``<name>_at``. ``autograd`` holds the function that saves tensors for the backward,
    and the backward. The result goes to fresh memory, ``out``, and is returned at ``out_at``.
    """
    names = [
        part.split("=")[0].split()[-1] for part in schema.partition(") -> ")[0][1:].split(", ")
    ]

    def call(*inputs: Any) -> tuple[Any, ...]:
        given = dict(zip(names, inputs, strict=False))  # torch leaves out what is the default
        backend = given.pop("backend")
        for name in names:
            if name.endswith("_at") and (held := given.pop(name, None)) is not None:
                given[name.removesuffix("_at")] = held
        if "indptr" in given:
            given["groups"] = given.pop("indptr"), given.pop("indices")
        if out_at is not None:
            given["out"] = torch.empty_like(given["V"])
        parts = list(operation.run(operation.bind(**given), backend))
        if out_at is not None:
            parts[out_at] = None
        # sums may be views of one memory
        return tuple(given["out"] if part is None else part.clone() for part in parts)

    op = torch.library.custom_op(
        f"{NAMESPACE}::{operation.name}", call, mutates_args=mutates, schema=schema
    )
    op.register_fake(fake)
    if autograd is not None:
        setup, backward = autograd
        op.register_autograd(backward, setup_context=setup)
    return op
