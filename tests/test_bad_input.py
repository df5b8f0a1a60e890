"""A table of bad inputs: each raises, before any work, a sentence that names the argument."""

# ruff: noqa: E501 - a table, one case a line

import math
import re

import numpy as np
import pytest
import torch
from solver_cases import convex

from proxmtl import (
    FISTA,
    KKT,
    L1,
    MCP,
    PALM,
    PANOC,
    SPGD,
    FactoredDesign,
    GroupL2,
    Groups,
    LatentMTL,
    MaxIterations,
    MaxPasses,
    MaxSeconds,
    OverlappingGroupL2,
    Problem,
    RelativeGap,
    SharedDesign,
    SquaredFrobenius,
    SquaredHinge,
    Targets,
    TaskDesign,
    UnsupportedError,
    minimize,
)
from proxmtl.solvers import Backtracking, ConstantStep

N, D, M = 8, 3, 2
X = torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double().repeat(4, 1)


def changed(base, *index_and_value):
    """A copy with some entries changed: (index, value) pairs."""
    copy = base.clone()
    for index, value in index_and_value:
        copy[index] = value
    return copy


def solve(features=X, labels=Y, weight=None, **options):
    return lambda: LatentMTL(max_passes=5, **options).solve(features, labels, weight)


def targets(labels=Y, **options):
    return lambda: Targets.from_labels(labels, **options)


def groups(*args, **options):
    return lambda: Groups.from_lists(*args, **options)


def problem(design=None, labels=Y, terms=(), loss=None):
    def build():
        made = SharedDesign(X) if design is None else design()
        return Problem(loss or SquaredHinge(), made, Targets.from_labels(labels), terms)

    return build


META = torch.zeros(N, M, device="meta")
ONES = torch.ones(N, M).double()

