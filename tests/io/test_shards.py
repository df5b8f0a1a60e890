"""Shards of every format: rows as in memory, identifiers, and files that are not what they were."""

import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from proxmtl.io import InputError, NpyRows, Shards, load_features, open_shards, read_features
from proxmtl.io.beside import features_seal, seal_beside
from proxmtl.sources import sources_read

N, D = 30, 5
X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
PARTS = [slice(0, 12), slice(12, 13), slice(13, N)]
NAMES = [f"f{j}" for j in range(D)]
IDS = [f"{i}.jpg" for i in range(N)]


def npy(folder, array=X, kind="<f4"):
    for number, part in enumerate(PARTS):
        np.save(folder / f"part-{9 + number}.npy", array[part].astype(kind))
    return folder


def parquet(folder, ids=None, **options):
    table = pd.DataFrame(X, columns=NAMES, index=ids)
    for number, part in enumerate(PARTS):
        table.iloc[part].to_parquet(folder / f"part-{9 + number}.parquet", **options)
    return folder


def tensors(folder, save, make):
    for number, part in enumerate(PARTS):
        save(make(part), folder / f"part-{9 + number}.safetensors")
    return folder


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", ">f4"])
def test_npy_files_of_any_float_and_byte_order(tmp_path, kind):
    shards = open_shards(npy(tmp_path, kind=kind))
    assert isinstance(shards, Shards)
    assert shards.dtype.isnative
    assert [path.name for path in shards.paths] == ["part-9.npy", "part-10.npy", "part-11.npy"]
    np.testing.assert_array_equal(shards[:], X.astype(kind))
    np.testing.assert_array_equal(shards[10:15], X.astype(kind)[10:15])
    assert shards.ids is None
    assert shards.names is None


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_safetensors_of_any_float(tmp_path, kind):
    whole = torch.from_numpy(X).to(kind)
    other = torch.zeros(3)

    def make(part):
        return {"other": other, "x": whole[part]}

    shards = open_shards(tensors(tmp_path, safetensors.torch.save_file, make), key="x")
    narrow = kind == torch.bfloat16
    np.testing.assert_array_equal(shards[:], (whole.float() if narrow else whole).numpy())
    assert shards.dtype == (np.float32 if narrow else whole.numpy().dtype)
    with pytest.raises(InputError, match=r"holds 2 arrays .*--key NAME"):
        open_shards(tmp_path)
    with pytest.raises(InputError, match="there is no array 'y'"):
        open_shards(tmp_path, key="y")


@pytest.mark.parametrize("shape", [(), (1,), (D,), (1, D), "rows"])
def test_codes_of_eight_bits_are_multiplied_by_their_scales(tmp_path, shape):
    codes = np.random.default_rng(1).integers(-128, 128, (N, D)).astype(np.int8)
    scale = np.random.default_rng(2).random((N, 1) if shape == "rows" else shape) + 0.1
    scale = np.asarray(scale, dtype=np.float32)

    def make(part):
        own = scale[part] if shape == "rows" else scale
        return {"x": codes[part], "x_scale": np.ascontiguousarray(own)}

    shards = open_shards(tensors(tmp_path, safetensors.numpy.save_file, make))
    assert shards.dtype == np.float32
    expected = codes.astype(np.float32) * scale
    np.testing.assert_array_equal(shards[:], expected)
    np.testing.assert_array_equal(shards.take([29, 3])[:], expected[[29, 3]])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.ones((3, D), np.int8)}, "there is no 'x_scale' to multiply by"),
        ({"x": np.ones((3, D), np.int8), "x_scale": np.ones(2, np.float32)}, r"shape \(2,\)"),
        ({"x": np.ones((3, D), np.int8), "x_scale": np.ones(D, np.int8)}, "save float32 scales"),
        (
            {"x": np.ones((3, D), np.int8), "x_scale": np.full(D, np.nan, np.float32)},
            "is not finite",
        ),
        (
            {
                "x": np.ones((3, D), np.int8),
                "x_scale": np.ones(D, np.float32),
                "x_zero_point": np.ones(D, np.int8),
            },
            "zero points are not read",
        ),
        ({"x": np.ones((3, D), np.int32)}, "holds I32; save float16"),
        ({"x": np.ones(D, np.float32)}, r"holds shape \(5,\)"),
        ({}, "holds 0 arrays"),
    ],
)
def test_tensors_of_other_kinds_raise(tmp_path, arrays, words):
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    key = "x" if len(arrays) > 1 else None
    with pytest.raises(InputError, match=words):
        open_shards(tmp_path, key=key)


