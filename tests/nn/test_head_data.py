"""What a head is given against what it is: said before any work, and nothing is changed."""

import math

import numpy as np
import pytest
import torch
from strategies import classification

from proxmtl import MaxPasses, SquaredFrobenius
from proxmtl.nn import ConvexHead, LatentMTLHead

N, D, M = 30, 5, 4
X, Y = classification(N, D, M, missing=0.1)
PER_TASK = torch.stack([X + 0.1 * m for m in range(M)])


def heads(**options):
    wide = {"dtype": torch.float64, **options}
    yield ConvexHead(D, M, SquaredFrobenius(0.1), stop=MaxPasses(20), **wide)
    yield LatentMTLHead(D, M, n_latents=2, max_passes=20, **wide)


WRONG = {
    "fewer features": (X[:, :4], Y, None, r"features: shape \(30, 4\); give a tensor"),
    "more features": (torch.cat([X, X], 1), Y, None, "features: shape"),
    "another number of matrices": (PER_TASK[:3], Y[:, :3], None, "features: shape"),
    "a list of one matrix": ([X], [Y[:, 0]], None, "features: 1 of shapes"),
    "an array": (X.numpy(), Y, None, "features: got ndarray"),
    "one task's labels": (X, Y[:, :1], None, r"labels: shape \(30, 1\); with these features give"),
    "a vector": (X, Y[:, 0], None, r"labels: shape \(30,\)"),
    "labels of fewer samples": (PER_TASK, Y[1:], None, r"labels: shape \(29, 4\)"),
    "vectors of other lengths": (list(PER_TASK), [*Y.T[:3], Y[1:, 3]], None, "labels: 4 vectors"),
    "weights of fewer samples": (PER_TASK, Y, torch.ones(N - 1), "sample_weight: shape"),
    "negative weights": (X, Y, -torch.ones(N), "sample_weight: holds"),
    "infinite labels": (X, torch.full_like(Y, math.inf), None, "labels: hold an infinite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_data_of_another_shape_are_refused_by_a_solve(name):
    features, labels, weight, match = WRONG[name]
    for head in heads():
        before = {key: t.clone() for key, t in head.state_dict().items()}
        with pytest.raises(ValueError, match=match):
            head.solve(features, labels, weight)
        for key, tensor in head.state_dict().items():
            assert torch.equal(tensor, before[key])
        with pytest.raises(ValueError, match="labels: of 3 tasks, the head has 4"):
            head.take_labels(Y[:, :3])


NO_BATCH = {"a list of one matrix", "an array", "vectors of other lengths"}  # a batch is a tensor


@pytest.mark.parametrize("name", [name for name in WRONG if name not in NO_BATCH])
def test_and_by_losses_and_proximal_steps(name):
    features, labels, weight, match = WRONG[name]
    match = "labels: shape" if "label" in match and "infinite" not in match else match
    for head in heads():
        calls = [head.loss, head.network_loss]
        calls += [head.prox_step] if isinstance(head, LatentMTLHead) else []
        for call in calls:
            with pytest.raises(ValueError, match=match):
                call(features, labels, weight)
        for scores, given in ((Y[:, :1], Y[:, :1]), (X[:, 0], Y[:, 0]), (Y, Y[:, :1])):
            with pytest.raises(ValueError, match="labels: shape"):
                head.objective(scores, given)
        for bad in (-1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match="sample_weight: holds"):
                head.loss(X, Y, torch.full((N,), bad))


def test_frames_and_arrays_of_labels_are_taken():
    pandas = pytest.importorskip("pandas")
    weight = np.linspace(0.5, 1.5, N)
    for features in (X, PER_TASK):
        found = []
        for labels, given in (
            (Y, torch.from_numpy(weight)),
            (Y.numpy(), weight),
            (pandas.DataFrame(Y.numpy()), pandas.Series(weight)),
        ):
            for head in heads():
                head.solve(features, labels, given)
                head.take_labels(labels, given)
                found.append(head.coef)
        for one, other in zip(found[2:], found[:2] * 2, strict=True):
            assert torch.equal(one, other)
