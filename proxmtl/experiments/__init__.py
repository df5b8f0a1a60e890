"""Comparisons of models on splits of a data set."""

from proxmtl.experiments.compare import Comparison, Fit, Progress, compare, fit_report
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
from proxmtl.experiments.stratify import stratified_folds

__all__ = [
    "METRICS",
    "TOTAL",
    "Comparison",
    "Fit",
    "Holdout",
    "Progress",
    "Split",
    "attribute_metrics",
    "average_precision",
    "class_folds",
    "compare",
    "fit_report",
    "group_means",
    "mean_ap",
    "one_class_attributes",
    "random_splits",
    "sample_folds",
    "stratified_folds",
]
