"""Files → conversations and documents, block by block: what is read leaves the memory, and processes can share the reading."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Literal

from weft.data import oasst, oasst_nested
from weft.data.common_fields import CommonField, no_such_field
from weft.data.format_table import TEXTS
from weft.data.formats import Parsed, RowError, parse_as
from weft.data.places import Paths, find_parts, spelled, stem
from weft.data.reading import DOCUMENTS, Reading, reads_trees
from weft.data.rows import BadRow
from weft.data.sources import read_part
from weft.data.system_prompt import with_system_prompt, without_system_prompt
from weft.errors import DataError, Problems, WeftError
from weft.types import Conversation, Material, Record

if TYPE_CHECKING:
    from weft.config.data_schema import RecordFormat
    from weft.data.split import Portion

ROWS_IN_BLOCK = 1024
"""Enough to encode many texts at once, few enough to share the work evenly."""
_LONG = 2**22  # characters of documents, with which a block is full
_SHOWN = 20


class NothingLeft(DataError):
    """Messages of trees that can be used, and no conversation among those that were asked for."""


@dataclass(kw_only=True, slots=True)
class Block:
    """Rows that follow each other."""

    number: int
    """Of the block in its source."""
    kept: list[Parsed] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)

    @property
    def conversations(self) -> list[Material]:
        """Those that are kept, documents among them."""
        return [parsed.material for parsed in self.kept]


@dataclass(kw_only=True, slots=True)
class Tally:
    """What is known of a source when its blocks were read."""

    kept: int = 0
    """Conversations, whatever the portion."""
    custom: int = 0
    """Those of them in the custom format."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """Fields that the configuration names, by key, and that no record in the custom format has."""
    left_out: Counter[str] = field(default_factory=Counter)
    """How many messages of trees no conversation holds, by reason."""
    notices: list[str] = field(default_factory=list)
    """Samples that could not be as large as was asked for."""
    system_messages: int = 0
    """How many were left out."""

    def all_notices(self) -> list[str]:
        """What is to be said of samples, and of what records lost."""
        if not self.system_messages:
            return self.notices
        lost = f"{self.system_messages:,} records are without their system message"
        return [*self.notices, f"{lost}, which data.include_system_prompt: false leaves out"]

    def join(self, other: Tally) -> None:
        """Take in what another reader of the same source knows, who read other blocks."""
        self.kept += other.kept
        self.custom += other.custom
        self.system_messages += other.system_messages
        self.left_out += other.left_out
        self.unseen = {key: name for key, name in self.unseen.items() if key in other.unseen}


class CannotShare(Exception):
    """The source holds message trees, which only one reader can put together."""


class ConversationReader:
    """The blocks of one source: files, and how they are read. What it says of them is true when all blocks were read.

    Args: see :func:`weft.data.conversations.read_conversations`.

    Attributes:
        parts: the files.
        tally: of what was read.

    Raises:
        DataError: the path is missing.
    """

    def __init__(
        self,
        path: Paths,
        *,
        format: RecordFormat | Reading = "auto",
        system_prompt: str | None = None,
        source: str | None = None,
        seed: int = 0,
        fix: str | None = None,
        edit: Callable[[Material], Material] | None = None,
    ) -> None:
        self._edit = edit
        self._path, self._seed, self._source, self._system_prompt = path, seed, source, system_prompt
        self._reading = format if isinstance(format, Reading) else Reading(format=format)
        self.parts = find_parts(path, seed=seed, fix=fix)
        self._begin()

    def _begin(self) -> None:
        self.tally = Tally(unseen=self._reading.named_fields() if self._reading.format == "custom" else {})
        self._trees: list[Record] = []

    @property
    def files(self) -> list[str]:
        """The paths of the files, in order."""
        return [str(file) for part in self.parts for file in part.files]

    def blocks(self, mine: Callable[[int], bool] | None = None, portion: Portion | None = None) -> Iterator[Block]:
        """The blocks of the source, in order.

        Args:
            mine: whether to read the block of a number, asked for one after the other; None: all of them.
            portion: what of them is wanted; None: everything.

        Raises:
            DataError: a file cannot be read, or is not the one that the portion was taken of.
            CannotShare: some blocks are for others, and there are message trees.
        """
        self._begin()
        numbers = count()
        number = next(numbers)
        is_mine = mine is None or mine(number)
        # Where a block ends is known without looking at its rows, unless they may be documents.
        may_pass = self._reading.mode == "sft" and self._reading.format not in DOCUMENTS

        def passing() -> bool:
            return may_pass and not is_mine

        for part in self.parts:
            rows, notices = read_part(part, self._seed, by_line=self._reading.format == "lines", passing=passing)
            while first := list(islice(rows, 1)):
                others = islice(rows, ROWS_IN_BLOCK - 1) if may_pass else _others(first[0], rows)
                if is_mine:
                    block = Block(number=number)
                    for row in chain(first, others):
                        self._read(row, block)
                    yield self._cut(block, portion)
                else:
                    deque(others, maxlen=0)
                number = next(numbers)
                is_mine = mine is None or mine(number)
            if self._trees:
                if part.sample is not None:
                    raise DataError(
                        "a sample takes single records, and would tear trees of messages apart",
                        where=part.name,
                        fix=f"leave out #{part.sample}, or take the sample of what `weft prepare` makes of the trees",
                    )
                if mine is not None:
                    raise CannotShare
                for block in self._grown(chain([number], numbers)):
                    yield self._cut(block, portion)
                number = next(numbers)
            self.tally.notices += notices

    @property
    def common(self) -> list[CommonField]:
        """The fields that the configuration names for all sets, and not for this one alone; none without records to have them."""
        return [
            CommonField(self._reading.key(key), name, key not in self.tally.unseen)
            for key, name in self._reading.named_fields().items()
            if self.tally.custom and key not in self._reading.own
        ]

    def refuse(self, bad_rows: Sequence[BadRow], on_bad_row: Literal["error", "drop"]) -> None:
        """Raise where what was read cannot be used.

        Args:
            bad_rows: of all blocks.
            on_bad_row: whether they may be left out.

        Raises:
            NothingLeft: there is no conversation.
            DataError: none has a field that the configuration names for this set; of :attr:`common` ones other sets decide.
            Problems: some rows cannot be used and ``on_bad_row`` is ``error``, or no row can be used at all.
        """
        tally = self.tally
        for key, field_name in tally.unseen.items():
            if tally.custom and key in self._reading.own:
                raise no_such_field(self._reading.key(key), field_name, spelled(self._path))
        if bad_rows and (on_bad_row == "error" or not tally.kept):
            raise _problems(self._path, bad_rows, len(bad_rows) + tally.kept)
        if not tally.kept:
            raise NothingLeft(
                "no conversation is left: "
                + "; ".join(f"{number} messages are {why}" for why, number in tally.left_out.items()),
                where=spelled(self._path),
                fix=_other_choice(tally.left_out) + "name another file",
            )

    def _cut(self, block: Block, portion: Portion | None) -> Block:
        if portion:
            try:
                block.kept = portion.of_block(block.number, block.kept)
            except LookupError:
                raise DataError(
                    "the files changed while they were being read", where=spelled(self._path), fix="run this again"
                ) from None
        return block

    def _read(self, row: Record | BadRow, block: Block) -> None:
        """Enter a row into the block. Messages of trees wait for the end of their part: their order in it is free."""
        if isinstance(row, BadRow):
            block.bad_rows.append(row)
            return
        if reads_trees(self._reading):
            if oasst.is_message(row.data):
                self._trees.append(row)
                return
            if oasst_nested.is_tree(row.data):
                self._read_tree(row, block)
                return
        try:
            parsed = parse_as(row, self._reading, source=self._source or stem(row.location.path))
            block.kept.append(self._finished(parsed))
        except RowError as error:
            block.bad_rows.append(_bad_row(row, error))
            return
        if parsed.format == "custom":
            self.tally.custom += 1
            self.tally.unseen = {key: name for key, name in self.tally.unseen.items() if name not in row.data}
        self.tally.kept += 1

    def _grown(self, numbers: Iterator[int]) -> Iterator[Block]:
        """The conversations of the trees that wait."""
        records, self._trees = self._trees, []
        trees = self._trees_of(records)
        bad_rows = [_bad_row(record, error) for record, error in trees.bad]
        for start in range(0, len(trees.conversations) or 1, ROWS_IN_BLOCK):
            block = Block(number=next(numbers), bad_rows=bad_rows)
            self._keep(trees.conversations[start : start + ROWS_IN_BLOCK], oasst.MAPPING, block)
            yield block
            bad_rows = []

    def _read_tree(self, row: Record, block: Block) -> None:
        """Enter what a record holds that is a whole tree."""
        try:
            trees = self._trees_of(oasst_nested.messages_of(row))
        except RowError as error:
            block.bad_rows.append(_bad_row(row, error))
            return
        block.bad_rows += [_bad_row(record, error) for record, error in trees.bad]
        self._keep(trees.conversations, oasst_nested.MAPPING, block)

    def _trees_of(self, records: Sequence[Record]) -> oasst.Trees:
        trees = oasst.read_trees(records, self._reading, source=self._source or stem(records[0].location.path))
        self.tally.left_out.update(trees.left_out)
        return trees

    def _keep(self, conversations: Sequence[Conversation], mapping: tuple[str, ...], block: Block) -> None:
        """Enter conversations of trees into the block."""
        from weft.data.conversations import canonical  # here, because that module builds on this one

        for conversation in conversations:
            try:
                block.kept.append(self._finished(Parsed(format="oasst", material=conversation, mapping=mapping)))
                self.tally.kept += 1
            except RowError as error:
                record = Record(data=canonical(conversation), location=conversation.location)
                block.bad_rows.append(_bad_row(record, error))

    def _finished(self, parsed: Parsed) -> Parsed:
        """What was parsed, edited, and under the system prompt, or without one.

        Raises:
            RowError: the edit leaves nothing that could be used.
        """
        material = self._edit(parsed.material) if self._edit else parsed.material
        if self._reading.include_system_prompt:
            material = with_system_prompt(material, self._system_prompt)
        else:
            alone = without_system_prompt(material)
            self.tally.system_messages += alone is not material
            material = alone
        return parsed if material is parsed.material else replace(parsed, material=material)


def _other_choice(left_out: Mapping[str, int]) -> str:
    """How a configuration gets at messages that were left out for their language."""
    if oasst.LANGUAGE in left_out:
        return "choose otherwise with data.oasst_lang, or "
    return "remove data.oasst_lang, or " if oasst.NO_LANGUAGE in left_out else ""


def _others(first: Record | BadRow, rows: Iterator[Record | BadRow]) -> Iterator[Record | BadRow]:
    """The rows behind the ``first`` of a block; fewer of long documents, so that a block takes little memory."""
    characters = _characters(first)
    for row in islice(rows, ROWS_IN_BLOCK - 1) if characters < _LONG else ():
        yield row
        characters += _characters(row)
        if characters >= _LONG:
            return


def _characters(row: Record | BadRow) -> int:
    """Of a document."""
    data = row.data if isinstance(row, Record) and isinstance(row.data, dict) else {}
    return sum(len(data[name]) for name in TEXTS if isinstance(data.get(name), str))


def _bad_row(record: Record, error: RowError) -> BadRow:
    return BadRow.of(record, error.reason, detail=error.detail, fix=error.fix)


def _problems(path: Paths, bad_rows: Sequence[BadRow], records: int) -> Problems:
    """The first bad rows, each fix said once, and what to do about all of them."""
    shown: list[WeftError] = []
    said: set[str | None] = set()
    for row in bad_rows[:_SHOWN]:
        shown.append((replace(row, fix=None) if row.fix in said else row).error())
        said.add(row.fix)
    more = f" ({len(bad_rows) - _SHOWN} more than are shown)" if len(bad_rows) > _SHOWN else ""
    if len(bad_rows) == records:
        what, fix = f"none of the {records} records can be used{more}", "mend them, or name another file"
    else:
        what = f"{len(bad_rows)} of {records} records cannot be used{more}"
        fix = "mend them, or leave them out with on_bad_row=drop, which counts and keeps them in a rejects file"
    return Problems([*shown, DataError(what, where=spelled(path), fix=fix)])
