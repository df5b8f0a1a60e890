"""A fingerprint sees every field that a result depends on."""

import itertools
import unicodedata

import numpy as np
import pytest
import torch
from scipy import sparse

from proxmtl import L1, GroupL2, Groups, LatentMTL, LatentMTLClassifier, WeightedL1
from proxmtl.io import InputError, identity, seal_folder
from proxmtl.io.identity import (
    fingerprint,
    fitted_rows,
    name_fingerprints,
    recognised,
    row_fingerprints,
    write_fitted_rows,
)

A, B = Groups.from_lists([[0, 1], [2, 3]]), Groups.from_lists([[0, 2], [1, 3]])
LONG = torch.arange(5000.0)


def test_different_things_have_different_fingerprints():
    changed = LONG.clone()
    changed[2500] += 1  # where repr prints dots
    things = [
        A,
        B,
        Groups.from_lists([[0, 1], [2, 3]], weights=[1.0, 2.0]),
        GroupL2(A, 1.0),
        GroupL2(B, 1.0),
        GroupL2(A, 1.0, axis=0),
        WeightedL1(LONG, 1.0),
        WeightedL1(changed, 1.0),
        L1(1.0),
        L1(1.5),
        LatentMTL(A),
        LatentMTL(B),
        LatentMTLClassifier(groups=A),
        LatentMTLClassifier(groups=B),
        np.zeros(3),
        np.zeros((3, 1)),
        (LONG[:2], LONG[:1]),
        (LONG[:1], LONG[:2]),
        None,
        "None",
    ]
    prints = [fingerprint(thing) for thing in things]
    for (i, a), (j, b) in itertools.combinations(enumerate(prints), 2):
        assert a != b, (things[i], things[j])


def test_sparse_features_count_by_what_they_hold():
    table = np.array([[0, 1.5, 0], [2, 0, 0], [0, 0, 0]])
    thin = sparse.csr_array(table)
    assert fingerprint(thin) == fingerprint(sparse.csc_matrix(table))
    assert fingerprint(thin) != fingerprint(2 * thin)
    assert fingerprint(thin) != fingerprint(sparse.csr_array((3, 3)))
    stored = thin.astype(np.float32)
    stored.data[1] = 0
    marks, other = row_fingerprints(thin), row_fingerprints(stored)
    assert marks[0] == other[0]
    assert marks[1] != other[1]
    assert other[1] == marks[2]  # a zero that is stored is a zero


def test_sparse_samples_are_recognised(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6, 40)) * (rng.random((6, 40)) < 0.3)
    thin, names = sparse.csr_array(table), tuple("abcdef")
    write_fitted_rows(tmp_path, thin[:4], names[:4])
    seal_folder(tmp_path)
    assert recognised(tmp_path, thin).tolist() == [True] * 4 + [False] * 2
    near = thin.copy()
    near.data *= 1.001
    assert not recognised(tmp_path, near).any()
    assert recognised(tmp_path, near, names).tolist() == [True] * 4 + [False] * 2
    assert not recognised(tmp_path, near[[3, 2, 1, 0, 4, 5]], names).any()


def test_equal_things_have_one_fingerprint():
    again = Groups.from_lists([[0, 1], [2, 3]])
    assert fingerprint(GroupL2(A, 1.0)) == fingerprint(GroupL2(again, 1.0))
    assert fingerprint(LatentMTLClassifier(groups=A)) == fingerprint(
        LatentMTLClassifier(groups=again)
    )


def test_samples_are_recognised_by_their_values(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3)).astype(np.float32)
    write_fitted_rows(tmp_path, X[:20])
    seal_folder(tmp_path)
    kept = fitted_rows(tmp_path)["mark"]
    order = rng.permutation(50)
    for samples in (X, X.astype(np.float64), np.asfortranarray(X)):
        found = np.isin(row_fingerprints(samples[order]), kept)
        np.testing.assert_array_equal(found, order < 20)
    assert not np.isin(row_fingerprints(np.nextafter(X, 1)), kept).any()
    images = rng.integers(0, 256, (4, 3, 5, 5), dtype=np.uint8)
    assert len(set(row_fingerprints(images).tolist())) == 4
    zeros = np.zeros((1, 3), np.float32)
    np.testing.assert_array_equal(row_fingerprints(zeros), row_fingerprints(-zeros))
    path = tmp_path / "fitted_rows.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=r"fitted_rows.npy: .*SHA-256 differs"):
        fitted_rows(tmp_path)
    path.write_bytes(whole[:90])
    seal_folder(tmp_path)
    with pytest.raises(InputError, match=r"fitted_rows.npy: not a readable npy file"):
        fitted_rows(tmp_path)
    for other in (np.zeros((2, 2), np.uint64), np.zeros(2)):
        np.save(path, other)
        seal_folder(tmp_path)
        with pytest.raises(InputError, match="something else than fingerprints"):
            fitted_rows(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"fitted_rows.npy: cannot be read"):
        fitted_rows(tmp_path)


def test_a_bare_model_was_fitted_on_no_known_rows(tmp_path):
    seal_folder(tmp_path)
    assert len(fitted_rows(tmp_path)) == 0


def test_a_name_counts_where_its_sample_is_much_the_same(tmp_path):
    rng = np.random.default_rng(0)
    X = np.maximum(rng.standard_normal((40, 64)), 0).astype(np.float32)
    names = [f"{i}.jpg" for i in range(40)]
    write_fitted_rows(tmp_path, X[:20], names[:20])
    seal_folder(tmp_path)
    again = X * (1 + 4e-3 * rng.standard_normal(X.shape)).astype(np.float32)  # as in bfloat16
    np.testing.assert_array_equal(recognised(tmp_path, again, names), np.arange(40) < 20)
    assert not recognised(tmp_path, again).any()
    assert recognised(tmp_path, X[:20], names[20:]).all()  # by content, whatever the names
    # of other images, in another scale, of other features
    for others in (X[20:], 2 * X[:20], X[:20, ::-1]):
        assert not recognised(tmp_path, others, names[:20]).any()


def test_signs_are_drawn_once_for_all_rows(tmp_path, monkeypatch):
    drawn, shake = [], identity.hashlib.shake_256
    monkeypatch.setattr(identity.hashlib, "shake_256", lambda x: drawn.append(x) or shake(x))
    identity._signs.cache_clear()
    write_fitted_rows(tmp_path, np.eye(5), list("abcde"))
    seal_folder(tmp_path)
    assert len(drawn) == 1
    # rows of the identity show the signs
    bits = fitted_rows(tmp_path)["sketch"][5:, 1:] > 0
    assert np.packbits(bits).tobytes() == shake(b"signs").digest(5)


def test_names_count_in_either_form_of_unicode():
    composed, decomposed = (unicodedata.normalize(form, "grün.png") for form in ("NFC", "NFD"))
    found = name_fingerprints([composed, decomposed, "blau.png"])
    assert found[0] == found[1] != found[2]
