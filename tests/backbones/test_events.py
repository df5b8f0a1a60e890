"""Event files: every step once, also of runs that were killed and went on."""

import sys
import types
from pathlib import Path

import pytest
from training_cases import small_run

from proxmtl.backbones.training.events import EventLog, require_tensorboard


class Writer:
    """What torch's writer does, seen from outside: an event file, to which lines are added."""

    made = 0

    def __init__(self, log_dir, purge_step):
        assert purge_step == 0
        Writer.made += 1
        self.path = Path(log_dir) / f"events.out.tfevents.{Writer.made}"
        self.lines = []

    def add_scalar(self, tag, value, step):
        self.lines.append(f"{tag} {step} {value:.6g}")

    def flush(self):
        self.path.write_text("\n".join(self.lines))

    close = flush


@pytest.fixture
def writer(monkeypatch):
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)


def steps(folder):
    (path,) = folder.glob("events.out.tfevents.*")
    return [tuple(line.split()[:2]) for line in path.read_text().splitlines()]


def test_a_run_that_goes_on_gives_each_step_once(writer, tmp_path):
    (tmp_path / "run").mkdir()
    events = tmp_path / "run" / "tensorboard"
    first = small_run(tmp_path / "run", epochs=1, n_train=60)
    with EventLog(events, first.history) as log:
        first.run(log.add)
    found = steps(events)
    assert ("objective", "0") in found
    assert ("objective", "1") in found
    assert ("sgd_loss", "0") not in found  # NaN: no SGD yet
    assert not any(tag == "status" for tag, _ in found)  # no number
    again = small_run(tmp_path / "run", epochs=2, n_train=60)
    with EventLog(events, again.history) as log:
        again.run(log.add)
    found = steps(events)
    assert len(set(found)) == len(found)
    assert [step for tag, step in found if tag == "ap"] == ["0", "1", "2"]


def test_without_the_package_the_command_to_install_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'proxmtl\[logs\]'"):
        require_tensorboard()


@pytest.mark.filterwarnings("default")
def test_real_event_files_are_read_back(tmp_path):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the extra 'logs'"
    )
    run = small_run(epochs=1, n_train=60)
    run.run()
    for history in (run.history[:1], run.history):
        with EventLog(tmp_path / "tensorboard", history):
            pass
    events = reading.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    read = [(event.step, event.value) for event in events.Scalars("objective")]
    assert [step for step, _ in read] == [0, 1]
    assert [value for _, value in read] == pytest.approx([e.objective for e in run.history])
