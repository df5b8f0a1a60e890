"""Centring without a copy is the centring of a copy, for every kind of features."""

import math

import pytest
import torch
from arithmetic import assert_same_sums
from scipy.sparse import csr_matrix

from proxmtl import SharedDesign, SquaredHinge, Targets, TaskDesign
from proxmtl.data_term import DataTerm
from proxmtl.designs import CentredDesign, Design
from proxmtl.designs.centred import centred

M = 3
SIZES = (30, 17, 24)
KINDS = ["shared", "sparse", "task"]
each = pytest.mark.parametrize("kind", KINDS)
each_size = pytest.mark.parametrize("d", [2, 7, 200], ids=["two", "gram", "lanczos"])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posed(kind, d=7, offset=3.0, n=30):
    """Design, features by task, targets with weights, and the weighted means (D, M)."""
    sizes = SIZES if kind == "task" else (n,) * M
    shared = normal(n, d) + offset
    shared[torch.rand(n, d, generator=torch.Generator().manual_seed(3)) < 0.3] = 0
    parts = [normal(k, d, seed=m) + offset for m, k in enumerate(sizes)]
    parts = parts if kind == "task" else [shared] * M
    labels = [torch.where(normal(k, seed=10 + m) > 0, 1.0, -1.0) for m, k in enumerate(sizes)]
    weights = [normal(k, seed=20 + m).abs() for m, k in enumerate(sizes)]
    labels[1][4] = math.nan
    if kind == "task":
        design = TaskDesign(parts, intercept=True)
    else:
        labels, weights = torch.stack(labels, 1), torch.stack(weights, 1)
        features = csr_matrix(shared.numpy()) if kind == "sparse" else shared
        design = SharedDesign(features, intercept=True)
    targets = Targets.from_labels(labels, sample_weight=weights)
    own = targets.weights.split(sizes) if kind == "task" else targets.weights.T
    means = torch.stack([c @ X / c.sum() for X, c in zip(parts, own, strict=True)], 1)
    return design, parts, targets, means, own


def of_each(scores, kind):
    return scores.split(SIZES) if kind == "task" else scores.T


@each
@pytest.mark.parametrize("offset", [0.1, 3.0, 1e4])
def test_products_are_those_of_a_centred_copy(kind, offset):
    design, parts, targets, means, own = posed(kind, offset=offset)
    centred = CentredDesign(design, means)
    W = normal(8, M, seed=5)
    scores = of_each(centred.scores(W), kind)
    torch.testing.assert_close(centred.linear(W), centred.scores(W), rtol=0, atol=0)
    value, grad = centred.loss_and_grad(DataTerm(SquaredHinge(), targets), W)
    R = SquaredHinge().grad(centred.scores(W), targets.labels, targets.weights)
    back = centred.adjoint(R)
    for m, X in enumerate(parts):
        copy, w = X - means[:, m], W[:-1, m]
        sizes = X.abs() @ w.abs() + means[:, m].abs() @ w.abs() + W[-1, m].abs()
        length = 2 * len(w) + 3
        assert_same_sums(scores[m], copy @ w + W[-1, m], sizes=sizes, length=length)
        r = of_each(R, kind)[m]
        sizes_back = X.abs().T @ r.abs() + means[:, m].abs() * r.abs().sum()
        length_back = 2 * len(X) + 3
        assert_same_sums(back[:-1, m], copy.T @ r, sizes=sizes_back, length=length_back)
        assert_same_sums(back[-1, m], r.sum(), sizes=r.abs().sum(), length=len(X))
        # its residuals are of scores that were computed in another order
        r_sizes = r.abs() + own[m] * sizes
        sizes_back = X.abs().T @ r_sizes + means[:, m].abs() * r_sizes.sum()
        assert_same_sums(grad[:-1, m], copy.T @ r, sizes=sizes_back, length=length + length_back)
        assert_same_sums(grad[-1, m], r.sum(), sizes=r_sizes.sum(), length=length + length_back)
    expected = SquaredHinge().value(centred.scores(W), targets.labels, targets.weights)
    torch.testing.assert_close(value, expected)


@each
@each_size
@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4])
def test_curvatures_are_bounds_and_sharp(kind, d, offset):
    design, parts, targets, means, own = posed(kind, d, offset, n=150)
    found = CentredDesign(design, means).curvature_by_task(targets)
    plain = design.curvature_by_task(targets)
    for m, (X, c) in enumerate(zip(parts, own, strict=True)):
        copy = X - means[:, m]
        exact = torch.linalg.matrix_norm(c.sqrt()[:, None] * copy, 2).square()
        assert exact <= found[m] * (1 + 1e-12)
        assert found[m] <= 1.02 * plain[m]
        if kind == "task":
            assert found[m] <= 1.02 * exact
        else:  # one spectrum for all tasks, about the plain means
            spread = torch.linalg.matrix_norm(X - X.mean(0), 2).square()
            assert found[m] <= 1.02 * c.max() * spread


@each
@each_size
def test_where_no_product_may_be_made_the_trace_is_a_bound(kind, d):
    design, parts, targets, means, own = posed(kind, d, 1e4, n=150)
    centred = CentredDesign(design, means)
    centred.curvature_left = 0.0
    found = centred.curvature_by_task(targets)
    assert centred.curvature_passes == 0
    for m, (X, c) in enumerate(zip(parts, own, strict=True)):
        copy = X - (means[:, m] if kind == "task" else X.mean(0))
        least = (c[:, None] * copy.square()).sum()
        assert least <= found[m] * (1 + 1e-12)
        assert found[m] <= 1.001 * c.max() * copy.square().sum()
    centred.curvature_left = math.inf
    centred.curvature_by_task(targets)
    assert centred.curvature_passes > 0


