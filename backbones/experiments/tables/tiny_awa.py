"""Tiny ImageNet's images of classes of Animals with Attributes: its tables on pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from proxmtl.backbones.experiments.datasets import load_tiny_awa
from proxmtl.backbones.experiments.images import same_images
from proxmtl.backbones.experiments.protocol import Data, FeaturesOf, Fold, Table
from proxmtl.backbones.experiments.splits import learning_fold, unseen_class_folds
from proxmtl.backbones.experiments.systems import PAIRS, UNSEEN_PAIRS, systems_of
from proxmtl.groups import Groups

__all__ = ["TINY_SEEN", "TINY_UNSEEN"]

SETS = 5
PAIRS_OF_CLASSES = 4
LEAST = 3
"""Seen classes that have an attribute, and that lack it: two of them may be left out."""


def load(folder: Path, features: FeaturesOf) -> Data:
    """Frozen features of the images, and the attributes that tell seen classes apart."""
    animals = load_tiny_awa(folder)
    classes = animals.classes
    seen = np.intersect1d(animals.label, classes.train)
    have = classes.attributes[seen].sum(axis=0)
    kept = np.flatnonzero((have >= LEAST) & (len(seen) - have >= LEAST))
    groups = animals.groups
    members = {name: np.intersect1d(groups.members(g), kept) for g, name in enumerate(groups.names)}
    names = tuple(classes.attribute_names[a] for a in kept)
    return Data(
        X=features("tinyawa", animals.images, animals.image_names),
        Y=animals.Y[:, kept],
        names=names,
        groups=Groups.from_lists(
            [np.searchsorted(kept, m).tolist() for m in members.values() if len(m)],
            len(kept),
            [name for name, m in members.items() if len(m)],
        ),
        sets=same_images(animals.images),
        classes=animals.label,
        signatures={"binary": classes.attributes[:, kept]},
        parts={
            "train": animals.rows(classes.train),
            "test": animals.rows(classes.test),
            "val": animals.parts["val"],
        },
    )


def seen_folds(data: Data, seed: int) -> list[Fold]:
    """Five disjoint sets of the images to learn from; Tiny ImageNet's validation images test."""
    test = np.intersect1d(data.parts["train"], data.parts["val"])
    learn = np.setdiff1d(data.parts["train"], test)
    learn = learn[~np.isin(data.sets[learn], data.sets[test])]
    place = np.random.default_rng(seed).permutation(int(data.sets.max()) + 1) % SETS
    return [
        learning_fold(data, f"set {k}", learn[place[data.sets[learn]] == k], test, seed=seed)
        for k in range(SETS)
    ]


def unseen_folds(data: Data, seed: int) -> list[Fold]:
    """Strengths are chosen on pairs of the eight seen classes, one after the other."""
    return unseen_class_folds(data, seed, PAIRS_OF_CLASSES)


FEATURES = """
        Features: EfficientNet-Lite0 with its ImageNet weights, frozen; images of 64 x 64
        are enlarged to 224 x 224. Its training images include the classes, seen or not:
        figures of unseen classes are of attributes that were never learnt, on features that
        have seen the animals.

        Of the 85 attributes those that three of the eight seen classes have and three lack.
"""
TINY_SEEN = Table(
    name="tinyawa",
    title="Tiny ImageNet with AwA's attributes, seen classes",
    load=load,
    folds=seen_folds,
    protocol=f"""{FEATURES}
        The training images of the seen classes are cut into five random sets, each of which
        is learnt from in turn; Tiny ImageNet's validation images of these classes test.
        A quarter of each training set validates.

        Latent rows have at most 100 passes a fit, rows with own parts 200.
    """,
    systems=systems_of("tinyawa"),
    pairs=PAIRS,
    disjoint=True,
)
TINY_UNSEEN = Table(
    name="tinyawa-unseen",
    title="Tiny ImageNet with AwA's attributes, unseen classes",
    load=load,
    folds=unseen_folds,
    protocol=f"""{FEATURES}
        All images of the three unseen classes test. Each of four splits learns from another
        random half of the others; strengths are chosen on pairs of the eight seen classes,
        four in turn, that were not learnt from.

        Zero-shot accuracy is the mean over the three classes of the accuracy among them: by
        direct attribute prediction, by the largest compatibility for the bilinear row.
    """,
    systems=systems_of("tinyawa-unseen"),
    metrics=("auc", "ap"),
    pairs=UNSEEN_PAIRS,
    unseen=True,
)
