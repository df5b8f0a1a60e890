"""Images of which a page shows what a model said: which ones, and how they are captioned."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.report.names import printable
from proxmtl.report.verdict import percent
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from proxmtl.report.comparison import Comparison
    from proxmtl.report.runs import HeldOut, Model

__all__ = ["Example", "ExampleBlock", "Strip", "certain_examples", "flipped_examples"]

EACH = 4
"""Images of a strip of the surest, or of the least certain."""
DRAWN = 8
"""Images that are drawn of decisions that differ."""
MOST_ATTRIBUTES = 12
"""Of which the surest and the least certain images are shown."""
MOST_BYTES = 1_200_000
"""Of all pictures of a page, as base64."""


class Example(NamedTuple):
    """A picture, with what was said of it."""

    name: str
    picture: str
    """JPEG in base64."""
    lines: tuple[str, ...]
    right: bool


@dataclass
class Strip:
    """Some pictures under a title."""

    title: str
    examples: list[Example]


@dataclass
class ExampleBlock:
    """Strips of one attribute, or of one comparison."""

    title: str
    strips: list[Strip] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Length of its pictures."""
        return sum(len(example.picture) for strip in self.strips for example in strip.examples)


class _Chosen(NamedTuple):
    """A decision to show: sample and attribute, by row and column of the labels held out."""

    row: int
    column: int
    lines: tuple[str, ...]
    right: bool


_Plan = list[tuple[str, list[tuple[str, list[_Chosen]]]]]
"""Titles of blocks, with titles of strips and the decisions in them."""


def certain_examples(model: Model) -> list[ExampleBlock]:
    """Surest and least certain held-out images of the attributes with the most positive labels.

    One block an attribute; none where the images are no longer there.
    """
    held_out = model.run.held_out
    assert held_out is not None
    positives = (held_out.labels == 1).sum(axis=0)
    most = np.argsort(-positives, kind="stable")[:MOST_ATTRIBUTES]
    plan: _Plan = []
    for column in sorted(int(m) for m in most if positives[m]):
        strips = [
            (title, [_said(held_out, row, column) for row in rows])
            for title, rows in _by_certainty(held_out.scores[:, column])
        ]
        plan.append((printable(str(model.run.names[column])), strips))
    return _with_pictures(plan, model, held_out)


def _by_certainty(scores: NDArray[np.float64]) -> Iterator[tuple[str, list[int]]]:
    """Rows of the surest decisions and of the least certain ones; no row is in two of them.

    The least certain ones are taken first, a third of few rows: what is left of them by the surest
    would be certain, too.
    """
    rows = [int(row) for row in np.flatnonzero(np.isfinite(scores))]
    order = sorted(rows, key=lambda row: abs(scores[row]))
    least = order[: min(EACH, len(order) // 3)]
    surest = [row for row in reversed(order) if row not in least]
    yield "Surest of yes", [row for row in surest if scores[row] > 0][:EACH]
    yield "Surest of no", [row for row in surest if scores[row] <= 0][:EACH]
    yield "Least certain", least


def _said(held_out: HeldOut, row: int, column: int) -> _Chosen:
    score, label = held_out.scores[row, column], held_out.labels[row, column]
    how = f"score {score:+.2f}".replace("-", "−")
    if held_out.probabilities is not None:
        how = f"yes: {percent(held_out.probabilities[row, column])}"
    return _Chosen(row, column, (_labelled(label), how), bool((score > 0) == (label > 0)))


def _labelled(label: float) -> str:
    return f"labelled {'yes' if label > 0 else 'no'}"


def flipped_examples(
    first: Model, other: Model, comparison: Comparison
) -> tuple[list[ExampleBlock], str]:
    """Decisions that one model gets right and the other wrong, drawn at random from all of them.

    As many are drawn of each direction, or all where there are fewer.

    Returns
    -------
    blocks : list of ExampleBlock
        One; none where the images are no longer there, or no decision differs.
    sentence : str
        How many decisions differ in each direction.
    """
    names = list(comparison.table.index)
    a, b = (_of(model, names) for model in (first, other))
    known = np.isfinite(a.labels)
    right_a, right_b = ((held.scores > 0) == (held.labels > 0) for held in (a, b))
    called = printable(first.label), printable(other.label)
    better = np.argwhere(known & ~right_a & right_b)
    worse = np.argwhere(known & right_a & ~right_b)
    sentence = (
        f"Of {counted(int(known.sum()), 'decision')} on the rows held out, {called[1]} gets "
        f"{len(better)} right that {called[0]} gets wrong, and {len(worse)} wrong that {called[0]} "
        "gets right."
    )
    rng = np.random.default_rng(0)

    def drawn(cells: NDArray[np.intp], *, right: bool) -> list[_Chosen]:
        chosen = rng.permutation(len(cells))[:DRAWN]
        found = []
        for row, column in cells[np.sort(chosen)].tolist():
            scores = " → ".join(f"{held.scores[row, column]:+.2f}" for held in (a, b))
            lines = (printable(names[column]), _labelled(a.labels[row, column]))
            found.append(_Chosen(row, column, (*lines, scores.replace("-", "−")), right))
        return found

    strips = [
        (f"Wrong with {called[0]}, right with {called[1]}", drawn(better, right=True)),
        (f"Right with {called[0]}, wrong with {called[1]}", drawn(worse, right=False)),
    ]
    pictured = first if first.run.pictures is not None else other
    return _with_pictures([(f"{called[1]} against {called[0]}", strips)], pictured, a), sentence


def _of(model: Model, names: Sequence[str]) -> HeldOut:
    held_out = model.run.held_out
    assert held_out is not None
    column = {name: number for number, name in enumerate(model.run.names)}
    return held_out.of([column[name] for name in names])


def _with_pictures(plan: _Plan, model: Model, held_out: HeldOut) -> list[ExampleBlock]:
    """Blocks of a plan, as many as there is room for; decisions without a picture are left out."""
    pictures = model.run.pictures
    wanted = {held_out.rows[c.row] for _, strips in plan for _, chosen in strips for c in chosen}
    there: Mapping[str, bytes] = {} if pictures is None else pictures.thumbnails(sorted(wanted))
    encoded = {name: base64.b64encode(content).decode() for name, content in there.items()}
    blocks, size = [], 0
    for title, strips in plan:
        block = ExampleBlock(title)
        for name, chosen in strips:
            examples = [
                Example(printable(held_out.rows[c.row]), picture, c.lines, c.right)
                for c in chosen
                if (picture := encoded.get(held_out.rows[c.row])) is not None
            ]
            if examples:
                block.strips.append(Strip(name, examples))
        size += block.bytes
        if block.strips and size <= MOST_BYTES:
            blocks.append(block)
    return blocks
