"""Conversion of the ``groups`` arguments of estimators to `Groups`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxmtl.groups import Groups

__all__ = ["check_weighted", "distinct", "part_of", "resolve_groups"]


def resolve_groups(groups: Any, n_attributes: int, names: Sequence[str] | None = None) -> Groups:
    """Convert the ``groups`` argument of an estimator to `Groups`.

    Parameters
    ----------
    groups
        `Groups`; a mapping of group name to attribute names (or indices); an iterable of lists of
        indices or names; or None or ``"singletons"`` (each attribute is a group). Attributes in no
        group become groups of their own, since they would otherwise not be penalised.
    n_attributes
        Number of attributes M.
    names
        Attribute names, if they are known.

    Raises
    ------
    ValueError
        If a member is unknown, names are used and none are known, or the sizes disagree.
    TypeError
        If `groups` has none of these forms.
    """
    if groups is None or (isinstance(groups, str) and groups == "singletons"):
        return Groups.singletons(n_attributes)
    if isinstance(groups, Groups):
        if groups.n_items != n_attributes:
            raise ValueError(
                f"groups: they are over {groups.n_items} attributes, and Y has {n_attributes} "
                "columns; build them for the columns of Y."
            )
        return _cover(groups, names)
    if isinstance(groups, Mapping):
        group_names, members = list(map(str, groups)), list(groups.values())
    elif isinstance(groups, Iterable) and not isinstance(groups, str):
        members = list(groups)
        group_names = [f"g{number}" for number in range(len(members))]
    else:
        raise TypeError(
            f"groups: got {groups!r}; give Groups, a dict of names, a list of lists, 'auto', "
            "'singletons' or None."
        )
    _check_lists(group_names, members)
    if any(isinstance(member, str) for group in members for member in group):
        if names is None:
            raise ValueError(
                "groups: members are named, and the columns of Y have no names; "
                "give label_names, or Y as a data frame."
            )
        by_name = dict(zip(group_names, members, strict=True))
        return _cover(Groups.from_names(by_name, names), names)
    return _cover(Groups.from_lists(members, n_attributes, group_names), names)


def check_weighted(groups: Groups) -> None:
    """Raise if a group has weight 0: the latent model would not be penalised there.

    Raises
    ------
    ValueError
        If there is one; the message names the first.
    """
    weightless = np.flatnonzero(groups.weights.numpy() == 0)
    if len(weightless):
        name = groups.names[weightless[0]]
        raise ValueError(
            f"groups: group {name!r} has weight 0, and nothing would penalise its part of S; give "
            "it a positive weight, or leave the group out: each of its attributes is then a group "
            "of its own."
        )


def _cover(groups: Groups, names: Sequence[str] | None) -> Groups:
    """Add a group of one for each attribute that is in no group.

    It has the name of the attribute, followed by ``(alone)`` if another group has that name.
    """
    covering = groups.covering()
    if covering is groups or names is None:
        return covering
    alone = distinct([names[i] for i in groups.uncovered], groups.names, " (alone)")
    return dataclasses.replace(covering, names=(*groups.names, *alone))


def distinct(names: Iterable[str], taken: Iterable[str], addition: str) -> list[str]:
    """Make names distinct by appending ``addition`` to repeated names and to those in ``taken``."""
    seen, found = {*taken}, []
    for name in names:
        while name in seen:
            name += addition  # noqa: PLW2901 - until it is a new one
        seen.add(name)
        found.append(name)
    return found


def _check_lists(names: Sequence[str], members: Sequence[Any]) -> None:
    for name, group in zip(names, members, strict=True):
        if isinstance(group, str) or not isinstance(group, Iterable):
            raise TypeError(f"groups: group {name!r} is {group!r}; give a list of its members.")


def part_of(groups: Groups, columns: NDArray[np.int64]) -> Groups:
    """Restrict groups to some of the attributes."""
    if len(columns) == groups.n_items:
        return groups
    place = {int(old): new for new, old in enumerate(columns)}
    kept = [[place[i] for i in groups.members(g) if i in place] for g in range(len(groups))]
    weights = [w for w, members in zip(groups.weights.tolist(), kept, strict=True) if members]
    return Groups.from_lists([m for m in kept if m], len(columns), weights=weights)
