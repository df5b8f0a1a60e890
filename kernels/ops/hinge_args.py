"""Bound arguments and results of `proxmtl.kernels.hinge_value_and_grad`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOSSES = ("squared_hinge", "logistic", "squared")
_STORAGE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class HingeResult(NamedTuple):
    """What one pass over the features gives, M tasks and D features.

    Attributes
    ----------
    value : Tensor, shape (M,)
        Σ_i c_mi φ(z_mi; y_mi) per task, in float64 whatever the storage: line searches subtract
        such sums.
    grad : Tensor, shape (D, M)
        X_mᵀ r_m in the accumulation dtype; a transposed view of task-major memory.
    grad_bias : Tensor, shape (M,)
        Σ_i r_mi in the accumulation dtype.
    scores : Tensor, tuple of Tensor or None
        z_mi = x_miᵀ w_m + b_m, shaped like the labels, when asked for.
    """

    value: torch.Tensor
    grad: torch.Tensor
    grad_bias: torch.Tensor
    scores: torch.Tensor | tuple[torch.Tensor, ...] | None


@dataclass(frozen=True, slots=True)
class HingeArgs:
    """Validated arguments, task-major, as backends receive them.

    Attributes
    ----------
    kind : {"shared", "dense", "ragged"}
        One (N, D) matrix for all tasks, one (M, N, D) block, or M matrices (N_m, D).
    features : tuple of Tensor
        One tensor for shared and dense, M for ragged; any strides.
    weights : Tensor, shape (M, D)
        Wᵀ in the accumulation dtype; any strides.
    labels, sample_weights : tuple of Tensor
        One (M, N) tensor for shared and dense, M tensors (N_m,) for ragged, in the accumulation
        dtype. Contiguous, or for shared features of several tasks the transpose of contiguous
        memory. No sample weights: None.
    bias : Tensor, shape (M,), or None
        Contiguous.
    loss : str
        One of `LOSSES`.
    dtype : torch.dtype
        Accumulation dtype: float64 if the features or the weights are, otherwise float32.
    """

    kind: str
    features: tuple[torch.Tensor, ...]
    weights: torch.Tensor
    labels: tuple[torch.Tensor, ...]
    sample_weights: tuple[torch.Tensor, ...] | None
    bias: torch.Tensor | None
    loss: str
    return_scores: bool
    deterministic: bool
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """Device of every tensor of the call."""
        return self.weights.device

    @property
    def storage(self) -> torch.dtype:
        """Dtype that the features are stored in."""
        return self.features[0].dtype if self.features else self.dtype

    @property
    def n_tasks(self) -> int:
        """Number of tasks M."""
        return self.weights.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features D."""
        return self.weights.shape[1]

    def rows(self) -> list[int]:
        """Count of rows N_m of each task."""
        if self.kind == "ragged":
            return [x.shape[0] for x in self.features]
        return [self.features[0].shape[-2]] * self.n_tasks

    def tasks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        """Features (N_m, D), labels (N_m,) and sample weights (N_m,) or None of each task."""
        ragged = self.kind == "ragged"
        for m in range(self.n_tasks):
            if self.kind == "shared":
                x = self.features[0]
            else:
                x = self.features[m] if ragged else self.features[0][m]
            y = self.labels[m] if ragged else self.labels[0][m]
            if self.sample_weights is None:
                yield x, y, None
            else:
                yield x, y, self.sample_weights[m] if ragged else self.sample_weights[0][m]

    def empty_scores(self) -> tuple[torch.Tensor, ...]:
        """Uninitialised task-major memory for the scores, shaped like `labels`."""
        return tuple(
            torch.empty(y.shape, dtype=self.dtype, device=self.device) for y in self.labels
        )

    def result(
        self,
        value: torch.Tensor,
        grad: torch.Tensor,
        grad_bias: torch.Tensor,
        scores: tuple[torch.Tensor, ...] | None,
    ) -> HingeResult:
        """Turn task-major outputs, grad (M, D), into the public layout."""
        public: torch.Tensor | tuple[torch.Tensor, ...] | None = None
        if self.return_scores and scores is not None:
            if self.kind == "ragged":
                public = scores
            else:
                public = scores[0].T if self.kind == "shared" else scores[0]
        return HingeResult(value, grad.T, grad_bias, public)


