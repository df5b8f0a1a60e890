"""Fits that are interrupted, and go on from their checkpoint to the same model."""

import numpy as np
import pytest

from proxmtl.estimators import (
    LatentMTLClassifier,
    LatentMTLClassifierCV,
    SharedPlusOwnRegressorCV,
    SingleTaskClassifier,
)
from proxmtl.estimators import search as search_module
from proxmtl.io import Checkpoint, InputError

N, D, M = 150, 6, 4
MODELS = {
    "ridge": SingleTaskClassifier(tol=1e-9),
    "latent, groups found": LatentMTLClassifier(groups="auto", shared_strength=0.3, max_passes=60),
    "latent, searched": LatentMTLClassifierCV(cv=2, random_state=0, max_passes=60),
    "searched": SharedPlusOwnRegressorCV(cv=2, random_state=0),
}


class Killed(BaseException):
    """In place of a signal."""


def data(model, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D)) * np.logspace(0, 0.5, D)
    W = rng.standard_normal((D, 2)) @ rng.standard_normal((2, M))
    scores = X @ W + 2 * rng.standard_normal((N, M))
    return X, scores if "Regressor" in type(model).__name__ else (scores > 0).astype(float)


def fitted(model, **options):
    return type(model)(**model.get_params()).fit(*data(model), **options)


def described(model):
    """Everything that a fit has found, but for its time."""
    arrays = {name: value for name, value in vars(model).items() if isinstance(value, np.ndarray)}
    tables = {
        name: getattr(model, name).to_dict("list")
        for name in ("report_", "cv_results_")
        if hasattr(model, name)
    }
    result = model.result_
    records = [(each["iteration"], each["objective"]) for each in result.history]
    return arrays, (repr(tables), result.status, result.reason, result.certificate, records)


@pytest.mark.filterwarnings("ignore::UserWarning")  # budgets are small
@pytest.mark.parametrize("name", MODELS)
def test_a_killed_fit_goes_on_to_the_same_model(name, tmp_path, monkeypatch):
    model = MODELS[name]
    arrays, rest = described(fitted(model))
    save, writes, last = Checkpoint.save, [0], [None]

    def counted(self, *given):
        if writes[0] == last[0]:
            raise Killed
        save(self, *given)
        writes[0] += 1

    monkeypatch.setattr(Checkpoint, "save", counted)
    monkeypatch.setattr("os.fsync", lambda _: None)  # the machine is not switched off
    fitted(model, checkpoint=Checkpoint(tmp_path / "whole", seconds=0))
    total = writes[0]
    assert total >= 2
    # one folder, killed again and again: after the first writes, in the midst, before the last
    kept = Checkpoint(tmp_path / "kept", seconds=0)
    for stop in filter(None, (1, total // 4, total // 4)):
        writes[0], last[0] = 0, stop
        with pytest.raises(Killed):
            fitted(model, checkpoint=kept)
    last[0] = None
    found, other = described(fitted(model, checkpoint=kept))
    assert found.keys() == arrays.keys()
    for key, value in arrays.items():
        assert np.array_equal(found[key], value, equal_nan=value.dtype.kind == "f"), key
    assert other == rest
    # and what is finished is not done again
    solved = []
    monkeypatch.setattr(search_module, "_scored", lambda *_, **__: solved.append(1))
    writes[0] = 0
    assert described(fitted(model, checkpoint=kept))[1] == rest
    assert not solved
    assert writes[0] <= len(list(kept.folder.iterdir()))  # the ends of solves alone


def test_a_checkpoint_of_another_fit_raises(tmp_path):
    model = MODELS["searched"]
    kept = Checkpoint(tmp_path, seconds=0)
    fitted(model, checkpoint=kept)
    X, Y = data(model)
    again = type(model)(**model.get_params())
    with pytest.raises(InputError, match=r"another computation: its model is .*cv=2"):
        type(model)(cv=3, random_state=0).fit(X, Y, checkpoint=kept)
    other = Y.copy()
    other[0, 0] += 1
    with pytest.raises(InputError, match="its SHA-256 of the data"):
        again.fit(X, other, checkpoint=kept)
    with pytest.raises(InputError, match="its SHA-256 of the data"):
        again.fit(2 * X + X**2, Y, checkpoint=kept)
    path = next(tmp_path.rglob("*.pt"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="delete the folder to start anew"):
        fitted(model, checkpoint=kept)


def test_short_parts_are_not_kept(tmp_path):
    fitted(MODELS["searched"], checkpoint=Checkpoint(tmp_path / "kept", seconds=3600))
    assert not (tmp_path / "kept").exists()
