"""Seeds from scikit-learn's ``random_state`` arguments."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from proxmtl.ranks import ALONE, Ranks

__all__ = ["seed_of"]

_SEEDS = 2**31 - 1


def seed_of(random_state: Any, ranks: Ranks = ALONE) -> int:
    """Return the seed for a random state; a generator is advanced by one draw.

    Several ranks take the seed of the first.

    Raises
    ------
    ValueError
        If it is neither an integer, a NumPy generator nor None.
    """
    if ranks is not ALONE:
        return ranks.gathered(seed_of(random_state))[0]
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(_SEEDS))
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return int(check_random_state(random_state).randint(_SEEDS))
    try:
        return operator.index(random_state)
    except TypeError as error:
        raise ValueError(
            f"random_state: got {random_state!r}; give a whole number, a RandomState or Generator "
            "of NumPy, or None."
        ) from error
