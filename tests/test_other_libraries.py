"""Frames of pandas and sparse matrices of SciPy go in as they are; mistakes get sentences."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from proxmtl import L1, Logistic, Problem, SharedDesign, SquaredHinge, Targets, minimize

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((40, 6)) * (RANDOM.random((40, 6)) < 0.5)
Y = np.sign(X[:, :3] + 0.3 + 0.1 * RANDOM.standard_normal((40, 3)))


def solved(features, labels):
    problem = Problem(SquaredHinge(), SharedDesign(features), Targets.from_labels(labels), L1(1.0))
    return minimize(problem)


@pytest.mark.filterwarnings("error")
def test_frames_and_sparse_matrices_are_what_they_hold():
    expected = solved(X, Y)
    assert expected.objective == expected.certificate.objective
    assert expected.gap == expected.certificate.gap
    W = torch.as_tensor(RANDOM.standard_normal((6, 3)))
    for features in (pd.DataFrame(X), scipy.sparse.csr_matrix(X), scipy.sparse.csc_array(X)):
        torch.testing.assert_close(SharedDesign(features).scores(W), SharedDesign(X).scores(W))
        found = solved(features, pd.DataFrame(Y, columns=["a", "b", "c"]))
        assert found.objective == pytest.approx(expected.objective, abs=found.gap + expected.gap)


def test_missing_entries_of_nullable_frames_are_missing_labels():
    frame = pd.DataFrame(Y).astype("Int64")
    frame.iloc[3, 1] = pd.NA
    targets = Targets.from_labels(frame)
    assert int((targets.weights == 0).sum()) == 1
    assert float(targets.weights[3, 1]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Logistic, None, None, None), r"loss: got the class Logistic; give .* SquaredHinge\(\)"),
        ((None, X, None, None), r"design: got a ndarray; give .* SharedDesign\(X\)"),
        ((None, None, Y, None), r"targets: got a ndarray; give .* Targets.from_labels\(Y\)"),
        ((None, None, None, L1), r"regularizers: got the class L1; give .* L1\(0\.1\)"),
        ((None, None, None, [L1(1.0), "l1"]), "regularizers: got a str"),
    ],
)
def test_parts_of_the_wrong_kind_are_named(arguments, message):
    right = (SquaredHinge(), SharedDesign(X), Targets.from_labels(Y), L1(1.0))
    given = [b if a is None else a for a, b in zip(arguments, right, strict=True)]
    with pytest.raises(ValueError, match=message):
        Problem(*given)


def test_labels_that_are_all_missing_are_called_so():
    with pytest.raises(ValueError, match="are all 0, which means missing"):
        Targets.from_labels(np.zeros((3, 2)))
