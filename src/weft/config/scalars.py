"""What a plain scalar means: the core schema of YAML 1.2.2 (section 10.3.2), no more and no less.

So `2e-4` is a number, `no` and `on` are words, `1:30` and `1_000` are text, `0o17` is fifteen and `010` is ten.
Libraries mix in rules of YAML 1.1 or their own, which is why the table stands here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Scalar = str | int | float | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    word: value for value, base in ((True, "true"), (False, "false")) for word in (base, base.title(), base.upper())
}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = frozenset({".nan", ".NaN", ".NAN"})

_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*", re.ASCII)
"""Text that YAML reads as itself without quotes, wherever it stands, unless it spells another type."""

_MAX_DIGITS = 4000
"""Python converts no longer decimal integers (CVE-2020-10735); longer ones become the float they overflow to."""


def is_null(text: str) -> bool:
    """Whether a plain scalar is null; the empty text is."""
    return text in _NULL


def resolve(text: str) -> Scalar:
    """The value of a plain scalar."""
    if is_null(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _INT.fullmatch(text) and len(text) <= _MAX_DIGITS:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if text in _NAN:
        return float("nan")
    return text


def dump(value: Any) -> str:
    """One line of YAML that reads back as the value, which may be a scalar or a list or mapping of such."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # 0.0002, 3, 1e-05: the shortest digits that read back as the same number
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and isinstance(resolve(value), str)
        return value if plain else json.dumps(value).replace("\x7f", "\\u007f")  # DEL may not stand in YAML as it is
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{dump(name)}: {dump(item)}" for name, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(dump, value)) + "]"
    return str(value)
