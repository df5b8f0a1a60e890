"""Write ``docs/reference/reliability.md`` from what was measured.

Each part comes from a file of ``bench/results`` that its own command writes: faults
(``make faults``), fuzzing (``make fuzz``), numeric extremes, and mutants (``make mutants``).

    python -m bench.solvers.reliability
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import typer

from bench.record import DOCS, RESULTS
from proxmtl.io import write_text

INTRODUCTION = """\
# Reliability

What proxmtl promises where things go wrong, how that is tested, and what the last runs of these
tests found. Written by `make reliability`; the figures come from the files
`bench/results/reliability_*.json`.

## What is promised

- **A command that is killed loses nothing that was finished**: an epoch of `train` once its
  checkpoint is written, a fit of `tune --trials`, 256 images of `extract`, and of `fit` what was
  done a minute before (`--checkpoint`). The same command goes on from there, to the same result to
  the last bit on one machine and with one number of threads; so does
  [`torchrun --max-restarts`](../how_to/several_processes.md#when-a-rank-fails).
- **A result appears whole or not at all.** What it replaces stays until it is there. What a process
  that was killed has left is removed by the next one.
- **Ctrl-C, SIGTERM and SIGHUP** end a command with exit code 130, 143 or 129 and a line that says
  what is kept.
- **What can't be done is said in a sentence** that names the file or the argument, with exit
  code 2: a damaged file, a full disk, too little memory. See
  [errors and exit codes](cli.md#errors-and-exit-codes).
- **What proxmtl wrote is not read back if it has changed**: run folders, checkpoints, parts of
  searches, unfinished features and pixel caches carry checksums. A file of yours that has none is
  taken as it is, as long as it is a whole file of its format.
- **A file from elsewhere runs no code**, and asks for no more memory or time than the
  [limits](../../SECURITY.md) allow.
"""

FAULTS = """\
## Faults

`python -m tests.faults` runs the commands in processes of their own, on small inputs and on a disk
of their own, and disturbs each at a random moment: before one of its file operations, or at a time.
Then it runs the command again, undisturbed, and compares every file with those of a run that was
left alone.

| kind | what is done |
|---|---|
| kill | SIGKILL |
| interrupt | SIGINT, SIGTERM or SIGHUP |
| full | the disk is full from some moment on, or files may not grow beyond a size |
| gone | the folder of the outputs is removed |
| twice | the same command is started a second time |
| damage | flipped bits, zeros, bytes too many or too few in a file that is read, whoever wrote it |
| memory | the address space is limited to a little more than the program begins with |

*Same result*: the command, or the command after it, ended as if nothing had happened: all files are
the same to the last bit, but for dates and durations, and nothing is left over but the cached
pixels of images as they were while damaged. *Clear error*: a sentence that names the file or the
argument, exit code 2; the command after it ended as if nothing had happened. *Other content*: the
damaged file of the user is still a whole file of its format, as another reader confirms, and was
taken as it is. *Failure*: all else, such as a traceback, a hang, an internal error, another result
without a word, or a leftover.

The first campaign of a thousand ended with eleven failures: a solver that was chosen by the memory
that was free, and so gave other last digits (four); an error of a full disk that named no file; an
image named without its archive (two); a class named without the matrix that lacks it; and three
where the harness compared caches that are named after the bytes of images, not their pixels. All
are mended, and their seeds were run again.

The thousand below were judged when a word like the name of a folder was enough for a clear error.
By the stricter rule of today, which asks for a whole path, a file, an option or an argument, 716
further faults had 13 failures, eleven and two: messages that named a temporary folder or a part of
a run alone, and cases that the harness judged wrongly. They are mended, and their seeds were run
again.
"""

FUZZING = """\
## Fuzzing

`python -m tests.fuzz TARGET` has [atheris](https://github.com/google/atheris) make up files for a
parser, guided by the lines that they reach (`pip install 'proxmtl[fuzz]'`). A finding is a file
that is neither read nor answered by a sentence that names it: another exception, a crash, more than
25 seconds or 3 GB for at most 64 KiB. What was found once is in `tests/fuzz/inputs.py`, which
`make test` runs through every parser, along with valid and randomly damaged files.
"""

EXTREMES = """\
## Numeric extremes

`python -m bench.solvers.extremes` fits every estimator, with and without standardised features, and
calls every kernel in every backend that works on the machine, on data at the ends of the
floating-point numbers and on degenerate data. Warnings of NumPy count as errors. The cases are
those of `tests/estimators/test_extremes.py` and `tests/kernels/test_extreme_cases.py`; the kernels
and the penalties are tested further by `tests/kernels/test_extremes.py` and
`tests/regularizers/test_extremes.py`.

*Right*, for an estimator: parameters and scores are finite; the objective is not above that of
W = 0 with the best intercepts; features in another unit, layout or dtype, or with a column that
says nothing, give the scores of the plain ones (strengths go with the unit where features are not
standardised); a column that says nothing has no weight, and equal columns have equal ones. For a
kernel: what plain loops in float64 give, to some roundings. Otherwise there is a sentence, in the
list below the table. Scales are powers of two close to those named.
"""

MUTANTS = """\
## Tests that notice

`make mutants` changes one operator at a time in a reproducible sample of places, and runs the tests
that run the changed line. A mutant that no test notices is either equivalent to the original, and
written down as such, or a gap in the tests: the figure is that after such gaps were closed.
"""


def main(out: Path = DOCS / "reference" / "reliability.md") -> None:
    """Write the page."""
    parts = [
        INTRODUCTION,
        _part(FAULTS, "faults", "make faults", _faults),
        _part(FUZZING, "fuzz", "make fuzz", _fuzzing),
        _part(EXTREMES, "extremes", "python -m bench.solvers.extremes", _extremes),
        _part(MUTANTS, "mutants", "make mutants", _mutants),
    ]
    write_text(out, "\n".join(parts))


def _part(text: str, name: str, command: str, table: Any) -> str:
    """A heading and text, and the table of its results, if there are any."""
    path = RESULTS / f"reliability_{name}.json"
    if not path.is_file():
        return f"{text}\nNo figures are recorded yet (`{command}`).\n"
    content = json.loads(path.read_text(encoding="utf-8"))
    return f"{text}\n{table(content)}\n{_measured(content, command)}"


def _measured(content: Any, command: str) -> str:
    """Say by which command, when and where."""
    if not isinstance(content, dict) or "date" not in content:
        return f"By `{command}`.\n"
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    where = f"{content['machine']}, Python {content['python']}, {versions}"
    return f"By `{command}`, {content['date']}: {where}.\n"


def _faults(content: dict[str, Any]) -> str:
    columns = ("same result", "clear error", "other content", "failure")
    failures = content["failures"]
    minutes = f"{content['seconds'] / 60:,.0f}"
    lines = [
        f"{content['faults']:,} faults in {minutes} minutes, {len(failures)} of them failures.",
        "",
        _table(["kind", *columns], _counted(content["kinds"], columns)),
        "",
        _table(["command", *columns], _counted(content["commands"], columns)),
        "",
    ]
    if failures:
        lines += ["Failures, each repeated by its seed:", ""]
        lines += [
            f"- `{content['command']} {one['seed']}` ({one['command']}, {one['kind']}: "
            f"{_short(one['detail'])}): {_short(one['why'])}"
            for one in failures
        ]
        lines.append("")
    return "\n".join(lines)


def _counted(table: dict[str, dict[str, int]], columns: tuple[str, ...]) -> list[list[object]]:
    rows: list[list[object]] = [
        [name, *(counts.get(column, 0) for column in columns)] for name, counts in table.items()
    ]
    sums = [sum(counts.get(column, 0) for counts in table.values()) for column in columns]
    return [*rows, ["all", *sums]]


def _fuzzing(content: dict[str, Any]) -> str:
    targets = content["targets"]
    rows = [
        [name, f"{one['seconds']:,}", f"{one['executions']:,}", len(one["findings"]), one["last"]]
        for name, one in targets.items()
    ]
    total = [sum(one[figure] for one in targets.values()) for figure in ("seconds", "executions")]
    found = sum(len(one["findings"]) for one in targets.values())
    rows.append(["all", f"{total[0]:,}", f"{total[1]:,}", found, ""])
    table = _table(["parser", "seconds", "files", "open findings", "last run"], rows)
    notes = [
        f"- {name}: `{_short(finding)}`"
        for name, one in targets.items()
        for finding in one["findings"]
    ]
    return "\n".join([table, "", *([*notes, ""] if notes else [])])


def _extremes(content: dict[str, Any]) -> str:
    notes: dict[str, int] = {}
    rows: dict[str, dict[str, list[Any]]] = {}
    for one in content["cases"]:
        rows.setdefault(one["case"], {}).setdefault(one["part"], []).append(one)
    parts = ("estimators", "kernels")
    lines = [
        [case, *(_outcomes(found.get(part, []), notes) for part in parts)]
        for case, found in rows.items()
    ]
    numbered = [f"{number}. `{note}`" for note, number in notes.items()]
    table = _table(["case", *parts], lines)
    return "\n".join([table, "", *([*numbered, ""] if numbered else [])])


def _outcomes(found: list[dict[str, str]], notes: dict[str, int]) -> str:
    """How many are right, and which say which of the sentences below the table."""
    groups: dict[str, list[str]] = {}
    for one in found:
        groups.setdefault(_sentence(one["outcome"]), []).append(one["subject"])
    cells = []
    for text, subjects in groups.items():
        if text == "right":
            cells.append("right" if len(groups) == 1 else f"{len(subjects)} right")
            continue
        number = notes.setdefault(text, len(notes) + 1)
        names = "all" if len(groups) == 1 else ", ".join(_families(subjects))
        cells.append(f"({number}) {names}")
    return "; ".join(cells)


VARIES = {
    r"\b\w+Classifier(CV)?\b": "the estimator",
    r"\barray=.*?(?=Reshape)": "",
    r"\b(X or W|[VXZ])(?= has (dtype|\d+ dimensions))": "the argument",
    r"\btorch\.(int8|bool)\b": "…",
    r"; (give one of|pass) float64.*": "; give floating point",
    r"\(column \d+(, column \d+)*\)": "(the columns)",
    r"-?\b\d+(\.\d+)?(e[+-]?\d+)?\b(?!D)|\binf\b": "…",
}


def _sentence(outcome: str) -> str:
    """An outcome without the numbers, sizes and names that differ from subject to subject."""
    if outcome.startswith("not served"):
        outcome = re.sub(
            r"^(not served): \w+: .*can't serve this call: (.*?\.) .*$", r"\1: \2", outcome
        )
    for pattern, plain in VARIES.items():
        outcome = re.sub(pattern, plain, outcome)
    return _short(outcome)


def _families(subjects: list[str]) -> list[str]:
    """Subjects ``A, not standardized`` and ``operation (backend)``, by what they share."""
    plain = [name.removesuffix(", not standardized") for name in subjects]
    bare = [name for name, subject in zip(plain, subjects, strict=True) if name != subject]
    if bare and len(bare) == len(subjects):
        return ["not standardized"] if len(bare) > 5 else [f"{', '.join(bare)} not standardized"]
    names = list(dict.fromkeys(name.split(" (")[0] for name in plain))
    backends = {name.split(" (")[1].rstrip(")") for name in plain if " (" in name}
    if len(names) > 4 and backends:
        return [f"{len(subjects)} in {', '.join(sorted(backends))}"]
    if len(names) > 4:
        return [f"{len(subjects)} of the estimators"]
    return [f"{', '.join(names)} ({', '.join(sorted(backends))})"] if backends else names


def _mutants(content: dict[str, Any]) -> str:
    equivalent = content.get("equivalent", 0)
    counted = content["mutants"] - equivalent
    share = f"{content['noticed'] / max(counted, 1):.1%}"
    text = (
        f"{content['mutants']} mutants of a sample of {content['size']} were run. A test notices "
        f"{content['noticed']} of them, {equivalent} are equivalent to the original: {share} of "
        f"the other {counted} are noticed."
    )
    lines = [text, ""]
    open_ones = [one for one in content["survivors"] if not one.get("equivalent")]
    if open_ones:
        lines += ["Not noticed:", ""]
        lines += [f"- {_survivor(one)}" for one in open_ones]
        lines.append("")
    return "\n".join(lines)


def _survivor(one: Any) -> str:
    if not isinstance(one, dict):
        return str(one)
    return f"`{one['file']}`, line {one['line']}: `{one['code']}` to `{one['after']}`"


def _table(header: list[str], rows: list[list[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(cell: object) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:197]}..."


if __name__ == "__main__":
    typer.run(main)
