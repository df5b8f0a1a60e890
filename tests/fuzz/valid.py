"""Valid files of every kind, and how bytes are put where a parser meets them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.io
import scipy.sparse
import torch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

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
SETTINGS = {"labels": [4, 3], "norm": 1.5}
"""What the parts of a search belong to."""


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(packed: bool = False, **arrays: object) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, **arrays)
    return stream.getvalue()


def zipped(name: str) -> Callable[[Path, bytes], object]:
    """Lay bytes into an archive, with a checksum that fits: the parser sees them."""

    def lay(folder: Path, content: bytes) -> None:
        with zipfile.ZipFile(folder / "x.npz", "w") as archive:
            archive.writestr(name, content)

    return lay


def sparse_npz() -> list[bytes]:
    """Sparse features, as SciPy saves them."""
    return _saved(scipy.sparse.csr_array(ROWS), scipy.sparse.coo_matrix(ROWS > 3))


def sparse_labels_npz() -> list[bytes]:
    """Sparse labels: of known pairs, and an indicator."""
    signs = np.sign(ROWS - 4).astype(np.int8)
    return _saved(scipy.sparse.csr_array(signs), scipy.sparse.csc_matrix(signs > 0))


def _saved(*tables: Any) -> list[bytes]:
    found = []
    for table in tables:
        for compressed in (True, False):
            stream = io.BytesIO()
            scipy.sparse.save_npz(stream, table, compressed=compressed)
            found.append(stream.getvalue())
    return found


def lay_sparse(name: str) -> Callable[[Path, bytes], object]:
    """Lay bytes as one of the arrays of sparse features, with a checksum that fits."""
    arrays = {
        "format": np.array(b"csr"),
        "shape": np.array(ROWS.shape),
        "data": np.array([1.0, 2.0, 3.0], np.float32),
        "indices": np.array([0, 2, 1], np.int32),
        "indptr": np.array([0, 2, 2, 3, 3], np.int32),
    }

    def lay(folder: Path, content: bytes) -> None:
        with zipfile.ZipFile(folder / "x.npz", "w") as archive:
            for each, array in arrays.items():
                archive.writestr(f"{each}.npy", content if each == name else npy(array))

    return lay


def tables() -> list[bytes]:
    """Labels with identifiers of their rows."""
    return [
        b"image,black,white\na,1,0\nb,,1\n",
        "id\tschwärz\tx\na\tyes\tno\n".encode("utf-16"),
    ]


def nameless_tables() -> list[bytes]:
    """Labels without identifiers."""
    return [
        b"black;white\n1;0\n0;1\n",
        b'\xef\xbb\xbf"bl,ack",white\r\n1,-1\r\nnan,NA\r\n',
        b"a\n1\n\n0\n",
    ]


def broken_tables() -> list[bytes]:
    """Labels without identifiers, with a line that may be a row or not."""
    return [b'\xef\xbb\xbf"bl,ack",white\r\n1,-1\r\n\r\nnan,NA\r\n']


def group_texts() -> list[bytes]:
    groups = {"colours": ["black", "white"], "patterns": ["spots"]}
    return [
        json.dumps(groups).encode(),
        json.dumps({"groups": groups, "weights": {"colours": 1.5}}).encode(),
    ]


def parquet() -> list[bytes]:
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


def lay_model(name: str) -> Callable[[Path, bytes], object]:
    """Lay bytes as a file of a model, and seal it: the parser sees them."""

    def lay(folder: Path, content: bytes) -> None:
        from proxmtl.io import seal_folder

        files = {**saved_model_once(), name: content}
        if name == "model.safetensors":
            document = json.loads(files["model.json"])
            document["arrays_sha256"] = hashlib.sha256(content).hexdigest()
            files["model.json"] = json.dumps(document).encode()
        if name == "manifest.json":
            files[name] = sealed(content)
        for other, text in files.items():
            (folder / other).write_bytes(text)
        if name != "manifest.json":
            seal_folder(folder)

    return lay


def saved_model() -> dict[str, bytes]:
    from proxmtl.estimators import SingleTaskClassifier, save_model

    X = np.random.default_rng(0).standard_normal((12, 3))
    model = SingleTaskClassifier(label_names=["black", "white"]).fit(
        X, (X[:, :2] > 0).astype(float)
    )
    with tempfile.TemporaryDirectory() as name:
        save_model(name, model)
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


def model_file(name: str) -> Callable[[], list[bytes]]:
    return lambda: [saved_model_once()[name]]


_models: list[dict[str, bytes]] = []


def saved_model_once() -> dict[str, bytes]:
    if not _models:
        _models.append(saved_model())
    return _models[0]


def checkpoints() -> list[bytes]:
    from proxmtl.backbones.training.checkpoint import FORMAT, SAVED

    stream = io.BytesIO()
    state = {name: {"w": torch.zeros(2)} for name in SAVED}
    torch.save({"format": FORMAT, "identity": {"head": "x"}, **state, "history": []}, stream)
    return [stream.getvalue()]


def pickles() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(checkpoints()[0])) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return [archive.read(name)]


def _checkpoint_storages() -> list[str]:
    """Names of the tensors' storages in a checkpoint."""
    with zipfile.ZipFile(io.BytesIO(checkpoints()[0])) as archive:
        return [name for name in archive.namelist() if "/data/" in name]


