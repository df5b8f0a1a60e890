"""Hypothesis strategies, and one factory for everything the library registers."""

import math

import hypothesis
import numpy as np
import torch
from hypothesis import strategies as st

import proxmtl as pm
from proxmtl.regularizers import (
    L21,
    MCP,
    SCAD,
    Bounded,
    Box,
    Conjugate,
    ElasticNet,
    ExclusiveL1,
    FusedLasso,
    GraphFused,
    LatentOverlapGroupL2,
    LInf,
    Masked,
    NonNegative,
    Nuclear,
    Scaled,
    Separable,
    SharedPlusOwn,
    Shifted,
    SparseGroupL2,
    SquaredGroupL2,
    Sum,
    Thresholded,
    TotalVariation,
    WeightedFrobenius,
    WeightedL1,
)

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def examples(count):
    """Scale a test's own number of examples by the profile in force."""
    profile = hypothesis.settings.default.max_examples
    return hypothesis.settings(max_examples=max(1, count * profile // 100))


# ------------------------------------------------------------------ arrays

SEEDS = st.integers(0, 2**32 - 1)
TIES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0]
# squares of these stay inside float32
EXTREME = [1e-12, -1e-12, 1e12, -1e12, 1e-6, 3e8]


@st.composite
def matrices(draw, shape, *, extreme=True, dtype=torch.float64):
    """Ordinary numbers, ties and zeros, now and then a very large or small one, or a row of zeros.

    One seed gives all of them: drawn one by one they would take most of the time of a test.
    """
    random = np.random.default_rng(draw(SEEDS))
    ordinary = random.uniform(-8, 8, shape).astype(np.float32).astype(float)
    whole = np.round(ordinary)
    tiny = np.sign(ordinary) * 2.0 ** -random.integers(0, 149, shape)  # to float32's smallest
    found = np.choose(random.integers(0, 8, shape), [whole, tiny, *[ordinary] * 6])
    kinds = random.integers(0, 4 if extreme else 3, shape)
    found = np.where(kinds == 0, random.choice(TIES, shape), found)
    found = np.where(kinds == 3, random.choice(EXTREME, shape), found)
    if draw(st.integers(0, 4)) == 0:
        found[0] = 0
    return torch.as_tensor(found, dtype=dtype)


# ------------------------------------------------------------------ groups


@st.composite
def group_weights(draw, n_groups, *, zeros=True):
    """All one, or between 1/4 and 4, some of them zero."""
    if draw(st.booleans()):
        return [1.0] * n_groups
    low = [0.0, 0.25, 1.0, 2.5, 4.0] if zeros else [0.25, 1.0, 2.5, 4.0]
    return draw(st.lists(st.sampled_from(low), min_size=n_groups, max_size=n_groups))


@st.composite
def disjoint_groups(draw, n_items, *, covering=False, zeros=True):
    """A partition in any order of items; unless covering, some items are left out."""
    labels = draw(st.lists(st.integers(0, 2), min_size=n_items, max_size=n_items))
    if not covering:
        out = draw(st.sets(st.integers(0, n_items - 1), max_size=n_items - 1))
        labels = [None if i in out else label for i, label in enumerate(labels)]
    lists = [[i for i, x in enumerate(labels) if x == g] for g in range(3)]
    lists = [group for group in lists if group]
    weights = draw(group_weights(len(lists), zeros=zeros))
    return pm.Groups.from_lists(lists, n_items, weights=weights)


@st.composite
def overlapping_groups(draw, n_items, *, covering=False, zeros=True):
    """Any family of up to five groups: chains, trees, repeats, full overlaps."""
    if draw(st.booleans()):
        return draw(tree_groups(n_items, zeros=zeros))
    group = st.sets(st.integers(0, n_items - 1), min_size=1, max_size=n_items)
    lists = draw(st.lists(group, min_size=1, max_size=5))
    if covering:
        lists += [{i} for i in range(n_items) if not any(i in g for g in lists)]
    weights = draw(group_weights(len(lists), zeros=zeros))
    return pm.Groups.from_lists(lists, n_items, weights=weights)


@st.composite
def tree_groups(draw, n_items, *, zeros=True):
    """A laminar family that covers: halves of halves, down to a drawn depth."""
    lists, level = [], [list(range(n_items))]
    for _ in range(draw(st.integers(1, 3))):
        lists += level
        level = [half for g in level if len(g) > 1 for half in (g[: len(g) // 2], g[len(g) // 2 :])]
    order = draw(st.permutations(range(len(lists))))
    weights = draw(group_weights(len(lists), zeros=zeros))
    return pm.Groups.from_lists([lists[i] for i in order], n_items, weights=weights)


# ------------------------------------------------------------------ what is registered

STRENGTHS = st.sampled_from([0.0, 1e-3, 0.3, 1.0, 2.0, 50.0])
STEPS = st.sampled_from([0.0, 1e-3, 0.3, 1.0, 10.0])


# each: (draw, n_items, strength) -> regularizer that takes tensors (slices, n_items)
def weights_like(draw, n_items):
    """A row of non-negative weights, zeros among them."""
    return torch.tensor(draw(group_weights(n_items)), dtype=torch.float64)


@st.composite
def graphs(draw, n_items):
    """Edges, possibly repeated, for GraphFused (signs and weights are tested apart)."""
    pair = st.tuples(st.integers(0, n_items - 1), st.integers(0, n_items - 1))
    edges = st.lists(pair.filter(lambda e: e[0] != e[1]), min_size=1, max_size=6)
    return (draw(edges),)


REGULARIZER_FACTORIES = {
    "L1": lambda _draw, _n, strength: pm.L1(strength),
    "SquaredFrobenius": lambda _draw, _n, strength: pm.SquaredFrobenius(strength),
    "GroupL2": lambda draw, n, strength: pm.GroupL2(draw(disjoint_groups(n)), strength),
    "OverlappingGroupL2": lambda draw, n, strength: pm.OverlappingGroupL2(
        draw(overlapping_groups(n)), strength
    ),
    "Sum": lambda draw, n, strength: Sum(
        (pm.L1(0.4), pm.OverlappingGroupL2(draw(overlapping_groups(n)), 0.7)), strength
    ),
    "Thresholded": lambda draw, n, strength: Thresholded(
        pm.GroupL2(draw(disjoint_groups(n)), strength), pm.L1(0.5 * strength)
    ),
    "WeightedL1": lambda draw, n, strength: WeightedL1(weights_like(draw, n), strength),
    "WeightedFrobenius": lambda draw, n, strength: WeightedFrobenius(
        weights_like(draw, n), strength
    ),
    "ElasticNet": lambda _draw, _n, strength: ElasticNet(strength, 0.3),
    "L21": lambda _draw, _n, strength: L21(strength),
    "SparseGroupL2": lambda draw, n, strength: SparseGroupL2(
        draw(disjoint_groups(n)), strength, 0.4
    ),
    "LInf": lambda _draw, _n, strength: LInf(strength, axis=-1),
    "Nuclear": lambda _draw, _n, strength: Nuclear(strength),
    "SharedPlusOwn": lambda draw, n, strength: SharedPlusOwn(
        strength, 0.4, draw(disjoint_groups(n))
    ),
    "ExclusiveL1": lambda _draw, _n, strength: ExclusiveL1(strength),
    "SquaredGroupL2": lambda draw, n, strength: SquaredGroupL2(draw(disjoint_groups(n)), strength),
    "Box": lambda _draw, _n, strength: Box(-1.0, 0.5).with_strength(strength),
    "NonNegative": lambda _draw, _n, strength: NonNegative().with_strength(strength),
    "Bounded": lambda _draw, _n, strength: Bounded(pm.L1(strength), NonNegative()),
    "MCP": lambda _draw, _n, strength: MCP(strength, 2.5),
    "SCAD": lambda draw, n, strength: SCAD(strength, 3.2, draw(disjoint_groups(n))),
    "Scaled": lambda draw, n, strength: Scaled(
        pm.GroupL2(draw(disjoint_groups(n)), strength), -2.0
    ),
    "Shifted": lambda draw, n, strength: Shifted(pm.L1(strength), weights_like(draw, n)),
    "Masked": lambda draw, n, strength: Masked(pm.L1(strength), weights_like(draw, n) > 0),
    "Separable": lambda _draw, n, strength: Separable(
        ((tuple(range(2)), pm.L1(1.0)), (tuple(range(2, n)), L21(2.0))), scale=strength
    ),
    "LatentOverlapGroupL2": lambda draw, n, strength: LatentOverlapGroupL2(
        draw(overlapping_groups(n, covering=True, zeros=False)), strength
    ),
    "TotalVariation": lambda _draw, _n, strength: TotalVariation(strength),
    "FusedLasso": lambda _draw, _n, strength: FusedLasso(strength, 0.4),
    "GraphFused": lambda draw, n, strength: GraphFused(*draw(graphs(n)), strength=strength),
    "Conjugate": lambda _draw, _n, strength: Conjugate(ElasticNet(strength or 1.0, 0.3)),
}

LOSS_FACTORIES = {
    "SquaredHinge": lambda _draw: pm.SquaredHinge(),
    "Logistic": lambda _draw: pm.Logistic(),
    "Squared": lambda _draw: pm.Squared(),
    "Huber": lambda _draw: pm.Huber(0.7),
    "SmoothedHinge": lambda _draw: pm.SmoothedHinge(0.6),
    "WestonWatkins": lambda _draw: pm.WestonWatkins(3),
}


@st.composite
def regularizers(draw, name, *, n_items=5, strengths=STRENGTHS):
    """A registered regularizer by class name."""
    return REGULARIZER_FACTORIES[name](draw, n_items, draw(strengths))


def label_kind(loss):
    """What labels a loss takes: "signs", "real", or "classes" for one class a sample."""
    if loss.coupled:
        return "classes"
    try:
        loss.check_labels(torch.tensor([0.37]), torch.tensor([1.0]))
    except ValueError:
        return "signs"
    return "real"


@st.composite
def labelled_scores(draw, loss=None, *, dtype=torch.float64):
    """Scores, labels that the loss takes, weights >= 0 with zeros; ties on the margin."""
    kind = "signs" if loss is None else label_kind(loss)
    n = draw(st.integers(1, 6))
    shape = (n, loss.n_classes if kind == "classes" else draw(st.integers(1, 3)))
    scores = draw(matrices(shape, extreme=False, dtype=dtype))
    random = np.random.default_rng(draw(SEEDS))
    weights = random.choice([0.0, 0.5, 1.0, 3.0], (n, 1) if kind == "classes" else shape)
    weights = np.broadcast_to(weights, shape).copy()
    if kind == "classes":
        labels = 2.0 * np.eye(shape[1])[random.integers(0, shape[1], n)] - 1
    elif kind == "signs":
        labels = random.choice([-1.0, 1.0], shape)
    else:
        labels = draw(matrices(shape, extreme=False)).numpy()
    return scores, torch.as_tensor(labels, dtype=dtype), torch.as_tensor(weights, dtype=dtype)


# ------------------------------------------------------------------ data


def classification(n, d, m, *, seed=0, missing=0.0, shift=0.0, dtype=torch.float64):
    """Features (n, d) and labels (n, m) of -1, +1 and NaN, both classes in every task."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64) + shift
    W = torch.randn(d, m, generator=generator, dtype=torch.float64) / math.sqrt(d)
    noise = torch.randn(n, m, generator=generator, dtype=torch.float64)
    Y = torch.where((X - shift) @ W + 0.5 * noise > 0, 1.0, -1.0).to(torch.float64)
    Y[0], Y[1] = 1.0, -1.0
    hidden = torch.rand(n, m, generator=generator) < missing
    hidden[:2] = False
    Y[hidden] = math.nan
    return X.to(dtype), Y.to(dtype)
