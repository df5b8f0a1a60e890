"""Parameters as users have them, NumPy's scalars among them: fitted, saved and fitted again."""

import fractions
import json
import pickle
import warnings
from dataclasses import field

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import proxmtl as pm
from proxmtl import LatentMTL
from proxmtl.arrays import as_python
from proxmtl.estimators import load_model, save_model
from proxmtl.estimators.seeds import seed_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 5))
Y = (X @ RNG.normal(size=(5, 3)) > 0).astype(int)
KINDS = [
    pm.SingleTaskClassifier,
    pm.LassoClassifier,
    pm.L21Classifier,
    pm.RidgeMTLClassifier,
    pm.GroupLassoClassifier,
    pm.LatentMTLClassifier,
    pm.GOMTLClassifier,
]
LATENT = pm.LatentMTLClassifier, pm.GOMTLClassifier
CROSS_VALIDATED = pm.SingleTaskClassifierCV, pm.SharedPlusOwnClassifierCV, pm.LatentMTLClassifierCV
BRIEF = {
    kind: {"max_passes": 20} | ({"algorithm": "palm"} if kind in LATENT else {}) for kind in KINDS
}
ESTIMATORS = [kind(**BRIEF[kind]) for kind in KINDS]
# exact in every precision, so that a rounded parameter is the same parameter
SCALARS = {
    "strength": 0.125,
    "l2_strength": 0.125,
    "group_strength": 0.125,
    "l1_strength": 0.125,
    "frobenius_strength": 0.125,
    "own_strength": 0.125,
    "shared_strength": 0.125,
    "tol": 0.5,
    "max_passes": 9,
    "n_latents": 2,
    "random_state": 3,
    "fit_intercept": False,
    "standardize": False,
    "loss": "logistic",
    "reduction": "mean",
    "algorithm": "auto",
    "init": "paper",
}
CASES = [
    pytest.param(estimator, name, id=f"{type(estimator).__name__}-{name}")
    for estimator in ESTIMATORS
    for name in SCALARS
    if name in estimator.get_params()
]


def _forms(value):
    """The same scalar in NumPy's types, without dimensions, and as a tensor."""
    if isinstance(value, bool):
        return [np.bool_(value), np.array(value)]
    if isinstance(value, int):
        return [np.int64(value), np.uint8(value), np.array(value), torch.tensor(value)]
    if isinstance(value, float):
        kinds = np.float16, np.float32, np.float64, np.longdouble, np.array, torch.tensor
        return [*(kind(value) for kind in kinds), fractions.Fraction(value)]
    return [np.str_(value), np.array(value)]


def _reloaded(model, folder):
    save_model(folder, model)
    return load_model(folder)


def test_every_scalar_parameter_is_tried():
    given = {name for estimator in ESTIMATORS for name in estimator.get_params()}
    assert given - set(SCALARS) == {"groups", "class_weight", "label_names"}


@pytest.mark.parametrize(("estimator", "name"), CASES)
def test_scalars_of_any_type_are_the_numbers(estimator, name, tmp_path):
    value = SCALARS[name]
    wanted = clone(estimator).set_params(**{name: value}).fit(X, Y)
    for form in _forms(value):
        model = clone(estimator).set_params(**{name: form}).fit(X, Y)
        assert getattr(model, name) is form  # what was set is left as it is
        np.testing.assert_array_equal(model.coef_, wanted.coef_)
        again = _reloaded(pickle.loads(pickle.dumps(model)), tmp_path / "model")
        assert type(getattr(again, name)) is type(value)
        assert getattr(again, name) == value
    np.testing.assert_array_equal(again.fit(X, Y).coef_, wanted.coef_)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "classes",
    [{0: np.int64(1), 1: np.float32(3)}, {np.int8(0): 1, np.int64(1): np.array(3)},
     {False: 1, True: 3}, {0.0: 1, 1.0: fractions.Fraction(3)}],
    ids=["weights", "classes", "booleans", "floats"],
)  # fmt: skip
def test_class_weights_of_any_type(kind, classes, tmp_path):
    wanted = kind(**BRIEF[kind], class_weight={0: 1, 1: 3}).fit(X, Y).coef_
    model = kind(**BRIEF[kind], class_weight=classes).fit(X, Y)
    np.testing.assert_array_equal(model.coef_, wanted)
    again = _reloaded(model, tmp_path / "model")
    kept = {as_python(key): as_python(weight) for key, weight in classes.items()}
    assert again.class_weight == kept
    assert [type(key) for key in again.class_weight] == [type(key) for key in kept]
    np.testing.assert_array_equal(again.fit(X, Y).coef_, wanted)


def test_keys_that_look_like_numbers_stay_text(tmp_path):
    y = np.where(Y[:, 0] > 0, "1", "0")
    weights = {"0": 1.0, "1": 2.0}
    again = _reloaded(pm.SingleTaskClassifier(class_weight=weights).fit(X, y), tmp_path / "model")
    assert again.class_weight == weights
    assert again.fit(X, y).predict(X).dtype.kind == "U"


