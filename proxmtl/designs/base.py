"""The contract of a design: the affine map from a parameter to scores, and its adjoint."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.numerics import Moments, nearest_unit
from proxmtl.ranks import ALONE, Ranks
from proxmtl.shown import Shown
from proxmtl.targets import Targets

__all__ = ["BLOCK_ELEMENTS", "Design", "ResidualsOf"]

ResidualsOf = Callable[[slice, Tensor], tuple[Tensor, ...]]
"""Maps a slice of the samples and their scores to arrays of residuals, shaped like the scores."""

BLOCK_ELEMENTS = 1 << 23
"""Features are converted to a higher precision in row blocks of at most so many numbers."""


class Design(Shown, ABC):
    """Affine map from a parameter ``W`` to the scores of all samples, with its adjoint.

    The dtype of the parameter is the precision of the computation: for float64 parameters, float32
    or bfloat16 features are converted block of rows by block, without a full copy. With
    ``intercept``, the last row of the parameter is an unpenalised intercept.

    Attributes
    ----------
    intercept : bool
    dtype : torch.dtype
        Working precision of the solvers: the dtype of the features, at least float32.
    device : torch.device
    share : float
        Fraction of the full feature matrix that one product reads, which is what it counts as.
    unit : float
        Constant in the intercept's column: 1, or a number of the magnitude of the features, in the
        designs that solvers see (:meth:`in_units`).
    ranks : Ranks
        Processes among which the samples or the tasks are divided (:class:`ShardedDesign`).
    tasks : Tensor of int64, shape (m,), or None
        Tasks of which this process gives the scores; None: of all.
    sample_of : Tensor or None
        Sample of each score, where these are scores of single pairs of a sample and a task
        (:class:`ObservedDesign`), row by row.
    curvature_passes : float
        Passes that :meth:`curvature_by_task` has made so far; its results are cached.
    curvature_left : float
        Passes that :meth:`curvature_by_task` may still make; if they are too few for a sharp bound,
        it returns the trace.
    """

    _SHOWN = ("n_samples", "n_features", "intercept", "dtype", "device")
    intercept: bool
    dtype: torch.dtype
    device: torch.device
    _in_units: Design
    share: float = 1.0
    unit: float = 1.0
    ranks: Ranks = ALONE
    tasks: Tensor | None = None
    sample_of: Tensor | None = None
    curvature_left: float = math.inf
    curvature_passes: float = 0.0

    @abstractmethod
    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        """Shape of the parameter, including the intercept row."""

    @abstractmethod
    def scores(self, W: Tensor) -> Tensor:
        """Scores of all samples, in the shape of the targets."""

    def magnitude(self) -> float:
        """Root mean square of the features; 1 if it is not known."""
        return 1.0

    def figure(self) -> float | None:
        """Checksum of the features that depends on the order of the samples; None if not known."""
        return None

    @cached_property
    def _figure(self) -> float | None:
        return self.figure()

    @property
    def known_figure(self) -> float | None:
        """:meth:`figure`, cached."""
        return self._figure

    @cached_property
    def _magnitude(self) -> float:
        return self.magnitude()

    @property
    def known_magnitude(self) -> float:
        """:meth:`magnitude`, cached."""
        return self._magnitude

    def in_units(self) -> Design:
        """Return the design with an intercept column of the magnitude of the features.

        The model is the same, with its intercept divided by :attr:`unit`. The rescaling balances
        gradient steps in weights and intercept for features of any scale. Units are powers of two,
        so it is exact; the unit of standardised features is 1.
        """
        if not self.intercept:
            return self
        if "_in_units" not in self.__dict__:
            unit = nearest_unit(self.known_magnitude, self.dtype)
            self._in_units = self if unit == self.unit else self.with_unit(unit)
        return self._in_units

    def with_unit(self, unit: float) -> Design:
        """Return the design with another constant in the intercept's column."""
        other = self._copy()
        other.unit = unit
        return other

    def _copy(self) -> Self:
        """Shallow copy without the cached values."""
        other = copy.copy(self)
        for name in ("_in_units", "_figure", "_magnitude"):
            other.__dict__.pop(name, None)
        return other

    @property
    def affine(self) -> bool:
        """Whether ``W = 0`` has non-zero scores that depend on the features (a fixed part)."""
        return False

    def linear(self, W: Tensor) -> Tensor:
        """Linear part of :meth:`scores`; equal to it unless the design is :attr:`affine`."""
        return self.scores(W)

    @abstractmethod
    def adjoint(self, residuals: Tensor) -> Tensor:
        """Transpose of the linear part of :meth:`scores`: maps residuals to a gradient in ``W``."""

    @abstractmethod
    def check_targets(self, targets: Targets) -> None:
        """Raise ``ValueError`` if the targets do not fit the samples."""

    def take(self, entries: Tensor) -> Design:
        """Return the design of some samples: ascending indices along the first axis of the scores.

        The features are not checked again. Consecutive indices give a view of them, not a copy.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not give its samples in batches; use a SharedDesign or a "
            f"TaskDesign, or a solver that takes all samples at once ({len(entries)} asked for)."
        )

    def narrowed(self, features: Tensor) -> Design:
        """Return the design of some rows of the penalised parameter, given by ascending indices.

        Raises ``NotImplementedError`` if a product would not cost the same fraction of a full one.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not give some of its features alone "
            f"({len(features)} asked for)."
        )

    def times(self, L: Tensor) -> Design:
        """Return the design of the features ``X L``, (N, K) for each task, which are computed here.

        Parameters
        ----------
        L : Tensor, shape (D, K)
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not give its features times a matrix of shape "
            f"{tuple(L.shape)}; use a SharedDesign or a TaskDesign."
        )

    def windows(self, generator: torch.Generator) -> Generator[tuple[slice, Design]]:  # noqa: ARG002
        """Go over the samples by parts that can be taken from (:meth:`take`) at little cost.

        Yields the place of a part's samples and its design, which is valid until the next one is
        asked for: here all samples, in a design that reads them from a disk parts of that, in an
        order drawn by the generator. Close the iterator unless it ended.
        """
        yield slice(None), self

    def samples(self, task: int, entries: Tensor) -> Tensor:
        """Features of some samples of a task, in float64.

        Parameters
        ----------
        task : int
        entries : Tensor, shape (n,)
            Indices among the task's samples.

        Returns
        -------
        Tensor, shape (n, D)
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not give samples of task {task} ({len(entries)} asked "
            "for); use a dense SharedDesign or a TaskDesign."
        )

    def inner_products(self, task: int, entries: Tensor) -> Tensor:
        """Inner products (n, n) of samples of a task, float64; arguments as :meth:`samples`."""
        X = self.samples(task, entries)
        return X @ X.T

    def moments(self, weights: Tensor | None = None) -> Moments:
        """Mean and standard deviation of each feature over the samples of all tasks.

        Parameters
        ----------
        weights : Tensor, shape (N,), optional
            Weights of the samples; for a task design concatenated over the tasks.
        """
        raise NotImplementedError(
            f"{type(self).__name__} gives no moments of its features"
            f"{'' if weights is None else ', weighted or not'}; use a SharedDesign or a TaskDesign."
        )

    @property
    def has_samples(self) -> bool:
        """Whether :meth:`samples` is implemented: the features are dense."""
        return False

    def moved(self, means: Tensor) -> tuple[Design, Tensor] | None:  # noqa: ARG002
        """Return a copy of the design with nearly centred features, and the subtracted (D, M).

        None if the features are not dense, or too large to be copied.

        Parameters
        ----------
        means : Tensor, shape (D, M), float64
        """
        return None

    def check_device(self, targets: Targets) -> None:
        """Raise ``ValueError`` if labels and features are on different devices."""
        if targets.device != self.device:
            raise ValueError(
                f"labels: on {targets.device}, the features are on {self.device}; move one."
            )

    @abstractmethod
    def curvature_by_task(self, targets: Targets) -> Tensor:
        """Upper estimates of ``lambda_max(X_m' C_m X_m)``, shape (M,), float64, without intercept.

        ``C_m`` are the weights of task m. For moderate sizes from Gram matrices, raised by a bound
        on the rounding errors; otherwise from Lanczos runs to three digits, raised by 1 %.
        """

    def centred_curvature_by_task(self, targets: Targets, means: Tensor) -> Tensor:  # noqa: ARG002
        """As :meth:`curvature_by_task`, for features centred by the weighted means of each task.

        Centring lowers all curvatures, so those of the uncentred features are the default bound.

        Parameters
        ----------
        targets : Targets
        means : Tensor, shape (D, M), float64
        """
        return self.curvature_by_task(targets)

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores at ``W``, and the adjoints of residuals that are computed from these scores.

        A design that :meth:`sweeps` reads its features once for both, block of rows by block. This
        default makes one product after the other.

        Parameters
        ----------
        W : Tensor
        residuals_of : callable
            Maps a slice of the samples (first axis of the scores) and their scores to a tuple of
            tensors of the same shape, computed sample by sample.

        Returns
        -------
        scores : Tensor
        adjoints : tuple of Tensor
            :meth:`adjoint` of each of the residuals.
        """
        scores = self.scores(W)
        residuals = residuals_of(slice(0, len(scores)), scores)
        return scores, tuple(self.adjoint(each) for each in residuals)

    def normal_product(self, V: Tensor, weights: Tensor) -> Tensor:
        """``X' (c * (X V))`` with the linear part of the scores, whose intercept row is kept.

        A design that reads its features from a disk reads them once, and keeps no scores.

        Parameters
        ----------
        V : Tensor
            Of any number of columns, where the design's scores have as many.
        weights : Tensor
            c, which broadcasts with the scores of ``V``.
        """
        return self.adjoint(self.linear(V) * weights)

    def of_samples(self, targets: Targets) -> tuple[Design, Tensor, float]:
        """Design that has scores of every sample, also where this one has those of pairs only.

        Returns it with the mean weight of each sample over the tasks, (N, 1), and the passes that a
        product and its adjoint with one column take.
        """
        return (
            self,
            torch.cat([part.weights.mean(1, keepdim=True) for part in targets.blocks()]),
            self.share / targets.n_tasks,
        )

    def sweeps(self, dtype: torch.dtype) -> bool:  # noqa: ARG002
        """Whether :meth:`sweep` reads the features once, which is faster than two products."""
        return False

    def reads_once(self, data: DataTerm, columns: int, dtype: torch.dtype) -> bool:  # noqa: ARG002
        """Whether :meth:`evaluate` reads the features once, for parameters of ``columns`` columns.

        A solver may then evaluate the next extrapolated point instead of the iterate, and so get
        scores and gradient from one read.
        """
        return False

    def evaluate(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, loss (0-d) and its gradient in ``W``; costs one pass."""
        scores = self.scores(W)
        value, residuals = data.value_and_gradient(scores)
        return scores, value, self.adjoint(residuals)

    def loss_and_grad_at(self, data: DataTerm, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (0-d) and its gradient in the parameter, from scores; costs half a pass."""
        value, residuals = data.value_and_gradient(scores)
        return value, self.adjoint(residuals)

    def loss_and_grad(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (0-d) and its gradient in ``W``; costs one pass."""
        return self.evaluate(data, W)[1:]

    def factors_pay(self, n_latents: int, n_tasks: int) -> bool:  # noqa: ARG002
        """Whether products with the factors of ``W = L S`` are clearly cheaper than with ``W``.

        If so, the design implements :meth:`factored_scores` and :meth:`factored_loss_and_grads`.
        """
        return False

    def factored_scores(self, L: Tensor, S: Tensor, bias: Tensor | None) -> Tensor:
        """Scores of ``W = L S``, computed as ``(X L) S``.

        Parameters
        ----------
        L, S : Tensor, shapes (D, K) and (K, M)
        bias : Tensor, shape (M,), or None
            Intercepts; None for a design without them.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no products with factors of shapes {tuple(L.shape)} and "
            f"{tuple(S.shape)}{'' if bias is None else ' and intercepts'}; join them."
        )

    def factored_loss_and_grads(
        self, data: DataTerm, L: Tensor, S: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Loss (0-d) and its gradients in L, S and the intercepts; costs one pass.

        The same as :meth:`loss_and_grad` at ``L S``, pulled back to the factors; arguments as for
        :meth:`factored_scores`.
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
            # lambda_max([X u]'C[X u]) <= lambda_max(X'CX) + u^2 sum c, plus rounding errors
            sums = targets.weights_by_task()
            rounding = (targets.n_entries + 2) * torch.finfo(sums.dtype).eps
            curvature = curvature + self.unit**2 * (1 + rounding) * sums
        return float(curvature.max())

    def split(self, W: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split a parameter into its penalised part and its intercept row (None if it has none)."""
        return (W[:-1], W[-1]) if self.intercept else (W, None)

    def join(self, penalised: Tensor, intercept: Tensor | None) -> Tensor:
        """Inverse of :meth:`split`."""
        return penalised if intercept is None else torch.cat([penalised, intercept[None]])
