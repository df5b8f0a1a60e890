"""What a design is: the affine map from parameters to scores, and its adjoint."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.numerics import Moments
from proxmtl.targets import Targets

__all__ = [
    "BLOCK_ELEMENTS",
    "Design",
    "ResidualsOf",
    "check_features",
    "check_finite",
    "check_shape",
    "consecutive",
    "nearest_unit",
]

ResidualsOf = Callable[[slice, Tensor], tuple[Tensor, ...]]
"""Residuals of some samples, given by a slice, from their scores."""

BLOCK_ELEMENTS = 1 << 23
"""Features are converted to a higher precision in row blocks of at most this many numbers."""


class Design(ABC):
    """Maps a parameter ``W`` to scores of every sample, and score gradients back.

    The parameter's dtype is the precision of the computation: float64 parameters on float32 (or
    bfloat16) features are computed in float64, row block by row block, with no full copy. With
    ``intercept`` the last row of the parameter is an intercept, which no regularizer sees.

    Attributes
    ----------
    intercept : bool
    dtype : torch.dtype
        Precision the solvers work in: the features' own, at least float32.
    device : torch.device
    share : float
        What a product reads, as a share of all the features of the problem: its cost in passes.
    unit : float
        What the intercept's column holds: 1, or for a solver's own use a number of the size of the
        features (:meth:`in_units`).
    curvature_passes : float
        Passes that :meth:`curvature_by_task` has made so far; it keeps what it found.
    curvature_left : float
        Passes that it may make now: where that is too few for a sharp bound, the trace is one.
    """

    intercept: bool
    dtype: torch.dtype
    device: torch.device
    _in_units: Design
    share: float = 1.0
    unit: float = 1.0
    curvature_left: float = math.inf
    curvature_passes: float = 0.0

    @abstractmethod
    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        """Shape of the parameter, intercept row included."""

    @abstractmethod
    def scores(self, W: Tensor) -> Tensor:
        """Scores of all samples, in the shape of the targets."""

    def magnitude(self) -> float:
        """Root mean square of the columns that the weights multiply; 1 where it is not known."""
        return 1.0

    def figure(self) -> float | None:
        """A number that tells these features from others, in other order too; None: not known."""
        return None

    @cached_property
    def _figure(self) -> float | None:
        return self.figure()

    @property
    def known_figure(self) -> float | None:
        """:meth:`figure`, found once."""
        return self._figure

    @cached_property
    def _magnitude(self) -> float:
        return self.magnitude()

    @property
    def known_magnitude(self) -> float:
        """:meth:`magnitude`, found once."""
        return self._magnitude

    def in_units(self) -> Design:
        """Return the design whose intercept column is of the size of the features.

        The same model: its intercept is this one's divided by :attr:`unit`. But a gradient step is
        as long for the weights as for the intercept, whatever the scale of the features. Units are
        powers of two, so nothing is rounded, and standardised features have 1.
        """
        if not self.intercept:
            return self
        if "_in_units" not in self.__dict__:
            unit = nearest_unit(self.known_magnitude, self.dtype)
            self._in_units = self if unit == self.unit else self.with_unit(unit)
        return self._in_units

    def with_unit(self, unit: float) -> Design:
        """Return the design with another number in the intercept's column."""
        other = self._copy()
        other.unit = unit
        return other

    def _copy(self) -> Self:
        """Shallow copy, without what was found once of this design."""
        other = copy.copy(self)
        for name in ("_in_units", "_figure", "_magnitude"):
            other.__dict__.pop(name, None)
        return other

    @property
    def affine(self) -> bool:
        """Whether the scores of zero depend on the features: a part of them is held fixed."""
        return False

    def linear(self, W: Tensor) -> Tensor:
        """Linear part of :meth:`scores`, which is all of it unless something is held fixed."""
        return self.scores(W)

    @abstractmethod
    def adjoint(self, residuals: Tensor) -> Tensor:
        """Transpose of the linear part of :meth:`scores`: score gradients to parameter gradient."""

    @abstractmethod
    def check_targets(self, targets: Targets) -> None:
        """Raise ``ValueError`` if the targets do not fit the samples."""

    def take(self, entries: Tensor) -> Design:
        """Return the design of some samples: those of the given entries of the scores, ascending.

        Nothing is checked again. Consecutive entries are a view of the features, not a copy.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not give its samples in batches; use a SharedDesign or a "
            f"TaskDesign, or a solver that takes all samples at once ({len(entries)} asked for)."
        )

    def narrowed(self, features: Tensor) -> Design:
        """Return the design of some rows of the penalised parameter, given by index, ascending.

        Its products cost that share of one with all rows: a design of which this is not true does
        not give parts.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not give some of its features alone "
            f"({len(features)} asked for)."
        )

    def times(self, L: Tensor) -> Design:
        """Return the design of the features ``X L``, (N, K) a task, computed once.

        Parameters
        ----------
        L : Tensor, shape (D, K)
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not give its features times a matrix of shape "
            f"{tuple(L.shape)}; use a SharedDesign or a TaskDesign."
        )

    def samples(self, task: int, entries: Tensor) -> Tensor:
        """Features of some samples of a task, in float64.

        Parameters
        ----------
        task : int
        entries : Tensor, shape (n,)
            Which of the task's samples, by number.

        Returns
        -------
        Tensor, shape (n, D)
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not give samples of task {task} ({len(entries)} asked "
            "for); use a dense SharedDesign or a TaskDesign."
        )

    def inner_products(self, task: int, entries: Tensor) -> Tensor:
        """Inner products of some samples of a task, (n, n), float64; as for :meth:`samples`."""
        X = self.samples(task, entries)
        return X @ X.T

    def moments(self, weights: Tensor | None = None) -> Moments:
        """Mean and standard deviation of each feature over the samples of all tasks.

        Parameters
        ----------
        weights : Tensor, shape (N,), optional
            Of the samples, those of tasks with samples of their own end to end.
        """
        raise NotImplementedError(
            f"{type(self).__name__} gives no moments of its features"
            f"{'' if weights is None else ', weighted or not'}; use a SharedDesign or a TaskDesign."
        )

    @property
    def has_samples(self) -> bool:
        """Whether :meth:`samples` gives samples: where features are dense."""
        return False

    def moved(self, means: Tensor) -> tuple[Design, Tensor] | None:  # noqa: ARG002
        """Return a copy with features minus numbers near their means, and these numbers, (D, M).

        None where they are not dense, or too many for a copy.

        Parameters
        ----------
        means : Tensor, shape (D, M), float64
        """
        return None

    def check_device(self, targets: Targets) -> None:
        """Raise ``ValueError`` if labels and features are on different devices."""
        if targets.labels.device != self.device:
            raise ValueError(
                f"labels: on {targets.labels.device}, the features are on {self.device}; move one."
            )

    @abstractmethod
    def curvature_by_task(self, targets: Targets) -> Tensor:
        """Upper estimates of ``lambda_max(X_m' C_m X_m)``, shape (M,), float64, without intercept.

        Up to moderate sizes from a Gram matrix, raised by a bound on its rounding errors; else from
        a Lanczos run to three digits, raised by 1 %.
        """

    def centred_curvature_by_task(self, targets: Targets, means: Tensor) -> Tensor:  # noqa: ARG002
        """As :meth:`curvature_by_task`, for features minus their weighted means of each task.

        Centring lowers every curvature, so that of the features as they are is a bound.

        Parameters
        ----------
        targets : Targets
        means : Tensor, shape (D, M), float64
        """
        return self.curvature_by_task(targets)

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores at ``W``, and the adjoints of residuals that are made of them.

        Dense features that are large, or of another precision than ``W``, are read once, block of
        rows by block; here a product follows another.

        Parameters
        ----------
        W : Tensor
        residuals_of : callable
            Given a slice of the samples (the first axis of the scores) and their scores, returns a
            tuple of tensors shaped like these, computed sample by sample.

        Returns
        -------
        scores : Tensor
        adjoints : tuple of Tensor
            One for each of the residuals, as of :meth:`adjoint`.
        """
        scores = self.scores(W)
        residuals = residuals_of(slice(0, len(scores)), scores)
        return scores, tuple(self.adjoint(each) for each in residuals)

    def sweeps(self, dtype: torch.dtype) -> bool:  # noqa: ARG002
        """Whether :meth:`sweep` is one read, and faster than the products one by one."""
        return False

    def reads_once(self, data: DataTerm, columns: int, dtype: torch.dtype) -> bool:  # noqa: ARG002
        """Whether :meth:`evaluate` reads the features once, for parameters of so many columns.

        A solver may then look a step ahead, and have scores and gradient for one read.
        """
        return False

    def evaluate(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, loss (0-d) and its gradient in ``W``: one pass over the data."""
        scores = self.scores(W)
        value, residuals = data.value_and_gradient(scores)
        return scores, value, self.adjoint(residuals)

    def loss_and_grad(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (0-d) and its gradient in ``W``: one pass over the data."""
        return self.evaluate(data, W)[1:]

    def factors_pay(self, n_latents: int, n_tasks: int) -> bool:  # noqa: ARG002
        """Whether products with factors of ``W = L S`` take clearly less than those with ``W``.

        If so, the design has :meth:`factored_scores` and :meth:`factored_loss_and_grads`.
        """
        return False

    def factored_scores(self, L: Tensor, S: Tensor, bias: Tensor | None) -> Tensor:
        """Scores of ``W = L S``, by way of ``X L``.

        Parameters
        ----------
        L, S : Tensor, shapes (D, K) and (K, M)
        bias : Tensor, shape (M,), or None
            The intercepts, of a design that has them.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no products with factors of shapes {tuple(L.shape)} and "
            f"{tuple(S.shape)}{'' if bias is None else ' and intercepts'}; join them."
        )

    def factored_loss_and_grads(
        self, data: DataTerm, L: Tensor, S: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Loss (0-d) and its gradients in L, S and the intercepts, as for :meth:`factored_scores`.

        One pass over the data: :meth:`loss_and_grad` at ``L S``, pulled back to the factors.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no {type(data.loss).__name__} of factors of shapes "
            f"{tuple(L.shape)} and {tuple(S.shape)} for {data.n_tasks} tasks"
            f"{'' if bias is None else ' with intercepts'}; use loss_and_grad."
        )

    def lipschitz(self, targets: Targets) -> float:
        """Upper estimate of the Lipschitz constant of ``W -> X'C(XW)``, intercept included."""
        curvature = self.curvature_by_task(targets)
        if self.intercept:
            # lambda_max([X u]'C[X u]) <= lambda_max(X'CX) + u^2 sum c, with its rounding errors
            sums = targets.per_task(targets.weights.to(torch.float64))
            rounding = (len(targets.weights) + 2) * torch.finfo(sums.dtype).eps
            curvature = curvature + self.unit**2 * (1 + rounding) * sums
        return float(curvature.max())

    def split(self, W: Tensor) -> tuple[Tensor, Tensor | None]:
        """Penalised part of a parameter, and the intercept row (None without intercept)."""
        return (W[:-1], W[-1]) if self.intercept else (W, None)

    def join(self, penalised: Tensor, intercept: Tensor | None) -> Tensor:
        """Inverse of :meth:`split`."""
        return penalised if intercept is None else torch.cat([penalised, intercept[None]])


