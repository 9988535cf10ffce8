"""Conversations as they are printed, before they are encoded together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weft.data.columns import Borders, Columns
from weft.data.derive import Printed
from weft.data.flat_ids import FlatIds
from weft.data.row_error import RowError
from weft.data.runs import Runs
from weft.errors import WeftError
from weft.types import Location


@dataclass(slots=True)
class Draft:
    """A conversation as it is printed."""

    location: Location
    texts: Sequence[Printed] = ()
    runs: Sequence[Runs] = ()
    """Of each text."""
    error: WeftError | None = None
    """Why there are none."""

    @property
    def parts(self) -> Iterator[str]:
        """Of all runs."""
        return (part for runs in self.runs for parts in runs.parts for part in parts)

    def refused(self, error: WeftError) -> Draft:
        """The same, left out."""
        error.where = error.where or self.location
        return Draft(self.location, error=error)


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that were encoded together."""

    columns: Columns
    """Their examples."""
    borders: Borders
    is_apart: list[bool]
    """Of which of them that is not what they become: they are too long, or count what their records say."""
    texts: Sequence[Printed]
    encoded: FlatIds
    """Of the runs of all texts: as many as they have borders."""

    def ids_of(self, number: int) -> list[np.ndarray]:
        """The ids of the runs of one text."""
        first = int(self.borders.ends[number - 1]) if number else 0
        return [self.encoded.run(place) for place in range(first, int(self.borders.ends[number]))]


def encodable(draft: Draft) -> Draft:
    """The draft, or that it is left out because its text is no Unicode that can be written."""
    try:
        require_unicode(draft.parts)
    except RowError as error:
        return draft.refused(error)
    return draft


def require_unicode(texts: Iterable[str]) -> None:
    r"""Raise where text is no Unicode that can be written.

    Raises:
        RowError: one holds half of a surrogate pair, as a broken ``\ud83d`` escape in JSON leaves it.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = text[error.start]
            raise RowError(
                "half a surrogate pair is no character", detail=repr(half), fix="correct its \\u escape"
            ) from None
