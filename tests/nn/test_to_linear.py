"""A solved head as a plain layer: the same scores, of features standardised or as they were."""

import numpy as np
import pytest
import torch
from strategies import classification
from torch import nn

from proxmtl import Groups, SquaredFrobenius
from proxmtl.estimators import SingleTaskClassifier
from proxmtl.nn import ConvexHead, LatentMTLHead

N, D, M = 30, 5, 4
X, Y = classification(N, D, M)
X = 3.0 * X + torch.linspace(1, 3, D).double()
MEAN, SCALE = X.mean(0), X.std(0)
GROUPS = Groups.from_lists([[0, 1], [2, 3]])


def heads(**options):
    options = {"dtype": torch.float64, **options}
    yield LatentMTLHead(D, M, GROUPS, 3, own_strength=0.05, max_passes=100, **options)
    yield ConvexHead(D, M, SquaredFrobenius(0.02), **options)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("standardised", [True, False])
def test_the_layer_has_the_scores_of_the_head(intercept, standardised):
    for head in heads(fit_intercept=intercept):
        given = (X - MEAN) / SCALE if standardised else X
        head.solve(given, Y)
        layer = head.to_linear(MEAN.numpy(), SCALE) if standardised else head.to_linear()
        assert type(layer) is nn.Linear
        assert (layer.in_features, layer.out_features) == (D, M)
        assert (layer.bias is not None) == (intercept or standardised)
        torch.testing.assert_close(layer(X), head(given), rtol=1e-12, atol=1e-12)
        assert layer.weight.requires_grad
        before = head.coef.clone()
        nn.init.zeros_(layer.weight)
        assert torch.equal(head.coef, before)


def test_it_has_the_precision_of_the_head():
    for head in heads(dtype=torch.float32):
        head.solve(X.float(), Y)
        assert head.to_linear(MEAN, SCALE).weight.dtype == torch.float32


def test_numbers_that_are_none_of_the_features_raise():
    head = next(heads())
    for mean in (MEAN[:3], 1.0, [np.nan] * D):
        with pytest.raises(ValueError, match=f"mean: .* each of the {D} features"):
            head.to_linear(mean)
    assert head.to_linear(mean=np.zeros(D)[::-1]).bias is not None  # a view, read backwards
    with pytest.raises(ValueError, match=r"scale: got 0; a scale must be > 0"):
        head.to_linear(scale=np.arange(D))


def test_estimators_have_folded_their_standardisation_already():
    """The NumPy weights of an estimator are those of the features as they were given."""
    model = SingleTaskClassifier().fit(X.numpy(), (Y > 0).int().numpy())
    plain = X.numpy() @ model.coef_.T + model.intercept_
    np.testing.assert_allclose(plain, model.decision_function(X.numpy()), rtol=1e-12, atol=1e-12)
    assert not np.allclose(model.scale_, 1)


def test_a_network_with_its_head_is_exported():
    network = nn.Sequential(nn.Linear(D, 6), nn.ReLU()).double()
    for kind in (
        LatentMTLHead(6, M, GROUPS, 3, max_passes=20, dtype=torch.float64),
        ConvexHead(6, M, SquaredFrobenius(0.02), dtype=torch.float64),
    ):
        kind.solve(network(X).detach(), Y)
        model = nn.Sequential(network, kind).eval()
        rows = torch.export.Dim("rows", min=2)
        exported = torch.export.export(model, (X[:7],), dynamic_shapes=({0: rows},)).module()
        torch.testing.assert_close(exported(X), model(X), rtol=1e-12, atol=1e-12)
