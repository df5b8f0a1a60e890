"""The log of cells: what is whole is kept, and nothing else."""

import json

import pytest

from proxmtl.backbones.experiments.cells import CellLog, Key, configured
from proxmtl.io.errors import InputError

FIRST, SECOND = Key("mg", "random 0", None), Key("mg", "random 1", 25)


def filled(path):
    with CellLog(path) as log:
        log.append(FIRST, {"configuration": "c", "metrics": {"ap": [0.5, None]}})
        log.append(SECOND, {"configuration": "d", "metrics": {}})
    return path


def test_cells_are_found_by_their_key_and_configuration(tmp_path):
    path = filled(tmp_path / "new" / "t.jsonl")
    with CellLog(path) as log:
        assert log.find(FIRST, "c")["metrics"] == {"ap": [0.5, None]}
        assert log.find(FIRST, "d") is None
        assert log.find(Key("mg", "random 0", 25), "c") is None
        assert log.dropped == 0
        log.append(FIRST, {"configuration": "new", "metrics": {}})
        assert log.find(FIRST, "c") is None
    with CellLog(path) as log:
        assert log.find(FIRST, "new")
        assert [cell["split"] for cell in log] == ["random 0", "random 1"]


@pytest.mark.parametrize(
    ("damage", "dropped"), [("cut", 1), ("changed", 1), ("nonsense", 1), ("without its end", 0)]
)
def test_a_damaged_line_is_dropped_and_the_others_stay(tmp_path, damage, dropped):
    path = filled(tmp_path / "t.jsonl")
    first, second = path.read_bytes().splitlines(keepends=True)
    bad = {
        "cut": second[: len(second) // 2],
        "changed": second.replace(b'"random 1"', b'"random 2"'),
        "nonsense": b"\xff{}\n",
        "without its end": second[:-1],
    }[damage]
    path.write_bytes(first + bad)
    with CellLog(path) as log:
        assert log.dropped == dropped
        assert log.find(FIRST, "c")
        assert (log.find(SECOND, "d") is None) == bool(dropped)
        log.append(SECOND, {"configuration": "d"})
    with CellLog(path) as log:
        assert log.dropped == 0
        assert len(list(log)) == 2


def test_two_processes_do_not_write_one_table(tmp_path):
    with CellLog(tmp_path / "t.jsonl"), pytest.raises(InputError, match="another process"):
        CellLog(tmp_path / "t.jsonl")


def test_a_log_that_cannot_be_opened_is_not_locked(tmp_path, monkeypatch):
    path = filled(tmp_path / "t.jsonl")
    path.write_bytes(path.read_bytes() + b"cut")

    def full(self):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(CellLog, "_rewrite", full)
        with pytest.raises(OSError, match="disk full") as kept:
            CellLog(path)
    with CellLog(path) as log:
        assert log.find(FIRST, "c")
    assert kept.traceback  # the failed log is alive until here, and so would be its lock


def test_each_line_carries_its_own_hash(tmp_path):
    lines = filled(tmp_path / "t.jsonl").read_text().splitlines()
    assert all(len(json.loads(line)["seal"]) == 64 for line in lines)


def test_a_configuration_is_known_by_its_content():
    assert configured({"a": (1, 2), "b": 1}) == configured({"b": 1, "a": [1, 2]})
    assert configured({"a": 1}) != configured({"a": 2})


def test_metrics_that_are_no_numbers_are_errors(tmp_path):
    with CellLog(tmp_path / "t.jsonl") as log, pytest.raises(ValueError, match="not JSON"):
        log.append(FIRST, {"configuration": "c", "metrics": float("nan")})
    assert not (tmp_path / "t.jsonl").exists()
