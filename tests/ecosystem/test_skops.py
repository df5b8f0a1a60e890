"""Every estimator through skops, with nothing to trust but the one type that the page names."""

import numpy as np
import pytest

import proxmtl.estimators
from proxmtl.estimators.base import LinearModel

skops = pytest.importorskip("skops.io", reason="skops is not installed")

TRUSTED = ["proxmtl.io.model.ModelState"]
KINDS = [
    kind
    for kind in vars(proxmtl.estimators).values()
    if isinstance(kind, type) and issubclass(kind, LinearModel)
]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
VALUES = X @ RNG.normal(size=(5, 4)) + RNG.normal(size=(60, 4))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_model_comes_back_the_same(kind):
    classifies = hasattr(kind, "decision_function")
    model = kind().set_params(label_names=list("abcd"))
    if "max_passes" in model.get_params():
        model.set_params(max_passes=20)
    model.fit(X, (VALUES > 0).astype(int) if classifies else VALUES)
    data = skops.dumps(model.to_state())
    assert skops.get_untrusted_types(data=data) == TRUSTED
    state = skops.loads(data, trusted=TRUSTED)
    assert state.kind == kind.__name__
    again = kind.from_state(state)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.coef_, model.coef_)
    assert again.label_names_ == list("abcd")
    assert again.get_params().keys() == model.get_params().keys()
    with pytest.raises(skops.exceptions.UntrustedTypesFoundException):
        skops.loads(data, trusted=[])
