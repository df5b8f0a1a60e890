"""The page on reliability says what the files of results say, and what hasn't been run."""

import json

import pytest

FAULT = {"seed": 7, "command": "fit", "kind": "kill", "detail": "SIGKILL at event 3"}
MADE = {
    "date": "2026-01-02",
    "machine": "2-core CPU",
    "python": "3.12.1",
    "versions": {"torch": "2.9"},
}


COLUMNS = ("case", "part", "subject", "outcome")
NOT_SERVED = "not served: shrink: backend 'numba' was asked for and can't serve this call: "
NOT_SERVED += "float16 is not served by numba. Backends that can: torch; or ask for 'auto'."
EXTREMES = [
    ("1e30", "estimators", "Ridge", "right"),
    ("1e30", "estimators", "Ridge, not standardized", "right"),
    ("1e30", "kernels", "shrink (torch)", "right"),
    ("1e30", "kernels", "shrink (numba)", NOT_SERVED),
    ("1e160", "estimators", "Ridge", "right"),
    ("1e160", "estimators", "Ridge, not standardized", "ValueError: X: the norm inf is too large"),
    (
        "1e160",
        "estimators",
        "Lasso, not standardized",
        "ValueError: X: the norm 1e+310 is too large",
    ),
    ("N = 1", "estimators", "Ridge", "ValueError: one class"),
]


@pytest.fixture
def page(monkeypatch, tmp_path):
    """Write the page from some results, and give it."""
    from bench.solvers import reliability

    monkeypatch.setattr(reliability, "RESULTS", tmp_path)

    def write(**results):
        for name, content in results.items():
            (tmp_path / f"reliability_{name}.json").write_text(json.dumps(content))
        reliability.main(tmp_path / "page.md")
        return (tmp_path / "page.md").read_text()

    return write


def test_what_has_not_been_run_is_said(page):
    text = page()
    assert text.startswith("# Reliability\n")
    assert text.count("No figures are recorded yet") == 4
    assert "No figures are recorded yet (`make fuzz`)." in text


def test_faults_are_counted_and_failures_can_be_repeated(page):
    from tests.faults.summary import summary

    outcomes = [
        {**FAULT, "outcome": "failure", "why": "a trace\nback", "seconds": 40.0},
        {**FAULT, "outcome": "same result", "why": "", "seconds": 20.0},
        {**FAULT, "command": "train", "outcome": "clear error", "why": "", "seconds": 60.0},
    ]
    text = page(faults={**MADE, **summary(outcomes, "python -m tests.faults --slow --seed")})
    assert "3 faults in 2 minutes, 1 of them failures." in text
    assert "| kill | 1 | 1 | 0 | 1 |" in text
    assert "| fit | 1 | 0 | 0 | 1 |" in text
    assert "| all | 1 | 1 | 0 | 1 |" in text
    assert "- `python -m tests.faults --slow --seed 7` (fit, kill: SIGKILL at" in text
    assert ": a trace back" in text
    assert "By `make faults`, 2026-01-02: 2-core CPU, Python 3.12.1, torch 2.9." in text


def test_fuzzing_extremes_and_mutants_become_tables(page):
    target = {"seconds": 600, "executions": 12345, "findings": ["x|y"], "last": "2026-01-02"}
    survivor = {"file": "a.py", "line": 3, "code": "a > b", "after": "a >= b", "equivalent": None}
    text = page(
        fuzz={**MADE, "targets": {"npy": target}},
        extremes={**MADE, "cases": [dict(zip(COLUMNS, row, strict=True)) for row in EXTREMES]},
        mutants={"size": 40, "mutants": 10, "noticed": 8, "equivalent": 1, "survivors": [survivor]},
    )
    assert "| npy | 600 | 12,345 | 1 | 2026-01-02 |" in text
    assert "| case | estimators | kernels |" in text
    assert "| 1e30 | right | 1 right; (1) shrink (numba) |" in text
    assert "| 1e160 | 1 right; (2) Ridge, Lasso not standardized |  |" in text
    assert "| N = 1 | (3) all |  |" in text
    assert "\n1. `not served: float16 is not served by numba.`\n" in text
    assert "\n2. `ValueError: X: the norm … is too large`\n" in text  # once for all numbers
    assert "10 mutants of a sample of 40 were run. A test notices 8 of them, 1 are equi" in text
    assert "88.9% of the other 9 are noticed." in text
    assert "- `a.py`, line 3: `a > b` to `a >= b`" in text
