"""Options that rule out others, and what follows from those that were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import typer

from proxmtl.cli.image_options import IMAGE_OPTIONS, given_options, holds_images
from proxmtl.cli.option_names import option_of

__all__ = ["PAPERS", "chosen_auto", "refuse_ignored"]


class _Rule(NamedTuple):
    """Options that do nothing where a condition on all of them holds, and what they are of."""

    holds: Callable[[dict[str, Any]], bool]
    names: tuple[str, ...]
    why: str
    advice: str = "leave one of them out"


PAPERS = ("group_strength", "l1_strength", "frobenius_strength")
_STRENGTHS = ("shared_strength", *PAPERS, "own_strength")
_SINGLE = "an option of the latent model, not of --single-task"
_CHOSEN = "an option of --auto, not of --single-task"


def _by_hypergradient(given: dict[str, Any]) -> bool:
    method = given["method"]
    return bool(method == "hypergradient" or (method == "auto" and given["model"] != "latent"))


_INSTEAD_OF_HOLDOUT = _Rule(
    lambda given: given["test"] is not None,
    ("holdout",),
    "in place of --test, whose rows are scored",
)
_INSTEAD_OF_SHARED = _Rule(
    lambda given: any(given[name] is not None for name in PAPERS),
    ("shared_strength",),
    "in place of the paper's three strengths",
)

_OF_IMAGES = _Rule(
    lambda given: not holds_images(given["features"]),
    IMAGE_OPTIONS,
    "an option of images, and what is given are features",
    "leave it out",
)
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
        _Rule(lambda given: given["single_task"] is not None, ("threshold", "latent"), _CHOSEN),
        _INSTEAD_OF_SHARED,
        _INSTEAD_OF_HOLDOUT,
        _OF_IMAGES,
        _Rule(
            lambda given: not given["auto"],
            ("threshold", "latent"),
            "an option of --auto",
            "add that, or leave it out",
        ),
    ),
    "train": (
        _Rule(lambda given: given["single_task"] is not None, (*_STRENGTHS, "n_latents"), _SINGLE),
        _INSTEAD_OF_SHARED,
        _Rule(
            lambda given: given["frozen"],
            (
                *("epochs", "batch_size", "learning_rate", "clip_norm", "validate"),
                *("augment", "flips", "workers"),
            ),
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
        _INSTEAD_OF_HOLDOUT,
        _OF_IMAGES,
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
    given = given_options(ctx)
    for rule in _RULES[str(ctx.command.name)]:
        for name in rule.names if rule.holds(ctx.params) else ():
            if name in given:
                shown = option_of(ctx.command, name, off=ctx.params[name] is False)
                raise ValueError(f"{shown}: this is {rule.why}; {rule.advice}.")


def chosen_auto(ctx: typer.Context) -> bool:
    """Whether strengths are chosen by cross-validation: if asked for, and for images by default."""
    asked: bool | None = ctx.params["auto"]
    if asked is not None:
        return asked
    own = given_options(ctx).intersection((*_STRENGTHS, "n_latents", "single_task", "algorithm"))
    return not own and holds_images(ctx.params["features"])
