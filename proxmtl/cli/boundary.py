"""The boundary of the commands: every exception ends here, as a sentence and an exit code.

An error is the caller's if this package raised it on purpose, by a ``raise`` statement of its own
whose sentence says what to do, or if the system refused something: a file, room on a disk, memory,
a package that is not installed. All else, such as the same ``ValueError`` out of a library, is a
fault of the program: it is called that, and its traceback goes to a file.
"""

from __future__ import annotations

import contextlib
import dis
import signal
import sys
import warnings
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from proxmtl.cli.console import logged_warnings, make_console, say_warning
from proxmtl.cli.crash import write_log
from proxmtl.cli.input_paths import check_inputs
from proxmtl.cli.missing import missing_package
from proxmtl.cli.option_names import in_options, running, say_what_was_given
from proxmtl.cli.ranks import check_command, first, speaks
from proxmtl.cli.request import note_options_of_file, requesting, say_which_file
from proxmtl.cli.signals import SIGNAL_EXIT, received
from proxmtl.machine import describe_os_error, is_lack_of_memory, memory_asked_for

__all__ = ["BAD_INPUT", "INTERNAL", "ReportingCommand", "ReportingGroup", "explain", "on_purpose"]

BAD_INPUT = 2
"""Exit code where the input, its arguments or the machine were at fault."""
INTERNAL = 70
"""Exit code where the program was: ``EX_SOFTWARE`` of the BSD systems."""
_RAISE = dis.opmap["RAISE_VARARGS"]
_SENTENCES = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    NotImplementedError,  # UnsupportedError, of regularizers and designs
    RuntimeError,  # BackendError, of kernels
)
"""Classes of which this package raises errors of the caller."""
_PACKAGE = __name__.partition(".")[0]

_SMALLER = {
    "fit": "fewer features or rows, or a smaller --n-latents",
    "tune": "fewer features or rows, or a smaller --n-latents",
    "train": "--cache DIR (pixels stay on the disk), a smaller --batch-size or --side, or more "
    "--shared-stages",
    "extract": "a smaller --batch-size",
    "predict": "fewer samples at a time, or for images a smaller --batch-size",
    "evaluate": "fewer samples at a time, or for images a smaller --batch-size",
    "zeroshot": "fewer samples at a time, or for images a smaller --batch-size",
}


