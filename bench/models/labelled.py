"""Real data with several labels a row, and draws of training and test rows from them.

The sets lie in $PROXMTL_DATA, else in ../shared/data; features of images are extracted once, with
EfficientNet-Lite0, and kept in ``build/features``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.record import ROOT
from proxmtl.backbones.experiments.datasets import (
    data_root,
    load_awa,
    load_clothing,
    load_mulan,
    load_wbcatt,
)
from proxmtl.backbones.experiments.images import kept_features
from proxmtl.groups import Groups
from proxmtl.io import load_digit_attributes

__all__ = ["CS", "FOLDS", "SETTINGS", "Draw", "Setting", "Table", "each_alone"]

FOLDS, CS = 5, 10
"""Numbers of folds, and of strengths that scikit-learn's classifiers try."""

FEATURES = kept_features(ROOT / "build" / "features")


class Table(NamedTuple):
    """Features (N, D), labels (N, M) in {0, 1} with NaN, and what is known beside them."""

    X: np.ndarray
    Y: np.ndarray
    groups: Sequence[Sequence[int]] | None = None
    """Columns that belong together, where the authors of the data say so."""
    test: np.ndarray | None = None
    """Rows that only test parts are drawn from, where the authors keep them apart."""


class Draw(NamedTuple):
    """Training and test part; labels 0/1, NaN where they are hidden or not known."""

    X: np.ndarray
    Y: np.ndarray
    X_test: np.ndarray
    Y_test: np.ndarray
    groups: list[list[int]] | None


class Setting(NamedTuple):
    """A data set at one size and share of the labels."""

    data: Callable[[], Table]
    train: int
    test: int
    share: float = 1.0

    def draw(self, seed: int) -> Draw:
        """Rows and labels of a draw; attributes need two labels of each class to be learnt."""
        X, Y, groups, kept_apart = self.data()
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(X))
        if kept_apart is None:
            train, test = order[: self.train], order[self.train : self.train + self.test]
        else:
            apart = np.isin(order, kept_apart)
            train, test = order[~apart][: self.train], order[apart][: self.test]
        labels = Y[train].astype(np.float64)
        if self.share < 1:
            labels[rng.random(labels.shape) >= self.share] = np.nan
        enough = ((labels == 1).sum(0) >= 2) & ((labels == 0).sum(0) >= 2)
        known = (Y[test] == 1).any(0) & (Y[test] == 0).any(0)
        columns = np.flatnonzero(enough & known)
        return Draw(
            X[train], labels[:, columns], X[test], Y[test][:, columns], _part(groups, columns)
        )


def each_alone(draw: Draw, scoring: str, *, scaled: bool = True) -> Iterator[Any]:
    """Yield scikit-learn's classifier of each attribute, fitted to its own labelled rows.

    Its folds are stratified, in the order of the rows, which is random. Features are scaled to unit
    variance, or centred alone.
    """
    for y in draw.Y.T:
        seen = ~np.isnan(y)
        folds = max(2, min(FOLDS, int(y[seen].sum()), int((1 - y[seen]).sum())))
        model = make_pipeline(
            StandardScaler(with_std=scaled),
            LogisticRegressionCV(
                Cs=CS,
                cv=folds,
                scoring=scoring,
                max_iter=300,
                use_legacy_attributes=False,
                l1_ratios=(0.0,),
            ),
        )
        yield model.fit(draw.X[seen], y[seen])


def _part(groups: Sequence[Sequence[int]] | None, columns: np.ndarray) -> list[list[int]] | None:
    """Groups of the columns kept, by their new numbers."""
    if groups is None:
        return None
    place = {int(old): new for new, old in enumerate(columns)}
    kept = [[place[i] for i in members if i in place] for members in groups]
    return [members for members in kept if members]


def _lists(groups: Groups) -> list[list[int]]:
    return [groups.members(g) for g in range(len(groups))]


