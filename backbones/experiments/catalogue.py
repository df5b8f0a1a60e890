"""The published tables and their rows, by name.

The command that computes them checks and lists names before it imports what computes: nothing here
needs torch or scikit-learn. What a row computes is in ``systems``, what a table is in ``tables``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from proxmtl.backbones.experiments.location import data_root, require
from proxmtl.naming import no_such

__all__ = [
    "EXPERIMENTS",
    "TRAINED",
    "Experiment",
    "Row",
    "check_systems",
    "experiment",
    "folder_of",
    "rows_of",
]


class Row(NamedTuple):
    """A system, as a row of a table.

    Attributes
    ----------
    name
        In options and logs.
    title
        In tables.
    asked
        Whether it runs only where ``--systems`` names it.
    features
        Name of the features of the data that it learns from, where they are not those of the table.
    """

    name: str
    title: str
    asked: bool = False
    features: str | None = None


class Experiment(NamedTuple):
    """Tables of one data set.

    Attributes
    ----------
    folder
        Usual name of the data set's folder.
    tables
        Rows of each table, by its name, in the order in which they are computed.
    """

    folder: str
    tables: Mapping[str, tuple[Row, ...]]


LINEAR = (
    Row("logistic", "logistic regression of each attribute, scikit-learn"),
    Row("as-given", "logistic regression of each attribute, features as given, scikit-learn"),
    Row("svm", "linear SVM of each attribute, scikit-learn"),
    Row("crf", "pairs of attributes on scikit-learn's scores"),
    Row("single", "single-task"),
    Row("ridge", "L2 regression"),
    Row("lasso", "lasso"),
    Row("l21", "L21, all share"),
    Row("decorrelated", "group lasso of each feature"),
    Row("m", "W = L S, no groups"),
    Row("mg", "W = L S, groups"),
    Row("paper", "W = L S, groups, Algorithm 1"),
    Row("convex", "shared + own parts, convex"),
    Row("auto", "fit --auto: scaling of features and sharing searched"),
    Row("own", "W = L S + V, one group"),
    Row("own-groups", "W = L S + V, groups"),
)
"""From attributes alone to everything shared."""
ABLATIONS = (
    Row("mg-shuffled", "W = L S, shuffled groups", asked=True),
    Row("mg-one", "W = L S, one group", asked=True),
    Row("squared", "W = L S, squared norms (a trace norm)", asked=True),
    Row("mg-palm", "W = L S, groups, PALM with the exact prox", asked=True),
    *(Row(f"mg-k{k}", f"W = L S, groups, K = {k}", asked=True) for k in (4, 8, 16)),
    Row("mg-surface", "W = L S, groups, the paper's strengths apart", asked=True),
    Row("own-surface", "W = L S + V, groups, both strengths", asked=True),
)
"""The grouped row with one part changed, or on a grid of two strengths."""
HAND_MADE = Row(
    "cf",
    "linear SVM of each attribute on hand-made features, scikit-learn",
    asked=True,
    features="hand-made",
)
TRAINED = tuple(
    Row(f"{kind}-{plan}", f"{title}, {networks}", asked=True, features=f"images of {side}")
    for plan, networks, side in (
        ("cnn", "end to end", 72),
        ("alexnet", "AlexNets end to end", 256),
    )
    for kind, title in (
        ("s", "single-task"),
        ("m", "W = L S, no groups"),
        ("mg", "W = L S, groups"),
        ("own", "W = L S + V, groups"),
    )
)
"""The CNN rows of the paper: at a size for a CPU, and at its own."""
BILINEAR = Row("bilinear", "bilinear compatibility (ESZSL)")


def _named(*names: str) -> tuple[Row, ...]:
    """The linear rows of these names."""
    return tuple(row for row in LINEAR if row.name in names)


def _seen(*slow: str) -> tuple[Row, ...]:
    """All rows of a table of seen classes, some of which take too long to run unasked."""
    return (*(row._replace(asked=row.name in slow) for row in LINEAR), *ABLATIONS)


_UNSEEN = (*_named("single", "ridge", "convex", "auto", "own"), BILINEAR)
_MULAN = _named(
    *("logistic", "as-given", "single", "ridge", "lasso", "l21", "m", "convex", "auto", "own")
)

EXPERIMENTS: Mapping[str, Experiment] = {
    # all of whose rows take the features as given
    "awa": Experiment(
        "awa1",
        {
            "awa": tuple(row for row in _seen("svm", "crf") if row.name != "as-given"),
            "awa-unseen": _UNSEEN,
        },
    ),
    "clothing": Experiment(
        "clothing_attributes", {"clothing": (HAND_MADE, *TRAINED, *_seen("lasso", "decorrelated"))}
    ),
    "wbcatt": Experiment("wbcatt", {"wbcatt": _seen("svm", "crf")}),
    "tinyawa": Experiment(
        "tiny_imagenet_awa",
        {
            "tinyawa": _seen("svm", "crf", "lasso", "decorrelated"),
            "tinyawa-unseen": _UNSEEN,
        },
    ),
    "mulan": Experiment(
        "mtl_tabular/mulan",
        {f"mulan-{name}": _MULAN for name in ("emotions", "scene", "flags", "birds")},
    ),
}


def experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"TABLE: {no_such(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


def rows_of(table: str) -> tuple[Row, ...]:
    """Rows of a table, in order."""
    (rows,) = (each.tables[table] for each in EXPERIMENTS.values() if table in each.tables)
    return rows


def folder_of(name: str, data: Path | None) -> Path:
    """Folder of the data set of an experiment, under a folder of several or as it is given.

    Raises
    ------
    ValueError
        If there is no such experiment.
    FileNotFoundError
        If the folder isn't there.
    """
    root = data_root() if data is None else data
    inside = root / experiment(name).folder
    found = inside if inside.is_dir() or data is None else root
    return require(found, f"the folder of the data set {name!r}")


def check_systems(name: str, systems: Sequence[str]) -> None:
    """Check names of systems of an experiment.

    Raises
    ------
    ValueError
        If there is no such experiment, or none of its tables has a row of one of the names.
    """
    known = {row.name: None for rows in experiment(name).tables.values() for row in rows}
    for each in systems:
        if each not in known:
            raise ValueError(f"systems: {no_such(each, known)}")
