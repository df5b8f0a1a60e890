"""proxmtl: proximal optimisation for structured-sparse, multi-task models on deep features."""

__version__ = "0.1.0"
