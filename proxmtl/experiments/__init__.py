"""Metrics, splits, and comparisons of models on them."""

from proxmtl.experiments.compare import Comparison, Fit, FitProgress, compare, fit_report
from proxmtl.experiments.metrics import (
    METRICS,
    TOTAL,
    attribute_metrics,
    average_precision,
    group_means,
    mean_ap,
)
from proxmtl.experiments.splits import (
    Holdout,
    Split,
    class_folds,
    one_class_attributes,
    random_splits,
    sample_folds,
)
from proxmtl.experiments.stratify import stratified_folds, stratified_split
from proxmtl.experiments.zero_shot import (
    PlattCalibration,
    ZeroShot,
    attribute_priors,
    direct_attribute_prediction,
    fit_platt,
    same_signature,
)

__all__ = [
    "METRICS",
    "TOTAL",
    "Comparison",
    "Fit",
    "FitProgress",
    "Holdout",
    "PlattCalibration",
    "Split",
    "ZeroShot",
    "attribute_metrics",
    "attribute_priors",
    "average_precision",
    "class_folds",
    "compare",
    "direct_attribute_prediction",
    "fit_platt",
    "fit_report",
    "group_means",
    "mean_ap",
    "one_class_attributes",
    "random_splits",
    "same_signature",
    "sample_folds",
    "stratified_folds",
    "stratified_split",
]