@pytest.mark.parametrize("kind", ["shared", "task"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dense_features_far_from_zero_are_moved_and_keep_their_digits(kind, dtype):
    g = torch.Generator().manual_seed(0)
    whole = torch.randint(-32, 33, (300, 5), generator=g).double() / 8
    X = (whole + 2.0**14).to(dtype)  # exact
    design = SharedDesign(X, intercept=True)
    if kind == "task":
        design = TaskDesign([X] * M, intercept=True)
    means = X.double().mean(0)[:, None].expand(-1, M)
    design = CentredDesign(design, means)
    copy = X.double() - X.double().mean(0)
    W = normal(6, M, seed=5).to(dtype)
    scores = design.scores(W)
    scores = scores.view(M, 300).T if kind == "task" else scores
    w = W.double()
    # as if the features had never been far away
    sizes = 2 * (copy.abs() @ w[:-1].abs() + w[-1].abs())
    assert_same_sums(scores, copy @ w[:-1] + w[-1], sizes=sizes, length=10)
    assert 0.7 < design.magnitude() / float(copy.square().mean().sqrt()) < 1.4


@each
def test_the_design_of_a_product_and_in_units_are_of_centred_features(kind):
    design, parts, _, means, _ = posed(kind, offset=1e3)
    centred = CentredDesign(design, means)
    L = normal(7, 2, seed=6)
    W = normal(3, M, seed=7)
    whole = centred.join(L @ W[:-1], W[-1])
    wanted = centred.scores(whole)
    sizes = max(float(X.abs().max()) for X in parts) * 2 * 7 * (L.abs() @ W[:-1].abs()).sum()
    assert_same_sums(centred.times(L).scores(W), wanted, sizes=sizes, length=20)
    view = centred.in_units()
    copy = torch.cat([X - means[:, m] for m, X in enumerate(parts)])
    size = float(copy.square().mean().sqrt())
    assert 0.3 < view.unit / size < 3
    inside = centred.join(whole[:-1], whole[-1] / view.unit)
    torch.testing.assert_close(view.scores(inside), wanted)
    R = torch.ones_like(wanted)
    grad, other = centred.adjoint(R), view.adjoint(R)
    torch.testing.assert_close(other[:-1], grad[:-1])
    torch.testing.assert_close(other[-1], view.unit * grad[-1])


def test_what_centring_does_not_change_is_that_of_the_design():
    design, _, targets, means, _ = posed("sparse")
    centred = CentredDesign(design, means)
    assert centred.parameter_shape(targets) == (8, M)
    assert centred.known_figure == design.known_figure
    assert not centred.affine
    assert centred.base.X.layout == torch.sparse_csr


def test_centring_takes_an_intercept():
    with pytest.raises(ValueError, match="design: has no intercept"):
        CentredDesign(SharedDesign(normal(5, 2)), torch.zeros(2, M))


def test_a_design_of_another_kind_is_bounded_by_its_own_curvature():
    class Mine(SharedDesign):
        centred_curvature_by_task = Design.centred_curvature_by_task
        times = Design.times

    X = normal(20, 4) + 2
    design = Mine(X, intercept=True)
    targets = Targets.from_labels(torch.where(normal(20, M, seed=1) > 0, 1.0, -1.0))
    centred = CentredDesign(design, X.mean(0)[:, None].expand(-1, M))
    assert torch.equal(centred.curvature_by_task(targets), design.curvature_by_task(targets))
    with pytest.raises(NotImplementedError, match="Mine does not give its features times a matrix"):
        centred.times(normal(4, 2))


def test_each_means_have_curvatures_of_their_own():
    design, _, targets, means, _ = posed("task")
    fresh = CentredDesign(posed("task")[0], 0 * means).curvature_by_task(targets)
    CentredDesign(design, means).curvature_by_task(targets)
    again = CentredDesign(design, 0 * means).curvature_by_task(targets)
    torch.testing.assert_close(again, fresh)


@pytest.mark.parametrize("deviations", [25, 40])
def test_what_is_thirty_deviations_away_is_far(deviations):
    design = SharedDesign(normal(2000, 3) + deviations, intercept=True)
    view = CentredDesign(design, design.X.mean(0)[:, None].expand(3, M))
    assert (view.base is not design) == (deviations > 30)


def test_copies_to_be_centred_hang_on_the_size_of_the_features_alone(monkeypatch):
    design = SharedDesign(normal(200, 3) + 100, intercept=True)
    means = design.X.mean(0)[:, None].expand(3, M)
    monkeypatch.setattr("proxmtl.machine.available_memory", lambda: 1)
    assert CentredDesign(design, means).base is not design
    monkeypatch.setattr("proxmtl.designs.products.MOST_BYTES", 200 * 3 * 8 - 1)
    assert CentredDesign(design, means).base is design


def test_means_within_rounding_of_zero_are_none():
    size = torch.finfo(torch.float64).eps ** 0.5
    design = SharedDesign(normal(200, 3), intercept=True)
    for factor in (0.5, 2.0):
        means = torch.full((3, M), factor * size * design.known_magnitude)
        assert (centred(design, means) is design) == (factor < 1)