def nearest_unit(magnitude: float, dtype: torch.dtype) -> float:
    """Power of two nearest to a magnitude, of which ``dtype`` has room for the square."""
    if not (math.isfinite(magnitude) and magnitude > 0):
        return 1.0
    limit = int(-0.4 * math.log2(torch.finfo(dtype).tiny))
    return 2.0 ** min(max(round(math.log2(magnitude)), -limit), limit)


def check_features(name: str, X: Tensor) -> None:
    """Raise ``ValueError`` unless a dense feature matrix (N, D) is real, non-empty and finite."""
    check_shape(name, X)
    check_finite(name, X)


def check_shape(name: str, X: Tensor) -> None:
    """Raise ``ValueError`` unless features are a real, non-empty matrix (N, D)."""
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"{name}: expected a matrix (samples, features) with at least one of each, saw shape "
            f"{tuple(X.shape)}."
        )
    if X.is_complex():
        raise ValueError(f"{name}: is complex; give real numbers.")


def check_finite(name: str, X: Tensor, advice: str = "drop or impute such samples") -> None:
    """Raise ``ValueError`` at the first NaN or infinite value of a dense matrix."""
    for block in torch.split(X, max(1, BLOCK_ELEMENTS // X.shape[1])):
        # one value that is not finite makes the sum so; a sum may also overflow
        if not math.isfinite(float(block.sum())) and not bool(torch.isfinite(block).all()):
            row, column = torch.nonzero(~torch.isfinite(block))[0].tolist()
            raise ValueError(
                f"{name}: not finite ({block[row, column].item()}, first in feature column "
                f"{column}); {advice}."
            )


def consecutive(index: Tensor) -> slice | Tensor:
    """An ascending index as a slice where it is a run without gaps: that is a view, no copy."""
    if len(index) and int(index[-1]) - int(index[0]) + 1 == len(index):
        return slice(int(index[0]), int(index[-1]) + 1)
    return index
