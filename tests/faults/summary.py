"""What a journal of faults says, for ``docs/reference/reliability.md``."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.faults.verdict import FAILURE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["read_journal", "summary"]


def read_journal(path: Path | None) -> list[dict[str, Any]]:
    """Read the outcomes in a journal, nothing where there is none yet."""
    if path is None or not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def summary(outcomes: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """Count outcomes by kind and by command; failures in full.

    Parameters
    ----------
    outcomes
        Of a journal.
    command
        That replays one of them, but for its seed.
    """
    return {
        "command": command,
        "faults": len(outcomes),
        "seconds": round(sum(one["seconds"] for one in outcomes)),
        "kinds": _counts((one["kind"], one["outcome"]) for one in outcomes),
        "commands": _counts((one["command"], one["outcome"]) for one in outcomes),
        "failures": [
            {key: one[key] for key in ("seed", "command", "kind", "detail", "why")}
            for one in outcomes
            if one["outcome"] == FAILURE
        ],
    }


def _counts(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for (row, column), count in sorted(Counter(pairs).items()):
        table.setdefault(row, {})[column] = count
    return table
