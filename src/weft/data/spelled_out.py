"""A ``tokenizer.json`` with nothing left to guess.

The ``tokenizers`` library reads files that do not say of which kind their model is, as its early versions wrote them. It tells
the kind from the fields; so whatever is not spelled out is taken from what it reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from weft.errors import ModelError, WeftError

_PARTS = ("model", "normalizer", "pre_tokenizer", "post_processor", "decoder")
_STEPS = ("normalizers", "pretokenizers", "processors", "decoders")
_FLAGS = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}


def in_full(spec: dict[str, Any], place: Path) -> dict[str, Any]:
    """The same description, each part of it with its type.

    Args:
        spec: what a ``tokenizer.json`` holds.
        place: that file.

    Raises:
        ModelError: a part or an added token is not one that the library knows.
    """
    kinds = all("type" in part for name in _PARTS for part in _parts(spec.get(name)))
    if kinds and all(token.keys() >= _FLAGS for token in spec.get("added_tokens") or ()):
        return spec
    with loading(place):
        full: dict[str, Any] = json.loads(RustTokenizer.from_str(json.dumps(spec)).to_str())
    return full


@contextmanager
def loading(place: Path) -> Iterator[None]:
    """Turn what the library raises for a description that it cannot use into an error for people."""
    try:
        yield
    except (WeftError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # as which its panics come
        raise ModelError(f"it does not load: {error}", where=str(place), fix="download the model again") from error


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """A part of a tokenizer, and the steps that it is a sequence of."""
    if isinstance(part, dict):
        yield part
        for name in _STEPS:
            for step in part.get(name) or ():
                yield from _parts(step)
