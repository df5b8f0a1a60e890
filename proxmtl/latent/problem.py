"""The joint problem in (L, S, intercept): objective, partial gradients, prox, certificate."""

from __future__ import annotations

import math
from copy import copy
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.designs import Design, FactoredDesign
from proxmtl.designs.centred import CentredDesign, centred
from proxmtl.designs.factored import squared_spectral_norm
from proxmtl.groups import Groups
from proxmtl.losses import Loss, without_weights
from proxmtl.problem import OracleCounts, Problem
from proxmtl.regularizers import L1, GroupL2, OverlappingGroupL2, SquaredFrobenius
from proxmtl.result import Certificate
from proxmtl.solvers.blocks import Blocks
from proxmtl.targets import Targets

__all__ = ["LatentProblem", "check_strengths"]

TINY = 1e-9
"""Curvatures along a factor below this, in the units of the penalties, count as none."""


def check_strengths(group_strength: float, l1_strength: float, frobenius_strength: float) -> None:
    """Raise ``ValueError`` where one factor could absorb the other's penalty."""
    if not group_strength > 0:
        raise ValueError(
            f"group_strength: got {group_strength}; it must be > 0. Without it S could grow "
            "while L shrinks, at no cost: the penalty on L would mean nothing."
        )
    if not (l1_strength > 0 or frobenius_strength > 0):
        raise ValueError(
            f"l1_strength, frobenius_strength: got {l1_strength} and {frobenius_strength}; one "
            "must be > 0, or L could grow while S shrinks, at no cost."
        )


