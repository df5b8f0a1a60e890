"""How much a file may ask for before it is read: defaults, and the variables that raise them.

A file from elsewhere may be small and ask for a thousand times its size. Each limit is far above
what the files of real use need, and a user who knows better raises it for one command::

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
"""Name -> default, and what is counted."""


def variable(name: str) -> str:
    """Environment variable that sets a limit."""
    return f"PROXMTL_MAX_{name.upper()}"


def limit(name: str) -> int:
    """Value of a limit: the environment's, else the default.

    Raises
    ------
    ValueError
        If the variable is no positive whole number.
    """
    text = os.environ.get(variable(name), "").strip()
    if not text:
        return LIMITS[name][0]
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) > 0):
        raise ValueError(f"{variable(name)}: got {text!r}; set a positive whole number.")
    return int(text)


def advice(name: str, needed: int) -> str:
    """What to do about a file that is over a limit."""
    return (
        f"the limit is {limit(name):,}; if the file comes from where you trust, raise it: "
        f"{variable(name)}={needed}"
    )
