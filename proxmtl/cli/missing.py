"""A package that is not installed, and the extra of proxmtl that brings it."""

from __future__ import annotations

import re
from importlib import metadata

__all__ = ["missing_package"]

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "vl_convert": "vl-convert-python",
}
"""Distributions whose import names are other than their own."""
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)")


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Say what to install for a module that was not found; None if it is one of proxmtl's own."""
    module = (error.name or "").partition(".")[0]
    if module in ("", "proxmtl"):
        return None
    wanted = _plain(_DISTRIBUTIONS.get(module, module))
    extra = None
    for line in metadata.requires("proxmtl") or ():
        name = _REQUIREMENT.match(line)
        if name is not None and _plain(name[1]) == wanted:
            found = _EXTRA.search(line)
            extra = found[1] if found else ""
            break
    what = wanted if extra is None else f"'proxmtl[{extra}]'" if extra else "proxmtl"
    return f"the package {module} is not installed; pip install {what}."


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
