"""Two processes against one on the union of their samples."""

import socket
import subprocess
import sys
from pathlib import Path

import nn_processes
import pytest
import torch


@pytest.mark.timeout(280)
def test_two_processes_are_one_on_the_union(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    command = [sys.executable, str(Path(nn_processes.__file__))]
    running = [
        subprocess.Popen([*command, str(rank), str(port), str(out)])
        for rank, out in enumerate(outs)
    ]
    expected = nn_processes.train(
        slice(0, nn_processes.N), lambda network: network, distributed=False
    )
    assert [process.wait() for process in running] == [0, 0]
    both, heard, divided = zip(*(torch.load(out) for out in outs), strict=True)
    for found in both:
        assert len(found) == len(expected)
        for a, b in zip(found[:-9], expected[:-9], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found[-5:-2], expected[-5:-2], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(found[-2:], expected[-2:], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(both[0], both[1], rtol=0, atol=0)
    # an error on one process is raised on all: none waits for an answer that never comes
    begins = ("features: shape", "features: not finite", "labels: 1 task", "sample_weight: given")
    for rank, messages in enumerate(heard):
        # what is known to one, and what all find together
        for where, message, begin in zip((1, 0, rank, rank), messages, begins, strict=True):
            assert message.startswith(begin if where == rank else f"rank {where}: {begin}")
    check_tasks(divided)


def check_tasks(divided):
    """Heads whose processes have some of the tasks, against one that has all."""
    whole = nn_processes.by_tasks(None)
    for number, alone in enumerate(whole):
        first, second = (found[number] for found in divided)
        for name in ("objective", "loss", "batch"):
            assert first[name] == second[name]
        assert torch.equal(first["coef"], second["coef"])
        # a descent of the convex heads ends near the optimum, of the others where it began
        accuracy = 1e-6 if number < 2 else 1e-8
        for name in ("objective", "loss", "batch"):
            assert first[name] == pytest.approx(alone[name], rel=accuracy)
        torch.testing.assert_close(first["coef"], alone["coef"], rtol=0, atol=1e-4)
        total = 0
        for tasks, found in zip(nn_processes.TASKS, (first, second), strict=True):
            torch.testing.assert_close(
                found["scores"], alone["scores"][:, tasks], rtol=0, atol=1e-3
            )
            for one, other in zip(found["census"][1:], alone["census"], strict=True):
                torch.testing.assert_close(one, other)
            if alone["gradient"].ndim == 3:
                expected = alone["gradient"][tasks]
                torch.testing.assert_close(found["gradient"], expected, rtol=0, atol=1e-4)
            else:  # of features that all tasks share: each process has the part of its tasks
                total = total + found["gradient"]
        if alone["gradient"].ndim == 2:
            torch.testing.assert_close(total, alone["gradient"], rtol=0, atol=1e-3)
