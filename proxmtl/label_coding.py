"""What the numbers of a label matrix may be."""

from __future__ import annotations

from torch import Tensor

__all__ = ["check_coding"]


def check_coding(labels: Tensor, observed: Tensor, *, zero_is_missing: bool | None = None) -> None:
    """Refuse labels that are not -1, +1 or missing, and zeros that look like the no of 0/1 coding.

    Parameters
    ----------
    labels, observed : Tensor, same shape
        Labels, and where they are neither 0 nor NaN.
    zero_is_missing : bool, optional
        Of labels that are part of a set: whether the set codes missing labels as 0. None: these
        labels are all there is, and zeros without a single -1 are refused.

    Raises
    ------
    ValueError
        With what was seen and what to do.
    """
    seen = labels[observed]
    wrong = seen[(seen != 1) & (seen != -1)]
    if wrong.numel():
        values = sorted(set(wrong[:1000].tolist()))[:5]
        raise ValueError(
            f"labels: expected -1 and +1, with 0 or NaN for missing; saw {values}. Recode them, or "
            "give coding='real' with a regression loss."
        )
    if zero_is_missing or not bool((labels == 0).any()):
        return
    if zero_is_missing is False:
        raise ValueError(
            "labels: saw 0, and the training set had none: this looks like 0/1 coding; pass "
            "2 * labels - 1 (NaN, for missing, stays NaN)."
        )
    if not seen.numel():
        raise ValueError("labels: are all 0, which means missing; use -1, +1, and NaN for missing.")
    if not bool((seen == -1).any()):
        raise ValueError(
            "labels: saw 0 and 1 but no -1: 0 means missing here, so this looks like 0/1 coding; "
            "pass 2 * labels - 1 (NaN stays NaN)."
        )
