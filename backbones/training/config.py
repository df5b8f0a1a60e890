"""Configuration of a training run, apart from data, networks and head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

__all__ = ["TrainingConfig"]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the online scheme; the defaults are the paper's where it states them.

    Parameters
    ----------
    epochs
        Epochs of SGD; a solve precedes the first and follows each. With 0 the networks stay
        frozen: features once, one solve (the paper's mode for many attributes).
    batch_size
        Images per SGD step; the last batch of an epoch may be smaller.
    learning_rate, momentum, weight_decay
        Of SGD on the networks. The paper: 0.01, 0.9, 5e-4.
    clip_norm
        Norm of the gradient in all networks together above which it is scaled down to it; ``inf``:
        never. Below a head with a large W, the gradients of a few batches can be ten times those of
        the others, and without a limit the features collapse.
    patience, factor
        The rate is multiplied by ``factor`` when the joint objective has not fallen (by 1e-4 of
        itself) for ``patience`` epochs, at least 1; the paper reduced it by hand.
    rollback_threshold
        An epoch after which the joint objective is above this many times the lowest so far, or
        not finite, is undone: networks and head go back, momentum is dropped, and the rate is
        multiplied by ``factor``. It still counts as an epoch. ``inf``: never.
    keep_best
        End at the epoch with the highest mean average precision on the held-out images, the first
        of several, and not at the last one; what is left of the networks is then chosen by these
        images, and a score on them is no test. Epoch 0, the frozen start, is one to choose.
    feature_batch
        Images per forward pass when all features are computed.
    workers
        Threads that make batches of images ahead; 0: none. The result does not depend on it.
    autocast
        Run the networks in bfloat16 where torch holds that to be safe; the features are stored,
        and the solve is done, in float32 or better.
    channels_last
        Memory layout of the images.
    standardize
        Shift and scale every feature by constants, its mean and deviation at the frozen start, as
        ``proxmtl fit`` does. Constants change no gradient's direction of descent, but without them
        the W of features that hardly vary is huge, and SGD below it diverges.
    solve_in_double
        Do the solve in float64.
    deterministic
        Raise where an operation of torch is not reproducible. On a CPU, with the same number of
        threads, two runs then agree bitwise. None: on a CPU only, since on a GPU some convolutions
        have no reproducible form.
    seed
        Of shuffling, augmentation and dropout: random numbers are a function of the seed and the
        number of the epoch, and those of an augmented image of its row in the table as well.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 10.0
    patience: int = 4
    factor: float = 0.1
    rollback_threshold: float = 1.05
    keep_best: bool = False
    feature_batch: int = 256
    workers: int = 0
    autocast: bool = False
    channels_last: bool = False
    standardize: bool = True
    solve_in_double: bool = False
    deterministic: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"epochs": 0, "batch_size": 1, "patience": 1, "feature_batch": 1}
        least |= {"workers": 0, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                msg = f"{name}: got {value!r}; use a whole number of at least {low}."
                raise ValueError(msg)
        ranges = {
            "learning_rate": self.learning_rate > 0,
            "momentum": 0 <= self.momentum < 1,
            "weight_decay": self.weight_decay >= 0,
            "factor": 0 < self.factor < 1,
        }
        for name, right in ranges.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and right):
                limits = {"learning_rate": "> 0", "momentum": "in [0, 1)", "weight_decay": ">= 0"}
                msg = f"{name}: got {value}; use a number {limits.get(name, 'between 0 and 1')}."
                raise ValueError(msg)

        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm: got {self.clip_norm}; use a number > 0, or inf for none.")
        if not self.rollback_threshold >= 1:
            raise ValueError(
                f"rollback_threshold: got {self.rollback_threshold}; use a number >= 1, or inf for "
                "never."
            )

    @property
    def solve_dtype(self) -> torch.dtype:
        """Precision of the features that the solver gets."""
        return torch.float64 if self.solve_in_double else torch.float32

    def stream(self, epoch: int) -> int:
        """Seed of the random numbers of an epoch (1, 2, ...)."""
        # a generator mixes its seed well; two runs would share a stream only a million epochs away
        return self.seed * 1_000_003 + epoch
