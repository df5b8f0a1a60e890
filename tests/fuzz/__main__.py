"""Look for files that a parser meets with something else than a sentence, guided by coverage.

    python -m tests.fuzz labels --seconds 600
    python -m tests.fuzz all --seconds 600 --record
    python -m tests.fuzz labels --replay build/fuzz/labels/findings/1f2e3d4c

Needs ``pip install 'proxmtl[fuzz]'``. Interesting inputs are kept in ``build/fuzz/TARGET/corpus``,
from which the next run goes on; a finding is kept as a file, with what happened beside it. The exit
code is 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import Campaign, replay

ROOT = Path("build") / "fuzz"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "target", help="a name of tests/fuzz/targets.py, several with commas, 'all'"
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target")
    parser.add_argument(
        "--record", action="store_true", help="add figures to bench/results/reliability_fuzz.json"
    )
    parser.add_argument("--replay", type=Path, help="parse this file, and show what happens")
    options = parser.parse_args()
    from tests.fuzz.targets import TARGETS

    names = list(TARGETS) if options.target == "all" else options.target.split(",")
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if options.replay is not None:
        sys.stdout.write(f"{replay(names[0], options.replay)}\n")
        return 0
    found = 0
    for name in names:
        report = Campaign(name, ROOT / name).run(options.seconds)
        found += len(report["findings"])
        sys.stdout.write(json.dumps({"target": name, **report}) + "\n")
        sys.stdout.flush()
        if options.record:
            _add(name, report)
    return int(found > 0)


def _add(name: str, report: dict[str, Any]) -> None:
    """Add a run to those of its target: seconds and executions add up, findings are the last's."""
    from bench.record import RESULTS, save

    path = RESULTS / "reliability_fuzz.json"
    targets = json.loads(path.read_text())["targets"] if path.is_file() else {}
    before = targets.get(name, {})
    for figure in ("seconds", "executions"):
        report[figure] += before.get(figure, 0)
    targets[name] = {**report, "last": time.strftime("%Y-%m-%d")}
    save("reliability_fuzz", {"command": "python -m tests.fuzz all --record", "targets": targets})


if __name__ == "__main__":
    sys.exit(main())
