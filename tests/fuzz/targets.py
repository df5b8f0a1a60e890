"""Parsers, one target each: bytes become a file, the parser reads it or raises a sentence.

What a parser may raise is an :class:`~proxmtl.io.InputError`, or for readers of data sets and
networks another ``ValueError`` or ``FileNotFoundError``, that names the file. Everything else is a
finding: other exceptions, errors that name no file, time and memory out of proportion.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
import scipy.io
import torch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["TARGETS", "Target", "check"]

NAMES = ("black", "white", "spots")
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
AWA = {
    "classes.txt": b"1\tcat\n2\tdog\n",
    "predicates.txt": b"1\tblack\n2\twhite\n3\tspots\n",
    "predicate-matrix-binary.txt": b"1 0 1\n0 1 0\n",
    "trainclasses.txt": b"cat\n",
    "testclasses.txt": b"dog\n",
    "attribute_groups_9.json": json.dumps(
        {"c": [{"index0": 0, "name": "black"}, {"index0": 1, "name": "white"}]}
    ).encode(),
}
"""The text files of Animals with Attributes, for two classes of three attributes."""
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
        Gives valid files, from which others are made.
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


def _labels(folder: Path) -> object:
    from proxmtl.io import read_labels

    return read_labels(folder / "y.csv")


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


def _model(folder: Path) -> object:
    from proxmtl.io import load_model

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
    from proxmtl.backbones.data.clothing import _read_labels

    return _read_labels(folder / "black_GT.mat")


def _network(folder: Path) -> object:
    from proxmtl.backbones import QuantizedNet

    return QuantizedNet(folder / "n.npz")


def _celeba(folder: Path) -> object:
    from proxmtl.backbones.data import load_celeba

    return load_celeba(folder)


def _awa(folder: Path) -> object:
    from proxmtl.backbones.data.awa import load_awa

    return load_awa(folder)


def _lay_awa(name: str) -> Callable[[Path, bytes], object]:
    """Lay bytes as one of the files of Animals with Attributes, beside the others."""

    def lay(folder: Path, content: bytes) -> None:
        for other, text in {**AWA, name: content}.items():
            (folder / other).write_bytes(text)
        stream = io.BytesIO()
        np.savez(stream, features=ROWS.astype(np.int8), label=np.array([0, 1, 1, 0]))
        (folder / "features_pca512_int8.npz").write_bytes(stream.getvalue())

    return lay


def _wbcatt(folder: Path) -> object:
    from proxmtl.backbones.data import load_wbcatt

    return load_wbcatt(folder)


def _storage(folder: Path) -> object:
    from proxmtl.selection.storage import Storage

    return Storage(folder, {"labels": [4, 3], "norm": 1.5}).load("part")


def _partial(folder: Path) -> object:
    from proxmtl.backbones.feature_file import FeatureFile

    with FeatureFile(folder / "f.npy", (4, 3), {"network": "n"}) as file:
        return file.progress


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _npz(packed: bool = False, **arrays: object) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, **arrays)
    return stream.getvalue()


def _zipped(name: str) -> Callable[[Path, bytes], object]:
    """Lay bytes into an archive, with a checksum that fits: the parser sees them."""

    def lay(folder: Path, content: bytes) -> None:
        with zipfile.ZipFile(folder / "x.npz", "w") as archive:
            archive.writestr(name, content)

    return lay


def _tables() -> list[bytes]:
    return [
        b"image,black,white\na,1,0\nb,,1\n",
        b"black;white\n1;0\n0;1\n",
        b'\xef\xbb\xbf"bl,ack",white\r\n1,-1\r\n\r\nnan,NA\r\n',
        "id\tschwärz\tx\na\tyes\tno\n".encode("utf-16"),
        b"a\n1\n\n0\n",
    ]


def _group_texts() -> list[bytes]:
    groups = {"colours": ["black", "white"], "patterns": ["spots"]}
    return [
        json.dumps(groups).encode(),
        json.dumps({"groups": groups, "weights": {"colours": 1.5}}).encode(),
    ]


def _parquet() -> list[bytes]:
    pandas = __import__("pandas")
    found = []
    for table in (
        pandas.DataFrame(ROWS, columns=list("abc")),
        pandas.DataFrame({"id": list("wxyz"), "a": [1.0, 2.0, 3.0, 4.0]}),
        pandas.DataFrame(ROWS, columns=list("abc"), index=list("wxyz")),
    ):
        stream = io.BytesIO()
        table.to_parquet(stream)
        found.append(stream.getvalue())
    return found


def _lay_model(name: str) -> Callable[[Path, bytes], object]:
    """Lay bytes as a file of a model, and seal it: the parser sees them."""

    def lay(folder: Path, content: bytes) -> None:
        from proxmtl.io import seal_folder

        files = {**_saved_model_once(), name: content}
        if name == "model.safetensors":
            document = json.loads(files["model.json"])
            document["arrays_sha256"] = hashlib.sha256(content).hexdigest()
            files["model.json"] = json.dumps(document).encode()
        for other, text in files.items():
            (folder / other).write_bytes(text)
        if name != "manifest.json":
            seal_folder(folder)

    return lay


def _saved_model() -> dict[str, bytes]:
    import tempfile
    from pathlib import Path as Folder

    from proxmtl.estimators import SingleTaskClassifier
    from proxmtl.io import save_model

    X = np.random.default_rng(0).standard_normal((12, 3))
    model = SingleTaskClassifier(label_names=["black", "white"]).fit(
        X, (X[:, :2] > 0).astype(float)
    )
    with tempfile.TemporaryDirectory() as name:
        save_model(name, model)
        return {path.name: path.read_bytes() for path in Folder(name).iterdir()}


def _model_file(name: str) -> Callable[[], list[bytes]]:
    return lambda: [_saved_model_once()[name]]


_models: list[dict[str, bytes]] = []


def _saved_model_once() -> dict[str, bytes]:
    if not _models:
        _models.append(_saved_model())
    return _models[0]


def _checkpoints() -> list[bytes]:
    from proxmtl.backbones.training.checkpoint import FORMAT, SAVED

    stream = io.BytesIO()
    state = {name: {"w": torch.zeros(2)} for name in SAVED}
    torch.save({"format": FORMAT, "identity": {"head": "x"}, **state, "history": []}, stream)
    return [stream.getvalue()]


def _pickles() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_checkpoints()[0])) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return [archive.read(name), pickle.dumps({"format": "x"}, 2)]


def _lay_pickle(folder: Path, content: bytes) -> None:
    """Lay a pickle into an archive as torch writes it."""
    with zipfile.ZipFile(folder / "checkpoint.pt", "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        for number in range(6):
            archive.writestr(f"archive/data/{number}", bytes(8))


def _png(side: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (200, 10, 10)).save(stream, "PNG")
    return stream.getvalue()


def _jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9), (200, 10, 10)).save(stream, "JPEG")
    return stream.getvalue()


def _archives() -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for name, content in (("a.png", _png()), ("d" * 90 + "/" + "b" * 60 + ".jpg", _jpeg())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        found.append(stream.getvalue())
    return found


def _mats() -> list[bytes]:
    found = []
    for form, packed in (("4", False), ("5", False), ("5", True)):
        stream = io.BytesIO()
        scipy.io.savemat(
            stream, {"GT": np.array([[1.0, 2.0, np.nan]])}, format=form, do_compression=packed
        )
        found.append(stream.getvalue())
    return found


def _networks() -> list[bytes]:
    from tests.faults.world import tiny_network

    return [_npz(**tiny_network(np.random.default_rng(0)))]


def _graphs() -> list[bytes]:
    from tests.faults.world import tiny_network

    return [str(tiny_network(np.random.default_rng(0))["graph"]).encode()]


def _lay_graph(folder: Path, content: bytes) -> None:
    from tests.faults.world import tiny_network

    arrays = tiny_network(np.random.default_rng(0))
    arrays["graph"] = content.decode("utf-8", errors="replace")
    (folder / "n.npz").write_bytes(_npz(**arrays))


def _parts() -> list[bytes]:
    return [safetensors.numpy.save({"W": ROWS}, metadata={"record": json.dumps({"value": 1.0})})]


def _lay_part(folder: Path, content: bytes) -> None:
    (folder / "settings.json").write_text(json.dumps({"labels": [4, 3], "norm": 1.5}))
    (folder / "part.safetensors").write_bytes(content)


def _records() -> list[bytes]:
    record = {"format": "proxmtl features 1", "identity": {"network": "n"}, "done": 2}
    return [json.dumps({**record, "seen": "s", "bad": [[1, "why"]]}).encode()]


def _lay_record(folder: Path, content: bytes) -> None:
    from proxmtl.backbones.feature_file import _header, _size

    with (folder / "f.npy.partial").open("wb") as stream:
        stream.write(_header((4, 3)))
        stream.truncate(_size((4, 3)))
    (folder / "f.npy.partial.json").write_bytes(content)


def _wbcatt_table() -> list[bytes]:
    from proxmtl.backbones.data.wbcatt import WBCATT_GROUPS

    names = [name for members in WBCATT_GROUPS.values() for name in members]
    rows = [["label", "path", "split", *names], ["Cell", "PBC/a.jpg", "train", *["x"] * len(names)]]
    return ["\n".join(",".join(row) for row in rows).encode()]


TARGETS: dict[str, Target] = {
    "labels": Target("y.csv", _labels, _tables),
    "ids": Target("y.csv", _ids, _tables),
    "classes": Target("c.csv", _classes, lambda: [b"image,class\na,cat\nb,dog\n"]),
    "groups-json": Target("g.json", _groups("g.json"), _group_texts),
    "groups-toml": Target(
        "g.toml", _groups("g.toml"), lambda: [b'[groups]\nc = ["black"]\n[weights]\nc = 1.5\n']
    ),
    "groups-csv": Target(
        "g.csv", _groups("g.csv"), lambda: [b"group,attribute\nc,black\nc,white\np,spots\n"]
    ),
    "npy": Target(
        "x.npy",
        _features("x.npy"),
        lambda: [_npy(ROWS), _npy(np.asfortranarray(ROWS, ">f8")), _npy(ROWS > 3)],
    ),
    "npz": Target("x.npz", _features("x.npz"), lambda: [_npz(a=ROWS), _npz(True, a=ROWS, b=ROWS)]),
    "npz-member": Target("x.npz", _features("x.npz"), lambda: [_npy(ROWS)], _zipped("a.npy")),
    "safetensors": Target(
        "x.safetensors",
        _features("x.safetensors"),
        lambda: [
            safetensors.numpy.save({"a": ROWS}),
            safetensors.numpy.save({"a": ROWS, "b": ROWS}),
        ],
    ),
    "parquet": Target("x.parquet", _features("x.parquet"), _parquet),
    **{
        title: Target(
            name, _model, _model_file(name), _lay_model(name), blames=("model.", "manifest.json")
        )
        for title, name in (
            ("model", "model.json"),
            ("model-arrays", "model.safetensors"),
            ("manifest", "manifest.json"),
        )
    },
    "checkpoint": Target("checkpoint.pt", _checkpoint, _checkpoints, blames=("manifest",)),
    "checkpoint-pickle": Target(
        "checkpoint.pt", _checkpoint, _pickles, _lay_pickle, blames=("manifest",)
    ),
    "tar": Target("i.tar", _tar, _archives),
    "image": Target("i.png", _picture, lambda: [_png(), _jpeg()]),
    "mat": Target("black_GT.mat", _mat, _mats),
    "network": Target("n.npz", _network, _networks),
    "network-graph": Target("n.npz", _network, _graphs, _lay_graph),
    "trials": Target("part.safetensors", _storage, _parts, _lay_part),
    "trials-settings": Target(
        "settings.json", _storage, lambda: [b'{"labels": [4, 3], "norm": 1.5}']
    ),
    "partial-features": Target("f.npy.partial", _partial, _records, _lay_record),
    **{
        f"awa-{name.split('.')[0].replace('_', '-')}": Target(
            name, _awa, lambda content=content: [content], _lay_awa(name), blames=tuple(AWA)
        )
        for name, content in AWA.items()
    },
    "celeba": Target(
        "list_attr_celeba.txt", _celeba, lambda: [b"2\nblack white\n1.jpg 1 -1\n2.jpg -1 1\n"]
    ),
    "wbcatt": Target("attributes.csv", _wbcatt, _wbcatt_table, blames=("the tables of",)),
}
"""Every parser of a file that may come from elsewhere."""
