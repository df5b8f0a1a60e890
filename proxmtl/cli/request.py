"""What a command was asked for: options from the line and from a file, as a run records them."""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer

from proxmtl.cli.image_options import given_options

__all__ = [
    "Request",
    "note_options_of_file",
    "replayed",
    "request",
    "requesting",
    "say_which_file",
    "takes_config",
]

_NOT_AGAIN = ("config", "force", "out")
"""Options of one call, and not of what it makes."""
_FILE = "proxmtl.config"
"""In what click keeps with a context: the file of options, and what is in it."""


class Request(NamedTuple):
    """A call of a command."""

    command: Any
    """The command, of click."""
    options: dict[str, Any]
    """JSON-able: the parameters that were given, by name, but for where the result goes."""


_request: ContextVar[Request | None] = ContextVar("request", default=None)


def request() -> Request | None:
    """The call at work; None where no command runs."""
    return _request.get()


@contextlib.contextmanager
def requesting(ctx: Any) -> Iterator[None]:
    """Make the call of a context the one at work."""
    given = given_options(ctx).difference(_NOT_AGAIN)
    options = {name: _plain(value) for name, value in ctx.params.items() if name in given}
    token = _request.set(Request(ctx.command, options))
    try:
        yield
    finally:
        _request.reset(token)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _take_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the table of a file the ``default_map`` of click, which converts and checks its values.

    What the line says wins over them.
    """
    if path is not None:
        found = _options_of(ctx.command, path)
        ctx.default_map = {**(ctx.default_map or {}), **found}
        ctx.meta[_FILE] = (path, found)
    return path


def say_which_file(ctx: Any, error: Any) -> None:
    """Name the file of options in an error of usage, where the value at fault is of the file."""
    path, found = ctx.meta.get(_FILE, (None, {}))
    name = getattr(getattr(error, "param", None), "name", None)
    message = getattr(error, "message", None)
    if name is None or name not in found or not isinstance(message, str):
        return
    source = ctx.get_parameter_source(name)
    if source is not None and source.name == "DEFAULT_MAP":  # and not of the line, which wins
        error.message = f"{path} has {name.replace('_', '-')} = {found[name]!r}. {message}"


def note_options_of_file(ctx: Any, error: BaseException) -> None:
    """Add to an error of the work which options that it speaks of are of a file of options."""
    path, found = ctx.meta.get(_FILE, (None, {}))
    if path is None or not isinstance(error, ValueError):
        return
    text, source = str(error), getattr(error, "source", None)
    blamed = []
    for parameter in ctx.command.params:
        name = parameter.name
        asked = ctx.get_parameter_source(name)
        if name not in found or asked is None or asked.name != "DEFAULT_MAP":
            continue
        shown = [*parameter.opts, *parameter.secondary_opts]
        spoken = any(re.search(rf"{re.escape(opt)}(?![\w-])", text) for opt in shown if "--" in opt)
        if spoken or text.startswith(f"{name}: ") or str(source) == str(found[name]):
            blamed.append(f"{name.replace('_', '-')} = {found[name]!r}")
    if blamed:
        error.add_note(f"{path} has {', '.join(blamed)}.")
    elif source is None:  # it names no file
        error.add_note(f"Options were read from {path}, too.")


_CONFIG = Parameter(
    "config",
    Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML or JSON file of options by name, such as max-passes = 500; options given on "
            "the line win.",
            is_eager=True,
            callback=_take_file,
        ),
    ],
)


def takes_config(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option ``--config``, a file of its other options."""

    @functools.wraps(command)
    def configured(*, config: Path | None = None, **given: Any) -> None:
        del config  # its callback has read it
        command(**given)

    hints = get_type_hints(command, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY)
        for name, parameter in signature(command).parameters.items()
    ]
    configured.__signature__ = Signature([*parameters, _CONFIG])  # type: ignore[attr-defined]
    configured.__annotations__ = {each.name: each.annotation for each in (*parameters, _CONFIG)}
    return configured


def _options_of(command: Any, path: Path) -> dict[str, Any]:
    """Read a file of options.

    Raises
    ------
    InputError
        If it can't be read, or has an option that the command has not.
    """
    from proxmtl.documents import parse_json, parse_toml  # noqa: PLC0415 - only where there is one
    from proxmtl.io.errors import InputError  # noqa: PLC0415 - as above

    kinds = {".json": parse_json, ".toml": parse_toml}
    if path.suffix.lower() not in kinds:
        raise InputError(path, "options are read from .toml or .json; give such a file.")
    if not path.is_file():
        raise InputError(path, "no such file; check the path given as --config.")
    try:
        table = kinds[path.suffix.lower()](path.read_bytes())
    except ValueError as error:
        raise InputError(path, str(error)) from error
    if not isinstance(table, dict):
        raise InputError(path, "holds no table; write options by name, such as max-passes = 500.")
    known = _names(command)
    found = {}
    for key, value in table.items():
        name = known.get(key.replace("-", "_"))
        if name is None:
            raise InputError(path, f"{command.name} has no option {key!r}; {_advice(command, key)}")
        if name in found:
            raise InputError(path, f"the option {key!r} is there twice; keep one.")
        if isinstance(value, dict):
            raise InputError(path, f"{key!r} is a table; give the option one value.")
        found[name] = value
    return found


def _names(command: Any) -> dict[str, str]:
    """Parameter and option, with underscores -> parameter.

    Where an option is called as another parameter is (``--features`` of ``fit``, whose images or
    features are ``features``), the name is that of the parameter.
    """
    found = {}
    for parameter in command.params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            if option.startswith("--") and not option.startswith("--no-"):
                found[option.removeprefix("--").replace("-", "_")] = parameter.name
    found |= {parameter.name: parameter.name for parameter in command.params}
    return {key: name for key, name in found.items() if name not in ("help", "config")}


def _advice(command: Any, key: str) -> str:
    """What to write in place of a name that a command does not have."""
    known, asked = _names(command), key.replace("-", "_")
    if asked.startswith("no_") and asked.removeprefix("no_") in known:
        return f"write {key[3:]} = false."
    shown = [name.replace("_", "-") for name in known]
    near = difflib.get_close_matches(key.replace("_", "-"), shown, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    arguments = [repr(each.name) for each in command.params if each.param_type_name == "argument"]
    named = f"what stands without a name on the line is {' and '.join(arguments)} here; "
    return f"{named if arguments else ''}see proxmtl {command.name} --help."


def replayed(command: Any, options: dict[str, Any], arguments: list[str], parent: Any) -> None:
    """Call a command with recorded options, and arguments that win over them."""
    with command.make_context(
        command.name, arguments, parent=parent, default_map=options
    ) as context:
        command.invoke(context)
