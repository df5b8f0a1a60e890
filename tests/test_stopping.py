"""Stopping rules: each alone, combined, and with the certificate measured no more than needed."""

import math
from dataclasses import replace

import pytest
from solver_cases import convex

import proxmtl as pm
from proxmtl import stopping
from proxmtl.stopping import Progress


def progress(iteration=10, *, passes=20.0, seconds=1.0, history=None, stalled=False, **figures):
    """Progress with a certificate of given figures; ``.measured`` counts its measurements."""
    fields = {"objective": 4.0, "gap": 0.2, "kkt": 0.3, "scale": 10.0, **figures}
    measured = []

    def measure():
        measured.append(iteration)
        return pm.Certificate(**fields)

    made = Progress(iteration, passes, seconds, 4.0, measure, history or [], stalled)
    return made, measured


@pytest.mark.parametrize(
    ("rule", "stops"),
    [
        (pm.MaxIterations(10), True),
        (pm.MaxIterations(11), False),
        (pm.MaxPasses(20), True),
        (pm.MaxPasses(20.5), False),
        (pm.MaxSeconds(1.0), True),
        (pm.MaxSeconds(1.1), False),
    ],
)
def test_budgets(rule, stops):
    now, measured = progress()
    decision = rule(now)
    assert (decision is not None) == stops
    assert decision is None or decision.status is pm.Status.BUDGET
    assert not measured


@pytest.mark.parametrize(
    ("kind", "figure"),
    [(pm.Gap, 0.2), (pm.RelativeGap, 0.05), (pm.KKT, 0.3), (pm.RelativeKKT, 0.03)],
)
def test_measured_rules_compare_their_own_figure(kind, figure):
    now, _ = progress(history=[{"objective": 4.0}])
    decision = kind(figure * (1 + 1e-12))(now)
    assert decision.status is pm.Status.CONVERGED
    assert decision.reason.startswith(f"{kind.__name__} {figure:.3g} <= ")
    assert now.history[-1][kind.__name__] == pytest.approx(figure)
    assert kind(figure * (1 - 1e-9))(progress()[0]) is None
    assert kind(1.0)(progress(gap=math.nan, kkt=math.nan)[0]) is None  # NaN is no convergence


def test_relative_gap_divides_by_what_there_is_to_explain():
    small = pm.Certificate(objective=1e-6, gap=1e-3, kkt=0, scale=0)
    assert small.relative_gap == 1e-3
    assert small.relative_kkt == 0
    for loss_at_zero, expected in ((7.0, 1e-3 / 14), (0.5, 1e-3), (0.05, 1e-2), (1e-9, 1e3)):
        assert replace(small, loss_at_zero=loss_at_zero).relative_gap == pytest.approx(expected)
    assert replace(small, objective=4.0, loss_at_zero=1e-9).relative_gap == 0.25e-3
    nothing = pm.Certificate(objective=0.0, gap=0.0, kkt=0, scale=0, loss_at_zero=0.0)
    assert nothing.relative_gap == 0
    assert pm.Certificate(objective=1, gap=None, kkt=2, scale=0).relative_kkt == 2


def test_certificates_are_measured_only_when_due_and_once():
    rule = (pm.Gap(1e-9, every=5) & pm.KKT(1e-9, every=5)) | pm.RelativeGap(1e-9, every=5)
    now, measured = progress(iteration=7)
    assert rule(now) is None
    assert measured == []
    now, measured = progress(iteration=15)
    assert rule(now) is None
    assert measured == [15]
    now, measured = progress(iteration=7, stalled=True)
    assert pm.Gap(1.0, every=5)(now).status is pm.Status.CONVERGED
    assert measured == [7]


def test_either_stops_and_accuracy_outranks_budget():
    now, _ = progress()
    for rule in (pm.Gap(1.0) | pm.MaxIterations(10), pm.MaxIterations(10) | pm.Gap(1.0)):
        assert rule(now).status is pm.Status.CONVERGED
    assert (pm.Gap(0.1) | pm.MaxIterations(10))(now).status is pm.Status.BUDGET
    assert (pm.Gap(0.1) | pm.MaxIterations(11))(now) is None


