"""What cross-validation trains: a convex problem, the latent model, or any estimator."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from proxmtl.designs import SharedDesign
from proxmtl.io.identity import fingerprint
from proxmtl.latent import LatentMTL
from proxmtl.minimization import minimize
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.row_sources import FeatureRows, rows_of
from proxmtl.selection.batch import BATCH_SCORES, solve_batch
from proxmtl.selection.folds import restrict_samples
from proxmtl.selection.strengths import with_strengths
from proxmtl.solvers.base import Solver
from proxmtl.stopping import Stop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.experiments import Split

__all__ = [
    "CandidateTrainer",
    "Cell",
    "EstimatorTrainer",
    "LatentTrainer",
    "ProblemTrainer",
    "Trained",
]


class Cell(NamedTuple):
    """Number of a candidate and number of a split."""

    candidate: int
    split: int


class Trained(NamedTuple):
    """Scores of the rows held out, and how the training ended."""

    scores: NDArray[Any]
    nonzeros: float
    status: str
    passes: float


class CandidateTrainer(ABC):
    """Trains candidates on parts of the rows.

    Attributes
    ----------
    labels : ndarray of shape (N, M)
        NaN where missing.
    """

    labels: NDArray[np.float64]

    def train(
        self, cells: Sequence[Cell], candidates: Sequence[Any], splits: Sequence[Split]
    ) -> Iterator[tuple[Cell, Trained]]:
        """Train each cell, in any order; results come as they are ready."""
        for cell in cells:
            yield cell, self._trained(candidates[cell.candidate], *splits[cell.split])

    def _trained(self, candidate: Any, train: NDArray[Any], test: NDArray[Any]) -> Trained:
        """Train a candidate on some rows, score others."""
        raise NotImplementedError

    @abstractmethod
    def refit(self, candidate: Any) -> Any:
        """Train on all rows."""

    @abstractmethod
    def parameters(self, candidate: Any) -> dict[str, Any]:
        """Columns of the table that name a candidate."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON-able description of model and data."""


@dataclasses.dataclass
class ProblemTrainer(CandidateTrainer):
    """A problem; candidates are strengths as :func:`with_strengths` takes them.

    Folds and strengths are solved in batches, unless another solver is asked for.
    """

    problem: Problem
    stop: Stop | None = None
    solver: Solver[Problem, Any, Tensor] | None = None

    def __post_init__(self) -> None:
        targets = self.problem.targets
        if targets.task_of is not None:
            raise UnsupportedError(
                "cross_validate: the problem has features by task, whose rows have no common "
                "numbers; use shared features, or an estimator of each task."
            )
        missing = targets.weights == 0
        self.labels = targets.labels.to(torch.float64).masked_fill(missing, torch.nan).cpu().numpy()

    def train(
        self, cells: Sequence[Cell], candidates: Sequence[Any], splits: Sequence[Split]
    ) -> Iterator[tuple[Cell, Trained]]:
        parts = {cell.split: self._part(splits[cell.split]) for cell in cells}
        size = max(1, BATCH_SCORES // self.problem.targets.shape.numel())
        for first in range(0, len(cells), size):
            chunk = cells[first : first + size]
            problems = [
                with_strengths(parts[cell.split], candidates[cell.candidate]) for cell in chunk
            ]
            batched = self.solver is None and isinstance(self.problem.design, SharedDesign)
            results = (
                solve_batch(problems, stop=self.stop)
                if batched
                else [minimize(problem, self.solver, stop=self.stop) for problem in problems]
            )
            for cell, result in zip(chunk, results, strict=True):
                scores = self.problem.design.scores(result.solution)
                held_out = torch.as_tensor(splits[cell.split].test, device=scores.device)
                weights, _ = self.problem.design.split(result.solution)
                yield (
                    cell,
                    Trained(
                        scores[held_out].cpu().numpy(),
                        _share(weights != 0),
                        result.status.name,
                        result.passes,
                    ),
                )

    def _part(self, split: Split) -> Problem:
        return restrict_samples(self.problem, split.train)

    def refit(self, candidate: Any) -> Any:
        return minimize(with_strengths(self.problem, candidate), self.solver, stop=self.stop)

    def parameters(self, candidate: Any) -> dict[str, Any]:
        if isinstance(candidate, (int, float)):
            return {"strength": float(candidate)}
        return {f"strength_{j}": float(strength) for j, strength in enumerate(candidate)}

    def settings(self) -> dict[str, Any]:
        penalties = [fingerprint(r) for r in self.problem.regularizers]
        return {
            "model": repr(self.problem.loss),
            "penalties": penalties,
            "stop": repr(self.stop),
            "solver": repr(self.solver),
            "gradient": self.problem.gradient_scale,
        }


class _ArraysTrainer(CandidateTrainer):
    """A model that is given arrays; candidates are parameters of it, by name."""

    def parameters(self, candidate: Any) -> dict[str, Any]:
        return _with_invariants(candidate)


@dataclasses.dataclass
class LatentTrainer(_ArraysTrainer):
    """The paper's model on shared features; candidates replace fields of the configuration."""

    model: LatentMTL
    X: Any
    Y: Any
    sample_weight: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.X, FeatureRows):
            raise UnsupportedError(
                "cross_validate: LatentMTL takes arrays; for rows in files give a "
                "LatentMTLClassifier."
            )
        self.X, self.labels = _arrays(self.X, self.Y)

    def _trained(self, candidate: Any, train: NDArray[Any], test: NDArray[Any]) -> Trained:
        weight = None if self.sample_weight is None else np.asarray(self.sample_weight)[train]
        model = dataclasses.replace(self.model, **candidate)
        result = model.solve(rows_of(self.X, train), self.labels[train], weight)
        scores = result.decision_function(rows_of(self.X, test))
        assert isinstance(scores, Tensor)
        held = torch.cat([(result.L != 0).flatten(), (result.S != 0).flatten()])
        return Trained(scores.numpy(), _share(held), result.status.name, result.passes)

    def refit(self, candidate: Any) -> Any:
        model = dataclasses.replace(self.model, **candidate)
        return model.solve(self.X, self.labels, self.sample_weight)

    def settings(self) -> dict[str, Any]:
        fields = dataclasses.fields(self.model)
        own = {f.name: fingerprint(getattr(self.model, f.name)) for f in fields}
        weights = fingerprint(self.sample_weight)
        return {"model": own, "features": _figure(self.X), "sample_weight": weights}


