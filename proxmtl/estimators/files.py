"""Saving fitted estimators to disk, and loading them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proxmtl.estimators.descriptions import check_estimator
from proxmtl.io.errors import InputError
from proxmtl.io.model import read_model_state, write_model_state
from proxmtl.io.names import DESCRIPTION_FILE

if TYPE_CHECKING:
    from proxmtl.estimators.base import LinearModel

__all__ = ["load_model", "save_model"]


def save_model(folder: str | Path, estimator: LinearModel) -> None:
    """Write a fitted estimator as ``model.safetensors`` and ``model.json``.

    Parameters
    ----------
    folder
        Created if it does not exist; its parent must exist.
    estimator
        A fitted estimator of `proxmtl.estimators`.

    Raises
    ------
    InputError
        If the parent of `folder` does not exist.
    TypeError
        If it is no estimator of this package (a pipeline of scikit-learn is none), or the arguments
        are swapped.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If it contains something that JSON cannot express (labels that are neither numbers nor
        text).
    """
    if not hasattr(estimator, "to_state"):
        cure = "call save_model(folder, estimator)"
        if hasattr(estimator, "steps"):
            cure = "save its last step, whose features are those that the other steps give"
        raise TypeError(f"estimator: got a {type(estimator).__name__}; {cure}.")
    state = estimator.to_state()
    folder = Path(folder)
    if folder.parent.is_dir():
        folder.mkdir(exist_ok=True)
    write_model_state(folder, state)


def load_model(folder: str | Path) -> LinearModel:
    """Load an estimator written by `save_model`, for predictions or ``partial_fit``.

    Parameters
    ----------
    folder
        The folder of the two files.

    Returns
    -------
    LinearModel
        Fitted estimator of the saved class, with a summary of the solve in ``fit_report_`` in place
        of ``result_``.

    Raises
    ------
    InputError
        If the files are missing, damaged or of another format.
    """
    from proxmtl import estimators  # noqa: PLC0415 (the package imports this module)

    folder = Path(folder)
    state = read_model_state(folder)
    known = [name for name in estimators.__all__ if isinstance(getattr(estimators, name), type)]
    if state.kind not in known:
        raise InputError(
            folder / DESCRIPTION_FILE,
            f"holds a model of kind {state.kind!r}, and this version knows {', '.join(known)}.",
        )
    kind = getattr(estimators, state.kind)
    try:
        check_estimator(kind, state)
        estimator: LinearModel = kind.from_state(state)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            folder / DESCRIPTION_FILE, f"does not describe a whole {state.kind} ({error})."
        ) from error
    return estimator