def lay_checkpoint(folder: Path, content: bytes) -> None:
    from proxmtl.io.seal import append_seal

    path = folder / ".train" / "checkpoint.pt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    append_seal(path)


def lay_pickle(folder: Path, content: bytes) -> None:
    """Lay a pickle into an archive as torch writes it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        for number in range(len(_checkpoint_storages())):
            archive.writestr(f"archive/data/{number}", bytes(8))
    lay_checkpoint(folder, stream.getvalue())


def png(side: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (200, 10, 10)).save(stream, "PNG")
    return stream.getvalue()


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9), (200, 10, 10)).save(stream, "JPEG")
    return stream.getvalue()


def archives() -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for name, content in (("a.png", png()), ("d" * 90 + "/" + "b" * 60 + ".jpg", jpeg())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        found.append(stream.getvalue())
    return found


def mat(form: str = "5", packed: bool = False) -> bytes:
    stream, labels = io.BytesIO(), {"GT": np.array([[1.0, 2.0, np.nan]])}
    scipy.io.savemat(stream, labels, format=form, do_compression=packed)
    return stream.getvalue()


def networks() -> list[bytes]:
    from tests.faults.world import tiny_network

    return [npz(**tiny_network(np.random.default_rng(0)))]


def graphs() -> list[bytes]:
    from tests.faults.world import tiny_network

    return [str(tiny_network(np.random.default_rng(0))["graph"]).encode()]


def lay_graph(folder: Path, content: bytes) -> None:
    from tests.faults.world import tiny_network

    arrays = tiny_network(np.random.default_rng(0))
    arrays["graph"] = content.decode("utf-8", errors="replace")
    (folder / "n.npz").write_bytes(npz(**arrays))


def sealed(content: bytes) -> bytes:
    """Seal a table of JSON, so that the parser sees its entries; other bytes stay as they are."""
    from proxmtl.documents import parse_json
    from proxmtl.io.seal import sealed_text

    try:
        table = parse_json(content, finite=False)
    except ValueError:
        return content
    if not isinstance(table, dict):
        return content
    table.pop("seal", None)
    try:
        return sealed_text(table).encode()
    except ValueError:  # a number that JSON has no infinity for
        return content


def parts() -> list[bytes]:
    from proxmtl.selection.storage import Storage

    with tempfile.TemporaryDirectory() as name:
        Storage(name, SETTINGS).save("part", {"value": 1.0}, W=torch.from_numpy(ROWS))
        return [(Path(name) / "part.safetensors").read_bytes()]


def lay_part(folder: Path, content: bytes) -> None:
    from proxmtl.selection.storage import Storage

    Storage(folder, SETTINGS)
    (folder / "part.safetensors").write_bytes(content)


def partial_features() -> dict[str, bytes]:
    """Give the files in the folder of an extraction that is half done, by name."""
    from proxmtl.backbones.feature_file import FeatureFile

    with tempfile.TemporaryDirectory() as name:
        with FeatureFile(Path(name) / "f.npy", (4, 3), {"network": "n"}) as file:
            file.append(ROWS[:2], images=3, seen="s", bad=[(1, "why")])
        return {path.name: path.read_bytes() for path in file.folder.iterdir()}


def lay_partial(folder: Path, name: str, content: bytes) -> None:
    """Lay bytes as one of these files, beside the others."""
    (folder / "f.npy.partial").mkdir(exist_ok=True)
    for each, whole in {**partial_features(), name: content}.items():
        (folder / "f.npy.partial" / each).write_bytes(whole)


def wbcatt_table() -> list[bytes]:
    from proxmtl.backbones.experiments.datasets.wbcatt import WBCATT_GROUPS

    names = [name for members in WBCATT_GROUPS.values() for name in members]
    rows = [["label", "path", "split", *names], ["Cell", "PBC/a.jpg", "train", *["x"] * len(names)]]
    return ["\n".join(",".join(row) for row in rows).encode()]


def lay_awa(name: str) -> Callable[[Path, bytes], object]:
    """Lay bytes as one of the files of Animals with Attributes, beside the others."""

    def lay(folder: Path, content: bytes) -> None:
        for other, text in {**AWA, name: content}.items():
            (folder / other).write_bytes(text)
        stream = io.BytesIO()
        np.savez(stream, features=ROWS.astype(np.int8), label=np.array([0, 1, 1, 0]))
        (folder / "features_pca512_int8.npz").write_bytes(stream.getvalue())

    return lay
