"""SIGTERM and SIGHUP as exceptions."""

from __future__ import annotations

import signal
import threading

import pytest

from janus_edge.termination import Terminated, terminations_raised


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal(number: signal.Signals, code: int) -> None:
    """It raises, its repetition does not disturb the clean-up, and the handlers are put back."""
    before, cleaned = signal.getsignal(number), False
    with pytest.raises(Terminated, match=f"ended by {number.name}") as end, terminations_raised():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            cleaned = True
    assert cleaned
    assert end.value.exit_code == code
    assert signal.getsignal(number) is before


def test_nohup() -> None:
    """A signal that is ignored stays so."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminations_raised():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads() -> None:
    """The block runs there as well, and sets no handlers."""
    found = []

    def run() -> None:
        with terminations_raised():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
