"""What a record says beside its messages, of whatever format: its source, and what there is in its ``meta``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.data.row_error import Data, RowError


def source_of(data: Data) -> str | None:
    """The name in the field ``source``; another kind of value is a field like others."""
    return data["source"] if isinstance(data.get("source"), str) else None


def joined_with_meta(beside: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Further fields of a record, with what its own ``meta`` holds.

    Raises:
        RowError: they say different things under one name.
    """
    if given is None:
        return dict(beside)
    if not isinstance(given, dict):
        return {**beside, "meta": given}
    for key in beside.keys() & given.keys():
        if beside[key] != given[key]:
            raise RowError(f'the field "{key}" and the same field of "meta" disagree', fix="keep one of them")
    return {**beside, **given}
