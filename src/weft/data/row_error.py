"""What is said of a record that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.errors import DataError
from weft.types import Location

Data = Mapping[str, Any]
"""A record, or a part of one, with its named fields."""


EMPTY_DOCUMENT = "the document is empty"
AS_TEXT = "put quotes around it; in a table (Parquet, Arrow), store it as text"
"""What to do with a number, or true or false, where text is needed."""


class RowError(DataError):
    """A record that cannot be used: ``reason`` is the same for all with this problem, ``detail`` tells them apart."""

    def __init__(self, reason: str, *, detail: str = "", where: Location | None = None, fix: str | None = None):
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason, where=where, fix=fix)


def kind_of(value: Any) -> str:
    """What JSON calls a value, for people."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")
