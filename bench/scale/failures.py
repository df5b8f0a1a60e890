"""Runs that are killed, stopped, cut off from each other or without their disk: where they end.

    python -m bench.scale.failures    # all that is not in the journal yet; then the table
    python -m bench.scale.failures --only kill/fit --kills 2

Each failure strikes a run at a moment drawn over its whole life: while it starts, solves, keeps
its state and writes its result. *kill* (SIGKILL): twenty, half of two ranks that stream shards in
a script, half of the command ``fit``, in one process and under torchrun. *hang*: a rank is stopped
for good. *slow*: for three seconds. *cut*: the network between two hosts (namespaces; needs root).
*gone*, *full*: a rank's shard is removed, or it can write no more. A run that ended by it is
started again, and must end in the bits of one that was left alone, with all seals whole.

Rows are appended to the journal as they come, and a later call goes on with the rest. Writes
bench/results/failures.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import load_file

from bench import record
from proxmtl import (
    FISTA,
    L1,
    Logistic,
    MaxIterations,
    Problem,
    ProcessRanks,
    ShardedDesign,
    StreamedDesign,
    minimize,
)
from proxmtl.io import Checkpoint, InputError, open_shards
from proxmtl.io.seal import check_seal, read_manifest

SETTINGS = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(record.ROOT)}
SETTINGS |= {"TORCHELASTIC_ERROR_FILE": os.devnull}
JOURNAL = record.ROOT / "build" / "failures.jsonl"
ROWS, D, M = 6_000, 64, 4
"""Rows of a rank."""
MINUTES, PATIENCE = 0.1, 180.0
"""How long a rank waits for the others, and the seconds after which a run counts as hanging."""
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
FIT = ["fit", "shards", "--labels", "labels.csv", "--memory", "500kB", "--own-strength", "inf"]
FIT += ["--algorithm", "panoc", "--max-passes", "120", "--tol", "1e-12", "--checkpoint", "0.1"]


def solve(folder: Path, out: Path, limit: int) -> None:
    """What each rank of the script runs."""
    torch.set_num_threads(1)
    ranks = ProcessRanks.join(minutes=MINUTES)
    if limit and ranks.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    own = StreamedDesign(open_shards(folder / str(ranks.rank)), intercept=True, memory=1 << 21)
    Y = np.load(folder / f"labels-{ranks.rank}.npy")
    design = ShardedDesign(own, ranks)
    posed = Problem.of(design, Y, L1(1e-3), loss=Logistic(), reduction="mean")
    kept = Checkpoint(out.with_suffix(".kept"), seconds=0.1)
    result = minimize(posed, FISTA(), stop=MaxIterations(100), checkpoint=kept)
    if ranks.rank == 0:
        torch.save(result.solution, out)


def write_data(folder: Path) -> None:
    """Shards and labels of two ranks, and of both together for the command."""
    truth = np.random.default_rng(9).standard_normal((D, M))
    labels = []
    (folder / "shards").mkdir()
    for rank in range(2):
        rng = np.random.default_rng(rank)
        (folder / str(rank)).mkdir()
        parts = [rng.standard_normal((ROWS // 3, D), dtype=np.float32) for _ in range(3)]
        for k, part in enumerate(parts):
            np.save(folder / str(rank) / f"part-{k}.npy", part)
            shutil.copy(folder / str(rank) / f"part-{k}.npy", folder / f"shards/part-{rank}{k}.npy")
        noise = rng.standard_normal((ROWS, M)) * 4
        labels.append(np.sign(np.concatenate(parts) @ truth + noise))
        np.save(folder / f"labels-{rank}.npy", labels[-1])
    lines = ["a,b,c,d", *(",".join(f"{y:.0f}" for y in row) for row in np.concatenate(labels))]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass
class Way:
    """A way of running: arguments of Python, how the result is read, what is wrong with it."""

    lines: Callable[[Path, int], list[str]]
    result: Callable[[Path], dict[str, torch.Tensor]]
    sound: Callable[[Path], str]


def _script_lines(out: Path, restarts: int, limit: int = 0) -> list[str]:
    place = ["--solve", ".", "--out", str(out / "run.pt"), "--limit", str(limit)]
    return [*TORCHRUN, f"--max-restarts={restarts}", "-m", "bench.scale.failures", *place]


def _script_sound(out: Path) -> str:
    try:
        for path in (out / "run.kept").glob("*.pt"):
            check_seal(path, "")
    except InputError as error:
        return str(error)
    left = [path.name for path in (out / "run.kept").iterdir() if not path.name.startswith("rank-")]
    return f"left over: {left}" if left else ""


def _fit_sound(out: Path) -> str:
    try:
        read_manifest(out / "run").check()
    except InputError as error:
        return str(error)
    left = [path.name for path in out.iterdir() if path.name != "run"]
    return f"left over: {left}" if left else ""


WAYS = {
    "script": Way(_script_lines, lambda out: {"W": torch.load(out / "run.pt")}, _script_sound),
    "fit": Way(
        lambda out, _: ["-m", "proxmtl", *FIT, "--out", str(out / "run")],
        lambda out: load_file(out / "run" / "model.safetensors"),
        _fit_sound,
    ),
    "fit, torchrun": Way(
        lambda out, restarts: [
            *TORCHRUN,
            f"--max-restarts={restarts}",
            *["-m", "proxmtl", *FIT, "--out", str(out / "run")],
        ],
        lambda out: load_file(out / "run" / "model.safetensors"),
        _fit_sound,
    ),
}


@dataclass
class Run:
    """A run at work, in a process group of its own."""

    folder: Path
    arguments: list[str]
    begin: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, *self.arguments],
            cwd=self.folder,
            env=os.environ | SETTINGS,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            process_group=0,
        )

    def workers(self) -> list[int]:
        """Processes that compute: the ranks that torchrun has started, or the one process."""
        if "torch.distributed.run" not in self.arguments:
            return [self.process.pid] if self.process.poll() is None else []
        return sorted(
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/stat")
            if _parent(path) == self.process.pid
        )

    def ended(self, within: float = PATIENCE) -> bool:
        """Wait for the end; whatever hangs is ended. Whether it came by itself."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.end()
            return False
        return True

    def end(self) -> None:
        """End all its processes."""
        for pid in [*self.workers(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """The first sentence about the failure on its standard error."""
        self.log.seek(0)
        found = [re.search(r"(?<!Failed)(Error: (?!\s)|Stopped).*", line) for line in self.log]
        return next((each[0].removeprefix("Error: ")[:240] for each in found if each), "")


def _parent(stat: Path) -> int | None:
    try:
        state, parent = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)


def _alive(pid: int) -> bool:
    return _parent(Path(f"/proc/{pid}/stat")) is not None


Outcome = dict[str, Any]
Act = Callable[[Run, int, Path], float]
"""Strikes a worker of a run on inputs in a folder; returns for how long it paused the run."""


def _kill(_run: Run, victim: int, _folder: Path) -> float:
    os.kill(victim, signal.SIGKILL)
    return 0.0


def _hang(_run: Run, victim: int, _folder: Path) -> float:
    os.kill(victim, signal.SIGSTOP)
    return 0.0


def _slow(_run: Run, victim: int, _folder: Path) -> float:
    os.kill(victim, signal.SIGSTOP)
    time.sleep(3.0)
    os.kill(victim, signal.SIGCONT)
    return 3.0


def _gone(_run: Run, _victim: int, folder: Path) -> float:
    (folder / "1" / "part-1.npy").rename(folder / "away.npy")
    return 0.0


@dataclass(frozen=True)
class Failure:
    """A kind of failure: what is done to which way of running, and how often."""

    act: Act
    way: str
    restarts: int = 3
    early: float = 0.0
    """First moment, as a fraction of the life of a run."""
    late: float = 1.0
    limit: int = 0


FAILURES: dict[str, tuple[Failure, int]] = {
    "kill/script": (Failure(_kill, "script"), 10),
    "kill/fit": (Failure(_kill, "fit"), 5),
    "kill/fit, torchrun": (Failure(_kill, "fit, torchrun"), 5),
    "hang/script": (Failure(_hang, "script", restarts=0, early=0.5, late=0.9), 2),
    "slow/script": (Failure(_slow, "script", restarts=0, early=0.5, late=0.9), 2),
    "gone/script": (Failure(_gone, "script", restarts=0, early=0.5, late=0.8), 2),
    "full/script": (Failure(lambda *_: 0.0, "script", restarts=0, limit=20_000), 2),
}


def strike(failure: Failure, folder: Path, whole: Outcome, draw: random.Random) -> Outcome:
    """Let a failure strike a run; start it again if it ended by that; compare the results."""
    way = WAYS[failure.way]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        out = Path(name)
        limited = failure.limit > 0
        lines = (
            _script_lines(out, 0, failure.limit) if limited else way.lines(out, failure.restarts)
        )
        moment = draw.uniform(failure.early, failure.late) * whole["seconds"]
        run = Run(folder, lines)
        time.sleep(moment)
        while not (workers := run.workers()) and run.process.poll() is None:
            time.sleep(0.01)  # it is only starting
        row: Outcome = {"moment": round(moment / whole["seconds"], 2)}
        victim = None
        if workers:
            victim = draw.choice(workers)
            others = [pid for pid in workers if pid != victim]
            paused = failure.act(run, victim, folder)
            struck = time.monotonic()
            while paused == 0 and any(map(_alive, others)) and time.monotonic() < struck + PATIENCE:
                time.sleep(0.02)
            row["others ended after"] = round(time.monotonic() - struck, 2) if others else None
        if failure.act is _hang and victim is not None:  # as a person would, or a queue's limit
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        row["hung"] = not run.ended()
        row |= {"said": run.said(), "code": run.process.returncode}
        if failure.act is _gone:
            (folder / "away.npy").rename(folder / "1" / "part-1.npy")
        begin, row["again"] = run.begin, 0
        while run.process.returncode != 0 and row["again"] < 3:
            row["again"] += 1
            run = Run(folder, way.lines(out, 0))
            run.ended()
            if "already holds a run" in run.said():  # it was whole when the failure came
                break
        row["seconds more"] = round(time.monotonic() - begin - whole["seconds"], 1)
        try:
            found = way.result(out)
            row["same"] = found.keys() == whole["result"].keys() and all(
                torch.equal(found[key], value) for key, value in whole["result"].items()
            )
        except OSError as error:
            row["same"] = f"{type(error).__name__}: {error}"
        row["unsound"] = way.sound(out)
        return row


def cut(folder: Path, draw: random.Random) -> Outcome:
    """Cut the network between two hosts in the midst of a solve, and start both again."""
    from tests.hosts import Hosts

    job = record.ROOT / "tests" / "host_job.py"
    with tempfile.TemporaryDirectory(dir=folder) as name, Hosts() as two:
        out = Path(name)
        processes = two.srun(job, out, 0.1)
        while not all((out / f"{rank}.pid").exists() for rank in range(2)):
            time.sleep(0.02)
        time.sleep(draw.uniform(0.0, 3.0))
        two.cut()
        struck = time.monotonic()
        errors = [process.communicate(timeout=PATIENCE)[1] for process in processes]
        row = {
            "said": errors[1].splitlines()[-1][:240],
            "others ended after": round(time.monotonic() - struck, 2),
            "code": [process.returncode for process in processes],
        }
        two.mend()
        again = two.srun(job, out, 0.0)
        for process in again:
            process.communicate(timeout=PATIENCE)
        fresh = out / "fresh"
        fresh.mkdir()
        for process in two.srun(job, fresh, 0.0):
            process.communicate(timeout=PATIENCE)
        found, whole = (torch.load(place / "0.pt") for place in (out, fresh))
        same = torch.equal(found["solution"], whole["solution"])
        return {**row, "again": 1, "from iteration": found["begun"], "same": same, "unsound": ""}


def _rows(folder: Path, only: str, kills: int | None, known: set[str]) -> Iterator[Outcome]:
    wholes: dict[str, Outcome] = {}
    for kind, (failure, number) in FAILURES.items():
        for k in range(number if kills is None else min(number, kills)):
            if f"{kind} #{k}" in known or only not in kind:
                continue
            if failure.way not in wholes:
                out = folder / f"whole-{len(wholes)}"
                out.mkdir()
                run = Run(folder, WAYS[failure.way].lines(out, 0))
                run.ended()
                seconds = time.monotonic() - run.begin
                wholes[failure.way] = {"seconds": seconds, "result": WAYS[failure.way].result(out)}
            draw = random.Random(f"{kind} {k}")
            row = strike(failure, folder, wholes[failure.way], draw)
            yield {"name": f"{kind} #{k}", **row, "alone": round(wholes[failure.way]["seconds"], 1)}
    for k in range(2 if kills is None else min(2, kills)):
        if f"cut #{k}" not in known and only in "cut":
            yield {"name": f"cut #{k}", **cut(folder, random.Random(f"cut {k}"))}


def main(  # noqa: PLR0917 - typer's options
    only: record.Only = "",
    kills: Annotated[int | None, typer.Option(help="At most so many of each kind.")] = None,
    journal: Annotated[Path, typer.Option(help="Rows so far.")] = JOURNAL,
    solve_in: Annotated[Path | None, typer.Option("--solve", hidden=True)] = None,
    out: Annotated[Path | None, typer.Option(hidden=True)] = None,
    limit: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Let failures strike runs, and compare where they end."""
    if solve_in is not None:
        assert out is not None
        solve(solve_in, out, limit)
        return
    journal.parent.mkdir(exist_ok=True)
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else []
    rows = [json.loads(line) for line in lines]
    with tempfile.TemporaryDirectory() as name:
        write_data(Path(name))
        for row in _rows(Path(name), only, kills, {row["name"] for row in rows}):
            with journal.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            rows.append(row)
            typer.echo(json.dumps(row))
    record.save("failures", {"rows": sorted(rows, key=lambda row: row["name"])})


if __name__ == "__main__":
    typer.run(main)
