"""Processes of two hosts: the network between them is cut, and one of them is slow."""

import os
import signal
import time

import hosts
import pytest
import rank_cases
import torch
from hosts import Hosts
from rank_cases import ELASTIC, ended

import proxmtl as pm
from proxmtl.ranks import ALONE

JOB = rank_cases.HERE / "host_job.py"
SECONDS = 6.0
"""For which the job waits for another rank."""

LACKING = hosts.lacking()
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=LACKING),
    pytest.mark.timeout(280),
]


def begun(folder, number, processes):
    """Process of a rank, once it has made some iterations."""
    path = folder / f"{number}.pid"
    while not (path.exists() and path.read_text()):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    return int(path.read_text())


def test_hosts_solve_what_one_process_solves_though_one_is_slow(tmp_path):
    with Hosts() as two:
        processes = two.torchrun(JOB, tmp_path, 0.02)
        slow = begun(tmp_path, 1, processes)
        os.kill(slow, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(slow, signal.SIGCONT)
        ended(processes)
    alone = pm.minimize(rank_cases.problem(ALONE, ELASTIC), pm.FISTA(), stop=pm.MaxIterations(40))
    first, second = (torch.load(tmp_path / f"{number}.pt") for number in range(2))
    assert torch.equal(first["solution"], second["solution"])
    torch.testing.assert_close(first["solution"], alone.solution, rtol=0, atol=1e-6)


def test_a_cut_network_ends_all_and_the_next_run_goes_on(tmp_path):
    with Hosts() as two:
        processes = two.srun(JOB, tmp_path, 0.1)
        for number in range(2):
            begun(tmp_path, number, processes)
        two.cut()
        # a process ends when the one that it waits for has been silent for so long; the rest is
        # for a busy machine
        errors = ended(processes, [3, 3], seconds=SECONDS + 60)
        assert all("the other ranks do not answer" in error for error in errors)
        two.mend()
        ended(two.srun(JOB, tmp_path, 0.0))
    first, second = (torch.load(tmp_path / f"{number}.pt") for number in range(2))
    assert first["begun"] == second["begun"] >= 4  # not from the start
    # and with another number of interruptions, none, the same bits
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    ended(rank_cases.start(JOB, 2, fresh, 0.0))
    assert torch.equal(torch.load(fresh / "0.pt")["solution"], first["solution"])
    assert torch.equal(first["solution"], second["solution"])
