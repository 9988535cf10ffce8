"""What the steps of a run free and ask for again, kept by the C library instead of returned to the system in between."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names of what ``mallopt`` sets (mallopt(3)); a block of more bytes than the second is a mapping of its own."""
_NEVER, _BY_DEFAULT = -1, 128 * 1024
_LARGEST_BLOCKS = 2**30, 2**25
"""Bytes: what one matrix of logits or gradients takes; and the most that glibc before 2.35 agrees to."""


@contextmanager
def keeping_freed_memory(device: torch.device) -> Iterator[None]:
    """Inside the block, memory of up to 1 GiB a piece that is freed stays with the process, and is returned at its end.

    A step on a CPU frees its activations and the next one asks for the same. As it is, glibc returns them to the system, which
    hands out zeroed pages again, one by one: some hundred thousand page faults a step. Nothing is done on another ``device``,
    where the C library is another one, or where the environment tells it what to do.
    """
    library = _glibc() if device.type == "cpu" else None
    if library is None or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        yield
        return
    any(library.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST_BLOCKS)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_TRIM_THRESHOLD, _BY_DEFAULT)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version, library.mallopt, library.malloc_trim  # noqa: B018 - musl and others lack them
    except (AttributeError, OSError, TypeError):
        return None
    return library
