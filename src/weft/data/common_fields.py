"""Fields of `custom` records that the configuration names for all sets. A set may be without them; that all are is a slip.

Which records have them is found set by set, and one set cannot know of the others: each tells what it found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from weft.data.places import Paths, spelled
from weft.errors import DataError


class CommonField(NamedTuple):
    """A field that records of a set may have."""

    key: str
    """Of the configuration, which names it."""
    name: str
    is_there: bool
    """Whether a record of the set has it."""


def refuse_slips(found: Sequence[tuple[Paths, Sequence[CommonField]]]) -> None:
    """Raise where a field is in none of the sets.

    Args:
        found: the files of each set, and what was found in them; nothing in a set without `custom` records.

    Raises:
        DataError: there is such a field.
    """
    fields = list(chain.from_iterable(of_set for _, of_set in found))
    there = {field.key for field in fields if field.is_there}
    for field in fields:
        if field.key not in there:
            places = dict.fromkeys(spelled(paths) for paths, of_set in found if of_set)
            raise no_such_field(field.key, field.name, ", ".join(places))


def no_such_field(key: str, name: str, where: str) -> DataError:
    """The error for a field that no record has."""
    return DataError(_lack(key, name), where=where, fix=f"correct {key}, or remove it")


def notices_of(source: str, found: Sequence[CommonField]) -> Iterator[str]:
    """What is to be said of a set without a field that others have: there it may be called otherwise."""
    for field in found:
        if not field.is_there:
            yield f"{source}: {_lack(field.key, field.name)}"


def _lack(key: str, name: str) -> str:
    return f'no record has the field "{name}", which {key} names'
