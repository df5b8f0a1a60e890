"""A campaign that searches nothing is no clean run."""

import pytest

from tests.fuzz import __main__ as program
from tests.fuzz.campaign import Campaign
from tests.fuzz.targets import TARGETS

TARGET = next(iter(TARGETS))


@pytest.fixture
def _no_fuzzer(tmp_path, monkeypatch):
    (tmp_path / "atheris.py").write_text("raise ImportError('this fuzzer is broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("_no_fuzzer")
def test_a_fuzzer_that_cannot_start_raises_with_what_it_said(tmp_path):
    with pytest.raises(RuntimeError, match=rf"{TARGET}.*(?s:.*)this fuzzer is broken"):
        Campaign(TARGET, tmp_path / "campaign").run(60)


@pytest.mark.usefixtures("_no_fuzzer")
def test_nothing_is_recorded_of_a_fuzzer_that_cannot_start(tmp_path, monkeypatch):
    recorded = []
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "_add", lambda *run: recorded.append(run))
    monkeypatch.setattr("sys.argv", ["fuzz", TARGET, "--seconds", "60", "--record"])
    with pytest.raises(RuntimeError):
        program.main()
    assert not recorded


def test_a_search_that_ran_is_reported(tmp_path, monkeypatch):
    said = iter(["#12 NEW cov: 7\n#40 DONE cov: 9\nstat::number_of_executed_units: 41", ""])
    campaign = Campaign(TARGET, tmp_path)
    monkeypatch.setattr(campaign, "_search", lambda _: next(said))
    monkeypatch.setattr("tests.fuzz.campaign.MOST_RESTARTS", 2)
    report = campaign.run(60)
    assert (report["executions"], report["reached"], report["findings"]) == (41, 9, [])


def test_what_brings_the_search_down_at_once_is_a_finding(tmp_path, monkeypatch):
    campaign = Campaign(TARGET, tmp_path)

    def search(_):
        (campaign.findings / "crash_1f").write_bytes(b"bad")
        (campaign.findings / "crash_1f.txt").write_text("Segmentation fault")
        return "Segmentation fault"

    monkeypatch.setattr(campaign, "_search", search)
    monkeypatch.setattr("tests.fuzz.campaign.MOST_RESTARTS", 2)
    assert campaign.run(60)["findings"] == ["crash_1f: Segmentation fault"]
