"""Frozen features of images: (N, D) float32, in memory or in an ``.npy`` file of any size."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from proxmtl.backbones.embedding import (
    FeatureNetwork,
    KnownRows,
    embedded,
    feature_shape,
    finite_features,
)
from proxmtl.backbones.feature_file import FeatureFile
from proxmtl.backbones.stream import check_request, decode
from proxmtl.io.errors import InputError
from proxmtl.io.identity import fingerprint
from proxmtl.naming import name_key
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from proxmtl.backbones.images import Fit, ImageLike, SizedImages

__all__ = ["Extracted", "FeatureNetwork", "KnownRows", "extract", "extract_to_file"]


class Extracted(NamedTuple):
    """Features that lie in a file."""

    features: NDArray[np.float32]
    """(N, D) or (M, N, D), mapped from the file."""
    rows: NDArray[np.intp]
    """Numbers of the images that the N rows are of."""
    skipped: tuple[str, ...]
    """Why the others are not among them."""


def extract(
    images: SizedImages,
    backbone: FeatureNetwork,
    batch_size: int = 8,
    *,
    fit: Fit | None = None,
    out: str | Path | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Embed images with a frozen network.

    Parameters
    ----------
    images
        N images: paths, encoded bytes, Pillow images or uint8 arrays; a batch at a time is decoded.
    backbone
        The network; it stays on its device.
    batch_size
        Images per forward pass; memory grows with it, the result depends on it only in its last
        digits. On a CPU small batches are fastest, because they stay in its caches.
    fit
        How an image becomes a square: see :func:`to_pixels`. Default: ``"crop"``, and for the
        networks of a training run as in their training.
    out
        New file to write the result to (``.npy``), instead of memory: see
        :func:`extract_to_file`.
    workers
        Threads that decode images ahead of the network; 0: none. The result is the same.
    progress
        Called with (done, N) before the first batch and after each.

    Returns
    -------
    ndarray
        (N, D) float32, or (M, N, D) for M networks; with ``out`` it is mapped from the file.

    Raises
    ------
    ValueError
        If there is no image, ``batch_size`` isn't positive, ``out`` exists or doesn't end in
        ``.npy``, an image can't be decoded, or a feature isn't finite.
    FileNotFoundError
        If an image or the folder of ``out`` isn't there.
    """
    if out is not None:
        return extract_to_file(
            images,
            backbone,
            out,
            batch_size=batch_size,
            fit=fit,
            workers=workers,
            progress=progress,
        ).features
    fit, total, done = chosen_fit(backbone, fit), len(images), 0
    features = np.zeros(feature_shape(backbone, total), dtype=np.float32)
    if progress is not None:
        progress(done, total)
    for batch in decode(images, backbone.input_size, fit, batch_size, workers=workers):
        rows = slice(done, done + len(batch.rows))
        features[..., rows, :] = finite_features(backbone, batch.pixels, batch.rows, batch_size)
        done += len(batch.rows)
        if progress is not None:
            progress(done, total)
    _check_count(done, total)
    return features


def extract_to_file(
    images: SizedImages,
    network: FeatureNetwork,
    out: str | Path,
    *,
    ids: Sequence[str] | None = None,
    batch_size: int = 8,
    fit: Fit | None = None,
    skip_corrupt: bool = False,
    fresh: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    known: KnownRows | None = None,
) -> Extracted:
    """Embed images into a file: memory for one batch, however many images there are.

    The file appears when it is complete. Until then its rows lie in parts in the folder
    ``<out>.partial``; the same call goes on from there after a kill, to the same features. It
    checks that the network and the images done so far are still the same; images yet to come may
    have been repaired. At the end the parts are joined: the disk has to hold the features twice.

    Parameters
    ----------
    images, batch_size, fit, workers, progress
        As for :func:`extract`.
    network
        A :class:`FrozenNetwork` or :class:`TrainedNetworks`.
    out
        An ``.npy`` file.
    ids
        Names of the images, written beside the features (``features.ids.csv``), from where
        ``proxmtl fit`` matches rows of labels; they also name images in errors.
    skip_corrupt
        Leave out images that aren't there or can't be decoded; without it the first of them ends
        the call, with the others before it done and kept.
    fresh
        Replace features and names that are there, and start over where the part that is there
        can't be gone on with, instead of raising.
    known
        Features of some of the images by one network, which are taken as they are.

    Returns
    -------
    Extracted

    Raises
    ------
    InputError
        If ``out`` exists, or names beside it that no extraction to it wrote; another process
        writes it, ``<out>.partial`` is of other features, images or networks, or the disk is too
        small.
    ValueError, FileNotFoundError
        As :func:`extract`, or if every image was skipped.
    """
    target, total = _checked_target(Path(out)), len(images)
    if ids is not None:
        _check_ids(ids, total)
    fit = chosen_fit(network, fit)
    check_request(images, network.input_size, fit, batch_size)
    if known is not None:
        _check_known(known, network, total)
    identity = {
        "network": fingerprint(network.tensors()),
        "fit": f"{fit} {network.input_size}",
        "number of images": str(total),
        "names": fingerprint(list(ids)) if ids is not None else "",
    }
    shape = feature_shape(network, total)
    with FeatureFile(target, shape, identity, ids=ids, fresh=fresh) as file:
        try:
            _check_part(file, images, skip_corrupt=skip_corrupt)
        except InputError:
            if not fresh:
                raise
            file.start_over()
        if progress is not None:
            progress(file.progress.done, total)
        batches = decode(
            images,
            network.input_size,
            fit,
            batch_size,
            names=ids,
            skip_corrupt=skip_corrupt,
            start=file.progress.done,
            workers=workers,
            known=None if known is None else known.place >= 0,
        )
        for batch, features in embedded(batches, network, file.progress.done, known, batch_size):
            seen = digest(batch.images, file.progress.seen)
            file.append(features, images=len(batch.images), seen=seen, bad=batch.bad)
            if progress is not None:
                progress(file.progress.done, total)
        _check_count(file.progress.done, total)
        bad = file.progress.bad
        if len(bad) == total:
            raise ValueError(
                f"none of the {counted(total, 'image')} can be used, the first: {bad[0][1]}"
            )
        file.finish()
    rows = np.setdiff1d(np.arange(total), [number for number, _ in bad])
    skipped = tuple(reason for _, reason in bad)
    return Extracted(np.load(target, mmap_mode="r"), rows.astype(np.intp), skipped)


