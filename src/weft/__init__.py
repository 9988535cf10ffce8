"""weft: supervised fine-tuning that shows exactly what will be trained, trains exactly that, and can prove it.

The Python interface has one function per step, each taking a configuration file and overrides::

    import weft

    weft.prepare("configs/quickstart.yaml")
    weft.train("configs/quickstart.yaml", **{"train.epochs": 5})

The functions live in :mod:`weft.api` and are imported on first use, so that ``import weft`` stays instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.version import __version__

if TYPE_CHECKING:
    from weft.api import chat, check, evaluate, prepare, train

__all__ = ["__version__", "chat", "check", "evaluate", "prepare", "train"]


def __getattr__(name: str) -> Any:
    if name in {"chat", "check", "evaluate", "prepare", "train"}:
        from weft import api

        return getattr(api, name)
    raise AttributeError(f"module 'weft' has no attribute {name!r}")
