"""The kinds of faults: each disturbs a command, runs it again, and says how that went."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from typer.main import get_command

from proxmtl.cli.app import app
from proxmtl.io.names import NEXT_FOLDER
from tests.faults.child import UNDISTURBED, Disturbance, Moment
from tests.faults.commands import COMMANDS
from tests.faults.compare import Tree, differences, in_tree, snapshot
from tests.faults.damage import DAMAGES, still_valid
from tests.faults.process import Ended, start
from tests.faults.verdict import FAILURE, OTHER, REFUSED, SAME, complaint, files_in, interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.ground import Ground, Reference

__all__ = ["KINDS", "Fault"]

INTERRUPTS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
WHOLE_GROUP = {signal.SIGINT, signal.SIGHUP}
"""Signals that a terminal sends to all processes of a command."""
FRESH = 0.12
"""Share of the kills and interruptions of interpreters that have just started."""
START = 4.0
"""Seconds that a new interpreter takes for imports, about."""


@dataclass
class Fault:
    """A fault at work.

    Attributes
    ----------
    ground, name, reference
        Where, which command, and how it ends undisturbed.
    rng
        All that is random about it.
    detail
        What was done, in words.
    kept
        What runs that failed said that they kept of their results.
    partly
        Whether the last one said that it saved a part.
    images_changed
        Whether images were others for a while: their pixels are in caches of their own.
    """

    ground: Ground
    name: str
    reference: Reference
    rng: random.Random
    detail: str = ""
    kept: tuple[str, ...] = ()
    partly: bool = False
    images_changed: bool = False

    @property
    def arguments(self) -> list[str]:
        """Of the command; a run of which only a part could be saved is replaced by force."""
        asked = COMMANDS[self.name].arguments
        return [*asked, "--force"] if self.partly and "--force" not in asked else asked

    def moment(self) -> Moment:
        """A file event, or a time, of the undisturbed run."""
        ended = self.reference.ended
        if ended.events and self.rng.random() < 0.7:
            return Moment(event=self.rng.randint(1, ended.events))
        return Moment(seconds=self.rng.uniform(0, ended.seconds))

    def run(self, disturbance: Disturbance = UNDISTURBED, *, fresh: bool = False) -> Ended:
        ended = start(self.arguments, self.ground.work, disturbance, fresh=fresh).wait()
        self.partly = bool(re.search(r"saved in \S+, without .*with --force", ended.err))
        for name in re.findall(r"\S+\.kept-\d+", ended.err):
            kept = (self.ground.work / name).relative_to(self.ground.work)
            self.kept += (kept.as_posix(),)
        return ended

    def differences(self) -> str:
        """Say which files aren't those of the undisturbed run.

        Left out are what a run that could not write its result has kept of it, and said so; and,
        where images were damaged, the caches of pixels, which belong to the images as they were.
        """
        others = (*self.kept, *(["out/cache/pixels-"] if self.images_changed else []))
        found, expected = (
            {name: digest for name, digest in tree.items() if not name.startswith(others)}
            for tree in (snapshot(self.ground.work), self.reference.after)
        )
        return differences(found, expected)

    def complaint(self, ended: Ended, *others: str) -> str:
        """Say what is wrong with an error, which names a file, an option or an argument."""
        known = _parameters(self.arguments[0])
        return complaint(ended, [*files_in(self.arguments[1:]), *others], known)

    def judged_again(self, first: Callable[[], str], outcome: str) -> tuple[str, str]:
        """Judge the disturbed run, then run the command again and compare all files.

        Parameters
        ----------
        first
            Says what is wrong with the disturbed run.
        outcome
            Of the fault, if nothing is wrong.
        """
        wrong = first() or self._replaced()
        if wrong:
            return FAILURE, wrong
        wrong = self.again()
        return (FAILURE, wrong) if wrong else (outcome, "")

    def again(self) -> str:
        """Run the command again; say what is wrong with it or its files."""
        goes_on = "train" in self.name and "--force" not in self.arguments
        known = _epochs_kept(self.ground.work / "out/cnn") if goes_on else None
        ended = self.run()
        wrong = ""
        if ended.code != 0:
            wrong = self.complaint(ended) or self._unfinished(ended)
        elif known and f"going on after epoch {known}" not in ended.out:
            wrong = f"{known} epochs were kept, and the next run says {ended.out[:200]!r}"
        found = self.differences()
        return wrong or (f"after another run: {found}" if found else "")

    def _unfinished(self, ended: Ended) -> str:
        """An error of the second run is right only where the first had finished."""
        found = self.differences()
        return f"{found}, and the next run says: {ended.err.strip()[:400]!r}" if found else ""

    def _replaced(self) -> str:
        """Say whether what is to be replaced is neither the old nor the new."""
        target = COMMANDS[self.name].replaces
        if target is None or self.partly:  # of a run saved in part, which says so, it is the new
            return ""
        if (self.ground.work / target / NEXT_FOLDER).is_dir():  # readers raise until it is ended
            return ""
        found, old, new = (
            {name: d for name, d in _below(tree, target).items() if not name.startswith(self.kept)}
            for tree in (snapshot(self.ground.work), self.reference.before, self.reference.after)
        )
        if found in (old, new):
            return ""
        return f"{target} is neither the old nor the new: {differences(found, old)}"


@cache
def _parameters(command: str) -> tuple[str, ...]:
    """Options of a command, and its arguments by name."""
    found = get_command(app).commands[command].params
    return tuple(name for one in found for name in (*one.opts, *one.secondary_opts))


def _below(tree: Tree, target: str) -> Tree:
    """Files of a target; hidden ones are of the process that was at work, and of no reader."""
    return {
        name: digest
        for name, digest in tree.items()
        if name.startswith(target) and not any(part[0] == "." for part in Path(name).parts)
    }


def _epochs_kept(folder: Path) -> int | None:
    """Number of epochs in a run's checkpoint, by its own reader; None without a checkpoint."""
    from proxmtl.backbones.training import read_checkpoint

    found = read_checkpoint(folder)
    return None if found is None else len(found.history) - 1