def test_damaged_safetensors_raise(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken!")
    with pytest.raises(InputError, match=r"x\.safetensors: not a readable safetensors file"):
        open_shards(tmp_path)


@pytest.mark.parametrize("group", [4, 100])
def test_parquet_files_are_read_by_row_group(tmp_path, group):
    pytest.importorskip("pyarrow")
    shards = open_shards(parquet(tmp_path, row_group_size=group))
    assert shards.names == tuple(NAMES)
    assert shards.ids is None  # the index of a part goes on counting where the last one ended
    np.testing.assert_array_equal(shards[:], X)
    np.testing.assert_array_equal(shards[3:21], X[3:21])
    again = pickle.loads(pickle.dumps(shards))
    assert len(pickle.dumps(shards)) < 5000
    np.testing.assert_array_equal(again[20:25], X[20:25])
    largest = 2 * min(group, 17) * D * 4
    open_shards(tmp_path, memory=largest)
    with pytest.raises(InputError, match="smaller row groups"):
        open_shards(tmp_path, memory=largest - 1)


@pytest.mark.filterwarnings("ignore:.*may identify rows too")
def test_identifiers_of_parquet_files(tmp_path):
    pytest.importorskip("pyarrow")
    parquet(tmp_path, IDS)
    assert open_shards(tmp_path).ids == tuple(IDS)
    for number, part in enumerate(PARTS):
        table = pd.DataFrame(X[part], columns=NAMES)
        table.insert(2, "shot", IDS[part])
        table.insert(0, "image_id", np.arange(N)[part])
        table.to_parquet(tmp_path / f"part-{9 + number}.parquet")
    shards = open_shards(tmp_path, id_column="shot")
    assert shards.ids == tuple(IDS)
    assert shards.names == tuple(NAMES)
    np.testing.assert_array_equal(shards[:], X)
    whole = load_features(tmp_path / "part-9.parquet", id_column="shot")
    assert whole.ids == shards.ids[:12]
    with pytest.raises(InputError, match="there is no column or index 'name'"):
        open_shards(tmp_path, id_column="name")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.DataFrame({"a": [1.0], "b": [1]}), "holds int64 in column 'b'"),
        (pd.DataFrame({"a": [1.0], "b": np.float32([1])}), r"holds \['double', 'float'\]"),
        (pd.DataFrame({"name": ["x"]}), "no column of features"),
        (pd.DataFrame({"a": [1.0]})[:0], "has no row"),
    ],
)
def test_parquet_files_of_other_kinds_raise(tmp_path, table, words):
    pytest.importorskip("pyarrow")
    table.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=words):
        open_shards(tmp_path)


def test_missing_cells_of_parquet_files_are_no_numbers(tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"a": [1.0, None, 3.0]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"nan in .*x\.parquet, row 1, feature column 0"):
        open_shards(tmp_path).check_finite()


def test_identifiers_beside_as_an_extraction_writes_them(tmp_path):
    npy(tmp_path)
    for number, part in enumerate(PARTS):
        path = tmp_path / f"part-{9 + number}.npy"
        path.with_suffix(".ids.csv").write_text("\n".join(["id", *IDS[part]]) + "\n")
        seal_beside(path).write_text(features_seal(path, path))
    shards = open_shards(tmp_path)
    assert shards.ids == tuple(IDS)
    assert open_shards(tmp_path / "part-9.npy").ids == tuple(IDS[:12])
    (tmp_path / "part-10.ids.csv").write_text("id\nsomebody\n")
    with pytest.raises(InputError, match=r"part-10\.ids\.csv: is not the file that"):
        open_shards(tmp_path)
    for name in ("part-10.ids.csv", "part-10.seal.json"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=r"part-10\.npy: has no identifiers .* 2 of the 3 shards"):
        open_shards(tmp_path)
    (tmp_path / "part-10.ids.csv").write_text("id\na\nb\n")
    with pytest.raises(InputError, match="2 identifiers for 1 row"):
        open_shards(tmp_path)
    np.save(tmp_path / "part-9.npy", X[:11])
    with pytest.raises(InputError, match=r"part-9\.npy: is not the file that part-9\.seal\.json"):
        open_shards(tmp_path)


def test_identifiers_of_a_folder_may_lie_beside_it(tmp_path):
    (tmp_path / "x").mkdir()
    npy(tmp_path / "x")
    (tmp_path / "x.ids.csv").write_text("\n".join(["id", *IDS]) + "\n")
    assert open_shards(tmp_path / "x").ids == tuple(IDS)


def test_folders_of_other_kinds_raise(tmp_path):
    with pytest.raises(InputError, match="a folder without npy"):
        load_features(tmp_path)
    npy(tmp_path)
    with pytest.raises(InputError, match="leave out the key"):
        open_shards(tmp_path, key="x")
    with pytest.raises(InputError, match=r"leave out --id-column .*part-9\.ids\.csv"):
        open_shards(tmp_path, id_column="x")
    safetensors.numpy.save_file({"x": X}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"holds \.npy and \.safetensors files"):
        open_shards(tmp_path)
    with pytest.raises(InputError, match=r"read row by row from \.npy"):
        open_shards([tmp_path / "x.npz"])
    with pytest.raises(ValueError, match="no file"):
        open_shards([])
    parts = tmp_path / "features.npy.partial"
    parts.mkdir()
    np.save(parts / "00000.npy", X)
    for read in (open_shards, load_features):
        with pytest.raises(InputError, match="run the same proxmtl extract again"):
            read(parts)


