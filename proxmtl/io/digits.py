"""Handwritten digits with attributes: a small data set that every installation has.

The images are scikit-learn's digits (1,797 real 8x8 images from UCI). As in *Animals with
Attributes*, an image has the attributes of its class, given by a table of classes by attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DIGIT_ATTRIBUTES", "DIGIT_GROUPS", "DigitAttributes", "load_digit_attributes"]

DIGIT_GROUPS: dict[str, dict[str, str]] = {
    "topology": {
        "closed loop": "0689",
        "two loops": "8",
        "loop on top": "89",
        "loop below": "68",
        "free ends": "12345679",
    },
    "strokes": {
        "curve": "0235689",
        "corner": "457",
        "horizontal bar": "257",
        "vertical bar": "149",
        "slanted bar": "247",
        "one stroke": "01236789",
        "round bottom": "03568",
    },
    "shape": {
        "mirror left-right": "018",
        "mirror top-bottom": "038",
        "top heavy": "479",
    },
    "arithmetic": {
        "even": "02468",
        "prime": "2357",
        "square": "0149",
        "multiple of 3": "0369",
        "power of 2": "1248",
        "above 4": "56789",
    },
}
"""Group -> attribute -> the digits that have it."""

DIGIT_ATTRIBUTES: tuple[str, ...] = tuple(name for rows in DIGIT_GROUPS.values() for name in rows)
"""Attribute names in the order of the label columns."""


class DigitAttributes(NamedTuple):
    """Digits with attributes."""

    X: NDArray[np.float64]
    """Pixel intensities in [0, 16], shape (1797, 64)."""
    Y: NDArray[np.int64]
    """Attributes in {0, 1}, shape (1797, M)."""
    names: tuple[str, ...]
    """Attribute names of length M."""
    groups: dict[str, list[str]]
    """Group name -> attribute names; every attribute is in exactly one group."""
    digits: NDArray[np.int64]
    """Class of each image, shape (1797,)."""


def load_digit_attributes() -> DigitAttributes:
    """Load scikit-learn's digits with the attributes of their classes.

    Returns
    -------
    DigitAttributes
        Images as rows of pixels, attributes, names, groups and classes.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 (heavy, needed here only)

    X, digits = load_digits(return_X_y=True)
    table = np.array(
        [
            [str(digit) in having for rows in DIGIT_GROUPS.values() for having in rows.values()]
            for digit in range(10)
        ],
        dtype=np.int64,
    )
    groups = {group: list(rows) for group, rows in DIGIT_GROUPS.items()}
    return DigitAttributes(X, table[digits], DIGIT_ATTRIBUTES, groups, digits)