def chosen_fit(network: FeatureNetwork, asked: Fit | None) -> Fit:
    """How images become squares for a network.

    Raises
    ------
    ValueError
        If the network knows one way only, and another was asked for.
    """
    if asked is not None and network.fit is not None and asked != network.fit:
        raise ValueError(
            f"fit: got {asked!r}, and {network.name} see images as they were trained on, by "
            f"{network.fit!r}; leave it out."
        )
    return asked or network.fit or "crop"


def digest(images: Iterable[ImageLike], before: str) -> str:
    """Continue a digest by some images: files by name, size and time, others by their content."""
    for image in images:
        before = hashlib.sha256(f"{before} {_signature(image)}".encode()).hexdigest()
    return before


def _signature(image: ImageLike) -> str:
    if isinstance(image, str | Path):
        path = Path(image)
        stat = path.stat() if path.is_file() else None
        return f"{path} {(stat.st_size, stat.st_mtime_ns) if stat else None}"
    if isinstance(image, Image.Image):
        image = np.asarray(image)
    if isinstance(image, np.ndarray):
        return f"{image.shape} {hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()}"
    return hashlib.sha256(image).hexdigest()


def _check_part(file: FeatureFile, images: SizedImages, *, skip_corrupt: bool) -> None:
    """Raise if other images went into the parts, or one was skipped that is wanted now."""
    progress = file.progress
    if progress.bad and not skip_corrupt:
        raise InputError(
            file.folder,
            f"{counted(len(progress.bad), 'image')} skipped so far, the first: "
            f"{progress.bad[0][1]} Ask for corrupt images to be skipped again, or start over.",
        )
    found = ""
    for image in itertools.islice(images, progress.done):
        found = digest([image], found)
    if found != progress.seen:
        raise InputError(
            file.folder,
            f"its {counted(progress.done, 'image')} aren't those given now: names, sizes or times "
            "of files differ. Start over (--force, in Python fresh=True), or remove it.",
        )


def _check_count(done: int, total: int) -> None:
    if done != total:
        raise ValueError(f"images announced {total} and gave {done}.")


def _check_ids(ids: Sequence[str], n_images: int) -> None:
    """Raise if a name could not be read again."""
    if len(ids) != n_images:
        raise ValueError(f"{len(ids)} ids for {n_images} images; give one for each.")
    for name, count in Counter(map(name_key, ids)).items():
        if count > 1 or not name:
            raise ValueError(f"ids: {name!r} is there {count} times; give each image its own.")
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"ids: {name!r} isn't text in UTF-8; rename this file.") from error


def _check_known(known: KnownRows, network: FeatureNetwork, n_images: int) -> None:
    """Raise if features that are there can't be those of these images."""
    if network.n_members is not None:
        raise ValueError(f"known: {network.name} holds several networks; give none for these.")
    shape, rows = feature_shape(network, n_images), (len(known.place), *known.features.shape[1:])
    if rows != shape:
        raise ValueError(
            f"known: {len(known.place)} places and features {known.features.shape} for features "
            f"{shape}; give (N,) places and (K, D) features."
        )
    if known.place.max() >= len(known.features):
        raise ValueError(
            f"known: place {known.place.max()} is beyond its {len(known.features)} rows."
        )


def _checked_target(path: Path) -> Path:
    if path.suffix != ".npy":
        msg = f"out: got {str(path)!r}; features are written as .npy: give such a name."
        raise ValueError(msg)
    if not path.parent.is_dir():
        msg = f"the folder of out, {path.parent}, isn't there; make it first."
        raise FileNotFoundError(msg)
    if path.is_dir():
        raise ValueError(f"out={str(path)!r} is a folder; name a file.")
    return path
