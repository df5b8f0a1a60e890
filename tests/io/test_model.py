"""A model on disk comes back as it was, or is refused with the reason."""

import json

import numpy as np
import pytest

from proxmtl.io import InputError, ModelState, read_model_state, write_model_state

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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_a_model_with_nan_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="'coef' of the model is not finite"):
        write_model_state(tmp_path, ModelState("Kind", {}, {"coef": np.array([np.nan])}))
    assert not list(tmp_path.iterdir())


def _edit(**changes):
    def change(folder):
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def _cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


BAD = {
    "no description": (lambda f: (f / "model.json").unlink(), "model.json: cannot be read"),
    "no arrays": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: cannot be rea"),
    "cut": (_cut, "SHA-256 differs"),
    "not json": (lambda f: (f / "model.json").write_text("{"), "not readable as JSON"),
    "other json": (lambda f: (f / "model.json").write_text("[]"), "not the description"),
    "later format": (_edit(format_version=99), "format 99, and this proxmtl reads format 1"),
    "no kind": (_edit(kind=None), "'kind' is missing or is no str"),
    "other arrays": (_edit(arrays={"W": {}}), r"declares \['W'\]"),
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
