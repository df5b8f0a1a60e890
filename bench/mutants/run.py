"""Run the tests on the mutants of the sample, and say which changes no test noticed.

    python bench/mutants/run.py                  # all that have no outcome yet
    python bench/mutants/run.py --minutes 30     # as many as there is time for; goes on next time
    python bench/mutants/run.py --jobs 2         # two mutants at a time
    python bench/mutants/run.py --only solvers/  # those of some files
    python bench/mutants/run.py --survivors      # once more those that survived

A mutant runs against the tests that run its line, or where that is not known against those of its
own package, until one fails. That test has to pass on the sources as they are, or it is left out
and the mutant runs again. A test that doesn't end has noticed too if it doesn't end alone either;
where time was over for other reasons, the mutant has survived. Survivors that can't be noticed are
written down in equivalent.toml with the reason.
Writes bench/results/reliability_mutants.json after each mutant.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import trial
from tests_of import tests_for, tests_of
from trial import Trial

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "build" / "mutants" / "sample.json"
RESULTS = ROOT / "bench" / "results" / "reliability_mutants.json"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
SHOWN = ("id", "file", "line", "operator", "scope", "code", "after")


class Record:
    """Outcomes so far, and the file that holds them."""

    def __init__(self, sample: dict[str, Any]) -> None:
        self.sample = sample
        known = json.loads(RESULTS.read_text())["outcomes"] if RESULTS.is_file() else []
        present = {mutant["id"] for mutant in sample["mutants"]}
        self.outcomes = {each["id"]: each for each in known if each["id"] in present}

    def judged(self) -> dict[str, str]:
        """Reasons why mutants are equivalent, by identifier."""
        table = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
        return {name: entry["reason"] for name, entry in table.items()}

    def summary(self) -> dict[str, Any]:
        """What the page on reliability shows."""
        reasons, outcomes = self.judged(), self.outcomes.values()
        survived = [each for each in outcomes if each["outcome"] == "survived"]
        equivalent = [each for each in survived if each["id"] in reasons]
        telling = len(self.outcomes) - len(equivalent)
        noticed = len(self.outcomes) - len(survived)
        return {
            "seed": self.sample["seed"],
            "places": self.sample["places"],
            "size": len(self.sample["mutants"]),
            "mutants": len(self.outcomes),
            "noticed": noticed,
            "equivalent": len(equivalent),
            "share": round(noticed / telling, 4) if telling else None,
            "seconds": round(sum(each["seconds"] for each in outcomes), 1),
            "survivors": [
                {**{k: each[k] for k in SHOWN}, "equivalent": reasons.get(each["id"])}
                for each in survived
            ],
        }

    def save(self) -> None:
        """Write all of it, at once."""
        ordered = sorted(self.outcomes.values(), key=lambda each: (each["file"], each["line"]))
        text = json.dumps({**self.summary(), "outcomes": ordered}, indent=1, ensure_ascii=False)
        temporary = RESULTS.with_suffix(".partial")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(RESULTS)


class Judge:
    """Runs mutants; knows which tests pass on the sources as they are, and which don't."""

    worker: Judge
    """Of this process."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._sound: set[str] = set()
        self._failing: list[str] = []
        self._end = time.monotonic() + 60 * given.minutes

    def __call__(self, mutant: dict[str, Any]) -> dict[str, Any] | None:
        """The mutant's outcome; None if the time for all of them is over."""
        if time.monotonic() > self._end:
            return None
        batches, spent = tests_for(mutant), 0.0
        while True:
            seen = self._run(batches, mutant)
            spent += seen.seconds
            if seen.outcome == "timeout" and seen.by:
                again = self._run([[seen.by]], mutant)
                seen = Trial("passed", "", again.seconds) if again.outcome == "passed" else again
                spent += seen.seconds
            if seen.outcome == "failed" and not seen.by:  # pytest itself gave up
                if self._run(batches, None, collect=True).outcome == "passed":
                    seen = Trial("failed", "import of the tests", seen.seconds)
                    break
                # a test has another name since it was seen to run the line
                named = [tests_of(mutant["file"], mutant["scope"])]
                assert batches != named, f"pytest can't run {named}: see build/mutants/last.log"
                batches = named
            elif seen.outcome == "passed" or self._is_sound(seen.by):
                break
        names = {"passed": "survived", "failed": "noticed", "timeout": "timeout"}
        shown = {key: mutant[key] for key in SHOWN}
        return {**shown, "outcome": names[seen.outcome], "by": seen.by, "seconds": round(spent, 1)}

    def _run(
        self, batches: list[list[str]], mutant: dict[str, Any] | None, *, collect: bool = False
    ) -> Trial:
        limits = {"each": self._given.each, "limit": self._given.limit_s}
        return trial.run(batches, mutant, without=self._failing, collect=collect, **limits)

    def _is_sound(self, test: str) -> bool:
        """Whether a test passes on the sources as they are; if not, it is left out from now on."""
        if not test or test in self._sound or not self._given.check:
            return True
        whole = "::" not in test  # a file that can't be imported
        if self._run([[test]], None, collect=whole).outcome == "passed":
            self._sound.add(test)
            return True
        print(f"  left out: {test} fails on the sources as they are", flush=True)
        self._failing.append(test)
        return False


def _begin(given: argparse.Namespace) -> None:
    Judge.worker = Judge(given)


def _judge(mutant: dict[str, Any]) -> dict[str, Any] | None:
    return Judge.worker(mutant)


def wanted(record: Record, given: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """Mutants to run now."""
    for mutant in record.sample["mutants"]:
        before = record.outcomes.get(mutant["id"])
        due = before is None if not given.survivors else before and before["outcome"] == "survived"
        if given.survivors and mutant["id"] in record.judged():
            continue
        if due and (not given.only or given.only in f"{mutant['file']}:{mutant['line']}"):
            yield mutant


def main() -> None:
    """Run, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=10**6, help="at most so many mutants")
    parser.add_argument("--minutes", type=float, default=10**6, help="start none after so long")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--only", default="", help="part of FILE:LINE")
    parser.add_argument("--survivors", action="store_true", help="run survivors again")
    parser.add_argument("--each", type=float, default=120, help="seconds for one test")
    parser.add_argument("--limit-s", type=float, default=1800, help="processor seconds a mutant")
    parser.add_argument("--no-check", dest="check", action="store_false", help=argparse.SUPPRESS)
    given = parser.parse_args()
    record = Record(json.loads(SAMPLE.read_text(encoding="utf-8")))
    waiting = list(wanted(record, given))[: given.limit]
    trial.warm_up()
    workers = multiprocessing.get_context("fork").Pool(given.jobs, _begin, (given,))
    with workers:
        for number, found in enumerate(workers.imap_unordered(_judge, waiting), 1):
            if found is None:
                continue
            record.outcomes[found["id"]] = found
            record.save()
            print(
                f"{number:4} {found['outcome']:8} {found['seconds']:6.1f} s  {found['file']}:"
                f"{found['line']} {found['operator']}  {found['by']}",
                flush=True,
            )
    record.save()
    told = record.summary()
    print(f"{told['noticed']} of {told['mutants']} noticed, {told['equivalent']} of the others are "
          f"equivalent; {told['size'] - told['mutants']} of the sample wait.")  # fmt: skip


if __name__ == "__main__":
    main()
