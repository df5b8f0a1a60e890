"""A linear layer whose weights are a product of two factors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from proxmtl.nn.linear import linear_scores

__all__ = ["FactoredLinear"]


class FactoredLinear(nn.Module):
    """Scores ``X_m (L s_m + v_m) + b_m``: the parameters of a head, whatever sets them.

    Parameters
    ----------
    n_features, n_tasks : int
        D and M.
    n_latents : int, optional
        K; None: ``min(D, M)``, and that of a checkpoint loaded later.
    bias : bool
    own : bool
        Whether tasks have own parts V; zero at first.
    trainable : bool
        Whether gradients reach the parameters.
    seed : int
        Of the random start: zero is a local minimum of the factored problem.
    device, dtype
        Of the weights.
    """

    def __init__(
        self,
        n_features: int,
        n_tasks: int,
        n_latents: int | None = None,
        *,
        bias: bool = True,
        own: bool = False,
        trainable: bool = True,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if n_features < 1 or n_tasks < 1:
            raise ValueError(f"n_features, n_tasks: got {n_features}, {n_tasks}; use at least 1.")
        self.n_features, self.n_tasks, self.trainable = n_features, n_tasks, trainable
        self._any_k = n_latents is None
        K = n_latents or min(n_features, n_tasks)
        generator = torch.Generator().manual_seed(seed)
        dtype = dtype or torch.get_default_dtype()

        def normal(rows: int, columns: int) -> nn.Parameter:
            # drawn on the CPU in float64, so that a seed means the same start everywhere
            wide = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
            start = (wide / rows**0.5).to(device=device, dtype=dtype)
            return nn.Parameter(start, requires_grad=trainable)

        self.L, self.S = normal(n_features, K), normal(K, n_tasks)
        self.intercept: nn.Parameter | None = None
        if bias:
            zero = torch.zeros(n_tasks, device=device, dtype=dtype)
            self.intercept = nn.Parameter(zero, requires_grad=trainable)
        self.V: nn.Parameter | None = None
        if own:
            nothing = torch.zeros(n_features, n_tasks, device=device, dtype=dtype)
            self.V = nn.Parameter(nothing, requires_grad=trainable)

    @property
    def n_latents(self) -> int:
        """K, dead latents included."""
        return self.S.shape[0]

    @property
    def coef(self) -> Tensor:
        """``W = L S``, with own parts ``L S + V``; shape (D, M)."""
        return self._weights(self.L.dtype)

    def _weights(self, dtype: torch.dtype) -> Tensor:
        shared = self.L.to(dtype) @ self.S.to(dtype)
        return shared if self.V is None else shared + self.V.to(dtype)

    def factors(self) -> tuple[nn.Parameter, ...]:
        """``(L, S)``, then the intercept, then V, where there are."""
        return tuple(p for p in (self.L, self.S, self.intercept, self.V) if p is not None)

    def forward(self, features: Tensor) -> Tensor:
        """Scores (B, M) of features (M, B, D), one matrix a task, or (B, D), shared by all."""
        return self.scores(features, self.L.dtype)

    def scores(self, features: Tensor, dtype: torch.dtype) -> Tensor:
        """As a call, with the weights in another precision."""
        return linear_scores(features, self._weights(dtype), self.intercept)

    @torch.no_grad()
    def adopt(
        self, L: Tensor, S: Tensor, intercept: Tensor | None = None, own: Tensor | None = None
    ) -> None:
        """Take other weights, of any K."""
        pairs = ((self.L, L), (self.S, S), (self.intercept, intercept), (self.V, own))
        for parameter, new in pairs:
            if parameter is None or new is None:
                continue
            if parameter.shape == new.shape:
                parameter.copy_(new)
            else:
                parameter.data = new.to(parameter)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return (
            f"n_features={self.n_features}, n_tasks={self.n_tasks}, n_latents={self.n_latents}, "
            f"trainable={self.trainable}"
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the K of a checkpoint where none was asked for."""
        L, S = state_dict.get(prefix + "L"), state_dict.get(prefix + "S")
        if self._any_k and L is not None and S is not None:
            fits = L.shape[0] == self.n_features and S.shape[1] == self.n_tasks
            if fits and L.shape[1] == S.shape[0] != self.n_latents:
                self.L.data, self.S.data = self.L.new_zeros(L.shape), self.S.new_zeros(S.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
