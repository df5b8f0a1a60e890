"""Signals that wait, take effect later, and in the blocks that let them through."""

import os
import signal
import threading

import pytest

from proxmtl.io.held import HeldSignals, undisturbed

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.fixture
def seen():
    """Signals that reach the handlers installed before the block."""
    found = []
    before = {
        number: signal.signal(number, lambda arrived, _frame: found.append(arrived))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_wait_for_the_end_and_come_once_each(seen):
    with undisturbed():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            send(number)
        assert seen == []
    assert seen == [signal.SIGTERM, signal.SIGINT]
    send()
    assert seen[2:] == [signal.SIGINT]


def test_a_block_lets_them_through_those_first_that_have_come(seen):
    held = HeldSignals()
    held.hold()
    held.hold()
    send()
    with held.let_through():
        assert seen == [signal.SIGINT]
        send(signal.SIGTERM)
        assert seen == [signal.SIGINT, signal.SIGTERM]
    send()
    with undisturbed():  # of another piece of work inside
        send(signal.SIGTERM)
    assert len(seen) == 2
    held.release()
    assert seen[2:] == [signal.SIGINT, signal.SIGTERM]
    with held.let_through():  # nothing is held
        send()
    assert len(seen) == 5


@pytest.fixture
def python_interrupts():
    """The interpreter's own handler, whatever a program that ran before has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_interrupts")
def test_an_exception_of_a_handler_leaves_the_handlers_as_they_were():
    held, before = HeldSignals(), signal.getsignal(signal.SIGINT)
    held.hold()
    with pytest.raises(KeyboardInterrupt), held.let_through():
        send()
    send()
    with pytest.raises(KeyboardInterrupt):
        held.release()
    assert signal.getsignal(signal.SIGINT) is before


def test_ignored_signals_stay_so_and_other_threads_hold_nothing(seen):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with undisturbed():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    held = HeldSignals()
    thread = threading.Thread(target=held.hold)
    thread.start()
    thread.join()
    send()
    assert seen == [signal.SIGINT]
