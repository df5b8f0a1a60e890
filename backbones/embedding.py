"""Features of batches of decoded images, in batches of one size."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from proxmtl.backbones.images import Fit
    from proxmtl.backbones.stream import Decoded

__all__ = ["FeatureNetwork", "KnownRows", "embedded", "feature_shape", "finite_features"]

SMALL = 8
"""Images of a batch that is filled up, at most; also the default size of batches."""
MOST_WAITING = 32
"""Batches over which images to embed are collected, where the features of most are known."""


class FeatureNetwork(Protocol):
    """What makes features of images: a :class:`FrozenNetwork`, or the networks of a run."""

    name: str
    """For messages."""
    input_size: int
    """Side of the squares that images become."""
    n_features: int
    """D."""
    n_members: int | None
    """M networks with features of their own; None: one network."""

    @property
    def fit(self) -> Fit | None:
        """The only way in which images may become squares; None: any."""

    def features(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Features (B, D) or (M, B, D) of RGB images (B, 3, S, S) of 0..255."""

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, and whatever else the features depend on, by name."""


class KnownRows(NamedTuple):
    """Features of some of N images, by the same network, that need not be made again."""

    features: NDArray[np.float32]
    """(K, D), in memory or mapped from a file."""
    place: NDArray[np.intp]
    """(N,): the row of each image, -1 where it has none."""


def feature_shape(network: FeatureNetwork, n_images: int) -> tuple[int, ...]:
    """Shape of the features of some images: (N, D), or (M, N, D) of M networks."""
    rows = (n_images, network.n_features)
    return rows if network.n_members is None else (network.n_members, *rows)


def finite_features(
    network: FeatureNetwork, pixels: NDArray[np.uint8], first: int, batch_size: int
) -> NDArray[np.float32]:
    """Features of images, in batches of one size; the last ones are filled up.

    A library may take another algorithm, with other last digits, for another size; with batches of
    at most `SMALL` the features of an image don't depend on how many images come with it.
    """
    number = len(pixels)
    if not number:
        return np.zeros(feature_shape(network, 0), np.float32)
    small = min(
        batch_size, SMALL
    )  # to fill up a large batch could take much longer than its images
    whole = number - number % batch_size
    starts = [*range(0, whole, batch_size), *range(whole, number, small)]
    found = []
    for start in starts:
        size = batch_size if start < whole else small
        batch = pixels[start : start + size]
        lacking = size - len(batch)
        if lacking:
            batch = np.concatenate([batch, np.zeros((lacking, *batch.shape[1:]), batch.dtype)])
        found.append(network.features(batch).float().cpu().numpy())
    features: NDArray[np.float32] = np.concatenate(found, axis=-2)[..., :number, :]
    if not np.isfinite(features).all():
        raise ValueError(
            f"{network.name} gave a feature that isn't finite, of one of {number} images from "
            f"image {first} on."
        )
    return features


def embedded(
    batches: Iterator[Decoded],
    network: FeatureNetwork,
    done: int,
    known: KnownRows | None,
    batch_size: int,
) -> Iterator[tuple[Decoded, NDArray[np.float32]]]:
    """Batches with their features; errors of an image say what is kept.

    Images to embed are collected over batches until there are ``batch_size`` of them.
    """
    waiting: list[Decoded] = []
    try:
        for batch in batches:
            waiting.append(batch)
            number = sum(len(each.pixels) for each in waiting)
            if 0 < number < batch_size and len(waiting) < MOST_WAITING:
                continue
            for each, features in _embedded_together(waiting, network, done, known, batch_size):
                yield each, features
                done += len(each.images)
            waiting = []
        for each, features in _embedded_together(waiting, network, done, known, batch_size):
            yield each, features
            done += len(each.images)
    except (ValueError, FileNotFoundError) as error:
        if done:
            error.add_note(
                f"Features of the {counted(done, 'image')} before it are kept: the same call "
                "goes on from there."
            )
        raise


def _embedded_together(
    batches: Sequence[Decoded],
    network: FeatureNetwork,
    done: int,
    known: KnownRows | None,
    batch_size: int,
) -> Iterator[tuple[Decoded, NDArray[np.float32]]]:
    if not batches:
        return
    pixels = np.concatenate([batch.pixels for batch in batches])
    features = finite_features(network, pixels, done, batch_size)
    ends = np.cumsum([len(batch.pixels) for batch in batches])
    for batch, end in zip(batches, ends, strict=True):
        own = features[..., end - len(batch.pixels) : end, :]
        yield batch, own if known is None else _joined(batch, own, done, known)
        done += len(batch.images)


def _joined(
    batch: Decoded, features: NDArray[np.float32], first: int, known: KnownRows
) -> NDArray[np.float32]:
    """Features that were made of a batch and those that were there, in the order of the images."""
    place = known.place[first : first + len(batch.images)]
    there = np.flatnonzero(place >= 0)
    order = np.argsort([*batch.rows, *(first + there)])
    rows: NDArray[np.float32] = np.concatenate([features, known.features[place[there]]])[order]
    return rows
