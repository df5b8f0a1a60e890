"""Animals with Attributes, version 1 (Lampert, Nickisch and Harmeling, CVPR 2009).

30475 images of 50 classes, and a binary class × attribute matrix of 85 attributes: an image has
the attributes of its class. The folder holds the distributed text files, a JSON file with the
groups of the attributes, and the features of the original images as a compressed ``npz``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxmtl.backbones.experiments.location import read_text, require
from proxmtl.backbones.npz import read_npz
from proxmtl.documents import parse_json
from proxmtl.groups import Groups

FEATURES = "features_pca512_int8.npz"
GROUPS = "attribute_groups_9.json"


@dataclass(frozen=True)
class AwAClasses:
    """What is known of the classes, the same in both versions of the data set.

    Attributes
    ----------
    names, attribute_names
        50 and 85 names.
    attributes
        (50, 85) float64, 1 = the class has the attribute, 0 = it doesn't.
    train, test
        Class numbers of the official split (40 seen, 10 unseen), in the order of the files.
    continuous
        (50, 85) float64, how strongly people associate class and attribute, from 0 to 100, NaN =
        not known; or ``None`` if the file isn't there.
    """

    names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    attributes: NDArray[np.float64]
    train: tuple[int, ...]
    test: tuple[int, ...]
    continuous: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Animals:
    """Images by their class, in either version of the data set.

    Attributes
    ----------
    classes
        Names, attributes and the official split of the classes.
    label
        (N,) class number of each image, a row of ``classes.attributes``.
    """

    classes: AwAClasses
    label: NDArray[np.int64]

    @property
    def Y(self) -> NDArray[np.float64]:  # noqa: N802 - the label matrix of the mathematics
        """(N, 85) labels of the images: the attributes of their classes."""
        return self.classes.attributes[self.label]

    def rows(self, classes: tuple[int, ...]) -> NDArray[np.intp]:
        """Row numbers of the images of the given classes."""
        return np.flatnonzero(np.isin(self.label, classes))


@dataclass(frozen=True)
class AwA(Animals):
    """Features, labels and class knowledge of the first version.

    Attributes
    ----------
    X
        (N, D) float32 features.
    groups
        The nine groups over the attributes.
    """

    X: NDArray[np.float32]
    groups: Groups


def load_awa(folder: str | Path, features: str = FEATURES, groups: str = GROUPS) -> AwA:
    """Read the data set.

    Parameters
    ----------
    folder
        Folder with ``classes.txt``, ``predicates.txt``, ``predicate-matrix-binary.txt``,
        ``trainclasses.txt``, ``testclasses.txt``, the groups and the features.
    features
        Name of an ``npz`` in it: ``features`` (N, D) integers and ``label`` (N,), with an
        optional ``scale`` (D,) or scalar; the features are ``features * scale``.
    groups
        Name of a JSON file in it: group name -> list of ``{"index0": column, "name": attribute}``.

    Returns
    -------
    AwA

    Raises
    ------
    FileNotFoundError
        If a file isn't there.
    ValueError
        If a file can't be read or disagrees with another; the message names it.
    """
    root = require(Path(folder), "the folder of Animals with Attributes")
    classes = load_awa_classes(root)
    X, label = _features(root / features, len(classes.names))
    return AwA(classes, label, X, load_awa_groups(root / groups, classes.attribute_names))


def load_awa_classes(folder: Path) -> AwAClasses:
    """Read the text files on the classes.

    Raises
    ------
    FileNotFoundError
        If one isn't there.
    ValueError
        If one can't be read or disagrees with another; the message names it.
    """
    names = _numbered(folder / "classes.txt", "the numbered list of classes")
    attributes = _numbered(folder / "predicates.txt", "the numbered list of attributes")
    shape = (len(names), len(attributes))
    strengths = folder / "predicate-matrix-continuous.txt"
    return AwAClasses(
        names=names,
        attribute_names=attributes,
        attributes=_matrix(folder / "predicate-matrix-binary.txt", shape),
        continuous=_strengths(strengths, shape) if strengths.exists() else None,
        train=_class_list(folder / "trainclasses.txt", names),
        test=_class_list(folder / "testclasses.txt", names),
    )


def _lines(path: Path, what: str) -> list[str]:
    lines = read_text(path, what).splitlines()
    return [line.strip() for line in lines if line.strip()]


def _numbered(path: Path, what: str) -> tuple[str, ...]:
    names = []
    for i, line in enumerate(_lines(path, what)):
        number, _, name = line.partition("\t")
        if number.strip() != str(i + 1) or not name.strip():
            msg = f"{path}, line {i + 1}, reads {line[:40]!r}; expected '{i + 1}<tab>name'."
            raise ValueError(msg)
        names.append(name.strip())
    if not names or len(set(names)) != len(names):
        msg = f"{path} is empty or names something twice; get it again."
        raise ValueError(msg)
    return tuple(names)


def _table(path: Path, what: str, shape: tuple[int, int]) -> list[list[str]]:
    rows = [line.split() for line in _lines(path, what)]
    widths = {len(row) for row in rows}
    if len(rows) != shape[0] or widths != {shape[1]}:
        msg = (
            f"{path} has {len(rows)} rows of {sorted(widths)} numbers; expected "
            f"{shape[0]} rows (classes) of {shape[1]} (attributes)."
        )
        raise ValueError(msg)
    return rows


def _matrix(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    rows = _table(path, "the binary class × attribute matrix", shape)
    other = {cell for row in rows for cell in row} - {"0", "1"}
    if other:
        shown = [cell[:40] for cell in sorted(other)[:3]]
        msg = f"{path} has the entries {shown}; the binary matrix has 0 and 1."
        raise ValueError(msg)
    return np.array(rows, dtype=np.float64)


def _strengths(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    rows = _table(path, "the continuous class × attribute matrix", shape)
    try:
        values = np.array(rows, dtype=np.float64)
    except ValueError as error:
        msg = f"{path} holds something other than numbers ({error}); get it again."
        raise ValueError(msg) from error
    values[values == -1] = np.nan  # as distributed: not known
    if not (np.isnan(values) | ((values >= 0) & (values <= 100))).all():
        msg = f"{path} has numbers outside 0..100, or others than -1 that stand for unknown ones."
        raise ValueError(msg)
    return values


def _class_list(path: Path, class_names: tuple[str, ...]) -> tuple[int, ...]:
    names = _lines(path, "a list of class names")
    unknown = [name for name in names if name not in class_names]
    if unknown:
        shown = [name[:40] for name in unknown[:3]]
        msg = f"{path} names {shown}, not among the {len(class_names)} classes."
        raise ValueError(msg)
    return tuple(class_names.index(name) for name in names)


def _features(path: Path, n_classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    arrays = read_npz(require(path, "the features of the images, an npz archive"))
    try:
        stored = arrays["features"].astype(np.float32)
        label = arrays["label"].astype(np.int64)
        X = stored * np.asarray(arrays.get("scale", 1.0), dtype=np.float32)
    except (KeyError, ValueError) as error:
        msg = f"{path} doesn't hold features, label and a fitting scale ({error}); get it again."
        raise ValueError(msg) from error
    if X.ndim != 2 or label.shape != (len(X),) or not np.isfinite(X).all():
        msg = f"{path} has features {X.shape} and labels {label.shape}, or a value isn't finite."
        raise ValueError(msg)
    if label.size == 0 or label.min() < 0 or label.max() >= n_classes:
        msg = f"{path} has no label, or one outside 0..{n_classes - 1}; get it again."
        raise ValueError(msg)
    return X, label


def load_awa_groups(path: Path, attributes: tuple[str, ...]) -> Groups:
    """Read the groups of the attributes, a JSON file.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    ValueError
        If it can't be read or disagrees with the attributes.
    """
    require(path, "the groups of the attributes, a JSON file")
    try:
        content: dict[str, list[dict[str, Any]]] = parse_json(path.read_bytes())
        members = {
            g: [(int(m["index0"]), m["name"]) for m in items] for g, items in content.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} isn't JSON of the form group -> list of index0 and name ({error!r})."
        raise ValueError(msg) from error
    for group, items in members.items():
        for column, name in items:
            if not 0 <= column < len(attributes) or attributes[column] != name:
                msg = f"{path}: in {group!r}, index0={column} isn't the attribute {name!r}."
                raise ValueError(msg)
    lists = [[column for column, _ in items] for items in members.values()]
    try:
        return Groups.from_lists(lists, len(attributes), list(members))
    except ValueError as error:  # none, or one without a name or with a member twice
        msg = f"{path}: {error}"
        raise ValueError(msg) from error
