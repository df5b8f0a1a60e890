import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from solver_cases import convex, ragged
from strategies import examples

import proxmtl as pm
from proxmtl.selection import restrict_samples, stability_selection, with_strengths
from proxmtl.selection import stability as stability_module
from proxmtl.selection.bounds import unimodal_bound, worst_case_bound


def planted(seed, n=100, d=40, relevant=4, m=2):
    """Both tasks depend on the first four of 40 features."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64)
    W = torch.zeros(d, m, dtype=torch.float64)
    W[:relevant] = 1 + torch.rand(relevant, m, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, m, generator=generator, dtype=torch.float64)
    Y = torch.sign(X @ W + noise)
    return pm.Problem(
        pm.SquaredHinge(),
        pm.SharedDesign(X, intercept=True),
        pm.Targets.from_labels(Y, reduction="mean"),
        pm.L21(1.0),
    )


def test_the_planted_support_is_found_and_the_bound_holds():
    found, wrong, bounds = 0, [], []
    for seed in range(4):
        problem = planted(seed, n=160)
        strength = 0.45 * problem.critical_strength()
        result = stability_selection(problem, strength, n_pairs=15, seed=seed)
        chosen = result.selected(0.8)
        found += int(chosen[:4].sum())
        wrong.append(int(chosen[4:].sum()))
        bounds.append(result.false_positives(0.8))
        assert result.probabilities.shape == (40,)
    assert found >= 14  # of 16
    assert np.mean(wrong) <= np.mean(bounds) < 4


def test_solves_that_ended_early_are_reported():
    problem = planted(0, n=60, d=8)
    strength = 0.3 * problem.critical_strength()
    with pytest.warns(RuntimeWarning, match="4 of 4 solves ended before"):
        stability_selection(problem, strength, n_pairs=2, stop=pm.MaxIterations(1))


def test_probabilities_are_counts_over_complementary_halves(monkeypatch):
    problem = planted(1)
    rows = []
    real = stability_module.restrict_samples

    def watched(given_problem, part):
        rows.append(np.sort(np.asarray(part)))
        return real(given_problem, part)

    monkeypatch.setattr(stability_module, "restrict_samples", watched)
    strengths = [0.6 * problem.critical_strength(), 0.2 * problem.critical_strength()]
    stop = pm.RelativeGap(1e-6) | pm.MaxIterations(2000)
    result = stability_selection(problem, strengths, n_pairs=2, stop=stop)
    assert len(rows) == 4
    for a, b in (rows[:2], rows[2:]):
        assert sorted([*a, *b]) == list(range(100))
    masks = torch.stack(
        [
            torch.stack(
                [
                    (
                        pm.minimize(
                            with_strengths(restrict_samples(problem, r), s), stop=stop
                        ).solution[:-1]
                    )
                    .any(1)
                    .double()
                    for r in rows
                ]
            )
            for s in strengths
        ]
    )
    torch.testing.assert_close(result.by_strength, masks.mean(1))
    torch.testing.assert_close(result.probabilities, masks.mean(1).amax(0))
    assert result.mean_selected == pytest.approx(float(masks.amax(0).sum(1).mean()))


def test_items_may_be_entries_or_groups_of_features(monkeypatch):
    problem = planted(2).with_regularizers(pm.L1(1.0))
    strength = 0.4 * problem.critical_strength()
    entries = stability_selection(problem, strength, items="entries", n_pairs=4)
    assert entries.probabilities.shape == (40, 2)
    features = stability_selection(problem, strength, n_pairs=4)
    assert bool((features.probabilities >= entries.probabilities.amax(1)).all())
    tens = stability_selection(
        problem, strength, items=lambda W: (W != 0).any(1).view(10, 4).any(1), n_pairs=4
    )
    assert tens.probabilities.shape == (10,)
    assert tens.probabilities[0] == 1
    monkeypatch.setattr(stability_module, "BATCH_SCORES", 1)
    again = stability_selection(problem, strength, n_pairs=4)
    assert torch.equal(again.probabilities, features.probabilities)


def test_the_seed_decides():
    problem = planted(3)
    strength = 0.4 * problem.critical_strength()
    a, b, c = (stability_selection(problem, strength, n_pairs=3, seed=s) for s in (0, 0, 1))
    assert torch.equal(a.probabilities, b.probabilities)
    assert not torch.equal(a.probabilities, c.probabilities)


# ------------------------------------------------------------------ bounds


def test_bounds_by_hand():
    # q = 10 of p = 1000, threshold 0.9, B = 50: 100 / (0.8 * 1000)
    assert worst_case_bound(10, 1000, 0.9) == pytest.approx(0.125)
    assert unimodal_bound(10, 1000, 0.9, 50) == pytest.approx(4 * 0.11 / 1.02 * 0.1)
    # below a threshold of 3/4 the other branch
    assert unimodal_bound(10, 1000, 0.7, 50) == pytest.approx(0.1 / 0.78)


@examples(50)
@given(share=st.floats(0.001, 0.5), threshold=st.floats(0.51, 1.0), pairs=st.sampled_from([10, 50]))
def test_the_unimodal_bound_is_never_the_larger(share, threshold, pairs):
    assert unimodal_bound(100 * share, 100, threshold, pairs) <= worst_case_bound(
        100 * share, 100, threshold
    )


@examples(20)
@given(share=st.floats(0.02, 0.3), threshold=st.sampled_from([0.6, 0.75, 0.9]))
def test_bounds_hold_for_guessing(share, threshold):
    """Items selected at random, independently in every half: nothing is relevant."""
    rng = np.random.default_rng(0)
    pairs, p, repeats = 10, 50, 400
    frequencies = rng.binomial(2 * pairs, share, size=(repeats, p)) / (2 * pairs)
    wrong = (frequencies >= threshold - 1e-12).sum(axis=1).mean()
    slack = 3 * np.sqrt(p / repeats) * 0.1
    assert wrong <= worst_case_bound(share * p, p, threshold) + slack
    assert wrong <= unimodal_bound(share * p, p, threshold, pairs) + slack


def test_the_threshold_for_a_number_of_false_positives():
    problem = planted(0)
    result = stability_selection(problem, 0.6 * problem.critical_strength(), n_pairs=3)
    threshold = result.threshold(2.0)
    assert result.false_positives(threshold) == pytest.approx(2.0)
    assert result.false_positives(0.9, "unimodal") <= result.false_positives(0.9)
    for bad, message in [
        (lambda: result.false_positives(0.5), "threshold"),
        (lambda: result.false_positives(0.9, "normal"), "assume"),
        (lambda: result.threshold(0), "false_positives"),
        (lambda: unimodal_bound(9, 10, 0.9, 50), "0.577"),
    ]:
        with pytest.raises(ValueError, match=message):
            bad()
    several = stability_selection(problem, [0.03, 0.02], n_pairs=1)
    with pytest.raises(ValueError, match="one strength"):
        several.false_positives(0.9, "unimodal")


def test_what_cannot_be_selected_from_is_refused():
    with pytest.raises(ValueError, match="no penalty"):
        stability_selection(convex("ridge"), 1.0)
    with pytest.raises(ValueError, match="items"):
        stability_selection(convex("l1"), 1.0, items="tasks")
    with pytest.raises(ValueError, match="n_pairs"):
        stability_selection(convex("l1"), 1.0, n_pairs=0)
    with pytest.raises(pm.UnsupportedError, match="features by task"):
        stability_selection(ragged("l1"), 1.0)
    X = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    Y = -torch.ones(8, 1)
    Y[0] = 1.0
    rare = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X), pm.Targets.from_labels(Y, like=X), pm.L1(0.1)
    )
    with pytest.raises(ValueError, match="rarest tasks"):
        stability_selection(rare, 0.1, n_pairs=1)
