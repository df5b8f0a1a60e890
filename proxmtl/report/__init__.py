"""Figures and tables of fitted models."""

from proxmtl.report.plots import plot_attribute_scores, plot_convergence, plot_latents
from proxmtl.report.style import save_figure

__all__ = ["plot_attribute_scores", "plot_convergence", "plot_latents", "save_figure"]
