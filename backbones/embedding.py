"""Features of batches of decoded images, in batches of one size."""

from __future__ import annotations

from collections import deque
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
MOST_BYTES = 1 << 25
"""Bytes of images that wait until others fill their batch, beside those of one batch."""


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
    network: FeatureNetwork, pixels: NDArray[np.uint8], numbers: Sequence[int], batch_size: int
) -> NDArray[np.float32]:
    """Features of images of some numbers, in batches of one size; the last ones are filled up.

    A library may take another algorithm, with other last digits, for another size; with batches of
    at most `SMALL` the features of an image don't depend on how many images come with it.

    Raises
    ------
    ValueError
        If a feature is not finite.
    """
    count = len(pixels)
    if not count:
        return np.zeros(feature_shape(network, 0), np.float32)
    small = min(batch_size, SMALL)  # filling up a large batch could take longer than its images
    whole = count - count % batch_size
    starts = [*range(0, whole, batch_size), *range(whole, count, small)]
    found = []
    for start in starts:
        size = batch_size if start < whole else small
        batch = pixels[start : start + size]
        lacking = size - len(batch)
        if lacking:
            batch = np.concatenate([batch, np.zeros((lacking, *batch.shape[1:]), batch.dtype)])
        found.append(network.features(batch).float().cpu().numpy())
    features: NDArray[np.float32] = np.concatenate(found, axis=-2)[..., :count, :]
    if not np.isfinite(features).all():
        raise ValueError(
            f"{network.name} gave a feature that isn't finite, of one of {count} images from image "
            f"{numbers[0]} to image {numbers[-1]}."
        )
    return features


def embedded(
    batches: Iterator[Decoded],
    network: FeatureNetwork,
    done: int,
    known: KnownRows | None,
    batch_size: int,
) -> Iterator[tuple[Decoded, NDArray[np.float32]]]:
    """Batches with their features, in their order; errors of an image say what is kept.

    Images to embed wait over batches until there are ``batch_size`` of them.
    """
    failed, queue = None, _Queue(network, batch_size)
    try:
        while True:
            try:
                batch = next(batches, None)
            except (ValueError, FileNotFoundError) as error:
                failed, batch = error, None
            for each, features in queue.rest() if batch is None else queue.taken(batch):
                yield each, features if known is None else _joined(each, features, done, known)
                done += len(each.images)
            if batch is None:
                break
        if failed is not None:
            raise failed
    except (ValueError, FileNotFoundError) as error:
        if done:
            error.add_note(
                f"Features of the {counted(done, 'image')} before it are kept: the same call "
                "goes on from there."
            )
        raise


class _Queue:
    """Batches some of whose images have no features yet."""

    def __init__(self, network: FeatureNetwork, batch_size: int) -> None:
        self.network, self.batch_size = network, batch_size
        self.waiting: deque[Decoded] = deque()
        self.held = 0
        """Bytes of those."""
        self.pixels: list[NDArray[np.uint8]] = []
        """Of images without features, the last of those that wait."""
        self.features = np.zeros(feature_shape(network, 0), np.float32)
        """Of the others, the first of those that wait."""

    def taken(self, batch: Decoded) -> Iterator[tuple[Decoded, NDArray[np.float32]]]:
        """Take a batch, and give those that have all features by now."""
        full = self.held > MOST_BYTES
        self.waiting.append(batch)
        self.held += _bytes_of(batch)
        self.pixels.append(batch.pixels)
        count = sum(map(len, self.pixels))
        self._embed(count if full else count - count % self.batch_size)
        return self._complete()

    def rest(self) -> Iterator[tuple[Decoded, NDArray[np.float32]]]:
        """Give all batches that are left."""
        self._embed(sum(map(len, self.pixels)))
        return self._complete()

    def _embed(self, count: int) -> None:
        """Compute features of the first images that have none."""
        if not count:
            return
        pixels = np.concatenate(self.pixels)
        rows = [row for batch in self.waiting for row in batch.rows]
        rows = rows[self.features.shape[-2] :][:count]
        found = finite_features(self.network, pixels[:count], rows, self.batch_size)
        self.features = np.concatenate([self.features, found], axis=-2)
        self.pixels = [pixels[count:]]

    def _complete(self) -> Iterator[tuple[Decoded, NDArray[np.float32]]]:
        while self.waiting and len(self.waiting[0].pixels) <= self.features.shape[-2]:
            batch = self.waiting.popleft()
            self.held -= _bytes_of(batch)
            count = len(batch.pixels)
            own, self.features = self.features[..., :count, :], self.features[..., count:, :]
            yield batch, own


def _bytes_of(batch: Decoded) -> int:
    """What a batch holds in memory: pixels, and images of archives as they came."""
    held = sum(len(image) for image in batch.images if isinstance(image, bytes))
    return batch.pixels.nbytes + held + 64 * len(batch.images)


def _joined(
    batch: Decoded, features: NDArray[np.float32], first: int, known: KnownRows
) -> NDArray[np.float32]:
    """Features that were made of a batch and those that were there, in the order of the images."""
    place = known.place[first : first + len(batch.images)]
    there = np.flatnonzero(place >= 0)
    order = np.argsort([*batch.rows, *(first + there)])
    rows: NDArray[np.float32] = np.concatenate([features, known.features[place[there]]])[order]
    return rows