TABLE = {
    # features
    "NaN feature": (solve(changed(X, ((2, 1), math.nan))), "X: not finite (nan, first in feature column 1"),
    "infinite feature": (solve(changed(X, ((0, 2), math.inf))), "X: not finite (inf, first in feature column 2"),
    "NaN in one task": (solve([X, X * math.nan], [Y[:, 0], Y[:, 1]]), "X[1]: not finite"),
    "features of text": (solve(np.array([["a"] * D] * N)), "X: cannot be read as an array of numbers"),
    "ragged lists": (solve([[1.0, 2.0], [1.0]]), "X: cannot be read as an array of numbers"),
    "complex features": (solve(X.to(torch.complex128)), "X: is complex; give real numbers"),
    "a vector of features": (solve(X[:, 0]), "X: expected a matrix"),
    "no samples": (solve(X[:0], Y[:0]), "X: expected a matrix"),
    "no features": (solve(X[:, :0]), "X: expected a matrix"),
    "no tasks": (lambda: TaskDesign([]), "X: no task; give one feature matrix a task"),
    "widths differ": (lambda: TaskDesign([X, X[:, :2]]), "X: tasks differ in their number of features: [2, 3]"),
    "dtypes differ": (lambda: TaskDesign([X, X.float()]), "X: tasks differ in dtype"),
    "devices differ": (lambda: TaskDesign([X, X.to("meta")]), "X: tasks differ in device"),
    "sparse COO": (lambda: SharedDesign(X.to_sparse()), "X: layout torch.sparse_coo is not supported"),
    # labels
    "labels outside the coding": (solve(labels=changed(Y, ((0, 0), 2.0))), "labels: expected -1 and +1, with 0 or NaN for missing; saw [2.0]"),
    "infinite label": (solve(labels=changed(Y, ((0, 0), math.inf))), "labels: hold an infinite value"),
    "0/1 coding": (solve(labels=(Y + 1) / 2), "labels: saw 0 and 1 but no -1"),
    "boolean labels": (solve(labels=Y > 0), "labels: saw 0 and 1 but no -1"),
    "a task of positives": (solve(labels=changed(Y, ((slice(None), 1), 1.0))), "labels: 1 task(s) lack a class: task 1 has only +1 labels"),
    "a task of negatives": (solve(labels=changed(Y, ((slice(None), 0), -1.0))), "labels: 1 task(s) lack a class: task 0 has only -1 labels"),
    "a task without labels": (solve(labels=changed(Y, ((slice(None), 1), math.nan))), "task 1 has no observed label"),
    "a class of weight zero": (targets(sample_weight=(Y[:, 0] > 0).double()), "lack a class"),
    "too few labels": (solve(labels=Y[:5]), "labels: labels of shape (5, 2) do not fit shared features of 8 samples"),
    "a vector of labels": (solve(labels=Y[:, 0]), "labels: expected a matrix (samples, tasks)"),
    "labels of text": (solve(labels=np.array([["yes", "no"]] * N)), "labels: cannot be read as an array of numbers"),
    "a matrix for ragged tasks": (lambda: TaskDesign([X, X]).check_targets(Targets.from_labels(Y)), "labels: a matrix of shape (8, 2) does not fit 2 feature matrices"),
    "lengths differ": (solve([X, X[:5]], [Y[:, 0], Y[:, 1]]), "task 1 has 8 labels for 5 samples"),
    "task missing": (solve([X, X], [Y[:, 0]]), "labels: 1 tasks for 2 feature matrices"),
    # weights
    "negative weight": (solve(weight=-torch.ones(N)), "sample_weight: holds a negative, NaN or infinite value"),
    "NaN weight": (solve(weight=ONES * math.nan), "sample_weight: holds a negative, NaN or infinite value"),
    "weights too short": (solve(weight=torch.ones(3)), "sample_weight: shape (3, 1) does not fit labels of shape (8, 2)"),
    "weights of a third task": (targets(sample_weight=torch.ones(N, 3)), "sample_weight: shape (8, 3) does not fit"),
    "unknown class weight": (solve(class_weight="even"), "class_weight: got 'even'; use 'balanced', None or a pair"),
    "negative class weight": (solve(class_weight=(-1.0, 1.0)), "class_weight: got (-1.0, 1.0); both must be > 0"),
    "bad task weight": (targets(task_weight=[1.0, 0.0]), "task_weight: expected 2 positive, finite numbers"),
    "task weights too long": (targets(task_weight=[1.0, 1.0, 1.0]), "task_weight: expected 2 positive, finite numbers, saw shape (3,)"),
    "unknown reduction": (solve(reduction="average"), "reduction: got 'average'; use 'sum', 'mean' or 'task_mean'"),
    # groups
    "no group": (groups([]), "groups: there is no group"),
    "empty group": (groups([[0], []]), "groups: group 'g1' is empty"),
    "item out of range": (groups([[0], [5]], n_items=3), "groups: group 'g1' holds item 5, outside 0..2"),
    "negative item": (groups([[0], [-1]], n_items=3), "groups: group 'g1' holds item -1, outside 0..2"),
    "item twice": (groups([[0, 1, 0]]), "groups: group 'g0' holds an item twice: 0;"),
    "fractional item": (groups([[0.5]]), "groups: 0.5 is no item index"),
    "item by name": (groups([["red"]]), "groups: 'red' is no item index"),
    "negative group weight": (groups([[0]], weights=[-1.0]), "groups: weights must be finite and non-negative"),
    "NaN group weight": (groups([[0]], weights=[math.nan]), "groups: weights must be finite and non-negative"),
    "weights of another number": (groups([[0]], weights=[1.0, 1.0]), "groups: 1 groups but 2 weights"),
    "unknown weights": (groups([[0]], weights="size"), "weights: got 'size'; use 'sqrt_size'"),
    "names repeat": (groups([[0], [1]], names=["a", "a"]), "groups: names repeat in ['a', 'a']"),
    "groups of other tasks": (solve(groups=Groups.singletons(3)), "groups: made for 3 tasks, the labels have 2"),
    "uncovered task": (solve(groups=Groups.from_lists([[0]], n_items=2)), "groups: tasks [1] are in no group"),
    "overlap where disjoint": (lambda: GroupL2(Groups.from_lists([[0, 1], [1]]), 1.0), "use OverlappingGroupL2"),
    "groups on another axis": (problem(terms=GroupL2(Groups.single(5), 1.0)), "groups: of 5 tasks, and there are 2 (W has shape (3, 2), a column each)"),
    # the loss
    "loss of no name": (problem(loss="logit"), "loss: got 'logit'; use 'squared_hinge', 'logistic'"),
    "loss as a class": (problem(loss=SquaredHinge), "loss: got the class SquaredHinge; give an object"),
    "latent loss of no name": (solve(loss="logit"), "'squared', 'smoothed_hinge' or 'huber'. Did you mean 'logistic'?"),
    # the model
    "no group strength": (solve(group_strength=0.0), "group_strength: got 0.0; it must be > 0"),
    "negative group strength": (solve(group_strength=-1.0), "group_strength: got -1.0; it must be finite and >= 0"),
    "negative l1 strength": (solve(l1_strength=-1.0), "l1_strength: got -1.0; it must be finite and >= 0"),
    "NaN frobenius strength": (solve(frobenius_strength=math.nan), "frobenius_strength: got nan"),
    "no strength on L": (solve(l1_strength=0.0, frobenius_strength=0.0), "l1_strength, frobenius_strength: got 0.0 and 0.0; one must be > 0"),
    "unknown algorithm": (solve(algorithm="adam"), "algorithm: got 'adam'; use"),
    "unknown start": (solve(init="zeros"), "init: got 'zeros'; use 'auto', 'best', 'trace', 'svd', 'zero', 'paper' or factors"),
    "no latents": (solve(n_latents=0), "n_latents: got 0; use"),
    "fractional latents": (solve(n_latents=2.5), "n_latents: got 2.5; use"),
    "too many latents for the paper's start": (solve(n_latents=4, init="paper"), "n_latents: got 4; init='paper'"),
    "negative budget": (lambda: LatentMTL(max_passes=-1), "max_passes, tol: got -1"),
    "negative tolerance": (lambda: LatentMTL(tol=-1.0), "max_passes, tol: got"),
    "a start of one factor": (solve(init=(torch.ones(D, 1),)), "init: give (L, S), (L, S, intercept) or (L, S, intercept, own)"),
    "a start that does not fit": (solve(init=(torch.ones(D, 2), torch.ones(1, M))), "init: L and S have shapes (3, 2) and (1, 2)"),
    "a start with NaN": (solve(init=(torch.ones(D, 1) * math.nan, torch.ones(1, M))), "init: a factor holds NaN"),
    # problems and starts
    "two penalties, one not convex": (problem(terms=[L1(1.0), MCP(1.0, 2.5)]), "regularizers: MCP is not convex, and its prox does not combine"),
    "labels elsewhere": (lambda: Problem(SquaredHinge(), SharedDesign(X), Targets(META, META, M)), "labels: on meta, the features are on cpu; move one"),
    "start elsewhere": (lambda: minimize(problem(terms=L1(1.0))(), x0=torch.zeros(D, M, device="meta")), "x0: on meta, the features are on cpu"),
    "start of another shape": (lambda: minimize(problem(terms=L1(1.0))(), x0=torch.zeros(M, D)), "x0: shape (2, 3); this problem's parameter has (3, 2)"),
    "start with NaN": (lambda: minimize(problem(terms=L1(1.0))(), x0=torch.full((D, M), math.nan)), "x0: holds NaN or infinite values"),
    "both factors": (lambda: FactoredDesign(SharedDesign(X), L=torch.ones(D, 1), S=torch.ones(1, M)), "L, S: give exactly one of them"),
    "no factor": (lambda: FactoredDesign(SharedDesign(X)), "L, S: give exactly one of them"),
    "L of other features": (problem(lambda: FactoredDesign(SharedDesign(X), L=torch.ones(5, 1).double())), "L: 5 rows, the design has 3 features"),
    "S of other tasks": (problem(lambda: FactoredDesign(SharedDesign(X), S=torch.ones(1, 5).double())), "S: 5 columns for 2 tasks"),
    "bias without intercept": (lambda: FactoredDesign(SharedDesign(X), S=torch.ones(1, M), bias=torch.ones(M)), "bias: only with S fixed, on a design with an intercept"),
    "bias of other tasks": (problem(lambda: FactoredDesign(SharedDesign(X, intercept=True), S=torch.ones(1, M).double(), bias=torch.ones(3))), "bias: shape (3,); give one number per task"),
    # regularizers, steps, rules
    "negative strength": (lambda: L1(-1.0), "strength: got -1.0; it must be finite and >= 0"),
    "infinite strength": (lambda: SquaredFrobenius(math.inf), "strength: got inf"),
    "bad prox accuracy": (lambda: OverlappingGroupL2(Groups.single(2), 1.0, gap=0.0), "gap and max_sweeps: got 0.0"),
    "negative step": (lambda: ConstantStep(-1.0), "first: got -1.0; a step must be > 0"),
    "shrink that grows": (lambda: Backtracking(shrink=2.0), "shrink: got 2.0; it must lie in (0, 1)"),
    "growth that shrinks": (lambda: Backtracking(growth=0.5), "growth: got 0.5; it must be >= 1"),
    "unknown smoothing": (lambda: SPGD("adaptive"), "smoothness: got 'adaptive'"),
    "accuracy without its mode": (lambda: SPGD(accuracy=1e-3), "accuracy: got 0.001 with smoothness='continuation'"),
    "zero smoothing": (lambda: SPGD(0.0), "smoothness: got 0.0; it must be finite and > 0"),
    "decrease of a half": (lambda: PALM(order=((0,),), decrease=0.5), "decrease: got 0.5; it must lie in (0, 1/2)"),
    "no memory": (lambda: PANOC(memory=0), "memory, verify_every, trials: each must be at least 1"),
    "zero tolerance": (lambda: RelativeGap(0.0), "tolerance: got 0.0; it must be > 0"),
    "NaN tolerance": (lambda: KKT(math.nan), "tolerance: got nan; it must be > 0"),
    "negative iterations": (lambda: MaxIterations(-1), "limit: got -1; it must be >= 0"),
    "no passes": (lambda: MaxPasses(0), "limit: got 0; it must be > 0"),
    "no seconds": (lambda: MaxSeconds(0.0), "limit: got 0.0; it must be > 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_bad_input_raises_a_sentence(name):
    call, sentence = TABLE[name]
    with pytest.raises((ValueError, UnsupportedError)) as caught:
        call()
    message = str(caught.value)
    assert sentence in message
    assert len(message.split()) >= 5
    assert re.match(r"[\w\[\], '.]+", message)


def test_bad_input_costs_no_pass():
    made = convex("l1")
    with pytest.raises(ValueError, match="x0"):
        minimize(made, x0=torch.full(made.zeros().shape, math.nan))
    with pytest.raises(UnsupportedError, match="SPGD smooths a group norm"):
        minimize(convex("ridge"), SPGD())
    with pytest.raises(UnsupportedError, match="SPGD smooths a group norm"):
        minimize(made, SPGD())
    assert made.counts.passes == 0


def test_what_needs_a_regularizer_says_so():
    bare = problem()()
    for method in (bare.critical_strength, lambda: bare.smoothed(0.1)):
        with pytest.raises(UnsupportedError, match=r"the problem has no (non-smooth )?regularizer"):
            method()
    assert minimize(bare, FISTA(), stop=MaxIterations(3)).certificate.gap is None


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.float16, torch.float32])
def test_any_real_dtype_of_labels_is_taken(dtype):
    expected = LatentMTL(max_passes=20).solve(X, Y)
    for labels in (Y.to(dtype), Y.to(dtype).numpy(), Y.to(dtype).tolist()):
        assert torch.equal(LatentMTL(max_passes=20).solve(X, labels).coef, expected.coef)