@pytest.mark.parametrize("change", ["width", "type"])
def test_a_shard_unlike_the_others_raises(tmp_path, change):
    npy(tmp_path)
    other = X[:3, :4] if change == "width" else X[:3].astype(np.float64)
    np.save(tmp_path / "part-30.npy", other)
    with pytest.raises(InputError, match=r"part-30\.npy: has . features in float.*one width"):
        open_shards(tmp_path)


def test_columns_of_other_names_raise(tmp_path):
    pytest.importorskip("pyarrow")
    parquet(tmp_path)
    pd.DataFrame(X, columns=NAMES[::-1]).to_parquet(tmp_path / "part-12.parquet")
    with pytest.raises(InputError, match=r"part-12\.parquet: has a column 'f4' where part-9\.par"):
        open_shards(tmp_path)


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_a_shard_that_changes_or_goes_is_named(tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    shards = open_shards({"npy": npy, "parquet": parquet}[form](tmp_path))
    path = shards.paths[1]
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    with pytest.raises(InputError, match=rf"part-10\.{form}: has changed since it was opened"):
        shards[:]
    path.unlink()
    with pytest.raises(InputError, match=rf"part-10\.{form}: no such file .* still there"):
        shards[:]
    np.testing.assert_array_equal(shards[13:], X[13:])


def test_a_fingerprint_tells_files_apart_without_a_read_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr("proxmtl.io.shards.SAMPLED", 8)
    monkeypatch.setattr("proxmtl.io.shards.EVERY", 64)
    npy(tmp_path)
    with sources_read() as sources:
        features = load_features(tmp_path)
    (source,) = sources
    assert isinstance(features.values, Shards)
    assert source.path == str(tmp_path)
    assert source.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.npy"))
    assert source.sha256.startswith("sampled-")
    assert open_shards(tmp_path).fingerprint() == source
    path = tmp_path / "part-11.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert open_shards(tmp_path).fingerprint().sha256 != source.sha256
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    path.rename(tmp_path / "part-12.npy")
    assert open_shards(tmp_path).fingerprint().sha256 != source.sha256


def test_a_file_is_read_row_by_row_where_memory_is_stated(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert isinstance(read_features(tmp_path / "x.npy"), np.ndarray)
    rows, _, _ = load_features(tmp_path / "x.npy", memory=1000)
    assert isinstance(rows, Shards)
    assert rows.memory == 1000
    np.savez(tmp_path / "x.npz", x=X)
    with pytest.raises(InputError, match="read row by row from"):
        load_features(tmp_path / "x.npz", memory=1000)
    with pytest.raises(InputError, match="no such file"):
        load_features(tmp_path / "y.npy", memory=1000)


def test_columns_are_brought_into_the_order_of_a_model(tmp_path):
    pytest.importorskip("pyarrow")
    rows, _, names = load_features(parquet(tmp_path)).in_order(NAMES[::-1], tmp_path)
    np.testing.assert_array_equal(rows[:], X[:, ::-1])
    assert names == tuple(NAMES[::-1])


def test_a_header_that_promises_more_than_there_is_raises(tmp_path):
    header = {"x": {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 324]}}
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 9)
    with pytest.raises(InputError, match="not a readable safetensors"):
        open_shards(tmp_path)
    with pytest.raises(InputError, match="not a readable npy"):
        NpyRows(tmp_path / "x.safetensors")


def test_identifiers_without_their_shard_raise(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"part-{number}.npy", np.ones((2, 3)))
        (tmp_path / f"part-{number}.ids.csv").write_text(f"id\na{number}\nb{number}\n")
    assert open_shards(tmp_path).ids == ("a0", "b0", "a1", "b1", "a2", "b2")
    (tmp_path / "part-1.npy").unlink()
    said = r"part-1\.ids\.csv: names 2 rows \(the first is 'a1'\) of a shard that is missing"
    with pytest.raises(InputError, match=said):
        open_shards(tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice")
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("free", [1, 1 << 40, None])
def test_what_does_not_fit_into_memory_is_not_kept_by_the_system(
    tmp_path, monkeypatch, suffix, free
):
    whole = np.arange(60.0, dtype=np.float32).reshape(20, 3)
    for number, part in enumerate(np.split(whole, 2)):
        path = tmp_path / f"{number}{suffix}"
        if suffix == ".npy":
            np.save(path, part)
        else:
            safetensors.numpy.save_file({"x": part}, path)
    monkeypatch.setattr("proxmtl.io.shards.available_memory", lambda: free)
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    dropped = []

    def advise(_descriptor, begin, size, advice):
        assert advice == os.POSIX_FADV_DONTNEED
        dropped.append((begin, size))
        raise OSError(22, "not on this file system")

    monkeypatch.setattr(os, "posix_fadvise", advise)
    np.testing.assert_array_equal(open_shards(tmp_path)[5:17], whole[5:17])
    offset = (tmp_path / f"1{suffix}").stat().st_size - 120
    assert [(begin - offset, size) for begin, size in dropped] == (
        [(60, 60), (0, 84)] if free == 1 else []
    )
