"""What may follow a fault: the same result, or a clear error."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults.process import Ended

__all__ = ["FAILURE", "OTHER", "REFUSED", "SAME", "complaint", "files_in", "interruption"]

SAME, REFUSED, OTHER, FAILURE = "same result", "clear error", "other content", "failure"

BAD_INPUT = 2
ENDED_BY = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Exit codes that shells know for programs that a signal ended, as documented."""
UNWANTED = ("Traceback", "Aborted", "internal error", "Internal error", "Fatal Python error")
LONGEST = 1500
"""Characters that a message may have."""


def complaint(ended: Ended, files: Iterable[str], arguments: Iterable[str] = ()) -> str:
    """Say what is wrong with an error; nothing if it is clear.

    Parameters
    ----------
    ended
        A command that didn't end well.
    files, arguments
        It must name one of these: files and folders, or options (``--labels``) and arguments
        (``features``) of the command.
    """
    wrong = _common(ended)
    if wrong:
        return wrong
    if ended.code != BAD_INPUT:
        return f"exit code {ended.code}: {_last_line(ended.err)!r}"
    message = ended.err[max(ended.err.rfind("Error:"), 0) :].strip()
    if not message.startswith("Error:") or not re.search(r"[.)\]'!?]$", message):
        return f"no sentence: {_last_line(ended.err)!r}"
    if len(message) > LONGEST:
        return f"a message of {len(message)} characters: {message[:200]!r}"
    if not any(_names(message, name) for name in (*files, *arguments)):
        return f"names no file or argument: {message!r}"
    return ""


def files_in(arguments: Iterable[str]) -> list[str]:
    """Files and folders among the arguments of a command, as an error may name them.

    Whole paths, names of files, and the folders around them; not options, and not numbers.
    """
    words = [word for word in arguments if not word.startswith("-")]
    paths = [Path(word) for word in words if not word.replace(".", "").isdigit()]
    found = {str(path) for path in paths}
    found |= {path.name for path in paths if path.suffix}
    found |= {str(folder) for path in paths for folder in path.parents if folder.name}
    return sorted(found)


def _names(message: str, name: str) -> bool:
    """Whether a message names a file or an argument, and doesn't just use a word like it.

    A path, a name with a suffix and an option stand for themselves. Any other name may be a word
    of the sentence: it opens the message and a colon follows, or it is in quotes or in a path. What
    follows it there is no hidden file: those are the program's own, and tell the user nothing.
    """
    whole = rf"(?<![\w.-]){re.escape(name)}(?![\w-])"
    if "/" in name or "." in name or name.startswith("--") or " " in name:
        return re.search(whole, message) is not None
    usual = rf"^Error: {whole}: |(['\"]){whole}\1|{whole}/\w|(?<!\S)/\S*/{name}(?![^\s:,;.])"
    return re.search(usual, message) is not None


def interruption(ended: Ended, number: int, *, begun: bool) -> str:
    """Say what is wrong with how a command ended that was sent a signal; nothing if all is well.

    Parameters
    ----------
    ended
        The command.
    number
        Of the signal.
    begun
        Whether it had done something of which there is something to say.
    """
    wrong = _common(ended)
    if wrong:
        return wrong
    expected = ENDED_BY[signal.Signals(number)]
    if ended.code not in {0, expected}:
        return f"exit code {ended.code} where {expected} is due: {_last_line(ended.err)!r}"
    if ended.code and begun and not ended.err.strip():
        return "interrupted without a word"
    return ""


def _common(ended: Ended) -> str:
    if ended.code is None:
        return "hung"
    if ended.orphans:
        return f"{ended.orphans} processes left behind"
    found = next((word for word in UNWANTED if word in ended.err + ended.out), None)
    return f"{found}: {_last_line(ended.err)!r}" if found else ""


def _last_line(text: str) -> str:
    """The last line of what was said, and the first if it is another."""
    lines = text.strip().splitlines() or [""]
    return lines[-1][:300] if len(lines) == 1 else f"{lines[0][:200]} ... {lines[-1][:300]}"