def test_a_model_of_before_keys_had_types(tmp_path):
    """Its class weights came back with text for keys, and still weigh the classes."""
    model = pm.SingleTaskClassifier(class_weight={0: 1.0, 1: 3.0}).fit(X, Y)
    state = model.to_state()
    state.parameters["class_weight"] = json.loads(json.dumps({0: 1.0, 1: 3.0}))
    again = pm.SingleTaskClassifier.from_state(state)
    assert again.class_weight == {"0": 1.0, "1": 3.0}
    np.testing.assert_array_equal(again.fit(X, Y).coef_, model.coef_)


@pytest.mark.parametrize("names", [pd.Index(["a", "b", "c"]), np.array(["a", "b", "c"]), "abc"])
def test_names_from_a_frame(names, tmp_path):
    model = pm.SingleTaskClassifier(label_names=names).fit(X, Y)
    again = _reloaded(model, tmp_path / "model")
    assert again.label_names == ["a", "b", "c"]
    assert again.label_names_ == model.label_names_ == ["a", "b", "c"]
    np.testing.assert_array_equal(again.fit(X, Y).coef_, model.coef_)


def test_names_that_are_numbers_are_text(tmp_path):
    frame = pd.DataFrame(Y)
    model = pm.SingleTaskClassifier(label_names=frame.columns).fit(X, frame)
    again = _reloaded(model, tmp_path / "model")
    assert again.label_names == again.label_names_ == ["0", "1", "2"]
    np.testing.assert_array_equal(again.fit(X, frame).coef_, model.coef_)


def test_a_budget_without_end_is_saved(tmp_path):
    model = pm.SingleTaskClassifier(max_passes=np.inf).fit(X, Y)
    again = _reloaded(model, tmp_path / "model")
    assert again.max_passes == np.inf
    np.testing.assert_array_equal(again.fit(X, Y).coef_, model.coef_)


GROUPS = {
    "NumPy's whole numbers": {"x": [np.int64(0), np.int32(1)], "y": np.array([2])},
    "keys that are numbers": {np.int64(0): np.array([0, 1]), 1: pd.Series([2])},
    "names in an index": {"x": pd.Index(["a", "b"]), "y": np.array(["c"])},
    "rows of an array": [np.array([0, 1]), torch.tensor([2])],
}


@pytest.mark.parametrize("kind", [pm.GroupLassoClassifier, pm.LatentMTLClassifier])
@pytest.mark.parametrize("form", GROUPS)
def test_groups_of_any_type(kind, form, tmp_path):
    wanted = kind(groups=[[0, 1], [2]], max_passes=20).fit(X, Y).coef_
    model = kind(groups=GROUPS[form], max_passes=20, label_names=pd.Index(["a", "b", "c"]))
    np.testing.assert_array_equal(clone(model).fit(X, Y).coef_, wanted)
    again = _reloaded(model.fit(X, Y), tmp_path / "model")
    np.testing.assert_array_equal(again.fit(X, Y).coef_, wanted)


def test_what_a_search_found_is_saved(tmp_path):
    grid = {"l2_strength": np.logspace(-3, 0, 3), "max_passes": np.arange(20, 40, 10)}
    search = GridSearchCV(pm.SingleTaskClassifier(), grid, cv=3).fit(X, Y)
    best = search.best_estimator_
    again = _reloaded(best, tmp_path / "model")
    assert type(again.l2_strength) is float
    assert again.l2_strength == best.l2_strength
    np.testing.assert_array_equal(again.fit(X, Y).coef_, best.coef_)


