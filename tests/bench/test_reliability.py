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


@pytest.fixture
def page(monkeypatch, tmp_path):
    """Write the page from some results, and give it."""
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    import reliability

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
        extremes=[
            {"case": "1e30", "subject": "ridge", "outcome": "right"},
            {"case": "1e30", "subject": "lasso", "outcome": "right"},
            {"case": "1e300", "subject": "lasso", "outcome": "error"},
        ],
        mutants={"mutants": 10, "noticed": 8, "equivalent": 1, "survivors": [survivor]},
    )
    assert "| npy | 600 | 12,345 | 1 | 2026-01-02 |" in text
    assert "| 1e30 | right | ridge, lasso |" in text
    assert "| 1e300 | error | lasso |" in text
    assert "8 of them noticed by a test and 1 equivalent" in text
    assert "88.9% of the other 9 are noticed" in text
    assert "- `a.py`, line 3: `a > b` to `a >= b`" in text
