"""Fewer rounds of the garbage collector, which has nothing to find while records are read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 200_000


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Collect garbage only when very many more objects were made than freed: for records by the thousand.

    Records, messages and texts hold no cycles: they are freed when their block is done. The collector would look through them
    hundreds of times a second and find nothing; a tenth of the time of preparation.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
