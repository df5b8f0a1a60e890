"""Whether features are correlated, and what hangs on it."""

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.solvers import correlation
from proxmtl.solvers.choice import LONGER, choose
from proxmtl.solvers.correlation import are_correlated


@pytest.mark.parametrize("n", [1, 2, 40, 300])
@pytest.mark.parametrize("scale", [0.0, 1e-200, 1.0, 1e200])
def test_features_are_correlated_where_a_direction_stands_out(n, scale):
    X = scale * torch.randn(n, 50, generator=torch.Generator().manual_seed(0)).double()
    several = scale > 0 and n > 2  # two centred rows have one direction
    assert not are_correlated(pm.SharedDesign(X, intercept=True))
    common = pm.SharedDesign(X + 3 * X[:, :1], intercept=True)
    assert are_correlated(common) == several
    # a mean is a direction, unless an intercept takes it
    assert are_correlated(pm.SharedDesign(X + 5 * scale)) == several
    assert not are_correlated(pm.SharedDesign(X + 5 * scale, intercept=True))


def test_all_rows_are_looked_at_wherever_a_direction_is():
    X = torch.randn(255, 60, generator=torch.Generator().manual_seed(0)).double()
    X[128:] += 5 * torch.linspace(-1, 1, 127)[:, None].double()
    assert are_correlated(pm.SharedDesign(X, intercept=True))
    assert are_correlated(pm.SharedDesign(X.flip(0), intercept=True))


def test_a_single_long_row_is_no_correlation():
    X = torch.randn(400, 60, generator=torch.Generator().manual_seed(0)).double()
    X[0] *= 1000
    assert not are_correlated(pm.SharedDesign(X))


def test_wide_features_are_looked_at_block_by_block(monkeypatch):
    X = torch.randn(50, 40, generator=torch.Generator().manual_seed(0)).double()
    for features in (X, X + 3 * X[:, :1]):
        whole = are_correlated(pm.SharedDesign(features, intercept=True))
        with monkeypatch.context() as patch:
            patch.setattr(correlation, "COLUMNS", 7)
            assert are_correlated(pm.SharedDesign(features, intercept=True)) == whole


def test_it_is_found_once():
    design = pm.SharedDesign(torch.ones(4, 3))
    assert are_correlated(design) == design.kept["correlated"]
    design.kept["correlated"] = not design.kept["correlated"]
    assert are_correlated(design) == design.kept["correlated"]


def test_more_gram_matrices_are_allowed_on_correlated_features():
    X, Y = classification(200, 500, 1, seed=3)
    allowed = []
    for features in (X, X + 3 * X[:, :1]):
        design = pm.SharedDesign(features, intercept=True)
        problem = pm.Problem(pm.Logistic(), design, pm.Targets.from_labels(Y), pm.L1(0.5))
        allowed.append(choose(problem).solver.allowance)
    assert allowed[1] == LONGER * allowed[0]
