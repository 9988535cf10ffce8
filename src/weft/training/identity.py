"""What makes two runs the same run: the settings that weights depend on, and the content behind the paths among them."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelerate
import numpy
import torch
import transformers
from pydantic import BaseModel

from weft.config.schema import Config
from weft.version import __version__

_SAMPLES = 64
_SAMPLE_BYTES = 2**20


def identity(config: Config, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the trained weights depend on: dotted key → JSON value.

    Args:
        config: its keys that the schema marks with ``identity``.
        fingerprints: what the keys cannot say, such as the content of the data and of the model.
    """
    keys = {".".join(path): value for path, value in _identity_keys(config, ())}
    return json.loads(json.dumps({**keys, **fingerprints}))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line ``key: old → new`` for each key in which two identities differ."""
    absent = "(not set)"
    keys = [*new, *(key for key in old if key not in new)]
    return [
        f"{key}: {old.get(key, absent)} → {new.get(key, absent)}"
        for key in keys
        if old.get(key, absent) != new.get(key, absent)
    ]


def environment(**facts: Any) -> dict[str, Any]:
    """What bit-exact repetition needs beside a run's identity; ``facts`` are the run's own, such as its device."""
    return {
        "weft": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "accelerate": accelerate.__version__,
        "peft": version("peft"),  # full tuning does not import it
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        **facts,
    }


def model_fingerprint(directory: Path) -> str:
    """A SHA-256 over a model's config.json and weights.

    Of every weight file the name, the size and 64 evenly spaced blocks of 1 MiB are read (all of it up to 64 MiB), the
    first of which holds the header. Training moves weights everywhere, so another model differs within the blocks; a copy
    of the same model, with other dates, does not.
    """
    digest = hashlib.sha256((directory / "config.json").read_bytes())
    for path in sorted(directory.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"\n{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in _block_starts(size):
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _block_starts(size: int) -> Iterable[int]:
    if size <= _SAMPLES * _SAMPLE_BYTES:
        return range(0, size, _SAMPLE_BYTES)
    return (index * (size - _SAMPLE_BYTES) // (_SAMPLES - 1) for index in range(_SAMPLES))


def _identity_keys(section: BaseModel, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name, field in type(section).model_fields.items():
        marks = field.json_schema_extra
        assert isinstance(marks, dict), f"{name} was not made by weft.config.section.key"
        if not marks["identity"]:
            continue
        value, here = getattr(section, name), (*path, name)
        if isinstance(value, BaseModel):
            yield from _identity_keys(value, here)
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            for index, item in enumerate(value):
                yield from _identity_keys(item, (*path, f"{name}[{index}]"))
        else:
            yield here, value
