"""Choosing strengths: paths, batches, cross-validation, hypergradients, stability selection."""

from proxmtl.selection.batch import solve_batch
from proxmtl.selection.cross_validation import (
    CrossValidation,
    cross_validate,
    invariant_grid,
    mean_average_precision,
)
from proxmtl.selection.folds import restrict_samples
from proxmtl.selection.hypergradient import Hypergradient, hypergradient
from proxmtl.selection.latent_hypergradient import latent_hypergradient
from proxmtl.selection.latent_path import LatentPath, solve_latent_path
from proxmtl.selection.path import PathPoint, RegularizationPath, solve_path
from proxmtl.selection.stability import StabilitySelection, stability_selection
from proxmtl.selection.strengths import strength_grid, with_strengths
from proxmtl.selection.tune import Tuning, TuningTrial, tune

__all__ = [
    "CrossValidation",
    "Hypergradient",
    "LatentPath",
    "PathPoint",
    "RegularizationPath",
    "StabilitySelection",
    "Tuning",
    "TuningTrial",
    "cross_validate",
    "hypergradient",
    "invariant_grid",
    "latent_hypergradient",
    "mean_average_precision",
    "restrict_samples",
    "solve_batch",
    "solve_latent_path",
    "solve_path",
    "stability_selection",
    "strength_grid",
    "tune",
    "with_strengths",
]
