"""The software around a run: versions, extras, the hub, and places to write. Nothing here imports torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants

from weft.version import __version__

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "safetensors", "pyarrow", "huggingface_hub")
EXTRAS = {
    "tensorboard": "pip install 'weft[tensorboard]'",
    "bitsandbytes": "not used yet: 4- and 8-bit models come with a later version",
    "unsloth": "not used yet: comes with a later version",
}
"""Optional packages, and what to do where one is missing."""

WRITTEN = ("data", "models", "outputs")
"""The directories that weft writes to by default, below the working directory."""


def describe() -> dict[str, Any]:
    """Versions, extras, the hub's state and whether weft can write where it writes, for ``weft doctor``.

    A hub token is looked for, never shown.
    """
    return {
        "weft": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "extras": {name: None if importlib.util.find_spec(name) else fix for name, fix in EXTRAS.items()},
        "hub": {
            "cache": constants.HF_HUB_CACHE,
            "cache writable": _writable(Path(constants.HF_HUB_CACHE)),
            "offline": huggingface_hub.is_offline_mode(),
            "token": huggingface_hub.get_token() is not None,
        },
        "writable": {name: _writable(Path(name)) for name in WRITTEN},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _writable(directory: Path) -> bool:
    """Whether a file could be made in ``directory``, or the directory itself where it does not exist yet."""
    existing = directory.absolute()
    while not existing.exists():
        existing = existing.parent
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def find_problems(found: dict[str, Any]) -> list[str]:
    """What stops training in a description by :func:`describe`, to which ``hardware`` was added; each with its mending."""
    missing = [name for name, version in found["libraries"].items() if version is None]
    problems = [f"{name} is not installed: pip install weft" for name in missing]
    if "problem" in found["hardware"]:
        problems.append(
            f"torch cannot be loaded ({found['hardware']['problem']}): install it again, https://pytorch.org"
        )
    closed = [name for name, can in found["writable"].items() if not can]
    problems += [f"{name}/ cannot be written: change its permissions, or work elsewhere" for name in closed]
    return problems
