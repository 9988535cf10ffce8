"""Records read once more, to be listed as their files hold them: what was made of them is not kept in memory beside them."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from weft.config.data_schema import RecordFormat
from weft.data import oasst, oasst_nested
from weft.data.places import Paths, find_parts
from weft.data.reading import Reading, by_line, reads_trees
from weft.data.rows import BadRow
from weft.data.sources import read_part
from weft.types import Location, Record


def rows_at(
    places: Container[Location], paths: Paths, format: RecordFormat | Reading, seed: int
) -> Iterator[Record | BadRow]:
    """What lies at ``places``, in the order of the files; messages of a whole tree have places of their own, behind the tree's.

    Only as much of a file is kept in memory as one record.

    Args:
        places: any in the files.
        paths: of the files; see :func:`weft.data.places.find_parts`.
        format: in which they were read.
        seed: which records a sample takes.
    """
    for part in find_parts(paths, seed=seed):
        rows, _ = read_part(part, seed, by_line=by_line(format))
        yield from (row for row in chain.from_iterable(map(oasst_nested.with_messages, rows)) if row.location in places)


def as_they_stand(left_out: Sequence[BadRow], paths: Paths, reading: Reading, seed: int) -> list[BadRow]:
    """The rows with their records as the files hold them, before anything was normalised or added. A conversation of a tree,
    which lies in several records, stays as it is. Where nothing was left out, nothing is read.

    Args: see :func:`rows_at`.
    """
    places = {row.location for row in left_out}
    stood = {
        row.location: BadRow.of(row, "").raw
        for row in (rows_at(places, paths, reading, seed) if places else ())
        if isinstance(row, Record) and not _is_of_tree(row, reading)
    }
    return [replace(row, raw=stood.get(row.location, row.raw)) for row in left_out]


def _is_of_tree(row: Record, reading: Reading) -> bool:
    return reads_trees(reading) and (oasst.is_message(row.data) or oasst_nested.is_tree(row.data))
