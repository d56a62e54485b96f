"""SIGTERM and SIGHUP as exceptions, so that context managers clean up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Windows has no SIGHUP.
_NAMES = ("SIGTERM", "SIGHUP")


class Terminated(BaseException):
    """Another process, or a closed terminal, ends this one.

    Like KeyboardInterrupt it is not an Exception, so that no handler of errors stops it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        #: What a shell reports for a process that the signal ends: 143 or 129.
        self.exit_code = 128 + number


@contextmanager
def terminations_raised() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise :class:`Terminated` in the main thread, once.

    Repeated ones are ignored, because they would interrupt the clean-up: a closed terminal and its
    shell both send SIGHUP. Signals that are ignored already (`nohup`) stay so. Does nothing in another
    thread, where Python sets no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # None: a handler that was not set from Python cannot be put back
    ours = [n for n, handler in before.items() if handler not in (signal.SIG_IGN, None)]

    def terminate(number: int, _frame: FrameType | None) -> None:
        for one in ours:
            signal.signal(one, signal.SIG_IGN)
        raise Terminated(number)

    for number in ours:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