class LatentProblem:
    """``loss(X L S + b) + mu sum_k sum_g w_g ||S[k, g]|| + gamma ||L||_1 + lambda ||L||_F^2``.

    Blocks are ``(L, S)`` of shapes (D, K) and (K, M), or ``(L, S, b)`` with ``b`` of shape (M,)
    when the design has an intercept. Not jointly convex: only the blocks' certificates are global.

    Parameters
    ----------
    loss, design, targets
        As for :class:`Problem`.
    groups : Groups
        Of tasks; must cover every task.
    group_strength, l1_strength, frobenius_strength : float
        The paper's mu, gamma, lambda.

    Raises
    ------
    ValueError
        If ``group_strength`` is 0, both strengths on L are 0, or a task is in no group: then one
        factor can absorb the other's penalty and the minimum is not attained.
    """

    def __init__(
        self,
        loss: Loss,
        design: Design,
        targets: Targets,
        groups: Groups,
        *,
        group_strength: float,
        l1_strength: float,
        frobenius_strength: float,
    ) -> None:
        check_strengths(group_strength, l1_strength, frobenius_strength)
        if groups.n_items != targets.n_tasks:
            raise ValueError(
                f"groups: made for {groups.n_items} tasks, the labels have {targets.n_tasks}."
            )
        if groups.uncovered:
            raise ValueError(
                f"groups: tasks {groups.uncovered[:10]} are in no group, their columns of S would "
                "be free of any penalty; add them to a group or use groups.covering()."
            )
        if bool((groups.weights == 0).any()):
            raise ValueError("groups: a group has weight 0; its part of S would be unpenalised.")
        design.check_targets(targets)
        design.check_device(targets)
        loss.check_labels(targets.labels, targets.weights)
        self.loss, self.design = loss, design
        self.targets = targets.to(design.dtype)
        group_norm = GroupL2 if groups.is_disjoint else OverlappingGroupL2
        self.groups = groups
        self.group_norm: GroupL2 | OverlappingGroupL2 = group_norm(groups, group_strength)
        self.l1 = L1(l1_strength)
        self.ridge = SquaredFrobenius(frobenius_strength)
        self.counts = OracleCounts()
        self._centred: LatentProblem | None = None  # found once
        self._plain_design: Design | None = None  # where this is on centred features

    # ------------------------------------------------------------------ oracles

    def check_point(self, blocks: Blocks) -> None:
        L, S = blocks[:2]
        D = self.design.parameter_shape(self.targets)[0] - int(self.design.intercept)
        M = self.targets.n_tasks
        if L.ndim != 2 or S.ndim != 2 or L.shape != (D, S.shape[0]) or S.shape[1] != M:
            raise ValueError(
                f"init: L and S have shapes {tuple(L.shape)} and {tuple(S.shape)}; expected "
                f"({D}, K) and (K, {M})."
            )
        if len(blocks) != 2 + int(self.design.intercept):
            raise ValueError("init: give (L, S, intercept) with an intercept, (L, S) without.")
        if not all(bool(torch.isfinite(block).all()) for block in blocks):
            raise ValueError("init: a factor holds NaN or infinite values.")

    def zeros(self) -> Tensor:
        """The design's zero parameter, in the working precision."""
        shape = self.design.parameter_shape(self.targets)
        return torch.zeros(shape, dtype=self.design.dtype, device=self.design.device)

    def null(self, like: Blocks) -> tuple[Blocks, float]:
        """Factors that are zero, with the best intercepts, and the objective: no product.

        ``like`` says how many latents there are.
        """
        best, loss = without_weights(self.loss, self.targets, intercept=self.design.intercept)
        factors = tuple(torch.zeros_like(block) for block in like[:2])
        return factors if best is None else (*factors, best.to(like[2])), loss

    def in_units(self) -> LatentProblem:
        """Return the problem on features minus their means, which the intercepts take up.

        What the solvers descend on. The same problem, but for the origin of its features: points go
        there by :meth:`inside` and come back by :meth:`outside`; certificates are those of this
        problem. Shares targets, penalties and counts. It is this problem itself without an
        intercept, where the means are zero up to rounding, and where no product may be made.
        """
        if self._plain_design is not None or not self.design.intercept or self.counts.left < 0.5:
            return self
        if self._centred is None:
            design = centred(self.design, self._means())
            if design is self.design:
                return self
            self._centred = self._on(design, self.design)
            self._centred.__dict__["_intercept_coupling"] = 0.0  # up to rounding
        return self._centred

    def _means(self) -> Tensor:
        """Of the features by task, weighted as the samples, shape (D, M), float64."""
        total = self._total_weights
        return torch.where(total > 0, self._weighted_sums / total, 0.0)

    def _on(self, design: Design, plain: Design | None) -> LatentProblem:
        """Return this problem on another design, without what was found of its own one."""
        other = copy(self)
        for name in ("curvature_by_task", "_intercept_coupling", "_weighted_sums"):
            other.__dict__.pop(name, None)
        other.design, other._plain_design = design, plain  # noqa: SLF001 - of the same class
        return other

    def inside(self, blocks: Blocks) -> Blocks:
        """Point of this problem on centred features, of one of the plain problem."""
        return self._with_shift(blocks, 1.0)

    def outside(self, blocks: Blocks) -> Blocks:
        """Point of the plain problem, of one of this problem on centred features."""
        return self._with_shift(blocks, -1.0)

    def _with_shift(self, blocks: Blocks, sign: float) -> Blocks:
        if self._plain_design is None:
            return blocks
        assert isinstance(self.design, CentredDesign)
        L, S, bias = (block.to(torch.float64) for block in blocks)
        return (*blocks[:2], (bias + sign * self.design.shift(L @ S)).to(blocks[2]))

    def weights(self, blocks: Blocks) -> Tensor:
        """The design's parameter: ``L S``, with the intercept as last row if there is one."""
        L, S = blocks[:2]
        return self.design.join(L @ S, blocks[2] if len(blocks) == 3 else None)

    def smooth_value(self, blocks: Blocks) -> float:
        self.counts.charge(forward=1)
        targets = self.targets.to(blocks[0].dtype)
        scores = self.design.scores(self.weights(blocks))
        return float(self.loss.value(scores, targets.labels, targets.weights))

    def smooth_value_and_grads(self, blocks: Blocks) -> tuple[float, Blocks]:
        self.counts.charge(forward=1, adjoint=1)
        value, grad = self.design.loss_and_grad(self.loss, self.targets, self.weights(blocks))
        L, S = blocks[:2]
        G, bias = self.design.split(grad)
        grads = (G @ S.T, L.T @ G)
        return float(value), grads if bias is None else (*grads, bias)

    def penalty(self, blocks: Blocks) -> float:
        L, S = blocks[:2]
        return float(self.group_norm.value(S) + self.l1.value(L) + self.ridge.value(L))

    def prox(self, blocks: Blocks, steps: Blocks) -> tuple[Blocks, float]:
        L, S = blocks[:2]
        shrink = 1 + 2 * steps[0] * self.ridge.strength
        L, _ = self.l1.prox(L / shrink, steps[0] / shrink)
        # a norm is homogeneous: prox_{t R}(v) = t prox_R(v / t), which gives each row its own step
        S, _ = self.group_norm.prox(S / steps[1], 1.0)
        S = S * steps[1]
        out = (L, S, *blocks[2:])
        return out, self.penalty(out)

    def objective(self, blocks: Blocks) -> float:
        """The paper's objective (eq. 2), loss reduced as the targets say."""
        return self.smooth_value(blocks) + self.penalty(blocks)

    # ------------------------------------------------------------------ curvature

    def curvatures(self, blocks: Blocks) -> Blocks:
        """Lipschitz constant of each partial gradient: one number for L and S, M for the intercept.

        Along L ``||S diag(sqrt h)||^2``, along S ``max h ||L||^2``, h the loss's largest curvature
        by task. A constant per latent (its own column and row) was tried and is no faster.
        """
        L, S = (block.to(torch.float64) for block in blocks[:2])
        h = self.loss.curvature_bound * self.curvature_by_task
        floor_L, floor_S = self._least_curvatures
        along_L = max(squared_spectral_norm(S * h.sqrt()), floor_L)
        along_S = max(float(h.max()) * squared_spectral_norm(L), floor_S)
        like = blocks[0]
        if len(blocks) == 2:
            return like.new_tensor(along_L), like.new_tensor(along_S)
        joint = 1 + self._intercept_coupling
        of_bias = joint * self.loss.curvature_bound * self._total_weights
        return like.new_tensor(along_L), like.new_tensor(joint * along_S), of_bias.to(like)

    @cached_property
    def _least_curvatures(self) -> tuple[float, float]:
        """Curvatures along L and S that stand for those of a zero factor.

        It has none, and any step is safe; these keep it finite. They are tiny in the units of the
        penalties: over the square of the L, or S, whose penalty alone is the loss at zero.
        """
        targets = self.targets.to(torch.float64)
        zero = torch.zeros_like(targets.labels)
        # at least one number above zero: labels that are all zero have no loss there
        loss = float(self.loss.value(zero, targets.labels, targets.weights)) or 1.0
        of_L = max(self.l1.strength**2 / loss, self.ridge.strength)
        return TINY * of_L, TINY * self.group_norm.strength**2 / loss

    def prepare(self) -> None:
        """Find the curvatures of the data now: they are kept, and their passes counted once."""
        _ = self.curvature_by_task, self._intercept_coupling

    @cached_property
    def curvature_by_task(self) -> Tensor:
        with self.counts.curvature_of(self.design):
            return self.design.curvature_by_task(self.targets)

    @cached_property
    def _total_weights(self) -> Tensor:
        return self.targets.per_task(self.targets.weights.to(torch.float64))

    @cached_property
    def _intercept_coupling(self) -> float:
        """Cosine between features and intercept: (1 + it) times both curvatures majorises them.

        0 for centred features without missing labels, 1 at worst.
        """
        if not self.design.intercept:
            return 0.0
        tiny = torch.finfo(torch.float64).tiny
        scale = self.curvature_by_task.sqrt() * self._total_weights.sqrt()
        scale = scale.clamp_min(tiny)
        return min(1.0, float((self._weighted_sums.norm(dim=0) / scale).max()))

    @cached_property
    def _weighted_sums(self) -> Tensor:
        """``X_m' c_m`` of each task, shape (D, M), float64."""
        self.counts.charge(adjoint=1)
        weights = self.targets.weights.to(torch.float64)
        return self.design.split(self.design.adjoint(weights))[0]

    # ------------------------------------------------------------------ blocks as problems

    def s_problem(self, L: Tensor, *, cached: bool = False) -> Problem:
        """The convex problem in S (and the intercept) with L fixed, eq. 3.

        ``cached`` computes ``X L`` once, one product with X: the problem's own counts are then of
        products with ``X L``.
        """
        factored = FactoredDesign(self.design, L=L)
        if cached:
            self.counts.charge(forward=max(1.0, L.shape[1] / self.targets.n_tasks))
            return Problem(self.loss, factored.cached(), self.targets, self.group_norm)
        problem = Problem(self.loss, factored, self.targets, self.group_norm)
        problem.counts = self.counts
        return problem

    def l_problem(self, S: Tensor, bias: Tensor | None) -> Problem:
        """The convex problem in L with S and the intercept fixed, eq. 4."""
        design = FactoredDesign(self.design, S=S, bias=bias)
        terms = [r for r in (self.l1, self.ridge) if r.strength > 0]
        problem = Problem(self.loss, design, self.targets, terms)
        problem.counts = self.counts
        return problem

    def certificate(self, blocks: Blocks) -> Certificate:
        """Joint objective, KKT residual of each block, and each block's own duality gap.

        The gaps hold with the other block fixed: nothing here bounds the distance to the global
        minimum, which no certificate does for this problem. ``scale`` and ``scales`` are norms of
        the loss's partial gradients at the point itself, since they vanish at zero.
        """
        if self._plain_design is not None:
            return self._on(self._plain_design, None).certificate(self.outside(blocks))
        wide = tuple(block.to(torch.float64) for block in blocks)
        L, S = wide[:2]
        bias = wide[2] if len(wide) == 3 else None
        targets = self.targets.to(torch.float64)
        scores = self.design.scores(self.weights(wide))
        _, residuals = self.loss.value_and_grad(scores, targets.labels, targets.weights)
        G, bias_grad = self.design.split(self.design.adjoint(residuals))
        along_L, along_S = G @ S.T, L.T @ G
        scale = math.hypot(float(along_L.norm()), float(along_S.norm()))
        in_s, in_l = self.s_problem(L), self.l_problem(S, bias)
        s_part = in_s.certificate_from(
            in_s.design.join(S, bias),
            scores,
            residuals,
            in_s.design.join(along_S, bias_grad),
            scale,
            scales={},
        )
        l_part = in_l.certificate_from(L, scores, residuals, along_L, scale, scales={})
        kkt = {"L": l_part.blocks["W"], "S": s_part.blocks["W"]}
        scales = {"L": float(along_L.norm()), "S": float(along_S.norm())}
        if bias is not None:
            kkt["intercept"] = s_part.blocks["intercept"]
            scales["intercept"] = float(targets.per_task(residuals.abs()).norm())
        gaps = {"L": l_part.gap, "S": s_part.gap}
        return Certificate(
            objective=s_part.objective + float(self.l1.value(L) + self.ridge.value(L)),
            gap=None,
            kkt=math.hypot(*kkt.values()),
            scale=scale,
            blocks=kkt,
            scales=scales,
            block_gaps={name: gap for name, gap in gaps.items() if gap is not None},
            solved_in=str(blocks[0].dtype).removeprefix("torch."),
        )