def _kill(fault: Fault) -> tuple[str, str]:
    """SIGKILL, at any moment: the next run does what was left."""
    fresh = fault.rng.random() < FRESH
    at = fault.moment() if not fresh else Moment(seconds=fault.rng.uniform(0, START))
    fault.detail = f"SIGKILL at {at}{' of a new interpreter' if fresh else ''}"
    ended = fault.run(
        Disturbance(at, lambda process: os.kill(process, signal.SIGKILL)), fresh=fresh
    )

    def first() -> str:
        if ended.code not in {0, -signal.SIGKILL}:
            return f"exit code {ended.code}: {ended.err[-300:]!r}"
        return f"{ended.orphans} processes left behind" if ended.orphans else ""

    return fault.judged_again(first, SAME)


def _interrupt(fault: Fault) -> tuple[str, str]:
    """SIGINT, SIGTERM or SIGHUP: a word, its exit code, and the next run does what was left."""
    number = fault.rng.choice(INTERRUPTS)
    fresh = fault.rng.random() < FRESH
    at = fault.moment() if not fresh else Moment(seconds=fault.rng.uniform(1.0, START))
    fault.detail = f"{number.name} at {at}{' of a new interpreter' if fresh else ''}"
    send = os.killpg if number in WHOLE_GROUP else os.kill
    ended = fault.run(Disturbance(at, lambda process: send(process, number)), fresh=fresh)
    begun = bool(ended.out) or snapshot(fault.ground.work) != fault.reference.before
    return fault.judged_again(lambda: interruption(ended, number, begun=begun), SAME)


def _full_disk(fault: Fault) -> tuple[str, str]:
    """The disk is full from a moment on, or files may not grow beyond a size."""
    rng, at = fault.rng, fault.moment()
    if fault.ground.mounted and rng.random() < 0.7:
        room = rng.choice((0, 4096, 3 * 4096, rng.randrange(200_000)))
        fault.detail = f"{room} bytes of room from {at} on"
        ended = fault.run(Disturbance(at, lambda _: fault.ground.fill(room)))
        fault.ground.clear()
    else:
        size = rng.choice((1, 300, 5000, rng.randrange(100_000)))
        fault.detail = f"files of at most {size} bytes"
        ended = fault.run(Disturbance(file_size=size))
    return fault.judged_again(lambda: _well(fault, ended), REFUSED if ended.code else SAME)


def _no_memory(fault: Fault) -> tuple[str, str]:
    """The address space is limited to a bit more than the program begins with."""
    # below some MiB the C library itself gives up: "cannot allocate memory for thread-local data"
    memory = int(2 ** fault.rng.uniform(23, 29))
    fault.detail = f"{memory} more bytes of address space"
    ended = fault.run(Disturbance(memory=memory))
    # what is too large need not be a file: then the limit is named
    return fault.judged_again(
        lambda: _well(fault, ended, "ulimit -v"), REFUSED if ended.code else SAME
    )


