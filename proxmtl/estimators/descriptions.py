"""Validation of the description of an estimator in ``model.json`` before it is rebuilt."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from proxmtl.io.schema import (
    Check,
    anything,
    either,
    flag,
    null,
    number,
    sequence,
    table,
    tables,
    text,
    whole,
)

if TYPE_CHECKING:
    from proxmtl.io.model import ModelState

__all__ = ["check_estimator"]

FLOATS = ("coef_", "intercept_", "mean_", "scale_")
MOST = 2**53
"""Integers up to this are exact as floats."""


def check_estimator(kind: type, state: ModelState) -> None:
    """Raise if a description is not one of a fitted estimator of class `kind`.

    Raises
    ------
    ValueError
        If it is not; the message names the place in the document, and what was seen there.
    """
    for name in FLOATS:
        array = state.arrays.get(name)
        if array is None or array.dtype.kind != "f" or array.ndim != (2 if name == "coef_" else 1):
            raise ValueError(f"arrays.{name}: missing, or no {name} of floats")
    n_attributes, n_features = state.arrays["coef_"].shape
    _fitted(n_attributes, n_features)(state.description, "description")
    if state.description["is_vector"] and n_attributes != 1:
        raise ValueError(f"description.is_vector: true for {n_attributes} attributes")
    table({}, _parameters(kind))(state.parameters, "parameters")


def _fitted(n_attributes: int, n_features: int) -> Check:
    value = either(null, number())
    return table(
        {
            "classes": either(null, sequence(either(flag, number(), text), 2)),
            "label_names": either(null, sequence(text, n_attributes)),
            "feature_names": either(null, sequence(text, n_features)),
            "is_vector": flag,
            "groups": either(
                null,
                table(
                    {
                        "groups": tables(sequence(whole(0, n_attributes - 1))),
                        "weights": tables(number(0)),
                    }
                ),
            ),
            "fit": table(
                {
                    "status": text,
                    "advice": text,
                    "passes": number(0),
                    "certificate": table(
                        {"objective": value, "relative_kkt": value}, {"relative_gap": value}
                    ),
                    "sparsity": tables(number(0, 1)),
                },
                {
                    "live_latents": whole(0, MOST),
                    "own_share": number(0, 1),
                    "iterations": whole(0, MOST),
                    "solver": text,
                    "solver_reason": text,
                },
            ),
        },
        {"report": tables(sequence(either(null, flag, number(), text), n_attributes))},
    )


def _parameters(kind: type) -> dict[str, Check]:
    """Checks of the parameters: each must have the type of its default."""
    signature = inspect.signature(kind)
    return {name: _like(name, known.default) for name, known in signature.parameters.items()}


def _like(name: str, default: Any) -> Check:
    if name == "threshold":
        return either(text, number(0, 1))
    if name == "standardize" and isinstance(default, str):
        return either(flag, text)
    if name.endswith("strength") and not isinstance(default, int | float):
        return either(null, number(0)) if default is None else either(null, number(0), text)
    if isinstance(default, bool):
        return flag
    if isinstance(default, int | float):
        # infinity is null in JSON
        return number(0) if name.endswith("strength") else either(null, number())
    if isinstance(default, str):
        return text
    return either(null, sequence(text)) if name == "label_names" else anything
