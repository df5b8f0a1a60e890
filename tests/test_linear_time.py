"""Wide tables and many groups: work grows as their size does. Steps are counted, not timed."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from proxmtl import Groups
from proxmtl.cli.fitted_attributes import attributes_to_fit, check_classes
from proxmtl.cli.labels_of_test import labels_for
from proxmtl.experiments import group_means
from proxmtl.io import Labels, Rows, join_rows, read_labels, write_labels
from proxmtl.io.labels import _check_header
from proxmtl.io.tables import Table
from proxmtl.report.names import distinct_names
from proxmtl.report.plots import _block_order

HERE = Path("y.csv")
SMALL, FACTOR = 250, 4
SLACK = 1.15
"""For what comes once, and hashes that meet."""


class Name(str):
    """A text that counts how often it is compared with another."""

    __slots__ = ()
    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        Name.comparisons += 1
        return str.__eq__(self, other)


def steps(work):
    """Calls of functions, and comparisons of names, in a piece of work."""
    calls = itertools.count()
    Name.comparisons = 0
    before = sys.getprofile()
    sys.setprofile(lambda *_: next(calls) and None)
    try:
        work()
    finally:
        sys.setprofile(before)
    return next(calls) + Name.comparisons


def names_of(n):
    # another object each time, as equality of one with itself is seen without a comparison
    return [Name(f"attribute {i}") for i in range(n)]


def _labels(n):
    return Labels(np.tile([[0.0], [1.0]], (1, n)), tuple(names_of(n)), None)


def _writing(path, n):
    return lambda: write_labels(path, _labels(n)[0], names_of(n), ["a", "b"])


def _reading(path, n):
    _writing(path, n)()
    return lambda: read_labels(path)


def _header(path, n):
    table, names = Table(HERE, names_of(n), [], ",", None), tuple(names_of(n))
    return lambda: _check_header(table, names)


def _choosing(path, n):
    labels, wanted = _labels(n), names_of(n)[::-1]
    return lambda: labels_for(wanted, labels, HERE)


def _rare(path, n):
    labels = _labels(n)
    values = np.tile([[0.0], [1.0], [0.0], [1.0]], (1, n))
    values[:, ::2] = 0
    return lambda: attributes_to_fit(HERE, values, labels.names, 2)


def _one_class(path, n):
    def work():
        with pytest.raises(ValueError, match="have only no"):
            check_classes(HERE, np.zeros((3, n)), names)

    names = names_of(n)
    return work


def _joining(path, n):
    sides = [Rows(HERE, "rows", n, names_of(n)), Rows(HERE, "rows", n, names_of(n)[::-1])]
    return lambda: join_rows(*sides)


def _not_joining(path, n):
    sides = [Rows(HERE, "rows", n, [f"{how}/{i}" for i in range(n)]) for how in "ab"]

    def work():
        with pytest.raises(ValueError, match="none of its"):
            join_rows(*sides)

    return work


def _group_file(path, n):
    table = {f"g{i}": [f"attribute {(7 * i + j) % 50}" for j in range(3)] for i in range(n)}
    path = path.with_suffix(".json")
    path.write_text(json.dumps(table))
    return lambda: Groups.from_file(path, names_of(50))


def _group_csv(path, n):
    path.write_text("group,item\n" + "".join(f"g{i},attribute {i % 50}\n" for i in range(n)))
    return lambda: Groups.from_file(path, names_of(50))


def _many_groups(n):
    lists = [sorted({(7 * i + j) % 50 for j in range(3)}) for i in range(n)]
    return Groups.from_lists(lists, 50)


def _restricting(path, n):
    groups = _many_groups(n)
    return lambda: groups.restricted(range(40))


def _averaging(path, n):
    table = pd.DataFrame({"ap": np.linspace(0, 1, 50)}, index=[f"a{i}" for i in range(50)])
    groups = _many_groups(n)
    return lambda: group_means(table, groups)


def _drawing(path, n):
    members = {f"g{i}": [Name(i)] for i in range(n)}
    return lambda: _block_order(members, 1)


def _shortening(path, n):
    names = [Name(f"{'a' * 30}{i:05}{'b' * 30}") for i in range(n)]
    return lambda: distinct_names(names, 20)


WORK = [
    *(_writing, _reading, _header, _choosing, _rare, _one_class, _joining, _not_joining),
    *(_group_file, _group_csv, _restricting, _averaging, _drawing, _shortening),
]


@pytest.mark.parametrize("prepare", WORK, ids=lambda prepare: prepare.__name__.strip("_"))
def test_steps_grow_as_the_size_does(tmp_path, prepare):
    prepare(tmp_path / "y.csv", 8)()  # what is imported or made once
    few = steps(prepare(tmp_path / "y.csv", SMALL))
    many = steps(prepare(tmp_path / "y.csv", FACTOR * SMALL))
    assert many <= SLACK * FACTOR * few


def test_quadratic_work_is_noticed():
    def prepare(n):
        names, wanted = names_of(n), names_of(n)
        return lambda: [names.index(name) for name in wanted]

    assert steps(prepare(FACTOR * SMALL)) > 2 * FACTOR * steps(prepare(SMALL))
