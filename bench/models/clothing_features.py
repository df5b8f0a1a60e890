"""Extract frozen features of the Clothing images: one ``.npy`` per backbone, reused by the rest.

    python -m bench.models.clothing_features --backbone mobilenet --backbone efficientnet

The data set is looked for in $PROXMTL_DATA, else in ../shared/data.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import typer
from rich.progress import Progress

from bench.datasets import data_root, load_clothing
from proxmtl.backbones import extract, load_network
from proxmtl.backbones.images import Fit

CACHE = Path(__file__).parents[2] / "build" / "features"
BACKBONES = ("mobilenet", "efficientnet")
MOBILENET = Path("backbones") / "mobilenet_v2_1.0_224_imagenet_u8.npz"


def features_of(backbone: str, fit: str = "stretch") -> np.ndarray:
    """Return (1856, 1280) features, extracted now or read from the cache.

    Parameters
    ----------
    backbone
        ``"mobilenet"`` (v2 1.0, 224 pixels) or ``"efficientnet"`` (Lite0).
    fit
        How an image becomes a square.
    """
    if backbone not in BACKBONES:
        msg = f"backbone={backbone!r} is unknown; choose one of {', '.join(BACKBONES)}."
        raise ValueError(msg)
    path = CACHE / f"clothing_{backbone}_{fit}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    data = load_clothing(data_root() / "clothing_attributes")
    if data.images is None:
        msg = "the images of the Clothing data set aren't there, only the labels."
        raise FileNotFoundError(msg)
    name = str(data_root() / MOBILENET) if backbone == "mobilenet" else "efficientnet_lite0"
    CACHE.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with Progress() as bar:
        task = bar.add_task(f"{backbone}, {fit}", total=len(data.images))
        features = extract(
            data.images,
            load_network(name),
            fit=fit,
            out=path,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    print(f"{path.name}: {features.shape} in {time.perf_counter() - start:.0f} s")
    return features


def main(
    backbone: Annotated[
        list[str] | None, typer.Option(help="mobilenet or efficientnet; both by default")
    ] = None,
    fit: Annotated[str, typer.Option(help=" | ".join(get_args(Fit)))] = "stretch",
) -> None:
    """Extract frozen features of the Clothing images."""
    for name in backbone or BACKBONES:
        features_of(name, fit)


if __name__ == "__main__":
    typer.run(main)