def on_purpose(error: BaseException) -> bool:
    """Whether a ``raise`` statement in this package made an error, not an operation that failed."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    code = trace.tb_frame.f_code.co_code
    return module.partition(".")[0] == _PACKAGE and code[trace.tb_lasti] == _RAISE


def explain(error: Exception, command: str | None = None) -> str | None:
    """Put an error of the input or the machine into a sentence.

    Parameters
    ----------
    error
        Any.
    command
        The command that it ended, for advice on memory.

    Returns
    -------
    str or None
        None: the error is a fault of the program.
    """
    if is_lack_of_memory(error):
        asked = memory_asked_for(error)
        smaller = _SMALLER.get(command or "", "smaller inputs")
        return (
            f"there is not enough memory{f' ({asked} were asked for at once)' if asked else ''}; "
            f"use {smaller}, end other programs, or raise the limit (ulimit -v)."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return describe_os_error(error)
    if isinstance(error, _SENTENCES) and str(error) and on_purpose(error):
        return str(error)
    return missing_package(error) if isinstance(error, ModuleNotFoundError) else None


class ReportingCommand(TyperCommand):
    """A command; where it is stopped by a signal, a note says what of it there is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; an error says what it saw."""
        given = [*args]
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            say_what_was_given(error, given)
            say_which_file(ctx, error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        out = ctx.params.get("out")
        before = _state(out)
        check_command(self.name)
        try:
            with running(self), requesting(ctx):
                check_inputs(ctx.params)
                return super().invoke(ctx)
        except BaseException as end:
            note_options_of_file(ctx, end)
            stopped = isinstance(end, KeyboardInterrupt) or received() is not None
            if stopped and not getattr(end, "__notes__", None):
                end.add_note(_what_there_is(out, before))
            raise


def _what_there_is(out: Any, before: tuple[int, ...] | None) -> str:
    """Say what has become of the output of a command that was stopped."""
    after = _state(out)
    if after is None:
        return "Nothing was written."
    # files and runs appear when they are whole
    return f"{out} is {'as it was before' if after == before else 'complete'}."


def _state(path: Any) -> tuple[int, ...] | None:
    """What tells a file, or the run in a folder, from what takes its place."""
    for place in () if path is None else (path / "model.json", path):
        with contextlib.suppress(OSError, ValueError):
            found = place.stat()
            if place.name == "model.json" or not place.is_dir():
                return (found.st_ino, found.st_mtime_ns, found.st_size)
    return None


class ReportingGroup(TyperGroup):
    """Commands whose errors and warnings are sentences; docs/reference/cli.md has the exit codes.

    With ``proxmtl --debug`` the traceback is shown instead.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with warnings.catch_warnings(), logged_warnings():
                warnings.showwarning = say_warning
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort) as end:
            if received() is None:
                raise
            _stop(end)
        except KeyboardInterrupt as stop:
            _stop(stop)
        except Exception as error:
            if received() is not None:  # what a library made of the signal
                _stop(error)
            if _shows_itself(error) and not first():
                raise typer.Exit(getattr(error, "exit_code", BAD_INPUT)) from error
            if ctx.params.get("debug") or _shows_itself(error):
                raise
            raise typer.Exit(_report(error, _command(self, ctx))) from error


def _command(group: TyperGroup, ctx: Any) -> Any:
    """The command that was called."""
    name = ctx.invoked_subcommand
    return None if name is None else group.get_command(ctx, name)


def _shows_itself(error: Exception) -> bool:
    """Whether an error is one of usage: an option that there isn't, a number that is no number."""
    return callable(getattr(error, "show", None)) and hasattr(error, "exit_code")


def _stop(error: BaseException) -> None:
    number: int = received() or getattr(error, "number", None) or signal.SIGINT
    by = f" by {signal.Signals(number).name}" if number != signal.SIGINT else ""
    if first():  # torchrun and srun pass a signal on to all ranks
        _say("bold", f"Stopped{by}.", _notes(error))
    raise typer.Exit(SIGNAL_EXIT + number) from error


def _report(error: Exception, command: Any) -> int:
    """Say an error of a command, and what is kept all the same; give the exit code."""
    sentence, code = explain(error, getattr(command, "name", None)), BAD_INPUT
    label = "Error"
    if sentence is None:
        label, code = "Internal error", INTERNAL
        log = write_log(error)
        seen = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        sentence = (
            f"{seen.rstrip('.')}. This is a fault of proxmtl, not of the input; please report it "
            f"with {f'the file {log}' if log else 'what proxmtl --debug shows'}."
        )
    else:
        # a path, of a file or folder that the user named, may be called as an option is
        path = str(getattr(error, "source", ""))
        sentence = path + in_options(sentence.removeprefix(path), command)
    if code == INTERNAL or speaks(error):
        _say("bold red", f"{label}:", f" {sentence}{_notes(error)}")
    return code


def _notes(error: BaseException) -> str:
    """What was noted on an error about what is kept."""
    return "".join(f" {note}" for note in getattr(error, "__notes__", ()))


def _say(style: str, label: str, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr is full, closed, or can't encode it
        try:
            console = make_console(stderr=True, quiet=False)
            shown = f"[{style}]{label}[/]{escape(text)}"
            console.print(shown, soft_wrap=not sys.stderr.isatty())
        except (MemoryError, ImportError):  # rich loads a part of itself when it prints
            sys.stderr.write(f"{label}{text}\n")
