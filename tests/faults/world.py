"""The files that commands read: tiny, and the same in every world."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("black", "white", "spots", "stripes")
GROUPS = {"colours": NAMES[:2], "patterns": NAMES[2:]}
N_ROWS, N_FEATURES, N_PHOTOS, SIDE = 60, 8, 24, 8
EPOCH = 1_700_000_000
"""Time of the last change of every input: part of what pixel caches and extractions go by."""


def make_inputs(folder: Path) -> None:
    """Write features, labels and groups in each format, photographs, and a network."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_FEATURES)).astype(np.float32)
    Y = (X @ rng.standard_normal((N_FEATURES, len(NAMES))) > 0).astype(int)
    ids = [f"{i:03d}.png" for i in range(N_ROWS)]
    np.save(folder / "x.npy", X)
    np.savez(folder / "x.npz", features=X)
    np.savez_compressed(folder / "small.npz", features=X)
    safetensors.numpy.save_file({"features": X}, folder / "x.safetensors")
    for name in ("x", "small"):
        _write_table(folder / f"{name}.ids.csv", ["id"], [[i] for i in ids])
    _write_parquet(folder / "x.parquet", X, ids)
    _write_table(
        folder / "y.csv", ["image", *NAMES], [[i, *y] for i, y in zip(ids, Y, strict=True)]
    )
    _write_groups(folder)
    _write_classes(folder, Y, ids)
    _write_photos(folder, rng)
    np.savez(folder / "net.npz", **tiny_network(rng))
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (EPOCH, EPOCH))


def _write_table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    lines = [",".join(map(str, row)) for row in [header, *rows]]
    path.write_text("\n".join(lines) + "\n")


def _write_parquet(path: Path, X: np.ndarray, ids: list[str]) -> None:
    import pandas as pd

    table = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])
    table.insert(0, "image", ids)
    table.to_parquet(path)


def _write_groups(folder: Path) -> None:
    (folder / "g.json").write_text(json.dumps({"groups": GROUPS, "weights": {"colours": 1.5}}))
    lines = [f"{group} = {json.dumps(members)}" for group, members in GROUPS.items()]
    (folder / "g.toml").write_text("\n".join(["[groups]", *lines, "[weights]", "colours = 1.5"]))
    pairs = [[group, name] for group, members in GROUPS.items() for name in members]
    _write_table(folder / "g.csv", ["group", "attribute"], pairs)


def _write_classes(folder: Path, Y: np.ndarray, ids: list[str]) -> None:
    """Write classes for zero-shot recognition: the combinations of the first two attributes."""
    signatures = [[f"c{i}", i // 2, i % 2, (i + 1) // 2 % 2, i % 2] for i in range(4)]
    _write_table(folder / "matrix.csv", ["name", *NAMES], signatures)
    rows = [[name, f"c{2 * y[0] + y[1]}"] for name, y in zip(ids, Y, strict=True)]
    _write_table(folder / "classes.csv", ["image", "class"], rows)


def _write_photos(folder: Path, rng: np.random.Generator) -> None:
    """Write squares, red or not, with a bar or not, as a folder and as an archive."""
    (folder / "photos").mkdir()
    rows = []
    for i in range(N_PHOTOS):
        red, bar, dark = i % 2, i // 2 % 2, i // 4 % 2
        pixels = rng.integers(0, 90, (SIDE + 2, SIDE + 2, 3), dtype=np.uint8)
        pixels[..., 0] += np.uint8(120 * red)
        if bar:
            pixels[:, 4:6] = 255
        if dark:
            pixels[2:4] //= 2
        kind = "jpg" if i % 8 == 7 else "png"
        Image.fromarray(pixels).save(folder / "photos" / f"{i:02d}.{kind}")
        rows.append([f"{i:02d}.{kind}", red, bar, dark])
    _write_table(folder / "photos.csv", ["file", "red", "bar", "dark"], rows)
    (folder / "kinds.json").write_text(json.dumps({"colour": ["red"], "form": ["bar", "dark"]}))
    with tarfile.open(folder / "photos.tar", "w") as archive:
        for name, *_ in rows:
            content = (folder / "photos" / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), EPOCH
            archive.addfile(member, io.BytesIO(content))


def tiny_network(rng: np.random.Generator) -> dict[str, object]:
    """Arrays of a quantized network: a convolution, the pool, and a classifier after it."""
    steps = [
        {"op": "CONV_2D", "in": [0], "out": [1], "stride": 1, "act": 3},
        {"op": "AVERAGE_POOL_2D", "in": [1], "out": [2]},
        {"op": "CONV_2D", "in": [2], "out": [3]},
    ]
    arrays: dict[str, object] = {
        "graph": json.dumps(steps),
        "input_size": np.int32(SIDE),
        "input_tensor": np.int32(0),
    }
    for k, shape in ((0, (6, 3, 3, 3)), (2, (4, 6, 1, 1))):
        arrays[f"w{k}_u8"] = rng.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"w{k}_zp"] = np.uint8(128)
        arrays[f"w{k}_scale"] = np.float32(0.01)
        arrays[f"b{k}"] = rng.standard_normal(shape[0]).astype(np.float32)
    return arrays