def test_both_stop_only_together():
    now, _ = progress()
    assert (pm.Gap(1.0) & pm.KKT(0.1))(now) is None
    assert (pm.Gap(0.1) & pm.KKT(1.0))(now) is None
    decision = (pm.Gap(1.0) & pm.KKT(1.0))(now)
    assert decision.status is pm.Status.CONVERGED
    assert " and " in decision.reason
    # all asked for, but not all of it is an accuracy: no claim
    assert (pm.Gap(1.0) & pm.MaxIterations(10))(now).status is pm.Status.BUDGET
    assert (pm.MaxPasses(1) & pm.MaxIterations(10))(now).reason == "1 passes and 10 iterations"


def test_rules_nest():
    now, _ = progress()
    rule = (pm.Gap(1e-9) | pm.RelativeKKT(0.1)) & (pm.MaxPasses(5) | pm.MaxSeconds(100))
    assert rule(now).status is pm.Status.BUDGET
    assert (rule | pm.MaxIterations(99))(now) is not None


def test_a_gap_that_does_not_exist_is_an_error_not_a_wait():
    with pytest.raises(ValueError, match="stop: RelativeGap needs a figure"):
        pm.RelativeGap(1e-3)(progress(gap=None)[0])


def test_objective_change_never_claims_convergence():
    flat = [{"iteration": 10 * k + 10, "objective": 4.0} for k in range(12)]
    decision = pm.ObjectiveChange(1e-3, window=10)(progress(history=flat)[0])
    assert decision.status is pm.Status.BUDGET
    assert pm.ObjectiveChange(1e-3, window=12)(progress(history=flat)[0]) is None
    started = [{"iteration": 0, "objective": 4.0}, *flat[:10]]  # ten checks, and no change yet
    assert pm.ObjectiveChange(1e-3, window=10)(progress(history=started)[0]) is None
    falling = [{"iteration": 10 * k + 10, "objective": 4.0 - 0.1 * k} for k in range(12)]
    assert pm.ObjectiveChange(1e-3, window=10)(progress(history=falling)[0]) is None


def test_every_status_is_a_sentence_with_advice():
    for status in pm.Status:
        assert len(status.value.split()) >= 6
        assert status.value.endswith(".")
    assert [status for status in pm.Status if status.ok] == [pm.Status.CONVERGED]


def test_only_the_factored_model_is_told_of_its_minimum():
    convex = pm.Certificate(1.0, 0.0, 0.0, 1.0, blocks={"W": 0.0})
    factored = pm.Certificate(1.0, None, 0.0, 1.0, blocks={"L": 0.0, "S": 0.0})
    assert pm.Status.CONVERGED.advice(convex) == pm.Status.CONVERGED.value
    assert "not its minimum" in pm.Status.CONVERGED.advice(factored)


def test_certificates_go_to_json_without_nan():
    import json

    figures = pm.Certificate(
        objective=math.inf, gap=None, kkt=1.0, scale=1.0, blocks={"W": math.nan}, block_gaps={}
    ).to_dict()
    json.dumps(figures, allow_nan=False)
    assert figures["objective"] is None
    assert figures["blocks"] == {"W": None}
    assert figures["relative_kkt"] == 1.0


def test_a_residual_of_rounding_ends_a_run_and_is_not_measured_for_it():
    """An iterate that moves between neighbours for ever makes no progress either."""

    def progress(residual):
        found = pm.Certificate(objective=1.0, gap=None, kkt=residual, scale=1.0)
        return Progress(3, 3.0, 0.1, 1.0, measure=lambda: found)

    unread = progress(0.0)
    assert not unread.at_rounding
    assert "certificate" not in vars(unread)
    for residual, expected in ((1e-16, True), (1e-15, True), (1e-14, False), (math.nan, False)):
        read = progress(residual)
        assert read.certificate.kkt is residual
        assert read.at_rounding is expected
    assert Progress(3, 3.0, 0.1, 1.0, measure=None, stalled=True).at_rounding


@pytest.mark.parametrize("solve", [pm.minimize, lambda p, stop: pm.solve_batch([p], stop=stop)[0]])
def test_runs_end_where_the_residual_is_that_of_rounding(solve, monkeypatch):
    monkeypatch.setattr(stopping, "ROUNDING", 10.0)
    result = solve(convex(), stop=pm.RelativeGap(1e-300) | pm.MaxIterations(50))
    assert result.status is pm.Status.STALLED
    assert result.iterations <= 10  # where the rule read a certificate first
