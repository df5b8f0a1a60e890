"""Conversion of fitted estimators to plain data for saving, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from proxmtl.arrays import as_python
from proxmtl.experiments import fit_report
from proxmtl.groups import Groups
from proxmtl.io.model import ModelState

if TYPE_CHECKING:
    from proxmtl.estimators.base import LinearModel

__all__ = ["from_state", "to_state"]

_ALWAYS = ("coef_", "intercept_", "mean_", "scale_")
_OPTIONAL = (
    *("L_", "S_", "V_", "shared_coef_", "shared_directions_", "shared_loadings_", "sharing_"),
    "feature_factors_",
    *("calibration_", "thresholds_", "target_mean_", "target_scale_"),
)
_INFINITE = "inf"
_PAIRS = "pairs"
"""Key under which a mapping is written as a list of pairs, since JSON keys are always text."""


def to_state(estimator: LinearModel) -> ModelState:
    """Convert a fitted estimator to arrays and JSON-able values."""
    check_is_fitted(estimator)
    groups: Groups | None = getattr(estimator, "groups_", None)
    parameters = estimator.get_params(deep=False)
    # The argument groups may have any form; the resolved groups_ are saved in its place.
    parameters.pop("groups", None)
    if not isinstance(as_python(parameters.get("init")), str):
        parameters.pop("init", None)  # starting factors are not part of the fitted model
    # splitters and functions are not saved either; the report tells how a model was chosen
    if not isinstance(as_python(parameters.get("cv")), int):
        parameters.pop("cv", None)
    if callable(parameters.get("scoring")):
        parameters.pop("scoring")
    if not isinstance(parameters.get("random_state"), (int, np.integer, np.ndarray, NoneType)):
        parameters["random_state"] = estimator._seed  # noqa: SLF001 (what the generator gave)
    if parameters["label_names"] is not None:
        parameters["label_names"] = list(map(str, parameters["label_names"]))
    names, labels = estimator.label_names_, getattr(estimator, "label_values_", None)
    feature_names = getattr(estimator, "feature_names_in_", None)
    report = getattr(estimator, "fit_report_", None) or fit_report(estimator)
    chosen = getattr(estimator, "report_", None)
    return ModelState(
        type(estimator).__name__,
        {key: _described(key, value) for key, value in parameters.items()},
        {
            name: getattr(estimator, name)
            for name in _ALWAYS + _OPTIONAL
            if hasattr(estimator, name)
        },
        {
            "classes": None if labels is None else labels.tolist(),
            "label_names": names,
            "feature_names": None if feature_names is None else list(feature_names),
            "is_vector": estimator._is_vector,  # noqa: SLF001 (same package)
            "groups": None if groups is None else groups.to_dict(),
            "groups_given": getattr(estimator, "groups", None) is not None,
            "fit": report,
            **({} if chosen is None else {"report": _columns(chosen)}),
        },
    )


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Convert a table of numbers to lists by column, with NaN as null and infinity as text."""

    def described(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None if math.isnan(value) else _INFINITE
        return value

    return {str(name): [described(each) for each in table[name].tolist()] for name in table}


def _table(columns: Mapping[str, list[Any]], names: Iterable[str] | None) -> pd.DataFrame:
    """Undo `_columns`."""

    def restored(value: Any) -> Any:
        return math.nan if value is None else math.inf if value == _INFINITE else value

    found = {name: [restored(each) for each in column] for name, column in columns.items()}
    table = pd.DataFrame(found)
    index = range(len(table)) if names is None else list(names)
    return table.set_index(pd.Index(index, name="attribute"))


def _described(name: str, value: Any) -> Any:
    """Convert a parameter to JSON values; a mapping becomes pairs, so that keys keep their type.

    Raises
    ------
    ValueError
        If that is not possible.
    """
    value = as_python(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {_PAIRS: [[_described(name, part) for part in pair] for pair in value.items()]}
    if isinstance(value, Iterable):
        return [_described(name, part) for part in value]
    raise ValueError(
        f"{name}: {value!r} is neither a number nor text, nor a list or mapping of these, and "
        "can't be saved; set the parameter to a plain value and fit again."
    )


def _restored(value: Any) -> Any:
    """Undo `_described`."""
    if isinstance(value, list):
        return [_restored(part) for part in value]
    if isinstance(value, dict) and value.keys() == {_PAIRS}:
        return {_restored(key): _restored(part) for key, part in value[_PAIRS]}
    return value


def from_state(kind: type[LinearModel], state: ModelState) -> Any:
    """Rebuild a fitted estimator of class `kind`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If something is missing or does not fit together.
    """
    described = state.description
    parameters = {name: _restored(value) for name, value in state.parameters.items()}
    for name, default in kind().get_params(deep=False).items():
        number = isinstance(default, (int, float)) and name != "random_state"
        number |= default == "auto" and name.endswith("strength")
        if number and name in parameters and parameters[name] is None:
            parameters[name] = math.inf  # saved as null, since JSON has no infinity
    estimator = kind(**parameters)
    for name in _ALWAYS:
        setattr(estimator, name, state.arrays[name])
    for name in _OPTIONAL:
        if name in state.arrays:
            setattr(estimator, name, state.arrays[name])
    if described["classes"] is not None:
        estimator.label_values_ = np.array(described["classes"])
    estimator.label_names_ = described["label_names"]
    estimator._is_vector = bool(described["is_vector"])  # noqa: SLF001 (same package)
    n_attributes, estimator.n_features_in_ = estimator.coef_.shape
    if described["feature_names"] is not None:
        estimator.feature_names_in_ = np.array(described["feature_names"], dtype=object)
    if described["groups"] is not None:
        tables = described["groups"]
        members, weights = tables["groups"], tables["weights"]
        groups = Groups.from_lists(
            members.values(), n_attributes, list(members), [weights[name] for name in members]
        )
        estimator.groups_ = groups
        if described["groups_given"]:
            estimator.set_params(groups=groups)
    estimator.fit_report_ = described["fit"]
    if "report" in described:
        estimator.report_ = _table(described["report"], estimator.label_names_)
    _check_shapes(estimator)
    return estimator


def _check_shapes(estimator: Any) -> None:
    n_attributes, n_features = estimator.coef_.shape
    expected: dict[str, tuple[int, ...]] = {
        "intercept_": (n_attributes,),
        "mean_": (n_features,),
        "scale_": (n_features,),
    }
    for left, right in (("L_", "S_"), ("shared_directions_", "shared_loadings_")):
        if hasattr(estimator, right):
            K = len(getattr(estimator, right))
            expected |= {left: (n_features, K), right: (K, n_attributes)}
    by_attribute = ("calibration_", "thresholds_", "sharing_", "target_mean_", "target_scale_")
    for name, shape in (
        ("label_values_", (2,)),
        ("shared_coef_", estimator.coef_.shape),
        ("V_", estimator.coef_.shape[::-1]),
        *((name, (n_attributes,)) for name in by_attribute),
    ):
        if hasattr(estimator, name):
            expected[name] = shape
    for name, shape in expected.items():
        if getattr(estimator, name).shape != shape:
            raise ValueError(f"{name} has shape {getattr(estimator, name).shape}, not {shape}")
    names = estimator.label_names_
    if names is not None and len(names) != n_attributes:
        raise ValueError(f"{len(names)} label names for {n_attributes} attributes")
