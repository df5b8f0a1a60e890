"""Options that several commands have, and those that others rule out."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import typer

__all__ = [
    "SEEDS",
    "BatchSize",
    "Device",
    "FrobeniusStrength",
    "GroupStrength",
    "IdColumn",
    "Key",
    "L1Strength",
    "Match",
    "MinPositives",
    "NumberOfLatents",
    "NumberOrAuto",
    "OwnStrength",
    "SharedStrength",
    "SkipCorrupt",
    "TaskColumn",
    "latents_of",
    "refuse_ignored",
    "strength_of",
    "strengths_of",
    "threshold_of",
]

_IMAGES = "Runs of train"

_MODEL = "Model"
_PAPER = "Strengths of the paper"

SEEDS = 2**63 - 1
"""Largest seed of torch that is one of NumPy too."""

Key = Annotated[str | None, typer.Option(help="Which array of an npz or safetensors file.")]
IdColumn = Annotated[
    str | None,
    typer.Option(help="Column of row identifiers, of the labels and of parquet features."),
]
TaskColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the labels that names the attribute of a line: a table with one line a "
        "label."
    ),
]
Match = Annotated[
    str,
    typer.Option(
        help="How rows of features and labels are brought together: by 'id', by 'position', or "
        "'auto': by id where both have some, by position where neither has."
    ),
]
MinPositives = Annotated[
    int,
    typer.Option(
        help="Leave out attributes that have fewer rows than this with yes, or with no.", min=0
    ),
]
SharedStrength = Annotated[
    str,
    typer.Option(
        help="Of what attributes share, as a fraction of the strength from which on they share "
        "nothing; 'auto': from the data.",
        rich_help_panel=_MODEL,
    ),
]
OwnStrength = Annotated[
    str,
    typer.Option(
        help="Ridge on a part of each attribute's own, W = L S + V, in units of the features' mean "
        "squared norm over the number of labels; 'auto': from the data, 'inf': no own parts, as "
        "with the paper's strengths.",
        rich_help_panel=_MODEL,
    ),
]
GroupStrength = Annotated[
    float | None,
    typer.Option(
        help="The paper's mu, sparsity of S over (latent, group) blocks: with the next two in "
        "place of --shared-strength; default 0.001 beside the others.",
        rich_help_panel=_PAPER,
    ),
]
L1Strength = Annotated[
    float | None,
    typer.Option(
        help="The paper's gamma, sparsity of L; default 0.0001 beside the others.",
        rich_help_panel=_PAPER,
    ),
]
FrobeniusStrength = Annotated[
    float | None,
    typer.Option(
        help="The paper's lambda, ridge on L; default 0.0001 beside the others.",
        rich_help_panel=_PAPER,
    ),
]
NumberOfLatents = Annotated[
    int | None,
    typer.Option(help="Upper bound K; default min(M, D).", min=1, rich_help_panel=_MODEL),
]
NumberOrAuto = Annotated[
    str | None,
    typer.Option(
        "--n-latents",
        help="Upper bound K, or 'auto': the rank of the best solution of the trace norm. Default "
        "min(M, D).",
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="'cpu' (default), 'cuda', ...", rich_help_panel=_IMAGES),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Images a forward pass; default 64.", min=1, rich_help_panel=_IMAGES),
]
SkipCorrupt = Annotated[
    bool,
    typer.Option(
        "--skip-corrupt", help="Leave out images that can't be read.", rich_help_panel=_IMAGES
    ),
]


class _Rule(NamedTuple):
    """Options that do nothing where a condition on all of them holds, and what they are of."""

    holds: Callable[[dict[str, Any]], bool]
    names: tuple[str, ...]
    why: str
    advice: str = "leave one of them out"


_PAPERS = ("group_strength", "l1_strength", "frobenius_strength")
_STRENGTHS = ("shared_strength", *_PAPERS, "own_strength")
_SINGLE = "an option of the latent model, not of --single-task"


def _by_hypergradient(given: dict[str, Any]) -> bool:
    method = given["method"]
    return bool(method == "hypergradient" or (method == "auto" and given["model"] != "latent"))


_RULES = {
    "fit": (
        _Rule(
            lambda given: given["auto"],
            (*_STRENGTHS, "n_latents", "single_task", "algorithm"),
            "an option of a model of given strengths, not of --auto, which chooses them",
        ),
        _Rule(
            lambda given: given["single_task"] is not None,
            (*_STRENGTHS, "n_latents", "algorithm"),
            _SINGLE,
        ),
        _Rule(
            lambda given: any(given[name] is not None for name in _PAPERS),
            ("shared_strength",),
            "in place of the paper's three strengths",
        ),
        _Rule(
            lambda given: not given["auto"],
            ("threshold", "latent"),
            "an option of --auto",
            "add that, or leave it out",
        ),
    ),
    "train": (
        _Rule(lambda given: given["single_task"] is not None, (*_STRENGTHS, "n_latents"), _SINGLE),
        _Rule(
            lambda given: any(given[name] is not None for name in _PAPERS),
            ("shared_strength",),
            "in place of the paper's three strengths",
        ),
        _Rule(
            lambda given: given["frozen"],
            ("epochs", "batch_size", "learning_rate", "augment", "flips", "workers"),
            "an option of the training of networks, which --frozen leaves out",
        ),
        _Rule(
            lambda given: given["augment"] == "none",
            ("flips",),
            "an option of --augment crops or krizhevsky, not of none",
        ),
        _Rule(
            lambda given: given["network"].startswith("alexnet"),
            ("side",),
            "an option of other networks: this one takes 224 pixels",
        ),
    ),
    "tune": (
        _Rule(
            _by_hypergradient,
            ("points", "folds", "one_standard_error", "trials"),
            "an option of --method grid, not of hypergradients",
        ),
        _Rule(
            lambda given: given["folds"] == 1,
            ("one_standard_error",),
            "an option of several folds (--folds 5, say), over which the error is taken",
        ),
    ),
    "demo": (
        _Rule(lambda given: given["cnn"], ("n_splits",), "not of --cnn, which has one split"),
        _Rule(lambda given: not given["cnn"], ("epochs",), "an option of the networks of --cnn"),
    ),
}


def refuse_ignored(ctx: typer.Context) -> None:
    """Stop at an option of a command that was given and would be ignored.

    Raises
    ------
    ValueError
        That names it and says what it is an option of.
    """
    for rule in _RULES[str(ctx.command.name)]:
        for name in rule.names if rule.holds(ctx.params) else ():
            source = ctx.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                option = ("no-" if ctx.params[name] is False else "") + name.replace("_", "-")
                raise ValueError(f"--{option}: this is {rule.why}; {rule.advice}.")


def latents_of(given: str | None) -> int | Literal["auto"] | None:
    """Give the number of latent tasks of an option.

    Raises
    ------
    ValueError
        If it is neither a number from 1 on nor "auto".
    """
    if given is None:
        return None
    if given == "auto":
        return "auto"
    if not (given.isascii() and given.isdigit() and int(given) >= 1):
        raise ValueError(f"--n-latents: got {given!r}; give a whole number from 1 on, or auto.")
    return int(given)


def strength_of(option: str, given: str) -> float | Literal["auto"]:
    """Give the strength of an option.

    Raises
    ------
    ValueError
        If it is neither a positive number nor "auto".
    """
    if given == "auto":
        return "auto"
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not found > 0:
        raise ValueError(f"--{option}: got {given}; give a positive number, or auto.")
    return found


def strengths_of(
    shared: str, own: str, group: float | None, l1: float | None, frobenius: float | None
) -> dict[str, Any]:
    """Give the strengths of the latent model by the names of its parameters.

    Raises
    ------
    ValueError
        If one is out of its range.
    """
    return {
        "shared_strength": strength_of("shared-strength", shared),
        "own_strength": strength_of("own-strength", own),
        **dict(zip(_PAPERS, (group, l1, frobenius), strict=True)),
    }


def threshold_of(given: str) -> str | float:
    """Give the threshold of an option: a number where it is one, else the name of a criterion."""
    try:
        return float(given)
    except ValueError:
        return given
