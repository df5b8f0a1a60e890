"""Pieces on several threads: nobody writes any more when the call is over, however it ended."""

import threading
import time

import pytest
import torch

from proxmtl.kernels.numba import pool


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order(three_threads):
    names = set()

    def kernel(k):
        names.add(threading.current_thread().name)
        time.sleep(0.002)
        return k * k

    assert pool.run_pieces(kernel, [(k,) for k in range(20)]) == [k * k for k in range(20)]
    assert len(names) == 3


def test_an_interrupted_call_waits_for_the_other_threads(three_threads):
    begun, done, first = [], [], threading.Event()

    def kernel(k):
        if threading.current_thread() is threading.main_thread():
            assert first.wait(timeout=10)
            raise KeyboardInterrupt
        begun.append(k)
        first.set()
        time.sleep(0.05)
        done.append(k)

    with pytest.raises(KeyboardInterrupt):
        pool.run_pieces(kernel, [(k,) for k in range(100)])
    seen = sorted(begun)
    assert 0 < len(seen) < 99
    assert sorted(done) == seen
    time.sleep(0.1)
    assert sorted(begun) == seen  # what was left is not begun either


def test_an_interruption_of_the_wait_does_not_end_it(three_threads, monkeypatch):
    begun, done, waits = threading.Semaphore(0), [], []
    wait_for = threading.Condition.wait_for

    def interrupted(self, *args):
        waits.append(1)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return wait_for(self, *args)

    monkeypatch.setattr(threading.Condition, "wait_for", interrupted)

    def kernel(k):
        if threading.current_thread() is threading.main_thread():
            begun.acquire(timeout=10)
            return
        begun.release()
        time.sleep(0.05)
        done.append(k)

    with pytest.raises(KeyboardInterrupt):
        pool.run_pieces(kernel, [(0,), (1,)])
    assert len(done) == 1


def test_what_another_thread_raises_is_raised(three_threads):
    def kernel(k):
        if threading.current_thread() is not threading.main_thread():
            raise ValueError(f"piece {k}")
        time.sleep(0.02)

    with pytest.raises(ValueError, match="piece"):
        pool.run_pieces(kernel, [(k,) for k in range(6)])


def test_without_other_threads_the_caller_does_all(three_threads, monkeypatch):
    def refuse(n_threads):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "_pool", refuse)
    assert pool.run_pieces(lambda k: -k, [(1,), (2,)]) == [-1, -2]


def test_a_child_does_not_wait_for_a_lock_of_its_parent(three_threads):
    held, known = pool._lock, dict(pool._pools)
    try:
        with held:
            pool._forget_threads()  # what a fork does in the child
            assert pool.run_pieces(lambda k: -k, [(1,), (2,)]) == [-1, -2]
    finally:
        pool._pools.update(known)


def test_shares_depend_on_the_size_alone_and_large_tensors_have_more(three_threads):
    sizes = [1, 70_000, 200_000, 10**6, 8 * 10**6, 10**8]
    seen = [pool.shares(n) for n in sizes]
    torch.set_num_threads(1)
    assert seen == [pool.shares(n) for n in sizes] == [1, 1, 3, 15, 16, 190]