@cache
def awa() -> Table:
    """Animals with Attributes: 30,475 images, 512 features, 85 attributes of their classes."""
    data = load_awa(data_root() / "awa1")
    return Table(data.X, data.Y, _lists(data.groups))


@cache
def clothing() -> Table:
    """Clothing Attributes: 1,856 images, 1,280 features of EfficientNet-Lite0, 23 attributes."""
    data = load_clothing(data_root() / "clothing_attributes")
    X = FEATURES("clothing", data.images, data.image_names)
    return Table(X, data.Y, _lists(data.groups))


@cache
def wbcatt() -> Table:
    """WBCAtt: 10,298 white blood cells, 1,280 features, 31 values of 11 attributes."""
    data = load_wbcatt(data_root() / "wbcatt")
    X = FEATURES("wbcatt", data.images, data.image_names)
    return Table(X, data.Y, _lists(data.groups), data.splits["test"])


@cache
def digits() -> Table:
    """Handwritten digits: 1,797 images, 64 pixels, 21 attributes."""
    data = load_digit_attributes()
    groups = Groups.from_names(data.groups, data.names)
    return Table(data.X, data.Y, _lists(groups))


def mulan(name: str) -> Callable[[], Table]:
    """A multi-label set of MULAN, its parts joined."""

    @cache
    def load() -> Table:
        found = load_mulan(data_root() / "mtl_tabular" / "mulan", name)
        return Table(found.X, found.Y)

    return load


def newsgroups(pair: str) -> Callable[[], Table]:
    """Two binary tasks on the same 2,000 words, each with documents of its own; ``log(1 + n)``."""

    @cache
    def load() -> Table:
        parts, labels = [], []
        for task in (0, 1):
            path = data_root() / "mtl_tabular" / f"newsgroup_{pair}_task{task + 1}.npz"
            with np.load(path) as stored:
                csr = (stored["data"], stored["indices"], stored["indptr"])
                parts.append(csr_array(csr, shape=tuple(stored["shape"])).toarray())
                mine = np.full((len(stored["gnd"]), 2), np.nan)
                mine[:, task] = stored["gnd"] == stored["gnd"].max()
                labels.append(mine)
        return Table(np.log1p(np.concatenate(parts)), np.concatenate(labels))

    return load


SETTINGS = {
    "awa 5 %": Setting(awa, 2000, 4000, 0.05),
    "awa 20 %": Setting(awa, 2000, 4000, 0.2),
    "awa 600 images": Setting(awa, 600, 4000),
    "clothing 1114 images": Setting(clothing, 1114, 742),
    "clothing 400 images": Setting(clothing, 400, 742),
    "clothing 10 %": Setting(clothing, 1114, 742, 0.1),
    "wbcatt 50 images": Setting(wbcatt, 50, 3099),
    "wbcatt 500 images": Setting(wbcatt, 500, 3099),
    "wbcatt 5 %": Setting(wbcatt, 2000, 3099, 0.05),
    "wbcatt": Setting(wbcatt, 7199, 3099),
    "digits 300 images": Setting(digits, 300, 1497),
    "digits 20 %": Setting(digits, 600, 1197, 0.2),
    "emotions": Setting(mulan("emotions"), 391, 202),
    "emotions 25 %": Setting(mulan("emotions"), 391, 202, 0.25),
    "scene": Setting(mulan("scene"), 1211, 1196),
    "scene 10 %": Setting(mulan("scene"), 1211, 1196, 0.1),
    "birds": Setting(mulan("birds"), 322, 323),
    "cal500": Setting(mulan("cal500"), 300, 202),
    "medical": Setting(mulan("medical"), 333, 645),
    "enron 500 messages": Setting(mulan("enron"), 500, 1202),
    "newsgroups comp/sci": Setting(newsgroups("comp.vs.sci"), 200, 3502),
    "newsgroups rec/talk": Setting(newsgroups("rec.vs.talk"), 200, 3189),
}
"""Training rows, test rows, and the share of the labels that is not hidden."""
