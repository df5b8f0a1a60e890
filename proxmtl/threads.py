"""One thread for small work, which would wait longer for others than they take off it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

__all__ = ["in_few_threads", "is_small", "one_thread"]

A = ParamSpec("A")
B = TypeVar("B")

SMALL = 1 << 22
"""Multiplications of a product, less than half a millisecond of a thread: on idle processors a
second thread shortens it little, and where other programs run it makes it several times longer."""


@contextmanager
def one_thread(*, small: bool) -> Iterator[None]:
    """Have torch use one thread, of this process, in the context if the work is small."""
    threads = torch.get_num_threads()
    if not small or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def is_small(labels: Iterable[int], n_features: int) -> bool:
    """Whether products take so few multiplications: shape of the labels times features."""
    return math.prod(labels) * n_features <= SMALL


def in_few_threads(function: Callable[A, B]) -> Callable[A, B]:
    """Decorate a function of a problem, its first argument: one thread if products are small."""

    @wraps(function)
    def called(*args: A.args, **options: A.kwargs) -> B:
        problem = args[0] if args else options.get("problem")
        data, design = (getattr(problem, name, None) for name in ("data", "design"))
        width: int | None = getattr(design, "n_features", None)
        small = data is not None and width is not None and is_small(data.shape, width)
        with one_thread(small=small):
            return function(*args, **options)

    return called
