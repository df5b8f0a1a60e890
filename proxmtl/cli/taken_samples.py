"""Which samples a command and a run take, features or images: checked before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proxmtl.cli.image_options import holds_images
from proxmtl.io.errors import InputError
from proxmtl.io.model import read_model_kind
from proxmtl.io.names import CONFIG_FILE
from proxmtl.io.seal import read_document
from proxmtl.io.suffixes import FEATURE_SUFFIXES, check_features_path
from proxmtl.io.tables import read_table

__all__ = ["check_fitted_samples", "check_samples", "image_recipe"]


def check_fitted_samples(samples: Path) -> None:
    """Check what a model is to be fitted on, as far as names of files show it.

    Raises
    ------
    InputError
        If it is no file of features, nor images; a table of numbers is no table of images.
    """
    if not holds_images(samples) or _holds_numbers(samples):
        check_features_path(samples)


def check_samples(run: Path, samples: Path) -> None:
    """Check that a run takes samples of a kind.

    Raises
    ------
    InputError
        If the run has no model, or one of images where features are given, or the reverse.
    """
    networks = read_model_kind(run) == "AttributeCNN"
    if networks and samples.suffix.lower() in FEATURE_SUFFIXES:
        raise InputError(
            samples,
            f"{run} holds networks, which take images: give a folder of images, a .tar archive of "
            "them, or a .csv file of their names.",
        )
    if networks or (holds_images(samples) and image_recipe(run) is not None):
        return
    if holds_images(samples) and samples.suffix.lower() != ".csv":
        raise InputError(
            samples,
            f"{run} holds a model of features, not of images; make features of the images with "
            "proxmtl extract, by the network whose features it was fitted on.",
        )
    check_features_path(samples)


def image_recipe(run: Path) -> dict[str, Any] | None:
    """How a run made features of its images; None: it was fitted on features."""
    path = run / CONFIG_FILE
    if not path.is_file():
        return None
    made: dict[str, Any] | None = read_document(path, "fit again.").get("images")
    return made


def _holds_numbers(source: Path) -> bool:
    """Whether a .csv file, which would be names of images, has no names but numbers."""
    if source.suffix.lower() != ".csv":
        return False
    table = read_table(source)
    cells = table.rows[0][1]
    return table.id_index is None and len(cells) > 1 and all(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
