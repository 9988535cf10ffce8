"""What became of one conversation or document on its way to ids."""

from __future__ import annotations

from dataclasses import dataclass

from weft.data.columns import Part
from weft.data.row_error import RowError
from weft.errors import DataError, WeftError
from weft.types import Example, Location


class Overlong(DataError):
    """An example of more tokens than ``model.max_seq_len`` allows, which is left out."""

    def __init__(self, tokens: int, limit: int, where: Location):
        self.tokens, self.limit = tokens, limit
        super().__init__(
            f"the example has {tokens:,} tokens; {limit:,} are allowed",
            where=where,
            fix=f"set model.max_seq_len to {tokens} or more, or shorten the record (data.overlong can do that)",
        )


class NothingTrained(RowError):
    """A conversation of which nothing is trained."""

    def __init__(self) -> None:
        super().__init__(
            "nothing in it is trained",
            fix='give it an answer that is trained (no "train": false, no "weight": 0), or remove it',
        )


@dataclass(kw_only=True, slots=True)
class Rendering:
    """What became of one conversation or document."""

    location: Location
    parts: tuple[Part, ...] = ()
    """Its examples."""
    overlong: tuple[Overlong, ...] = ()
    shortened: tuple[str, ...] = ()
    """How examples were made to fit, for each that was."""
    error: WeftError | None = None
    """Why it gives no example at all, where it is not for length."""
    notes: tuple[str, ...] = ()
    """What the template's derivation found worth counting."""
    document: bool = False
    """Whether it is a document, so that the examples are its blocks."""

    @property
    def examples(self) -> tuple[Example, ...]:
        """Each by itself."""
        return tuple(example for part in self.parts for example in part.examples())

    @property
    def borders(self) -> tuple[tuple[int, ...], ...]:
        """For each example, the ids with which the runs begin that were encoded apart."""
        return tuple(borders for part in self.parts for borders in part.each_borders())
