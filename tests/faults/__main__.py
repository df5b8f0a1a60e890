"""Disturb commands at random moments, and say how they take it.

    python -m tests.faults                          60 faults
    python -m tests.faults --seed 17                one again
    python -m tests.faults --count 1000 --slow --journal build/faults.jsonl --record
    python -m tests.faults --only train/kill --count 20

A fault is all in its seed (and in the list of commands and kinds, so --only and --slow belong to
it). The exit code is 1 if one of them is a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.ground import own_mounts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=60, help="number of seeds")
    parser.add_argument("--step", type=int, default=1, help="every so many seeds")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument(
        "--only",
        default="",
        help="faults whose 'command/kind' contains this (or, with commas, one of these)",
    )
    parser.add_argument("--slow", action="store_true", help="slow commands too")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no fault after this time")
    parser.add_argument("--journal", type=Path, help="append outcomes to it; leave out its seeds")
    parser.add_argument("--record", action="store_true", help="sum the journal up in bench/results")
    options = parser.parse_args()
    if options.record and options.journal is None:
        parser.error("--record sums up a --journal")
    # a job in the background of a shell ignores Ctrl-C, and so would all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    mounts = own_mounts()  # before anything starts a thread
    place = Path("/dev/shm") if mounts is False and Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="proxmtl-faults-", dir=place))
    try:
        return _run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(options: argparse.Namespace, folder: Path) -> int:
    from tests.faults.ground import Ground
    from tests.faults.plan import Plan
    from tests.faults.process import import_everything, quiet_surroundings
    from tests.faults.summary import read_journal
    from tests.faults.verdict import FAILURE

    begin = time.monotonic()
    plan = Plan(options.only, slow=options.slow)
    seeds = range(options.first, options.first + options.count * options.step, options.step)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    failures = 0
    done = {one["seed"] for one in read_journal(options.journal)}
    with quiet_surroundings(folder / "tmp"):
        import_everything()
        ground = Ground(folder)
        for seed in seeds:
            if seed in done or time.monotonic() - begin > options.seconds:
                continue
            outcome = plan.disturb(ground, seed)
            failures += outcome.outcome == FAILURE
            record = outcome.as_dict()
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
            if options.journal is not None:
                with options.journal.open("a") as stream:
                    stream.write(json.dumps(record) + "\n")
    if options.record:
        _record(options)
    return int(failures > 0)


def _record(options: argparse.Namespace) -> None:
    from bench.record import save
    from tests.faults.summary import read_journal, summary

    asked = f"{' --slow' * options.slow}{f' --only {options.only}' if options.only else ''}"
    command = f"python -m tests.faults{asked} --seed"
    save("reliability_faults", summary(read_journal(options.journal), command))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of libraries don't outlive a fork well
