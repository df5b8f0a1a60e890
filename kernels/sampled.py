"""Places in a table (rows, tasks), beside which an operation computes and reads nothing."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["SampledEntries", "checked_matrices"]

LONGEST = torch.iinfo(torch.int32).max


class SampledEntries(NamedTuple):
    """E places in a table (n, M), grouped by task.

    Group t consists of the places ``starts[t]`` to ``starts[t + 1]``, all in the column
    ``tasks[t]``; a column has one group at most.
    """

    starts: torch.Tensor
    """Shape (T + 1,), int64, from 0 to E."""
    tasks: torch.Tensor
    """Shape (T,), int64."""
    rows: torch.Tensor
    """Row of each place, (E,), int32 or int64."""
    positions: torch.Tensor
    """Position of each place among the values (E,), a permutation, in the type of the rows."""

    @classmethod
    def of(cls, rows: torch.Tensor, tasks: torch.Tensor) -> SampledEntries:
        """Group places, given by their rows and tasks (E,); within a group they keep their order.

        The positions are those in this order. Indices take 32 bits where these are enough.
        """
        short = max(len(rows), int(rows.max()) if len(rows) else 0) <= LONGEST
        kind = torch.int32 if short else torch.int64
        order = tasks.argsort(stable=True)
        columns, counts = torch.unique_consecutive(tasks[order], return_counts=True)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(starts, columns.to(torch.int64), rows[order].to(kind), order.to(kind))

    @property
    def n_places(self) -> int:
        """E."""
        return self.rows.numel()

    def checked(self, n_rows: int, n_tasks: int) -> SampledEntries:
        """Contiguous entries, which lie in a table of this size.

        Raises
        ------
        ValueError
            If a place lies outside, or lengths differ.
        """
        starts, tasks, rows, positions = (each.contiguous() for each in self)
        count = self.n_places
        if starts.numel() != tasks.numel() + 1 or positions.numel() != count:
            raise ValueError(
                f"entries: {starts.numel()} starts for {tasks.numel()} groups, and "
                f"{positions.numel()} positions for {count} rows; make them by SampledEntries.of"
            )
        if int(starts[0]) != 0 or int(starts[-1]) != count or bool((starts.diff() < 0).any()):
            raise ValueError(f"entries: starts must ascend from 0 to the number of rows, {count}")
        for name, index, end in (
            ("rows", rows, n_rows),
            ("tasks", tasks, n_tasks),
            ("positions", positions, count),
        ):
            if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < end:
                raise ValueError(f"entries: {name} must lie between 0 and {end - 1}")
        return SampledEntries(starts, tasks, rows, positions)


def checked_matrices(**given: torch.Tensor) -> None:
    """Raise unless the arguments are on one device and in one dtype, float32 or float64.

    Raises
    ------
    TypeError
        Another dtype, or two.
    ValueError
        Two devices.
    """
    kinds = {str(each.dtype).removeprefix("torch.") for each in given.values()}
    if len(kinds) > 1 or not kinds <= {"float32", "float64"}:
        raise TypeError(f"{', '.join(given)} are {', '.join(sorted(kinds))}; pass one of float32 "
                        "and float64")  # fmt: skip
    devices = {str(each.device) for each in given.values()}
    if len(devices) > 1:
        raise ValueError(
            f"{', '.join(given)} are on {', '.join(sorted(devices))}; move them to one"
        )
