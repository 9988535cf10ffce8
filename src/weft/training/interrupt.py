"""Ctrl-C as a request: the first one lets the step finish and save, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from weft.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STANDARD_ERROR = 2
_HEARD = b"\nweft: stopping when this step is done and saved; Ctrl-C again stops at once\n"


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within the block, SIGINT and SIGTERM only set the flag that the yielded function reads, and say so.

    Only the main thread can receive signals; in any other the block changes nothing.

    Raises:
        Interrupted: at a second signal, from wherever the program is.
    """
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise Interrupted("stopped at once; the last checkpoint is safe", fix="run the same command to resume")
        requested = True
        os.write(_STANDARD_ERROR, _HEARD)  # not print(): the signal may have come in the middle of one

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