@pytest.mark.parametrize("scaling", ["search", True, False, np.bool_(True)])
@pytest.mark.parametrize(
    "kind",
    [
        *(pm.SingleTaskClassifierCV, pm.SharedPlusOwnClassifierCV, pm.LatentMTLClassifierCV),
        *(pm.SingleTaskRegressorCV, pm.SharedPlusOwnRegressorCV, pm.LatentMTLRegressorCV),
    ],
)
def test_searches_of_every_scaling_are_saved(tmp_path, kind, scaling):
    model = kind(cv=2, max_passes=12, standardize=scaling, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the budget is short
        model.fit(X, Y)
    again = _reloaded(model, tmp_path / "model")
    assert again.standardize == scaling
    assert isinstance(again.standardize, str if scaling == "search" else bool)
    np.testing.assert_array_equal(again.coef_, model.coef_)


def test_a_parameter_that_cannot_be_saved_is_named(tmp_path):
    model = pm.SingleTaskClassifier(class_weight={0: 1, 1: 2}).fit(X, Y)
    model.class_weight = object()
    with pytest.raises(ValueError, match=r"class_weight: <object .* can't be saved"):
        save_model(tmp_path / "model", model)


def _fitted(random_state):
    options = {"init": "paper", "algorithm": "palm", "max_passes": 40}
    return pm.LatentMTLClassifier(random_state=random_state, **options).fit(X, Y)


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_generators_are_drawn_from_as_in_scikit_learn(make, tmp_path):
    first, same = _fitted(make(0)), _fitted(make(0))
    np.testing.assert_array_equal(first.coef_, same.coef_)
    generator = make(0)
    one, two = _fitted(generator), _fitted(generator)  # it moves on
    np.testing.assert_array_equal(one.coef_, first.coef_)
    assert not np.array_equal(two.coef_, first.coef_)
    again = _reloaded(first, tmp_path / "model")
    assert type(again.random_state) is int
    np.testing.assert_array_equal(again.fit(X, Y).coef_, first.coef_)


def test_no_random_state_is_another_one_each_time(tmp_path):
    first, second = _fitted(None), _fitted(None)
    assert not np.array_equal(first.coef_, second.coef_)
    assert _reloaded(first, tmp_path / "model").random_state is None


@pytest.mark.parametrize("value", ["three", 0.5, [1, 2]])
def test_bad_random_states(value):
    with pytest.raises(ValueError, match="random_state: got"):
        _fitted(value)
    with pytest.raises(ValueError, match="random_state: got"):
        LatentMTL(random_state=value)


def test_seeds():
    assert seed_of(np.int64(7)) == 7
    drawn = {seed_of(np.random.default_rng(k)) for k in range(20)}
    assert len(drawn) == 20
    assert all(0 <= seed < 2**31 for seed in drawn)


def test_the_engine_takes_scalars_too():
    signs = 2.0 * Y - 1
    numbers = {"n_latents": 2, "group_strength": 0.125, "tol": 0.5, "max_passes": 9}
    wanted = LatentMTL(**numbers, class_weight=(1.0, 3.0), random_state=3).solve(X, signs)
    forms = {name: np.array(value) for name, value in numbers.items()}
    weights = (np.float32(1), np.int64(3))
    seen = LatentMTL(**forms, class_weight=weights, random_state=np.int64(3)).solve(X, signs)
    assert torch.equal(seen.coef, wanted.coef)


@pytest.mark.parametrize("kind", [*KINDS, pm.SharedPlusOwnClassifier, *CROSS_VALIDATED])
def test_parameters_are_given_by_name(kind):
    """Their order is nobody's business, and may change."""
    with pytest.raises(TypeError, match="positional argument"):
        kind(0.5)


class Mine(pm.LassoClassifier):
    """Another default, another parameter, something that fit sets, and no decorator."""

    strength: float = 0.5
    depth: int = 3
    seen_: int = field(init=False)

    def fit(self, X, y, sample_weight=None, **options):
        self.seen_ = self.depth * len(X)
        return super().fit(X, y, sample_weight, **options)


class Deeper(Mine):
    depth: int = 4


class Handwritten(pm.LassoClassifier):
    """With a constructor as scikit-learn's have."""

    def __init__(self, *, strength=0.25):
        super().__init__(strength=strength, max_passes=20)


class Inheriting(Handwritten):
    note: str = "no parameter: the constructor is a written one"


class Latent(pm.LatentMTLClassifier):
    note: str = "a parameter"


def test_fields_of_a_subclass_are_its_parameters():
    assert (Mine().strength, Mine().depth, pm.LassoClassifier().strength) == (0.5, 3, 0.01)
    assert set(Mine().get_params()) == {*pm.LassoClassifier().get_params(), "depth"}
    assert (Deeper().depth, Deeper().strength) == (4, 0.5)
    assert set(Latent().get_params()) == {*pm.LatentMTLClassifier().get_params(), "note"}
    assert Mine(depth=7, tol=0.1).get_params() == {
        **pm.LassoClassifier(strength=0.5, tol=0.1).get_params(),
        "depth": 7,
    }
    assert repr(Mine(depth=7)) == "Mine(depth=7)"
    with pytest.raises(TypeError, match="seen_"):
        Mine(seen_=1)
    with pytest.raises(TypeError, match="positional"):
        Mine(0.5)


def test_a_subclass_is_cloned_pickled_searched_and_saved_by_its_parameters():
    mine = clone(Mine().set_params(depth=5, max_passes=20))
    assert mine.fit(X, Y).seen_ == 150
    again = pickle.loads(pickle.dumps(mine))
    assert again.get_params() == mine.get_params()
    assert np.array_equal(again.predict(X), mine.predict(X))
    search = GridSearchCV(Mine(max_passes=20), {"depth": [2, 3]}, cv=2).fit(X, Y)
    assert search.best_estimator_.seen_ == 30 * search.best_params_["depth"]


def test_a_written_constructor_stays_that_of_its_class_and_those_below():
    for kind in (Handwritten, Inheriting):
        assert kind().get_params() == {"strength": 0.25}
        assert (kind().max_passes, kind(strength=1.0).strength) == (20, 1.0)


@pytest.mark.parametrize("kind", [pm.SingleTaskClassifier, pm.LassoClassifier])
def test_a_tolerance_of_zero_goes_as_far_as_arithmetic(kind):
    fitted = kind(tol=0, max_passes=200).fit(X, Y)
    # the gap is a difference of sums of 90 losses and 15 penalties, each rounded
    certificate = fitted.result_.certificate
    assert certificate.relative_gap <= 105 * np.finfo(float).eps
