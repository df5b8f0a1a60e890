"""Frozen features of images: (N, D) float32, in memory or in an ``.npy`` file."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from proxmtl.backbones.images import Fit, ImageLike, to_pixels
from proxmtl.io.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from proxmtl.backbones.backbone import Backbone


class SizedImages(Protocol):
    """A collection of images with a length: a list, or :class:`TarImages`."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __iter__(self) -> Iterator[ImageLike]:
        """Iterate over the images."""


def extract(
    images: SizedImages,
    backbone: Backbone,
    batch_size: int = 8,
    *,
    fit: Fit = "crop",
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Embed images with a frozen network.

    Parameters
    ----------
    images
        N images: paths, encoded bytes, Pillow images or uint8 arrays; one at a time is decoded.
    backbone
        The network; it stays on its device.
    batch_size
        Images per forward pass; memory grows with it, the result depends on it only in its last
        digits. On a CPU small batches are fastest, because they stay in its caches.
    fit
        How an image becomes a square: see :func:`to_pixels`.
    out
        File to write the result to (``.npy``); it appears only when complete.
    progress
        Called with (done, N) after each batch.

    Returns
    -------
    ndarray
        (N, D) float32.

    Raises
    ------
    ValueError
        If there is no image, ``batch_size`` isn't positive, ``out`` doesn't end in ``.npy``, an
        image can't be decoded, or a feature isn't finite.
    FileNotFoundError
        If an image or the folder of ``out`` isn't there.
    """
    total = len(images)
    target = None if out is None else _checked_target(Path(out))
    if total == 0 or batch_size < 1:
        msg = f"{total} images in batches of {batch_size}: both must be at least 1."
        raise ValueError(msg)
    features = np.empty((total, backbone.n_features), dtype=np.float32)
    device = next(itertools.chain(backbone.buffers(), backbone.parameters())).device
    numbered = enumerate(images)
    done = 0
    while batch := list(itertools.islice(numbered, batch_size)):
        pixels = [to_pixels(image, backbone.input_size, fit, f"image {i}") for i, image in batch]
        with torch.inference_mode():
            embedding = backbone(torch.from_numpy(np.stack(pixels)).to(device))
        features[done : done + len(batch)] = embedding.cpu().numpy()
        done += len(batch)
        if progress is not None:
            progress(done, total)
    bad = np.flatnonzero(~np.isfinite(features[:done]).all(axis=1))
    if done != total or bad.size:
        msg = (
            f"images announced {total} and gave {done}."
            if done != total
            else f"{backbone.name} gave a feature of image {bad[0]} that isn't finite."
        )
        raise ValueError(msg)
    if target is not None:
        with atomic_path(target) as temporary:
            np.save(temporary, features, allow_pickle=False)
    return features


def _checked_target(path: Path) -> Path:
    if path.suffix != ".npy":
        msg = f"out={str(path)!r} must end in .npy."
        raise ValueError(msg)
    if not path.parent.is_dir():
        msg = f"the folder of out, {path.parent}, isn't there; make it first."
        raise FileNotFoundError(msg)
    return path
