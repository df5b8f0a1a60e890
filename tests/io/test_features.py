"""Feature files: what is read, and the sentence for each kind of file that cannot be."""

import io
import struct
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from scipy import sparse

from proxmtl.io import InputError, array_files, load_features, read_features

X = np.random.default_rng(0).standard_normal((5, 3))


@pytest.mark.parametrize(
    ("dtype", "read_as"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        (">f4", "float32"),
        ("int16", "float32"),
        ("int64", "float64"),
        ("bool", "float32"),
    ],
)
def test_npy_dtypes(tmp_path, dtype, read_as):
    values = (10 * X).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    read = read_features(tmp_path / "x.npy")
    assert read.dtype == np.dtype(read_as)
    np.testing.assert_array_equal(read, values.astype(read_as))
    assert read.flags.c_contiguous


def test_npz_with_one_array_needs_no_key(tmp_path):
    np.savez(tmp_path / "x.npz", anything=X)
    np.testing.assert_array_equal(read_features(tmp_path / "x.npz"), X)


def test_npz_and_safetensors_by_key(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", train=X, test=2 * X)
    np.testing.assert_array_equal(read_features(tmp_path / "x.npz", "test"), 2 * X)
    save_file(
        {"a": torch.from_numpy(X), "b": torch.from_numpy(X).bfloat16()}, tmp_path / "x.safetensors"
    )
    np.testing.assert_array_equal(read_features(tmp_path / "x.safetensors", "a"), X)
    rounded = read_features(tmp_path / "x.safetensors", "b")
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, X, rtol=2**-8)


THIN = X * (X > 0)


@pytest.mark.parametrize(
    "kind",
    [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, sparse.coo_array],
)
@pytest.mark.parametrize("compressed", [True, False])
def test_sparse_npz(tmp_path, kind, compressed):
    sparse.save_npz(tmp_path / "x.npz", kind(THIN.astype(np.float32)), compressed=compressed)
    read = read_features(tmp_path / "x.npz")
    assert sparse.issparse(read)
    assert read.format == "csr"
    assert read.dtype == np.float32
    assert read.nnz == (THIN > 0).sum()
    np.testing.assert_array_equal(read.toarray(), THIN.astype(np.float32))
    assert load_features(tmp_path / "x.npz").rows(tmp_path).count == 5


def test_sparse_counts_and_entries_stored_twice(tmp_path):
    counts = sparse.coo_array(([1, 2, 3], ([0, 0, 4], [1, 1, 2])), shape=(5, 3))
    sparse.save_npz(tmp_path / "x.npz", counts)
    read = read_features(tmp_path / "x.npz")
    assert read.dtype == np.float64
    assert read.nnz == 2
    np.testing.assert_array_equal(read.toarray(), counts.toarray())


def _sparse(**changed):
    """Arrays of a sparse matrix, some of them changed; None leaves one out."""
    table = sparse.csr_array(THIN)
    arrays = {
        "format": b"csr",
        "shape": (5, 3),
        "data": table.data,
        "indices": table.indices,
        "indptr": table.indptr,
    }
    kept = {name: value for name, value in (arrays | changed).items() if value is not None}
    return lambda path: np.savez(path, **kept)


def test_parquet_with_ids(tmp_path):
    table = pd.DataFrame(X, columns=["u", "v", "w"])
    table.insert(0, "image", [f"{i}.jpg" for i in range(5)])
    table.to_parquet(tmp_path / "x.parquet")
    read = load_features(tmp_path / "x.parquet")
    np.testing.assert_array_equal(read.values, X)
    assert read.ids == ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    assert read.names == ("u", "v", "w")


def _with_nan(path):
    bad = X.copy()
    bad[3, 1] = np.nan
    bad[4, 2] = np.inf
    np.save(path, bad)


