"""Labels and their weights as they are kept: in floating point, or as signs of one byte each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from proxmtl.arrays import as_float_tensor
from proxmtl.label_arrays import sample_weights
from proxmtl.label_coding import check_coding
from proxmtl.numerics import PIECE_ELEMENTS, row_blocks

__all__ = [
    "DenseLabels",
    "Labelled",
    "Seen",
    "SignLabels",
    "StoredLabels",
    "looked_at",
    "read_signs",
]


LARGE = 1 << 26
"""Labels above which signs are kept in one byte each: what is made of them, block by block, takes
up to three times as long as what is read, and a matrix of float32 has 256 MiB."""


@dataclass(frozen=True)
class DenseLabels:
    """Labels and weights in floating point.

    Parameters
    ----------
    labels, weights : Tensor, same shape
    """

    labels: Tensor
    weights: Tensor

    @property
    def shape(self) -> torch.Size:
        """Shape of the labels."""
        return self.labels.shape

    @property
    def dtype(self) -> torch.dtype:
        """Precision of labels and weights."""
        return self.labels.dtype

    @property
    def device(self) -> torch.device:
        """Device of labels and weights."""
        return self.labels.device

    def take(self, entries: Tensor | slice) -> DenseLabels:
        """Labels of some entries along the first axis."""
        return DenseLabels(self.labels[entries], self.weights[entries])

    def columns(self, tasks: Tensor) -> DenseLabels:
        """Labels of some tasks, of a matrix."""
        return DenseLabels(self.labels[:, tasks], self.weights[:, tasks])

    def scaled(self, negative: Tensor, positive: Tensor | None = None) -> DenseLabels:
        """Multiply weights, by other factors where labels are +1 if there are some.

        Factors broadcast with the labels.
        """
        factor = negative
        if positive is not None:
            factor = torch.where(self.labels > 0, positive, negative)
        return DenseLabels(self.labels, self.weights * factor.to(self.weights))

    def to(self, dtype: torch.dtype) -> DenseLabels:
        """Return the same labels in another precision."""
        return DenseLabels(self.labels.to(dtype), self.weights.to(dtype))

    def blocks(self) -> Iterator[DenseLabels]:
        """Blocks of rows: those of :func:`row_blocks` of an array shaped like the labels."""
        for pair in zip(row_blocks(self.labels), row_blocks(self.weights), strict=True):
            yield self if pair[0] is self.labels else DenseLabels(*pair)


@dataclass(frozen=True)
class SignLabels:
    """Labels -1 and +1 whose weights are products: one byte a label, and nothing for its weight.

    The weight of a label of sample i and task m is ``rows[i] classes[0, m]`` if it is -1 and
    ``rows[i] classes[1, m]`` if it is +1; that of a missing label is 0. Labels and weights in
    floating point are made when they are asked for; of large matrices a block of rows at a time.

    Parameters
    ----------
    signs : Tensor of int8, shape (N, M)
        0 where a label is missing.
    classes : Tensor, shape (2, M)
        Floating point; products are rounded to its precision.
    rows : Tensor, shape (N, 1), or None
        In the precision of ``classes``. None: all 1.
    dtype : torch.dtype
        Precision of :attr:`labels` and :attr:`weights`.
    complete : bool
        Whether no label is missing, which saves time.
    """

    signs: Tensor
    classes: Tensor
    rows: Tensor | None
    dtype: torch.dtype
    complete: bool

    @property
    def shape(self) -> torch.Size:
        """Shape of the labels."""
        return self.signs.shape

    @property
    def device(self) -> torch.device:
        """Device of the labels."""
        return self.signs.device

    @property
    def labels(self) -> Tensor:
        """Labels, with +1 for a missing one."""
        signs = self.signs if self.complete else self.signs + (self.signs == 0)
        return signs.to(self.dtype)

    @property
    def weights(self) -> Tensor:
        """Weights of the labels."""
        weights: Tensor
        negative, positive = self.classes
        if bool((self.classes == negative[0]).all()):
            weights = negative[0]  # read as one number, also where rows are short
        elif torch.equal(negative, positive):
            weights = negative
        else:
            weights = torch.where(self.signs > 0, positive, negative)
        if self.rows is not None:
            weights = weights * self.rows
        if not self.complete:
            weights = weights * (self.signs != 0)
        return weights.to(self.dtype).expand(self.shape)

    def take(self, entries: Tensor | slice) -> SignLabels:
        """Labels of some entries along the first axis."""
        rows = None if self.rows is None else self.rows[entries]
        return replace(self, signs=self.signs[entries], rows=rows)

    def columns(self, tasks: Tensor) -> SignLabels:
        """Labels of some tasks."""
        return replace(self, signs=self.signs[:, tasks], classes=self.classes[:, tasks])

    def scaled(self, negative: Tensor, positive: Tensor | None = None) -> SignLabels:
        """Multiply weights as :meth:`DenseLabels.scaled`, by factors of the tasks, (M,)."""
        factors = torch.stack([negative, negative if positive is None else positive])
        return replace(self, classes=self.classes * factors.to(self.classes))

    def to(self, dtype: torch.dtype) -> SignLabels:
        """Return the same labels in another precision."""
        return replace(self, dtype=dtype)

    def blocks(self) -> Iterator[SignLabels]:
        """Blocks of rows: those of :func:`row_blocks` of an array shaped like the labels."""
        first = 0
        for signs in row_blocks(self.signs):
            yield self.take(slice(first, first + len(signs)))
            first += len(signs)


StoredLabels = DenseLabels | SignLabels


class Labelled:
    """Base of what has labels and weights: gives access to them.

    Of :class:`SignLabels`, labels and weights are new tensors whenever they are asked for.
    """

    stored: StoredLabels

    @property
    def labels(self) -> Tensor:
        """Labels, floating point."""
        return self.stored.labels

    @property
    def weights(self) -> Tensor:
        """Weights of the labels, in their precision."""
        return self.stored.weights

    @property
    def shape(self) -> torch.Size:
        """Shape of the labels of this process, which is that of the scores."""
        return self.stored.shape

    @property
    def dtype(self) -> torch.dtype:
        """Precision of labels and weights."""
        return self.stored.dtype

    @property
    def device(self) -> torch.device:
        """Device of labels and weights."""
        return self.stored.device


class Seen(NamedTuple):
    """What the labels of a table are, for errors that concern all of them."""

    zero: bool
    """Whether one is 0, which means missing."""
    some: bool
    """Whether one is not missing."""
    negative: bool
    """Whether one is -1."""


def looked_at(values: Tensor, *, real: bool) -> tuple[Tensor, Seen]:
    """Mask of the labels that are not missing, and what they are.

    Raises
    ------
    ValueError
        If one is infinite or, unless ``real``, none of -1, +1 and 0.
    """
    if bool(torch.isinf(values).any()):
        use = "finite numbers and NaN" if real else "-1, +1, and NaN or 0"
        raise ValueError(f"labels: hold an infinite value; use {use} for missing.")
    observed = ~torch.isnan(values)
    if real:
        return observed, Seen(zero=False, some=True, negative=True)
    zeros = values == 0
    if zero := bool(zeros.any()):
        observed &= ~zeros
    check_coding(values, observed, zero_is_missing=True)
    return observed, Seen(zero, bool(observed.any()), bool((values == -1).any()))


def read_signs(labels: Any, sample_weight: Any, like: Tensor) -> tuple[SignLabels, Seen] | None:
    """Read a large matrix of signs, a block of rows at a time, weighted by its samples.

    None unless it is a matrix of numbers with more than :data:`LARGE` entries, such as a memory
    map, whose samples, and not labels, have weights.
    """
    if not isinstance(labels, Tensor):
        plain = isinstance(labels, np.ndarray) and not isinstance(labels, np.ma.MaskedArray)
        if not plain or labels.dtype.kind not in "biuf":
            return None
    n, n_tasks = labels.shape if labels.ndim == 2 else (0, 0)
    if n * n_tasks <= LARGE:
        return None
    if sample_weight is not None:
        sample_weight = as_float_tensor("sample_weight", sample_weight, like)
        if sample_weight.ndim > 1 and sample_weight.shape[1] > 1:
            return None
    signs = torch.empty(n, n_tasks, dtype=torch.int8, device=like.device)
    found, first = [], 0
    for here in torch.split(signs, max(1, PIECE_ELEMENTS // n_tasks)):
        values = as_float_tensor("labels", labels[first : first + len(here)], like)
        observed, seen = looked_at(values, real=False)
        here.copy_(torch.where(observed, values, 0.0))
        found.append(seen)
        first += len(here)
    rows = None
    if sample_weight is not None:
        rows = sample_weights(sample_weight, signs, None, like)
    classes = torch.ones(2, n_tasks, dtype=like.dtype, device=like.device)
    flags = Seen(*(any(each) for each in zip(*found, strict=True)))
    complete = all(bool((part != 0).all()) for part in row_blocks(signs))
    return SignLabels(signs, classes, rows, like.dtype, complete), flags
