"""Zero-shot recognition of digits that no network was trained on, for ``demo --cnn``."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from proxmtl.experiments import (
    attribute_priors,
    direct_attribute_prediction,
    fit_platt,
    random_splits,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.backbones.training import Trainer
    from proxmtl.io.digits import DigitAttributes

__all__ = ["CALIBRATION", "DigitRows", "digit_rows", "hide_labels", "zero_shot_accuracy"]

CALIBRATION = 200
"""Images that turn scores into probabilities; fewer where the training leaves fewer than twice
that."""


class DigitRows(NamedTuple):
    """Images by what they are for; the first three hold seen digits only."""

    train: NDArray[np.intp]
    calibration: NDArray[np.intp]
    test: NDArray[np.intp]
    unseen: NDArray[np.intp]
    digits: tuple[int, ...]
    """The two unseen ones."""
    labels: NDArray[np.float64]
    """Of all images, NaN where training may not see them."""


def digit_rows(data: DigitAttributes, n_train: int, observed: float, seed: int) -> DigitRows:
    """Set two digits aside and split the others.

    The seed chooses among the pairs without which every attribute still has both classes.

    Raises
    ------
    ValueError
        If ``n_train`` leaves no image to calibrate or test on.
    """
    signatures = _signatures(data)
    pairs = [
        pair
        for pair in itertools.combinations(range(10), 2)
        if not np.isin(np.delete(signatures, pair, axis=0).sum(axis=0), (0, 8)).any()
    ]
    rng = np.random.default_rng((seed, 2))
    digits = pairs[rng.integers(len(pairs))]
    seen = np.flatnonzero(~np.isin(data.digits, digits))
    if n_train > len(seen) - 4:
        raise ValueError(
            f"--n-train is {n_train}, and there are {len(seen)} images of the digits that are "
            "trained on; leave some for the test."
        )
    full = data.Y.astype(np.float64)
    split = random_splits(len(seen), 1, 1 - n_train / len(seen), seed, Y=full[seen])[0]
    train, rest = seen[split.train], rng.permutation(seen[split.test])
    n_calibration = min(CALIBRATION, len(rest) // 2)
    return DigitRows(
        train,
        np.sort(rest[:n_calibration]),
        np.sort(rest[n_calibration:]),
        np.flatnonzero(np.isin(data.digits, digits)),
        digits,
        hide_labels(full, train, observed, (seed, 0)),
    )


def hide_labels(
    labels: NDArray[np.float64], train: NDArray[np.intp], observed: float, key: tuple[int, int]
) -> NDArray[np.float64]:
    """Labels (N, M) of which a share of the training rows' are known, and all of the others'.

    Two of each class of every attribute are known in any case, where there are so many: with one
    there would be nothing to validate a strength on.
    """
    hidden = np.random.default_rng(key).random(labels.shape) >= observed
    hidden[np.setdiff1d(np.arange(len(labels)), train)] = False
    for column, kept in zip(labels.T, hidden.T, strict=True):
        for sign in (0.0, 1.0):
            own = train[column[train] == sign]
            missing = 2 - int((~kept[own]).sum())
            if missing > 0:
                kept[own[kept[own]][:missing]] = False
    return np.where(hidden, np.nan, labels)


def zero_shot_accuracy(trainer: Trainer, data: DigitAttributes, rows: DigitRows) -> pd.Series:
    """Share of each unseen digit's images that its attributes tell from the other.

    Scores are calibrated by Platt's sigmoid on held-out images of seen digits; the prior of an
    attribute is its share of the seen digits (direct attribute prediction).
    """
    signatures = _signatures(data)
    held_out = trainer.scores(rows.calibration).cpu().numpy()
    calibration = fit_platt(held_out, rows.labels[rows.calibration])
    found = direct_attribute_prediction(
        calibration.log_odds(trainer.scores(rows.unseen).cpu().numpy()),
        signatures[list(rows.digits)],
        attribute_priors(np.delete(signatures, rows.digits, axis=0)),
    )
    truth = np.searchsorted(rows.digits, data.digits[rows.unseen])
    index = pd.Index(rows.digits, name="digit")
    return pd.Series(found.accuracy_by_class(truth), index=index)


def _signatures(data: DigitAttributes) -> NDArray[np.float64]:
    """Attributes of the ten digits, (10, M)."""
    first = [int(np.flatnonzero(data.digits == digit)[0]) for digit in range(10)]
    return data.Y[first].astype(np.float64)