def _npy(path, descr, shape, data=b""):
    """An npy file that says of its data what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)


def _damaged(path, change, **options):
    """An npz archive, changed byte by byte."""
    with zipfile.ZipFile(path, "w", **options) as archive, archive.open("a.npy", "w") as member:
        np.save(member, X)
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def _npz_bytes():
    stream = io.BytesIO()
    np.savez(stream, a=X)
    return stream.getvalue()


def _whole(content):
    del content


def _encrypted(content):
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1


def _packed_otherwise(content):
    content[8] = content[content.index(b"PK\x01\x02") + 10] = 97


def _flipped(content):
    content[content.index(X[2:3].tobytes())] ^= 16


def _with_notes(path):
    np.savez(path, a=X)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "these are features")


BAD = {
    "too much announced": (
        "x.npy",
        lambda path: _npy(path, "'<f8'", (10**9, 10**6), bytes(80)),
        None,
        ["announces 8,000,000,000,000,000 bytes", "80 are there", "save it again"],
    ),
    "too little announced": (
        "x.npy",
        lambda path: _npy(path, "'<f8'", (2, 2), bytes(40)),
        None,
        ["announces 32 bytes", "40 are there"],
    ),
    "negative shape": ("x.npy", lambda path: _npy(path, "'<f8'", (-1, 2)), None, ["shape (-1, 2)"]),
    "true shape": ("x.npy", lambda path: _npy(path, "'<f8'", (True, 2)), None, ["not a readable"]),
    "deep header": (
        "x.npy",
        lambda path: _npy(path, "[" * 9000, 1),
        None,
        ["header can't be read"],
    ),
    "records": (
        "x.npy",
        lambda path: np.save(path, np.zeros(3, [("a", "<f4"), ("b", "<f4")])),
        None,
        ["no plain numbers"],
    ),
    "empty file": ("x.npy", lambda path: path.write_bytes(b""), None, ["header can't be read"]),
    "npz under another name": (
        "x.npy",
        lambda path: path.write_bytes(_npz_bytes()),
        None,
        ["an npz archive under the name"],
    ),
    "encrypted": ("x.npz", lambda path: _damaged(path, _encrypted), None, ["'a' is encrypted"]),
    "packed otherwise": (
        "x.npz",
        lambda path: _damaged(path, _packed_otherwise),
        None,
        ["not a readable npz", "compression"],
    ),
    "flipped bit": ("x.npz", lambda path: _damaged(path, _flipped), None, ["'a'", "CRC"]),
    "objects": (
        "x.npz",
        lambda path: np.savez(path, a=np.array([{}], dtype=object)),
        None,
        ["no plain numbers"],
    ),
    "member that is no npy": (
        "x.npz",
        _with_notes,
        None,
        ["2 arrays", "'notes.txt' (no array)"],
    ),
    "no npy chosen": ("x.npz", _with_notes, "notes.txt", ["'notes.txt'", "header can't be read"]),
    "missing": ("x.npy", lambda path: path.unlink(missing_ok=True), None, ["no such file"]),
    "suffix": ("x.mat", lambda path: path.write_bytes(b""), None, [".npy", "'.mat'", "convert"]),
    "table": ("x.csv", lambda path: path.write_bytes(b""), None, ["'.csv'", "to_parquet", "index"]),
    "folder": ("x.npy", lambda path: path.mkdir(), None, ["a folder", "proxmtl extract"]),
    "no suffix": ("x", lambda path: path.write_bytes(b""), None, ["no suffix"]),
    "no folder": (
        "x",
        lambda path: path.unlink(missing_ok=True),
        None,
        ["no such file or folder", "images"],
    ),
    "not npy": ("x.npy", lambda path: path.write_bytes(b"text"), None, ["not a readable npy"]),
    "pickled": (
        "x.npy",
        lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
        None,
        ["not a readable npy"],
    ),
    "networks": (
        "x.npy",
        lambda path: np.save(path, np.stack([X, X])),
        None,
        ["2 networks", "that of one"],
    ),
    "vector": ("x.npy", lambda path: np.save(path, X[0]), None, ["(3,)", "reshape"]),
    "empty": ("x.npy", lambda path: np.save(path, X[:0]), None, ["empty", "(0, 3)"]),
    "nan": ("x.npy", _with_nan, None, ["2 of 15", "row 3, column 1", "nan", "fill"]),
    "int8": ("x.npy", lambda path: np.save(path, X.astype("int8")), None, ["int8", "scale"]),
    "uint8": ("x.npy", lambda path: np.save(path, X.astype("uint8")), None, ["uint8", "scale"]),
    "text": ("x.npy", lambda path: np.save(path, X.astype(str)), None, ["dtype <U", "float32"]),
    "complex": ("x.npy", lambda path: np.save(path, X + 1j), None, ["complex128"]),
    "key for npy": ("x.npy", lambda path: np.save(path, X), "k", ["leave out the key 'k'"]),
    "npz is no zip": ("x.npz", lambda path: path.write_bytes(b"text"), None, ["not a readable"]),
    "npz two": (
        "x.npz",
        lambda path: np.savez(path, a=X, b=X[0]),
        None,
        ["2 arrays", "'a' (5, 3)", "'b' (3,)", "--key"],
    ),
    "npz wrong key": ("x.npz", lambda path: np.savez(path, a=X), "z", ["no array 'z'", "'a'"]),
    "sparse, other format": (
        "x.npz",
        lambda path: sparse.save_npz(path, sparse.dia_array(np.eye(3))),
        None,
        ["sparse matrix of format 'dia'", "X.tocsr()"],
    ),
    "sparse, odd format": (
        "x.npz",
        _sparse(format=np.arange(3)),
        None,
        ["sparse matrix of format"],
    ),
    "sparse, no places": ("x.npz", _sparse(indices=None), None, ["without its array 'indices'"]),
    "sparse, outside": (
        "x.npz",
        _sparse(shape=(5, 2)),
        None,
        ["an entry lies outside its 2 rows or columns", "save it again"],
    ),
    "sparse, negative": (
        "x.npz",
        _sparse(indices=-np.arange((THIN > 0).sum())),
        None,
        ["an entry lies outside"],
    ),
    "sparse, steps": ("x.npz", _sparse(indptr=np.arange(6)), None, ["'indptr' does not divide"]),
    "sparse, rows": ("x.npz", _sparse(shape=(6, 3)), None, ["'indptr' does not divide", "into 6"]),
    "sparse, shape": ("x.npz", _sparse(shape=(5, 3, 1)), None, ["'shape' is [5, 3, 1]"]),
    "sparse, shape of text": ("x.npz", _sparse(shape="53"), None, ["'shape' is 53"]),
    "sparse, real places": (
        "x.npz",
        _sparse(indices=np.zeros(3)),
        None,
        ["'indices' has shape (3,) and dtype float64"],
    ),
    "sparse, fewer places": ("x.npz", _sparse(indices=np.arange(2)), None, ["have 2 places"]),
    "sparse, vast": (
        "x.npz",
        _sparse(shape=(5, 10**15)),
        None,
        ["times as many", "PROXMTL_MAX_EXPANSION"],
    ),
    "sparse, empty": (
        "x.npz",
        lambda path: sparse.save_npz(path, sparse.csr_array((0, 3))),
        None,
        ["is empty: its shape is (0, 3)"],
    ),
    "sparse, codes": (
        "x.npz",
        lambda path: sparse.save_npz(path, sparse.csr_array((X > 0).astype(np.int8))),
        None,
        ["int8", "quantised"],
    ),
    "sparse, not finite": (
        "x.npz",
        lambda path: sparse.save_npz(path, sparse.csr_array(np.diag([1, np.nan, np.inf]))),
        None,
        ["2 of 9 features are not finite", "nan in row 1, column 1"],
    ),
    "sparse, key": (
        "x.npz",
        lambda path: sparse.save_npz(path, sparse.csr_array(THIN)),
        "data",
        ["matrix of one row per sample", "shape (7,)"],
    ),
    "safetensors": (
        "x.safetensors",
        lambda path: path.write_bytes(b"12345678"),
        None,
        ["not a readable safetensors"],
    ),
    "parquet": ("x.parquet", lambda path: path.write_bytes(b"1"), None, ["not a readable parquet"]),
    "parquet text": (
        "x.parquet",
        lambda path: pd.DataFrame({"a": ["u"], "b": ["v"], "c": [1.0]}).to_parquet(path),
        None,
        ["'a', 'b'", "identifiers"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_advice(tmp_path, case):
    name, write, key, expected = BAD[case]
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError) as caught:
        read_features(path, key)
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in expected:
        assert part in message


def test_other_members_and_other_compressions_do_no_harm(tmp_path):
    _with_notes(tmp_path / "x.npz")
    np.testing.assert_array_equal(read_features(tmp_path / "x.npz", "a"), X)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        _damaged(tmp_path / "y.npz", _whole, compression=method)
        np.testing.assert_array_equal(read_features(tmp_path / "y.npz"), X)
    _damaged(tmp_path / "y.npz", _whole, compression=zipfile.ZIP_DEFLATED)
    whole = (tmp_path / "y.npz").read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        (tmp_path / "y.npz").write_bytes(damaged)
        try:
            read = read_features(tmp_path / "y.npz")
        except InputError:
            continue
        np.testing.assert_array_equal(read, X)  # dates and attributes of members


def test_small_files_of_large_arrays_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros((600, 500)))
    pd.DataFrame(np.zeros((600, 500))).to_parquet(tmp_path / "x.parquet")
    monkeypatch.setattr(array_files, "ROOMY", 1 << 16)
    for name in ("x.npz", "x.parquet"):
        monkeypatch.setenv("PROXMTL_MAX_EXPANSION", "2")
        with pytest.raises(InputError, match=r"would become 2,40.*times as many; .* raise it"):
            read_features(tmp_path / name)
        monkeypatch.setenv("PROXMTL_MAX_EXPANSION", "2000")
        assert read_features(tmp_path / name).shape == (600, 500)
