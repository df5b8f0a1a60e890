"""Commands that are killed, interrupted, starved, damaged: `python -m tests.faults` says how."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
COUNT = 1000 if DEEP else 60
# each runs every command once, to know its result: for a few faults that takes most of the time
SHARDS = 2 if DEEP else 1


@pytest.mark.timeout(7200 if DEEP else 900)
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")
def test_commands_end_with_the_same_result_or_a_clear_error(shard):
    asked = ["--first", str(shard), "--step", str(SHARDS), "--count", str(COUNT // SHARDS)]
    asked += ["--slow"] if DEEP else []
    command = [sys.executable, "-m", "tests.faults", *asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [one for one in outcomes if one["outcome"] == "failure"]
    again = f"python -m tests.faults {' '.join(asked[6:])} --seed"
    report = [f"{again} {one['seed']}: {one['why']} ({one['detail']})" for one in failures]
    assert not failures, "\n".join(report)
    assert done.returncode == 0, done.stderr
    assert len(outcomes) == COUNT // SHARDS
