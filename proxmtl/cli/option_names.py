"""Sentences of the library in the words of the command line: options in place of parameters."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

__all__ = ["in_options", "option_of", "running", "say_what_was_given"]

_OTHER_NAMES = {
    "class_weight": "balanced",
    "l2_strength": "single_task",
    "n_folds": "folds",
    "random_state": "seed",
    "test_fraction": "holdout",
}
"""Parameters of the library -> parameters of the commands that stand for them."""
_FOR_PYTHON = re.compile(r" \(in Python\b[^()]*(?:\([^()]*\)[^()]*)*\)|, in Python [^()]*(?=\))")
_HEAD = re.compile(r"([a-z][a-z0-9_-]*(?:, [a-z][a-z0-9_-]*)*)(?=: )")
_ONE_OF_SEVERAL = re.compile(r", [^,.;:()]* \((max_passes|tol)\)")
"""Advice that needs a parameter, among other advice."""
SHARES = ("holdout", "validate")
"""Options that take a share of the rows."""
_COMMA = re.compile(r"[+-]?\d*,\d+")


_running: ContextVar[Any] = ContextVar("command", default=None)


@contextlib.contextmanager
def running(command: Any) -> Iterator[None]:
    """Name the options of a command in what is said inside the block."""
    token = _running.set(command)
    try:
        yield
    finally:
        _running.reset(token)


def in_options(sentence: str, command: Any = None) -> str:
    """Name the options of a command where a sentence names the parameters behind them.

    Parameters
    ----------
    sentence
        An error, a warning or advice. Names in quotes or in paths are left alone, and those that no
        option has; advice to change one of these is left out where there is other advice.
    command
        Of click, with its parameters; default: the one that is `running`, if one is.
    """
    options = _options(_running.get() if command is None else command)
    if not options:
        return sentence
    sentence = _FOR_PYTHON.sub("", sentence)
    sentence = _ONE_OF_SEVERAL.sub(lambda way: way[0] if way[1] in options else "", sentence)
    head = _HEAD.match(sentence)
    if head is not None:
        names = [name.replace("-", "_") for name in head[1].split(", ")]
        if all(name in options for name in names):
            sentence = ", ".join(options[name] for name in names) + sentence[head.end() :]
    for name, option in options.items():
        if "_" in name:  # others are words of the language too, unless they stand in brackets
            whole = rf"(?<![\w./\\'\"-]){name}(?![\w/\\'\"-]|\.\w)"
            sentence = re.sub(rf"{whole}=", f"{option} ", sentence)
            sentence = re.sub(whole, option, sentence)
        else:
            sentence = sentence.replace(f"({name})", f"({option})")
    return sentence


def _options(command: Any) -> dict[str, str]:
    """Parameter -> option, such as ``group_strength`` -> ``--group-strength``."""
    found: dict[str, str] = {}
    for parameter in getattr(command, "params", ()):
        long = [option for option in parameter.opts if option.startswith("--")]
        if long and parameter.name:
            found[parameter.name] = long[0]
    others = {name: found[own] for name, own in _OTHER_NAMES.items() if own in found}
    return {**others, **found}


def option_of(command: Any, name: str, *, off: bool = False) -> str:
    """The option of a parameter, or the one that switches it off, as it is given on the line."""
    parameter = next(each for each in command.params if each.name == name)
    found: str = (parameter.secondary_opts if off else parameter.opts)[0]
    return found


def say_what_was_given(error: Any, arguments: list[str]) -> None:
    """Add to an error of usage what was given, and how a number is written.

    Parameters
    ----------
    error
        Of click: ``param`` is the option at fault, ``message`` what is wrong.
    arguments
        Of the command.
    """
    value = _value_of(getattr(error, "param", None), arguments)
    message = getattr(error, "message", None)
    if value is None or not isinstance(message, str):
        return
    # versions of typer keep the type in different places, and all say where it is an integer
    if _COMMA.fullmatch(value) and "integer" not in message:
        error.message = f"got {value!r}; write it with a decimal point, {value.replace(',', '.')}."
    elif repr(value) not in message:
        error.message = f"got {value!r}. {message}.{_share(error.param, value)}"


def _share(parameter: Any, value: str) -> str:
    """How a percentage is written as a share, where an option takes one."""
    is_share = getattr(parameter, "name", None) in SHARES
    if not is_share or not value.isdecimal() or not 1 < int(value) < 100:
        return ""
    return f" It is a share: for {value} % give {int(value) / 100:g}."


def _value_of(parameter: Any, arguments: list[str]) -> str | None:
    """What was given for an option, the last time."""
    found = None
    for name in getattr(parameter, "opts", ()):
        for place, argument in enumerate(arguments):
            if argument == name and place + 1 < len(arguments):
                found = arguments[place + 1]
            elif argument.startswith(f"{name}=") and name.startswith("--"):
                found = argument.removeprefix(f"{name}=")
    return found
