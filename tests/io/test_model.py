"""A model on disk comes back as it was, or is refused with the reason."""

import json

import numpy as np
import pytest

from proxmtl.io import InputError, ModelState, read_model_state, seal_folder, write_model_state

STATE = ModelState(
    "Kind",
    {"tol": 1e-3, "groups": {"a": ["x"]}},
    {"coef": np.arange(6.0).reshape(2, 3).T, "scale": np.ones(3, np.float32)},
    {"names": ["x", "y"], "gap": None},
)


def test_round_trip(tmp_path):
    write_model_state(tmp_path, STATE)
    read = read_model_state(tmp_path)
    assert (read.kind, read.parameters, read.description) == (
        STATE.kind,
        STATE.parameters,
        STATE.description,
    )
    assert read.arrays.keys() == STATE.arrays.keys()
    for name, array in STATE.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)
        assert read.arrays[name].dtype == array.dtype
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["manifest.json", "model.json", "model.safetensors"]


def test_a_model_with_nan_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="'coef' of the model is not finite"):
        write_model_state(tmp_path, ModelState("Kind", {}, {"coef": np.array([np.nan])}))
    assert not list(tmp_path.iterdir())


def _edit(**changes):
    def change(folder):
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        seal_folder(folder)

    return change


def _write(name, content):
    def change(folder):
        (folder / name).write_bytes(content)
        seal_folder(folder)

    return change


BAD = {
    "no description": (lambda f: (f / "model.json").unlink(), "model.json is not in this folder"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json: no such file"),
    "no arrays": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: cannot be rea"),
    "no safetensors": (_write("model.safetensors", b"PK"), "not a readable safetensors file"),
    "not json": (_write("model.json", b"{"), "model.json: not readable as JSON"),
    "deep json": (_write("model.json", b"[" * 100_000), "nested more than 64 deep"),
    "other json": (_write("model.json", b"[]"), "not the description"),
    "later format": (_edit(format_version=99), "format 99, and this proxmtl reads format 2"),
    "no kind": (_edit(kind=None), "'kind' is missing or is no str"),
    "other arrays": (_edit(arrays={"W": {}}), r"declares \['W'\]"),
    "no table": (_edit(arrays={"coef": 3, "scale": 3}), "has shape .* that do not fit"),
    "other shape": (
        _edit(arrays={"coef": {"shape": [2, 2]}, "scale": {"shape": [3]}}),
        r"'coef' has shape \[3, 2\]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_damaged_models_are_refused(tmp_path, case):
    damage, message = BAD[case]
    write_model_state(tmp_path, STATE)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        read_model_state(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_model_state(tmp_path / "absent")
    (tmp_path / "x.npy").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.npy: this is a file, and a run is a folder"):
        read_model_state(tmp_path / "x.npy")


def test_a_folder_that_is_no_run_is_called_so(tmp_path):
    with pytest.raises(InputError, match=r"no model is in this folder; name the one that was giv"):
        read_model_state(tmp_path)
    (tmp_path / "second").mkdir()
    (tmp_path / "first").mkdir()
    for name in ("first", "second"):
        write_model_state(tmp_path / name, STATE)
    with pytest.raises(InputError, match=r"name one of the runs in it, such as .*first\."):
        read_model_state(tmp_path)
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(InputError, match=r"an earlier version .* \(training.json\), and this"):
        read_model_state(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".train").mkdir()
    with pytest.raises(InputError, match="the training in this folder has not come to its end"):
        read_model_state(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "manifest.json"])
def test_any_flipped_bit_is_found(tmp_path, name):
    write_model_state(tmp_path, STATE)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole), min(60, len(whole)), replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(InputError, match=r"again") as caught:
            read_model_state(tmp_path)
        assert caught.value.source.parent == tmp_path
    (tmp_path / name).write_bytes(whole)
    read_model_state(tmp_path)


def test_swapped_names_are_found(tmp_path):
    write_model_state(tmp_path, STATE)
    path = tmp_path / "model.json"
    swapped = path.read_text().replace('"x"', '"z"').replace('"y"', '"x"').replace('"z"', '"y"')
    path.write_text(swapped)
    with pytest.raises(InputError, match=r"model.json: .*SHA-256 differs.*run again"):
        read_model_state(tmp_path)
    seal_folder(tmp_path)  # a change of one's own
    assert read_model_state(tmp_path).description["names"] == ["y", "x"]


def test_arrays_over_the_limit_are_not_read(tmp_path, monkeypatch):
    write_model_state(tmp_path, STATE)
    monkeypatch.setenv("PROXMTL_MAX_MODEL_BYTES", "100")
    with pytest.raises(InputError, match=r"raise it: PROXMTL_MAX_MODEL_BYTES="):
        read_model_state(tmp_path)
