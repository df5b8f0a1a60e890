"""Thresholds of attributes: the best on rows held out, by every cut; and what predicts by them."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import balanced_accuracy_score, f1_score

from proxmtl.estimators import (
    LatentMTLClassifierCV,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifier,
    SingleTaskClassifierCV,
    load_model,
    save_model,
)
from proxmtl.estimators import classifiers_cv as module
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.thresholds import chosen_thresholds
from proxmtl.io import InputError

SMALL = {"cv": 3, "random_state": 0}
CRITERIA = {"f1": f1_score, "balanced_accuracy": balanced_accuracy_score}


def rare(n=300, m=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    Z = X @ rng.normal(size=(6, m)) / 2 + rng.normal(size=(n, m))
    return X, (np.linspace(0.5, 2.0, m) < Z).astype(float)


def every_cut(values):
    levels = np.unique(values)
    return np.concatenate([[-np.inf], (levels[:-1] + levels[1:]) / 2, [np.inf]])


def drawn(n=80, share=0.3, digits=None, seed=0):
    """Decision values and labels that have something to do with them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    z = z if digits is None else z.round(digits)
    y = rng.random(n) < expit(2 * z - np.log(1 / share - 1))
    return z, y, rng.random(n)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("digits", [None, 0, 1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_no_cut_is_better(criterion, digits, weighted, seed):
    z, y, w = drawn(digits=digits, seed=seed)
    w = w if weighted else np.ones_like(w)
    signs = np.where(y, 1.0, -1.0)[:, None]
    slopes = np.array([1.7])
    labels = EncodedLabels(signs, w)
    t = chosen_thresholds(criterion, z[:, None], labels, slopes)[0]

    def value(cut):
        return CRITERIA[criterion](y, z > cut, sample_weight=w)

    best = max(map(value, every_cut(z)))
    at = np.log(t / (1 - t)) / slopes[0]
    assert value(at) == pytest.approx(best, rel=1e-9)
    # in the middle of its interval of probabilities
    p = np.unique(np.concatenate([[0.0], expit(slopes[0] * z), [1.0]]))
    above = np.searchsorted(p, t)
    assert t == pytest.approx((p[above - 1] + p[above]) / 2, rel=1e-12)
    # and nearest to 1/2 of those that are as good
    as_good = [cut for cut in every_cut(z) if value(cut) > best - 1e-12]
    middles = [(p[k] + p[k + 1]) / 2 for k in range(len(p) - 1)]
    cuts = dict(zip(every_cut(z), middles, strict=True))
    assert abs(t - 0.5) == pytest.approx(min(abs(cuts[cut] - 0.5) for cut in as_good), abs=1e-12)


def test_few_labels_of_a_class_get_the_best_expected_score():
    rng = np.random.default_rng(0)
    z = np.sort(rng.normal(size=200) - 4)
    p = expit(z)
    for n_positives in (1, 9):
        signs = -np.ones((200, 1))
        signs[rng.choice(200, n_positives, replace=False)] = 1  # wherever they are
        labels = EncodedLabels(signs)
        found = chosen_thresholds("f1", z[:, None], labels, np.ones(1))[0]
        # of expected counts the best F1 is at half of itself (Lipton and others, 2014)
        hits = np.append(np.cumsum(p[::-1])[::-1], 0)
        best = max(2 * hits[k] / (200 - k + p.sum()) for k in range(201))
        assert found == pytest.approx(best / 2, abs=np.diff(p).max())
        balanced = chosen_thresholds("balanced_accuracy", z[:, None], labels, np.ones(1))[0]
        assert balanced == pytest.approx(p.mean(), abs=np.diff(p).max())


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("class_weight", ["balanced", (0.5, 4.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_do_not_move_the_best_expected_score(criterion, class_weight, weighted):
    rng = np.random.default_rng(0)
    z = rng.normal(size=200) - 3
    signs = -np.ones((200, 1))
    signs[rng.choice(200, 9, replace=False)] = 1
    w = rng.uniform(0.5, 2, size=200) if weighted else np.ones(200)
    plain = chosen_thresholds(criterion, z[:, None], EncodedLabels(signs, w), np.ones(1))
    ratio = 8.0
    if class_weight == "balanced":
        ratio = w[signs[:, 0] < 0].sum() / w[signs[:, 0] > 0].sum()
    labels = EncodedLabels(signs, w, class_weight=class_weight)
    moved = z + np.log(ratio)  # log odds where classes have these weights
    found = chosen_thresholds(criterion, moved[:, None], labels, np.ones(1))
    np.testing.assert_array_equal(expit(moved) > found, expit(z) > plain)


def test_missing_rows_do_not_count():
    z, y, w = drawn()
    signs = np.where(y, 1.0, -1.0)
    more = np.concatenate([z, [5.0, -5.0, np.nan]])[:, None]
    labels = np.concatenate([signs, [np.nan, np.nan, 1.0]])[:, None]
    one = chosen_thresholds("f1", z[:, None], EncodedLabels(signs[:, None]), np.ones(1))
    np.testing.assert_array_equal(
        chosen_thresholds("f1", more, EncodedLabels(labels), np.ones(1)), one
    )
    nothing = np.full((3, 1), np.nan)
    assert chosen_thresholds("f1", nothing, EncodedLabels(np.ones((3, 1))), np.ones(1))[0] == 0.5
    per_label = np.stack([w, np.ones_like(w)], axis=1)
    both = chosen_thresholds(
        "f1",
        np.tile(z[:, None], 2),
        EncodedLabels(np.tile(signs[:, None], 2), per_label),
        np.ones(2),
    )
    assert both[1] == one[0]
    assert (
        both[0]
        == chosen_thresholds("f1", z[:, None], EncodedLabels(signs[:, None], w), np.ones(1))[0]
    )


def test_values_far_out_have_finite_cuts():
    z = np.array([[-1e4], [1e4]] * 20)
    signs = np.where(z > 0, 1.0, -1.0)
    t = chosen_thresholds("f1", z, EncodedLabels(signs), np.ones(1))
    assert t[0] == 0.5
    t = chosen_thresholds("f1", np.abs(z), EncodedLabels(signs), np.ones(1))  # all or nothing
    assert 0 < t[0] < 1


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_expectations_of_one_class_only_leave_the_half(criterion, value):
    signs = np.array([[1.0]] * 3 + [[-1.0]] * 20)
    z = np.full((23, 1), value)
    assert chosen_thresholds(criterion, z, EncodedLabels(signs), np.ones(1))[0] == 0.5


@pytest.mark.parametrize(
    "kind", [SingleTaskClassifierCV, SharedPlusOwnClassifierCV, LatentMTLClassifierCV]
)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_thresholds_are_the_best_on_rows_held_out(kind, criterion, monkeypatch):
    seen = {}

    def keeping(given, held_out, labels, slopes):
        seen.update(held_out=held_out, signs=labels.numbers)
        return chosen_thresholds(given, held_out, labels, slopes)

    monkeypatch.setattr(module, "chosen_thresholds", keeping)
    X, Y = rare()
    model = kind(threshold=criterion, **SMALL).fit(X, Y)
    assert model.thresholds_.shape == (4,)
    p = expit(model.calibration_ * seen["held_out"])
    for m, t in enumerate(model.thresholds_):
        y = seen["signs"][:, m] > 0
        best = max(CRITERIA[criterion](y, p[:, m] > cut) for cut in every_cut(p[:, m]))
        assert CRITERIA[criterion](y, p[:, m] > t) == pytest.approx(best, abs=1e-9)


def test_thresholds_gain_on_new_rows():
    X, Y = rare(1200, seed=1)
    train, test = slice(0, 600), slice(600, 1200)
    plain = SingleTaskClassifierCV(**SMALL).fit(X[train], Y[train])
    for criterion, score in CRITERIA.items():
        model = SingleTaskClassifierCV(threshold=criterion, **SMALL).fit(X[train], Y[train])
        np.testing.assert_array_equal(model.coef_, plain.coef_)
        found = [
            np.mean([score(y, z) for y, z in zip(Y[test].T, m.predict(X[test]).T, strict=True)])
            for m in (model, plain)
        ]
        assert found[0] > found[1] + 0.05


@pytest.mark.parametrize("threshold", ["probability", "f1", 0.2, np.float32(0.25)])
@pytest.mark.parametrize("vector", [False, True])
def test_predictions_scores_and_files_heed_them(threshold, vector, tmp_path):
    X, Y = rare()
    Y = np.where(Y > 0, "yes", "no")[:, 0] if vector else Y
    model = SingleTaskClassifierCV(threshold=threshold, **SMALL).fit(X, Y)
    p = model.predict_proba(X)
    yes = (p[:, 1] if vector else p) > (model.thresholds_[0] if vector else model.thresholds_)
    np.testing.assert_array_equal(model.predict(X) == model.label_values_[1], yes)
    above = model.decision_function(X) > (
        model.decision_thresholds_[0] if vector else model.decision_thresholds_
    )
    np.testing.assert_array_equal(above, yes)
    assert model.score(X, Y) == pytest.approx(np.mean((model.label_values_[1] == Y) == yes))
    if threshold == "probability":
        np.testing.assert_array_equal(model.thresholds_, 0.5)
        np.testing.assert_array_equal(model.decision_thresholds_, 0.0)
    elif threshold != "f1":
        np.testing.assert_array_equal(model.thresholds_, float(threshold))
    save_model(tmp_path / "model", model)
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.thresholds_, model.thresholds_)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.threshold == (threshold if isinstance(threshold, str) else float(threshold))


def test_class_weights_do_not_move_the_best_f1():
    X, Y = rare(600)
    plain, weighted = (
        SingleTaskClassifierCV(threshold="f1", class_weight=c, standardize=True, **SMALL).fit(X, Y)
        for c in (None, "balanced")
    )
    assert weighted.predict_proba(X).mean() > plain.predict_proba(X).mean() + 0.1
    assert (weighted.thresholds_ > plain.thresholds_ + 0.1).all()
    assert (weighted.predict(X) == plain.predict(X)).mean() > 0.9


@pytest.mark.parametrize("threshold", ["recall", 0, 1.0, -0.5, np.nan, None, True])
def test_other_thresholds_raise(threshold):
    X, Y = rare(60)
    with pytest.raises(ValueError, match="threshold: got"):
        SingleTaskClassifierCV(threshold=threshold, **SMALL).fit(X, Y)


def test_a_threshold_in_a_file_is_one(tmp_path):
    X, Y = rare(60)
    model = SingleTaskClassifierCV(threshold=0.25, **SMALL).fit(X, Y)
    model.threshold = 1.5
    save_model(tmp_path / "model", model)
    with pytest.raises(InputError, match="threshold"):
        load_model(tmp_path / "model")


def test_classifiers_of_given_strengths_decide_at_zero():
    X, Y = rare(60)
    model = SingleTaskClassifier().fit(X, Y)
    np.testing.assert_array_equal(model.decision_thresholds_, 0.0)
    np.testing.assert_array_equal(model.predict(X), model.decision_function(X) > 0)
