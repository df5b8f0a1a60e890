"""Limits on the resources that an input file may take, and the variables that change them.

A small malicious file may take a thousand times its size when it is read. The defaults are far
above what real files need; an environment variable raises a limit for one command::

    PROXMTL_MAX_IMAGE_PIXELS=400000000 proxmtl extract scans --out features.npy
"""

from __future__ import annotations

import os

__all__ = ["LIMITS", "advice", "limit", "variable"]

LIMITS: dict[str, tuple[int, str]] = {
    "archive_members": (2**21, "members of an archive"),
    "document_bytes": (2**28, "bytes of a JSON or TOML file"),
    "document_depth": (64, "levels of lists and tables within one another in JSON or TOML"),
    "expansion": (100, "times its packed size that an array may take, beyond 64 MiB"),
    "image_pixels": (2**27, "pixels of an image before it is resized"),
    "model_bytes": (2**34, "bytes of a model's arrays, or of the networks that it describes"),
}
"""Limit name -> (default, what the limit counts)."""


def variable(name: str) -> str:
    """Name of the environment variable that sets a limit."""
    return f"PROXMTL_MAX_{name.upper()}"


def limit(name: str) -> int:
    """Value of a limit: that of the environment variable, or the default.

    Raises
    ------
    ValueError
        If the variable is not a positive integer.
    """
    text = os.environ.get(variable(name), "").strip()
    if not text:
        return LIMITS[name][0]
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) > 0):
        raise ValueError(f"{variable(name)}: got {text!r}; set a positive whole number.")
    return int(text)


def advice(name: str, needed: int) -> str:
    """End of an error message: how to raise a limit that a file exceeds to ``needed``."""
    return (
        f"the limit is {limit(name):,}; if the file comes from where you trust, raise it: "
        f"{variable(name)}={needed}"
    )