def bind(
    X: torch.Tensor | Sequence[torch.Tensor],
    W: torch.Tensor,
    Y: torch.Tensor | Sequence[torch.Tensor],
    weights: torch.Tensor | Sequence[torch.Tensor] | None = None,
    bias: torch.Tensor | None = None,
    *,
    loss: str = "squared_hinge",
    return_scores: bool = False,
    deterministic: bool = True,
) -> HingeArgs:
    """Validate the arguments of `hinge_value_and_grad`; see there."""
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; choose from {', '.join(LOSSES)}")
    check_tensors(X, W, Y, weights, bias)
    if W.ndim != 2:
        raise ValueError(f"W has shape {tuple(W.shape)}; give (D, M), one column a task")
    kind = _kind(X)
    features = (X,) if isinstance(X, torch.Tensor) else tuple(X)
    n_features, n_tasks = W.shape
    _check_features(kind, features, n_features, n_tasks)
    dtypes = {t.dtype for t in (W, *features)}
    for dtype in dtypes:
        if dtype not in _STORAGE:
            names = ", ".join(str(d).removeprefix("torch.") for d in _STORAGE)
            raise TypeError(f"X or W has dtype {dtype}; give one of {names}")
    if len({x.dtype for x in features}) > 1:
        raise TypeError(f"X mixes dtypes {sorted(map(str, dtypes))}; store all tasks in one")
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    shapes = _label_shapes(kind, features, n_tasks)
    labels = _like_labels("Y", Y, kind, shapes, dtype)
    sample_weights = (
        None if weights is None else _like_labels("weights", weights, kind, shapes, dtype)
    )
    if bias is not None and bias.shape != (n_tasks,):
        raise ValueError(f"bias has shape {tuple(bias.shape)}; give ({n_tasks},), one a task")
    others = (*features, *labels, *(sample_weights or ()), *(() if bias is None else (bias,)))
    for tensor in others:
        if tensor.device != W.device:
            raise ValueError(
                f"the arguments are on {tensor.device} and W on {W.device}; move all to one device"
            )
    return HingeArgs(
        kind=kind,
        features=features,
        weights=_plain(W, dtype).T,
        labels=labels,
        sample_weights=sample_weights,
        bias=None if bias is None else _plain(bias, dtype).contiguous(),
        loss=loss,
        return_scores=return_scores,
        deterministic=deterministic,
        dtype=dtype,
    )


def check_tensors(X: Any, W: Any, Y: Any, weights: Any = None, bias: Any = None) -> None:
    """Raise TypeError if an argument is no tensor, or no sequence of tensors where one may be.

    Raises
    ------
    TypeError
        With the name of the argument and what was seen.
    """
    for name, given in (("X", X), ("W", W), ("Y", Y), ("weights", weights), ("bias", bias)):
        _check_tensors(name, given, several=name not in {"W", "bias"})


def _check_tensors(name: str, given: Any, *, several: bool) -> None:
    if given is None or isinstance(given, torch.Tensor):
        return
    wrong = given
    if several and isinstance(given, (list, tuple)):
        wrong = next((each for each in given if not isinstance(each, torch.Tensor)), None)
        if wrong is None:
            return
    where = "holds" if wrong is not given else "is"
    raise TypeError(
        f"{name} {where} a {type(wrong).__name__}; give tensors (torch.as_tensor makes one of an "
        "array without a copy)"
    )


def _kind(X: torch.Tensor | Sequence[torch.Tensor]) -> str:
    if not isinstance(X, torch.Tensor):
        return "ragged"
    if X.ndim not in {2, 3}:
        raise ValueError(
            f"X has shape {tuple(X.shape)}; give (N, D) shared by all tasks, (M, N, D), or a "
            "sequence of M tensors (N_m, D)"
        )
    return "shared" if X.ndim == 2 else "dense"


def _check_features(
    kind: str, features: tuple[torch.Tensor, ...], n_features: int, n_tasks: int
) -> None:
    count = features[0].shape[0] if kind == "dense" else len(features)
    if kind != "shared" and count != n_tasks:
        raise ValueError(f"X has {count} tasks and W has {n_tasks} columns; give one for each task")
    for m, x in enumerate(features):
        if kind == "ragged" and x.ndim != 2:
            raise ValueError(f"X[{m}] has shape {tuple(x.shape)}; give (N_m, D)")
        if x.shape[-1] != n_features:
            name = f"X[{m}]" if kind == "ragged" else "X"
            raise ValueError(f"{name} has {x.shape[-1]} features and W has {n_features} rows")


def _label_shapes(
    kind: str, features: tuple[torch.Tensor, ...], n_tasks: int
) -> list[tuple[int, ...]]:
    if kind == "ragged":
        return [(x.shape[0],) for x in features]
    n_rows = features[0].shape[-2]
    return [(n_rows, n_tasks) if kind == "shared" else (n_tasks, n_rows)]


def _like_labels(
    name: str,
    given: torch.Tensor | Sequence[torch.Tensor],
    kind: str,
    shapes: list[tuple[int, ...]],
    dtype: torch.dtype,
) -> tuple[torch.Tensor, ...]:
    if isinstance(given, torch.Tensor) == (kind == "ragged"):
        wanted = f"a sequence of {len(shapes)} tensors" if kind == "ragged" else "one tensor"
        raise TypeError(f"{name} is a {type(given).__name__}; give {wanted}, laid out like X")
    tensors = (given,) if isinstance(given, torch.Tensor) else tuple(given)
    if len(tensors) != len(shapes):
        raise ValueError(f"{name} has {len(tensors)} tasks and X has {len(shapes)}")
    for m, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
        label = f"{name}[{m}]" if kind == "ragged" else name
        if tensor.shape != shape:
            raise ValueError(f"{label} has shape {tuple(tensor.shape)}; X and W ask for {shape}")
        if tensor.dtype == torch.bool or tensor.is_complex():
            raise TypeError(f"{label} has dtype {tensor.dtype}; give real numbers")
    plain = [_plain(t, dtype) for t in tensors]
    if kind == "shared":
        # Sample-major labels may be large: a dense view in either order is good enough.
        task_major = plain[0].T
        return (task_major if plain[0].is_contiguous() else task_major.contiguous(),)
    return tuple(t if t.is_contiguous() else t.contiguous() for t in plain)


def _plain(t: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Outside autograd and in one dtype; ragged calls have many tensors, so do no idle work."""
    if t.requires_grad:
        t = t.detach()
    return t if t.dtype == dtype else t.to(dtype)
