"""The factored problem in (L, S, intercept): objective, partial gradients, prox, certificate."""

from __future__ import annotations

from copy import copy
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm, OnData
from proxmtl.designs import Design
from proxmtl.designs.centred import CentredDesign, centred
from proxmtl.designs.factored import squared_spectral_norm
from proxmtl.groups import Groups
from proxmtl.latent import subproblems
from proxmtl.latent.parts import Parts, check_strengths
from proxmtl.latent.penalties import JointPenalties
from proxmtl.losses import Loss
from proxmtl.problem import OracleCounts, Problem
from proxmtl.regularizers import L1, GroupL2, OverlappingGroupL2, SquaredFrobenius, UnsupportedError
from proxmtl.result import Certificate
from proxmtl.shown import Shown
from proxmtl.solvers.blocks import Blocks
from proxmtl.targets import Targets

__all__ = ["LatentProblem"]

TINY = 1e-9
"""Lower limit of the curvature along a factor, in the units of the penalties."""


class LatentProblem(JointPenalties, OnData, Shown):
    """``loss(X L S + b) + mu sum_k sum_g w_g ||S[k, g]|| + gamma ||L||_1 + lambda ||L||_F^2``.

    With ``own_strength``, tasks have own parts V: the scores are ``X (L S + V) + b``, and the
    penalty has the additional term ``own_strength ||V||_F^2``.

    The parameter is a tuple of blocks: ``L`` (D, K) and ``S`` (K, M); then ``b`` (M,) if the design
    has an intercept; then ``V`` (D, M) if tasks have own parts. :meth:`parts` names the blocks. Not
    jointly convex: duality gaps exist for single blocks only, with the others held fixed.

    Parameters
    ----------
    loss, design, targets
        As for :class:`Problem`.
    groups : Groups
        Groups of tasks; must cover every task.
    group_strength, l1_strength, frobenius_strength : float
        The paper's mu, gamma, lambda.
    own_strength : float, optional
        Ridge on the tasks' own parts; None: no own parts, as in the paper.
    counts : OracleCounts, optional
        As for :class:`Problem`.

    Raises
    ------
    ValueError
        If ``group_strength`` or ``own_strength`` is 0, both strengths on L are 0, or a task is in
        no group: the penalty of one factor could then be moved to the other, and the minimum is not
        attained.
    """

    _SHOWN = ("loss", "group_norm", "l1", "ridge", "own", "design", "targets")

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
        own_strength: float | None = None,
        counts: OracleCounts | None = None,
    ) -> None:
        check_strengths(group_strength, l1_strength, frobenius_strength, own_strength)
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
        self.data = DataTerm.checked(loss, targets, design.dtype)
        self.design = design
        group_norm = GroupL2 if groups.is_disjoint else OverlappingGroupL2
        self.groups = groups
        self.group_norm: GroupL2 | OverlappingGroupL2 = group_norm(groups, group_strength)
        self.l1 = L1(l1_strength)
        self.ridge = SquaredFrobenius(frobenius_strength)
        self.own = None if own_strength is None else SquaredFrobenius(own_strength)
        self.counts = OracleCounts() if counts is None else counts
        self._centred: LatentProblem | None = None  # cached: this problem on centred features
        self._plain: LatentProblem | None = None  # the original problem, if this is a centred one

    # ------------------------------------------------------------------ oracles

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks in order, fields of :class:`Parts`."""
        held = {"intercept": self.design.intercept, "own": self.own is not None}
        return ("L", "S", *(name for name, there in held.items() if there))

    @property
    def sweep(self) -> tuple[tuple[int, ...], ...]:
        """Blocks that PALM updates together, in order: S and the intercept, L, own parts."""
        place = {name: number for number, name in enumerate(self.block_names)}
        with_S = tuple(place[name] for name in ("S", "intercept") if name in place)
        return (with_S, (0,), *((place[name],) for name in ("own",) if name in place))

    def parts(self, blocks: Blocks) -> Parts:
        """Blocks by name; None if the problem has no such block."""
        named = dict(zip(self.block_names, blocks, strict=True))
        return Parts(blocks[0], blocks[1], named.get("intercept"), named.get("own"))

    def blocks(self, parts: Parts) -> Blocks:
        """Inverse of :meth:`parts`."""
        return tuple(part for part in parts if part is not None)

    def check_point(self, blocks: Blocks) -> None:
        if len(blocks) != len(self.block_names):
            raise ValueError(
                f"init: {len(blocks)} blocks; this problem's are ({', '.join(self.block_names)})."
            )
        L, S, intercept, own = self.parts(blocks)
        D = self.design.parameter_shape(self.targets)[0] - int(self.design.intercept)
        M = self.targets.n_tasks
        if L.ndim != 2 or S.ndim != 2 or L.shape != (D, S.shape[0]) or S.shape[1] != M:
            raise ValueError(
                f"init: L and S have shapes {tuple(L.shape)} and {tuple(S.shape)}; expected "
                f"({D}, K) and (K, {M})."
            )
        for name, block, shape in (("intercept", intercept, (M,)), ("own", own, (D, M))):
            if block is not None and block.shape != shape:
                raise ValueError(f"init: {name} has shape {tuple(block.shape)}; expected {shape}.")
        if not all(bool(torch.isfinite(block).all()) for block in blocks):
            raise ValueError("init: a factor holds NaN or infinite values.")

    def zeros(self) -> Tensor:
        """The zero parameter of the design (not of the blocks), in the working precision."""
        shape = self.design.parameter_shape(self.targets)
        return torch.zeros(shape, dtype=self.design.dtype, device=self.design.device)

    def null(self, like: Blocks) -> tuple[Blocks, float]:
        """Null point (zero weights, best intercepts) and its objective; takes no product.

        The blocks have the shapes of those of ``like``.
        """
        best, loss = self.data.null(intercept=self.design.intercept)
        zero = self.parts(tuple(torch.zeros_like(block) for block in like))
        return self.blocks(
            zero._replace(intercept=None if best is None else best.to(like[0]))
        ), loss

    def in_units(self) -> LatentProblem:
        """Return the problem on centred features, with correspondingly shifted intercepts.

        Solvers see this problem. :meth:`inside` converts a point to it, :meth:`outside` converts a
        point back; certificates are those of the original problem. Shares the targets, penalties
        and counts. Returns the problem itself if it has no intercept, if the means are zero to
        rounding, or if no product may be made.
        """
        if self._plain is not None or not self.design.intercept or self.counts.left < 0.5:
            return self
        if self._centred is None:
            design = centred(self.design, self._means())
            if design is self.design:
                return self
            self._centred = self._on(design)
            self._centred.__dict__["_intercept_coupling"] = 0.0  # up to rounding
        return self._centred

    @property
    def frame(self) -> dict[str, float]:
        """Checksums of the coordinates of a solver's points, i.e. of the origin of the features."""
        design = self.design
        return {"origin": float(design.means.norm()) if isinstance(design, CentredDesign) else 0.0}

    def with_strengths(
        self,
        *,
        group_strength: float,
        l1_strength: float,
        frobenius_strength: float,
        own_strength: float | None,
    ) -> LatentProblem:
        """Return the problem at other strengths.

        Shares the design, the targets, the counts and the cached values.
        """
        check_strengths(group_strength, l1_strength, frobenius_strength, own_strength)
        other = copy(self)
        other.__dict__.pop("least_curvatures", None)
        other._centred = None  # noqa: SLF001 - of the same class
        other.group_norm = type(self.group_norm)(self.groups, group_strength)
        other.l1, other.ridge = L1(l1_strength), SquaredFrobenius(frobenius_strength)
        other.own = None if own_strength is None else SquaredFrobenius(own_strength)
        return other

    def _means(self) -> Tensor:
        """Means of the features of each task, weighted as its labels, shape (D, M), float64."""
        total = self._total_weights
        return torch.where(total > 0, self._weighted_sums / total, 0.0)

    def _on(self, design: Design) -> LatentProblem:
        """Return this problem on another design, without the values cached for its own design."""
        other = copy(self)
        for name in ("curvature_by_task", "_intercept_coupling", "_weighted_sums", "own_scale"):
            other.__dict__.pop(name, None)
        other.design, other._plain = design, self  # noqa: SLF001 - of the same class
        return other

    def inside(self, blocks: Blocks) -> Blocks:
        """Convert a point of the original problem to one of this problem on centred features."""
        return self._with_shift(blocks, 1.0)

    def outside(self, blocks: Blocks) -> Blocks:
        """Convert a point of this problem on centred features to one of the original problem."""
        return self._with_shift(blocks, -1.0)

    def _with_shift(self, blocks: Blocks, sign: float) -> Blocks:
        if self._plain is None:
            return blocks
        assert isinstance(self.design, CentredDesign)
        wide = tuple(block.to(torch.float64) for block in blocks)
        weights, bias = self.design.split(self.weights(wide))
        assert bias is not None
        moved = (bias + sign * self.design.shift(weights)).to(blocks[0])
        return self.blocks(self.parts(blocks)._replace(intercept=moved))

    def weights(self, blocks: Blocks) -> Tensor:
        """Parameter of the design: ``L S + V``, with the intercept (if any) as last row."""
        L, S, bias, own = self.parts(blocks)
        W = L @ S
        return self.design.join(W if own is None else W + own, bias)

    def smooth_value(self, blocks: Blocks) -> float:
        self.counts.charge(forward=1)
        if self.factored(len(blocks[1])):
            scores = self.design.factored_scores(*self.parts(blocks)[:3])
        else:
            scores = self.design.scores(self.weights(blocks))
        return float(self.data.value(scores))

    def smooth_value_and_grads(self, blocks: Blocks) -> tuple[float, Blocks]:
        self.counts.charge(forward=1, adjoint=1)
        if self.factored(len(blocks[1])):
            L, S, bias, _ = self.parts(blocks)
            found = self.design.factored_loss_and_grads(self.data, L, S, bias)
            value, along_L, along_S, along_bias = found
            return float(value), self.blocks(Parts(along_L, along_S, along_bias, None))
        value, grad = self.design.loss_and_grad(self.data, self.weights(blocks))
        return float(value), self.pull_back(blocks, grad)

    def factored(self, n_latents: int) -> bool:
        """Whether products are computed as ``(X L) S`` rather than with W, for K latents.

        They count as a pass in either case.
        """
        return self.own is None and self.design.factors_pay(n_latents, self.targets.n_tasks)

    def pull_back(self, blocks: Blocks, slope: Tensor) -> Blocks:
        """Chain rule: gradient in the blocks, from the gradient in the design's parameter."""
        L, S = blocks[:2]
        G, bias = self.design.split(slope)
        return self.blocks(Parts(G @ S.T, L.T @ G, bias, None if self.own is None else G))

    def objective(self, blocks: Blocks) -> float:
        """The paper's objective (eq. 2), with the reduction of the targets; costs half a pass."""
        return self.smooth_value(blocks) + self.penalty(blocks)

    # ------------------------------------------------------------------ curvature

    def curvatures(self, blocks: Blocks) -> Blocks:
        """Lipschitz constant of each partial gradient: one number for L and S, M for the others.

        ``||S diag(sqrt h)||^2`` along L, ``max h ||L||^2`` along S; h are the largest curvatures of
        the tasks. A constant per latent (its own column and row) was tried and is no faster.
        """
        L, S = (block.to(torch.float64) for block in blocks[:2])
        h = self.loss.curvature_bound * self.curvature_by_task
        floor_L, floor_S = self.least_curvatures
        along_L = max(squared_spectral_norm(S * h.sqrt()), floor_L)
        along_S = max(float(h.max()) * squared_spectral_norm(L), floor_S)
        like, of_bias, of_own = blocks[0], None, None
        if self.design.intercept:
            joint = 1 + self._intercept_coupling
            along_S = joint * along_S
            of_bias = (joint * self.loss.curvature_bound * self._total_weights).to(like)
        if self.own is not None:
            # a task without labels has no curvature; any step is safe for it
            of_own = h.clamp_min(TINY * self.own.strength).to(like)
        return self.blocks(
            Parts(like.new_tensor(along_L), like.new_tensor(along_S), of_bias, of_own)
        )

    @cached_property
    def least_curvatures(self) -> tuple[float, float]:
        """Lower limits of the curvatures along L and S, which vanish if the other factor is zero.

        Any step is then safe; the limits keep it finite. They are tiny in the units of the
        penalties: relative to the square of the L, or S, whose penalty equals the loss at zero.
        """
        zero = self.data.zero_scores(torch.float64)
        # any positive number will do if the loss at zero vanishes (labels that are all zero)
        loss = float(self.data.value(zero)) or 1.0
        of_L = max(self.l1.strength**2 / loss, self.ridge.strength)
        return TINY * of_L, TINY * self.group_norm.strength**2 / loss

    def prepare(self) -> None:
        """Compute and cache the curvatures of the design; their passes are counted once."""
        _ = self.curvature_by_task, self._intercept_coupling

    @cached_property
    def curvature_by_task(self) -> Tensor:
        with self.counts.curvature_of(self.design):
            return self.design.curvature_by_task(self.targets)

    @cached_property
    def _total_weights(self) -> Tensor:
        return self.data.weights_by_task()

    @cached_property
    def _intercept_coupling(self) -> float:
        """Largest cosine rho between features and intercept; 0 for centred features, at most 1.

        ``1 + rho`` times the separate curvatures of weights and intercept majorises both jointly.
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
        weights = self.data.at(torch.float64).weights
        return self.design.split(self.design.adjoint(weights))[0]

    # ------------------------------------------------------------------ blocks as problems

    def s_problem(self, L: Tensor, *, cached: bool = False) -> Problem:
        """The convex problem in S (and the intercept) with L fixed, eq. 3.

        With ``cached``, ``X L`` is computed once, by one product with X; the convex problem has its
        own counts, of products with ``X L``.

        Raises
        ------
        UnsupportedError
            If tasks have own parts, whose scores the convex problem would lack.
        """
        self._check_without_own()
        return subproblems.in_s(self, L, cached=cached)

    def l_problem(self, S: Tensor, bias: Tensor | None) -> Problem:
        """The convex problem in L with S and the intercept fixed, eq. 4; see :meth:`s_problem`."""
        self._check_without_own()
        return subproblems.in_l(self, S, bias)

    @cached_property
    def own_scale(self) -> float:
        """Norm of the loss gradient in the weights at zero: scale of own parts' KKT residual."""
        convex = Problem(self.loss, self.design, self.targets)
        return convex.residual_scales["W"]

    def _check_without_own(self) -> None:
        if self.own is not None:
            raise UnsupportedError(
                "s_problem, l_problem: own parts would be left out; make the problem without "
                "own_strength."
            )

    def certificate(self, blocks: Blocks) -> Certificate:
        """Objective, KKT residual of each block, and duality gap of each block.

        The gaps hold with the other blocks fixed; no certificate bounds the distance to the global
        minimum of this nonconvex problem. The scales of L and S are the norms of the loss's partial
        gradients at the point, since those at zero vanish; the scale of own parts is
        :attr:`own_scale`.
        """
        if self._plain is not None:
            return self._plain.certificate(self.outside(blocks))
        return subproblems.certificate(self, blocks)
