"""Files of features by their suffixes; nothing here reads them, or imports what does."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SHARD_SUFFIXES", "holds_shards"]

SHARD_SUFFIXES = (".npy", ".safetensors", ".parquet")
"""Suffixes of files that are read row by row."""


def holds_shards(folder: Path) -> bool:
    """Whether a folder has files that :func:`proxmtl.io.open_shards` takes."""
    return any(path.suffix.lower() in SHARD_SUFFIXES for path in folder.iterdir())
