"""Parsers, one target each: bytes become a file, the parser reads it or raises a sentence.

What a parser may raise is an :class:`~proxmtl.io.InputError`, or for readers of data sets and
networks another ``ValueError`` or ``FileNotFoundError``, that names the file. Everything else is a
finding: other exceptions, errors that name no file, time and memory out of proportion.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

from tests.fuzz import valid
from tests.fuzz.valid import AWA, NAMES, ROWS, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["TARGETS", "Target", "check"]

ALLOWED = (ValueError, FileNotFoundError)
LONGEST = 4000
"""Characters of a message: what is wrong with a file fits on a page, however large the file is."""


class UnclearError(Exception):
    """An error of a parser that says too little, or too much."""


@dataclass(frozen=True)
class Target:
    """A parser, and how bytes become what it reads.

    Attributes
    ----------
    file
        Name of the file that the bytes become.
    parse
        Reads it, given the folder.
    seeds
        Gives valid files, each of which is read; others are made from them.
    strays
        Gives whole files that the parser has to refuse; others are made from them too.
    lay
        Puts the bytes into a folder; default: as the file.
    blames
        What an error may name instead of the file.
    """

    file: str
    parse: Callable[[Path], object]
    seeds: Callable[[], Sequence[bytes]]
    lay: Callable[[Path, bytes], object] | None = None
    blames: tuple[str, ...] = ()
    strays: Callable[[], Sequence[bytes]] = tuple

    def files(self) -> list[bytes]:
        """Give all whole files."""
        return [*self.seeds(), *self.strays()]


def check(target: Target, folder: Path, content: bytes) -> str:
    """Parse some bytes.

    Returns
    -------
    str
        What the error says; nothing where the bytes were read.

    Raises
    ------
    Exception
        What a parser may not raise; `UnclearError` for an error that doesn't name the file.
    """
    lay = target.lay or (lambda where, data: (where / target.file).write_bytes(data))
    lay(folder, content)
    try:
        target.parse(folder)
    except ALLOWED as error:
        return _sentence(target, error)
    return ""


def _sentence(target: Target, error: Exception) -> str:
    message = str(error)
    if not any(name in message for name in (target.file, *target.blames)):
        raise UnclearError(f"names no file: {type(error).__name__}: {message[:300]}") from error
    if len(message) > LONGEST:
        raise UnclearError(f"{len(message)} characters: {message[:100]}") from error
    return message


def _long_labels(folder: Path) -> object:
    from proxmtl.io import read_labels

    return read_labels(folder / "y.csv", task_column="task")


def _labels(folder: Path) -> object:
    from proxmtl.io import read_labels

    return read_labels(folder / "y.csv")


def _sparse_labels(folder: Path) -> object:
    from proxmtl.io import read_labels

    return read_labels(folder / "y.npz")


def _ids(folder: Path) -> object:
    from proxmtl.io import read_ids

    return read_ids(folder / "y.csv")


def _classes(folder: Path) -> object:
    from proxmtl.io import read_classes

    return read_classes(folder / "c.csv", ("cat", "dog"))


def _groups(name: str) -> Callable[[Path], object]:
    def parse(folder: Path) -> object:
        from proxmtl.cli.inputs import read_groups

        return read_groups(folder / name, NAMES)

    return parse


def _features(name: str) -> Callable[[Path], object]:
    def parse(folder: Path) -> object:
        from proxmtl.io import read_features

        return read_features(folder / name)

    return parse


def _rows(name: str) -> Callable[[Path], object]:
    def parse(folder: Path) -> object:
        from proxmtl.io import open_shards

        rows = open_shards(folder / name, memory=1 << 24)
        rows.check_finite()
        return rows

    return parse


def _codes() -> list[bytes]:
    codes = ROWS.astype(np.int8)
    scales = [np.full((), 0.5, np.float32), np.ones(codes.shape[1], np.float32)]
    return [safetensors.numpy.save({"a": codes, "a_scale": scale}) for scale in scales]


def _model(folder: Path) -> object:
    from proxmtl.estimators import load_model

    return load_model(folder)


def _checkpoint(folder: Path) -> object:
    from proxmtl.backbones.training import read_checkpoint

    return read_checkpoint(folder)


def _tar(folder: Path) -> object:
    from proxmtl.backbones import TarImages
    from proxmtl.backbones.images import open_image

    images = TarImages(folder / "i.tar")
    return [open_image(image, f"i.tar {name}") for name, image in zip(images.names, images)]  # noqa: B905


def _picture(folder: Path) -> object:
    from proxmtl.backbones.images import to_pixels

    return to_pixels(folder / "i.png", 8)


def _mat(folder: Path) -> object:
    from proxmtl.backbones.experiments.datasets.clothing import _read_labels

    return _read_labels(folder / "black_GT.mat")


def _network(folder: Path) -> object:
    from proxmtl.backbones import QuantizedNet

    return QuantizedNet(folder / "n.npz")


MULAN = (
    b"@relation 'flags'\n@attribute a numeric\n@attribute b numeric\n"
    + b"".join(b"@attribute l%d {0,1}\n" % number for number in range(7))
    + b"@data\n%s\n"
)


def _mulan(folder: Path) -> object:
    from proxmtl.backbones.experiments.datasets import load_mulan

    return load_mulan(folder, "flags")


def _celeba(folder: Path) -> object:
    from proxmtl.backbones.experiments.datasets import load_celeba

    return load_celeba(folder)


def _awa(folder: Path) -> object:
    from proxmtl.backbones.experiments.datasets.awa import load_awa

    return load_awa(folder)


def _wbcatt(folder: Path) -> object:
    from proxmtl.backbones.experiments.datasets import load_wbcatt

    return load_wbcatt(folder)


def _storage(folder: Path) -> object:
    from proxmtl.selection.storage import Storage

    return Storage(folder, SETTINGS).load("part")


def _partial(folder: Path) -> object:
    from proxmtl.backbones.feature_file import FeatureFile

    with FeatureFile(folder / "f.npy", (4, 3), {"network": "n"}) as file:
        return file.progress


TARGETS: dict[str, Target] = {
    "labels": Target(
        "y.csv",
        _labels,
        lambda: [*valid.tables(), *valid.nameless_tables()],
        strays=valid.broken_tables,
    ),
    "long-labels": Target(
        "y.csv",
        _long_labels,
        lambda: [b"id,task,y\na,u,1\na,v,0\nb,u,\n", b"task;y\nu;yes\nv;no\n"],
    ),
    "ids": Target(
        "y.csv",
        _ids,
        valid.tables,
        strays=lambda: [*valid.nameless_tables(), *valid.broken_tables()],
    ),
    "classes": Target("c.csv", _classes, lambda: [b"image,class\na,cat\nb,dog\n"]),
    "groups-json": Target("g.json", _groups("g.json"), valid.group_texts),
    "groups-toml": Target(
        "g.toml", _groups("g.toml"), lambda: [b'[groups]\nc = ["black"]\n[weights]\nc = 1.5\n']
    ),
    "groups-csv": Target(
        "g.csv", _groups("g.csv"), lambda: [b"group,attribute\nc,black\nc,white\np,spots\n"]
    ),
    "npy": Target(
        "x.npy",
        _features("x.npy"),
        lambda: [valid.npy(ROWS), valid.npy(np.asfortranarray(ROWS, ">f8")), valid.npy(ROWS > 3)],
    ),
    "npz": Target(
        "x.npz",
        _features("x.npz"),
        lambda: [valid.npz(a=ROWS), valid.npz(True, a=ROWS)],
        strays=lambda: [valid.npz(True, a=ROWS, b=ROWS)],
    ),
    "npz-sparse": Target("x.npz", _features("x.npz"), valid.sparse_npz),
    "npz-labels": Target("y.npz", _sparse_labels, valid.sparse_labels_npz),
    "npz-sparse-shape": Target(
        "x.npz",
        _features("x.npz"),
        lambda: [valid.npy(np.array(ROWS.shape))],
        valid.lay_sparse("shape"),
    ),
    "npz-sparse-indices": Target(
        "x.npz",
        _features("x.npz"),
        lambda: [valid.npy(np.array([0, 2, 1], np.int32))],
        valid.lay_sparse("indices"),
    ),
    "npz-member": Target(
        "x.npz", _features("x.npz"), lambda: [valid.npy(ROWS)], valid.zipped("a.npy")
    ),
    "safetensors": Target(
        "x.safetensors",
        _features("x.safetensors"),
        lambda: [
            safetensors.numpy.save({"a": ROWS}),
            safetensors.torch.save({"a": torch.from_numpy(ROWS).bfloat16()}),
        ],
        strays=lambda: [safetensors.numpy.save({"a": ROWS, "b": ROWS})],
    ),
    "parquet": Target("x.parquet", _features("x.parquet"), valid.parquet),
    "npy-rows": Target("x.npy", _rows("x.npy"), lambda: [valid.npy(ROWS)]),
    "safetensors-rows": Target(
        "x.safetensors",
        _rows("x.safetensors"),
        lambda: [
            safetensors.numpy.save({"a": ROWS}),
            safetensors.torch.save({"a": torch.from_numpy(ROWS).bfloat16()}),
            *_codes(),
        ],
        strays=lambda: [safetensors.numpy.save({"a": ROWS, "b": ROWS})],
    ),
    "parquet-rows": Target("x.parquet", _rows("x.parquet"), valid.parquet),
    **{
        title: Target(
            name,
            _model,
            valid.model_file(name),
            valid.lay_model(name),
            blames=("model.", "manifest.json"),
        )
        for title, name in (
            ("model", "model.json"),
            ("model-arrays", "model.safetensors"),
            ("manifest", "manifest.json"),
        )
    },
    "checkpoint": Target(
        ".train/checkpoint.pt", _checkpoint, valid.checkpoints, valid.lay_checkpoint
    ),
    "checkpoint-pickle": Target(
        ".train/checkpoint.pt",
        _checkpoint,
        valid.pickles,
        valid.lay_pickle,
        strays=lambda: [pickle.dumps({"format": "x"}, 2)],
    ),
    "tar": Target("i.tar", _tar, valid.archives),
    "image": Target("i.png", _picture, lambda: [valid.png(), valid.jpeg()]),
    "mat": Target(
        "black_GT.mat",
        _mat,
        lambda: [valid.mat(packed=False), valid.mat(packed=True)],
        strays=lambda: [valid.mat("4")],
    ),
    "network": Target("n.npz", _network, valid.networks),
    "network-graph": Target("n.npz", _network, valid.graphs, valid.lay_graph),
    "trials": Target("part.safetensors", _storage, valid.parts, valid.lay_part),
    "trials-settings": Target(
        "settings.json",
        _storage,
        lambda: [json.dumps(SETTINGS).encode()],
        lambda folder, content: (folder / "settings.json").write_bytes(valid.sealed(content)),
        blames=("part.safetensors",),
    ),
    **{
        f"partial-{kind}": Target(
            "f.npy.partial",
            _partial,
            lambda name=name: [valid.partial_features()[name]],
            lambda folder, content, name=name, seal=seal: valid.lay_partial(
                folder, name, seal(content)
            ),
        )
        for kind, name, seal in (
            ("rows", "00000.npy", bytes),
            ("record", "00000.json", valid.sealed),
            ("plan", "plan.json", valid.sealed),
        )
    },
    **{
        f"awa-{name.split('.')[0].replace('_', '-')}": Target(
            name, _awa, lambda content=content: [content], valid.lay_awa(name), blames=tuple(AWA)
        )
        for name, content in AWA.items()
    },
    "mulan": Target(
        "flags.arff", _mulan, lambda: [MULAN % b"1,2.5,0,1,0,0,0,0,1", MULAN % b"{1 2,8 1}"]
    ),
    "celeba": Target(
        "list_attr_celeba.txt", _celeba, lambda: [b"2\nblack white\n1.jpg 1 -1\n2.jpg -1 1\n"]
    ),
    "wbcatt": Target("attributes.csv", _wbcatt, valid.wbcatt_table, blames=("the tables of",)),
}
"""Every parser of a file that may come from elsewhere."""
