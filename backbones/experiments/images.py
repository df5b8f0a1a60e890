"""Features of the images of a data set, made once with a frozen network and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proxmtl.backbones.experiments.protocol import Array, FeaturesOf
from proxmtl.backbones.extraction import digest, extract_to_file
from proxmtl.backbones.frozen import load_network
from proxmtl.backbones.images import Fit, SizedImages
from proxmtl.io import ids_sidecar
from proxmtl.io.errors import InputError
from proxmtl.io.identity import fingerprint
from proxmtl.io.seal import entry_of, read_sealed, write_sealed

__all__ = ["kept_features", "same_images"]

NETWORK = "efficientnet_lite0"
FIT: Fit = "stretch"
BATCH = 8
"""Images per forward pass; the last digits of features depend on it."""
CURE = "remove it, and the features are made again."


def kept_features(
    folder: Path, progress: Callable[[int, int], None] | None = None, network: str = NETWORK
) -> FeaturesOf:
    """Return a function that makes features of images, or finds those in a folder.

    An extraction that was interrupted goes on where it was. Features that are there are taken if
    the network, its weights, the images, their names and the file are those of the record beside
    it.

    Parameters
    ----------
    folder
        Created when it is needed.
    progress
        Called with images done, and images in total.
    network
        As :func:`proxmtl.backbones.load_network` takes it.
    """

    def features(name: str, images: Any, ids: Sequence[str]) -> Array:
        if images is None:
            raise FileNotFoundError(f"the images of {name} aren't there, only their labels.")
        frozen = load_network(network)
        made = {
            "network": Path(network).name,
            "fingerprint": fingerprint(frozen.tensors()),
            "fit": FIT,
            "batch": BATCH,
            "names": fingerprint(list(ids)),
            "images": digest(images, ""),
        }
        path = folder / f"{name}_{Path(network).stem}.npy"
        record = path.with_suffix(".source.json")
        if path.is_file() and record.is_file():
            known = read_sealed(record, CURE)
            if known == {**made, "file": list(entry_of(path))}:
                kept: Array = np.load(path, allow_pickle=False)
                return kept
            raise InputError(path, f"holds features of other images or networks; {CURE}")
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (path, ids_sidecar(path)):
            stale.unlink(missing_ok=True)  # complete, but without a record of what it is of
        found = extract_to_file(
            images,
            frozen,
            path,
            ids=list(ids),
            fit=FIT,
            batch_size=BATCH,
            fresh=True,
            progress=progress,
        )
        write_sealed(record, {**made, "file": list(entry_of(path))})
        return np.array(found.features)

    return features


def same_images(images: SizedImages) -> np.ndarray:
    """Number the images, files with the same bytes alike, (N,)."""
    seen: dict[str, int] = {}
    numbers = []
    for image in images:
        content = image if isinstance(image, bytes) else Path(image).read_bytes()  # type: ignore[arg-type]
        numbers.append(seen.setdefault(hashlib.sha256(content).hexdigest(), len(seen)))
    return np.array(numbers, dtype=np.int64)