@dataclasses.dataclass
class EstimatorTrainer(_ArraysTrainer):
    """Any estimator with ``fit`` and ``decision_function``; candidates are parameters of it."""

    estimator: Any
    X: Any
    Y: Any

    def __post_init__(self) -> None:
        self.X, self.labels = _arrays(self.X, self.Y)

    def _trained(self, candidate: Any, train: NDArray[Any], test: NDArray[Any]) -> Trained:
        model = self._with(candidate).fit(rows_of(self.X, train), self.labels[train])
        scores = np.asarray(model.decision_function(rows_of(self.X, test))).reshape(len(test), -1)
        result = getattr(model, "result_", None)
        status = getattr(result, "status", None)
        coef = getattr(model, "coef_", None)
        return Trained(
            scores,
            float("nan") if coef is None else _share(np.asarray(coef) != 0),
            "" if status is None else status.name,
            float(getattr(result, "passes", float("nan"))),
        )

    def _with(self, candidate: Mapping[str, Any]) -> Any:
        from sklearn.base import clone  # noqa: PLC0415 - heavy, and only here

        return clone(self.estimator).set_params(**candidate)

    def refit(self, candidate: Any) -> Any:
        return self._with(candidate).fit(self.X, self.labels)

    def settings(self) -> dict[str, Any]:
        return {"model": fingerprint(self.estimator), "features": _figure(self.X)}


def _arrays(X: Any, Y: Any) -> tuple[Any, NDArray[np.float64]]:
    from proxmtl.experiments.labels import check_labels  # noqa: PLC0415 - imports pandas

    if not (sparse.issparse(X) or isinstance(X, FeatureRows)):
        X = X.numpy() if isinstance(X, Tensor) else np.asarray(X)
    labels = check_labels(Y.numpy() if isinstance(Y, Tensor) else Y)
    if X.ndim != 2 or X.shape[0] != len(labels):
        raise ValueError(
            f"X: shape {X.shape} with {len(labels)} rows of labels; cross_validate takes shared "
            "features (N, D), one row a sample."
        )
    return X, labels


def _share(mask: Any) -> float:
    return float(mask.sum()) / max(1, mask.numel() if isinstance(mask, Tensor) else mask.size)


def _figure(X: Any) -> float:
    place = np.sqrt(np.arange(1, X.shape[0] + 1))
    if isinstance(X, FeatureRows):
        parts = [place[rows] @ block.astype(np.float64) for rows, block in X.blocks()]
        return float(np.linalg.norm(np.sum(parts, axis=0)))
    return float(np.linalg.norm(place @ X.astype(np.float64)))


def _with_invariants(candidate: Mapping[str, Any]) -> dict[str, Any]:
    """The candidate, and the two numbers of it that matter where it sets all three strengths."""
    names = ("group_strength", "l1_strength", "frobenius_strength")
    if not all(name in candidate for name in names):
        return dict(candidate)
    mu, gamma, ridge = (candidate[name] for name in names)
    return {**candidate, "mu_gamma": mu * gamma, "mu2_lambda": mu * mu * ridge}