def _no_folder(fault: Fault) -> tuple[str, str]:
    """The folder of all outputs goes away."""
    at = fault.moment()
    out = fault.ground.work / "out"
    fault.detail = f"out removed at {at}"
    ended = fault.run(Disturbance(at, lambda _: shutil.rmtree(out, ignore_errors=True)))
    wrong = _well(fault, ended)
    if not out.is_dir():
        out.mkdir()
    if wrong:
        return FAILURE, wrong
    wrong = fault.again()
    return (FAILURE, wrong) if wrong else (REFUSED if ended.code else SAME, "")


def _twice(fault: Fault) -> tuple[str, str]:
    """The same command starts twice: one does the work, the other does too or says why not."""
    pause = fault.rng.choice((0.0, fault.rng.uniform(0, fault.reference.ended.seconds)))
    fault.detail = f"a second one after {pause:.3f} s"
    first = start(fault.arguments, fault.ground.work)
    time.sleep(pause)
    second = start(fault.arguments, fault.ground.work)
    # the second is read only after the first: what they print fits into a pipe
    ended = first.wait(), second.wait()

    def judge() -> str:
        if all(one.code for one in ended):
            return f"both ended with errors: {[one.err[-200:] for one in ended]}"
        return next(filter(None, (_well(fault, one) for one in ended)), "")

    return fault.judged_again(judge, SAME)


def _damage(fault: Fault) -> tuple[str, str]:
    """A file that is read is damaged: it is named, or it makes no difference."""
    case, rng, work = COMMANDS[fault.name], fault.rng, fault.ground.work
    own = sorted(str(p.relative_to(work)) for pattern in case.own for p in work.glob(pattern))
    chosen = rng.choice([*case.reads, *own])
    path, how = work / chosen, rng.choice(sorted(DAMAGES))
    fault.images_changed = chosen.startswith("photos/")
    whole, times = path.read_bytes(), path.stat()
    path.write_bytes(DAMAGES[how](whole, rng))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a disk does it, without a trace
    fault.detail = f"{chosen}: {how}"
    damaged = snapshot(work)[in_tree(chosen)]
    valid = chosen not in own and still_valid(path)
    ended = fault.run()
    found = _damage_done(fault, ended, chosen, damaged, valid=valid)
    if found and not (valid and ended.code == 0):
        return FAILURE, found
    if ended.code == 0:
        return OTHER if found else SAME, ""
    fault.detail += f" -> {ended.err.strip()[:300]}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(whole)  # got again, and so of another time
    if chosen in own:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    wrong = fault._replaced() or fault.again()
    return (FAILURE, f"when it is whole again: {wrong}") if wrong else (REFUSED, "")


def _damage_done(fault: Fault, ended: Ended, chosen: str, damaged: str, *, valid: bool) -> str:
    """Say what the damage to a file did; nothing where the result is the same or a clear error.

    What is still a valid file may contradict another, and then either of them is named.
    """
    folder = Path(chosen).parent
    # a model, a run or features with files beside them are named by the whole as well
    names = [Path(chosen).name, f"{Path(chosen).name.partition('.')[0]}.npy"]
    names += [str(folder)] if folder.name in {"run", "cnn", "trials"} else []
    if ended.code != 0:
        return fault.complaint(ended, *names) if valid else complaint(ended, names)
    wrong = complaint_of_success(ended)
    if wrong:
        return wrong
    expected = dict(fault.reference.after)
    found, chosen = snapshot(fault.ground.work), in_tree(chosen)
    for tree in (expected, found):
        tree.pop("out/run/config.json", None)  # it has the digests of inputs
        tree.pop("out/cnn/config.json", None)
        if tree.get(chosen) in {damaged, fault.reference.before.get(chosen)}:
            tree.pop(chosen)
    found_text = differences(found, expected)
    if (
        not found_text
        and COMMANDS[fault.name].says
        and _said(ended) != _said(fault.reference.ended)
    ):
        found_text = "it prints something else"
    return f"damage without a word: {found_text}" if found_text else ""


def complaint_of_success(ended: Ended) -> str:
    """Say what is wrong with a run that ended well; nothing if all is right."""
    if ended.orphans:
        return f"{ended.orphans} processes left behind"
    return "Traceback in a run that ended well" if "Traceback" in ended.err else ""


def _said(ended: Ended) -> list[str]:
    return [line.rstrip() for line in ended.out.splitlines()]


def _well(fault: Fault, ended: Ended, *others: str) -> str:
    """Say what is wrong with a run: it may end well or with a clear error."""
    if ended.code == 0:
        return complaint_of_success(ended)
    return fault.complaint(ended, *others)


KINDS: dict[str, Callable[[Fault], tuple[str, str]]] = {
    "kill": _kill,
    "interrupt": _interrupt,
    "full": _full_disk,
    "damage": _damage,
    "gone": _no_folder,
    "twice": _twice,
    "memory": _no_memory,
}
