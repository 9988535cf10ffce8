"""What becomes of records on their way to examples: counted by source, listed by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from weft.data.columns import Columns
from weft.data.conversation_reader import Block
from weft.data.formats import RowError
from weft.data.rendering import Overlong, Rendering
from weft.data.rows import BadRow
from weft.errors import DataError, Problems, WeftError
from weft.types import Location

TOO_LONG = "longer than model.max_seq_len"
"""How the reason begins for which records are left out that are too long."""
PARTLY_TOO_LONG = f"a part is {TOO_LONG}"
"""How it begins where a record makes several examples, or has several exchanges, and only some of them are."""

_SHOWN = 20


def is_for_length(reason: str) -> bool:
    """Whether a record, or a part of it, is left out because it is too long."""
    return reason.startswith((TOO_LONG, PARTLY_TOO_LONG))


def is_whole(reason: str) -> bool:
    """Whether all of a record is left out for this reason."""
    return not reason.startswith(PARTLY_TOO_LONG)


def left_out(reason: str) -> str:
    """What becomes of a record for this reason, in words."""
    return "left out" if is_whole(reason) else "left out in part"


class NoExamplesError(DataError):
    """There are records, but none of them becomes an example: all are too long, or held out.

    ``dropped``: the places of those that are left out, by reason.
    """

    def __init__(self, what: str, *, where: str, fix: str, dropped: Mapping[str, Sequence[Location]] | None = None):
        self.dropped = dropped or {}
        super().__init__(what, where=where, fix=fix)


@dataclass(kw_only=True)
class SourceAccount:
    """What became of the records of one source, in numbers."""

    records: int = 0
    """Read, usable or not."""
    examples: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    """Tokens of its longest example."""
    too_long: int = 0
    """Examples, or exchanges of a conversation, that were left out because they are too long."""
    shortened: int = 0
    """Conversations or examples that were truncated or split to fit; documents that were cut."""
    documents: int = 0
    blocks: int = 0
    """Examples that are blocks of documents."""
    block_tokens: int = 0
    """Of the blocks."""
    turns: int = 0
    """Trained runs of tokens."""
    closed_turns: int = 0
    """Those of them that end with a stop token."""


@dataclass(kw_only=True)
class Account:
    """What became of the records of one source."""

    numbers: SourceAccount = field(default_factory=SourceAccount)
    conversations: int = 0
    """Records that could be used."""
    dropped: dict[str, list[Location]] = field(default_factory=dict)
    """What was left out, by reason."""
    shortened: dict[str, list[Location]] = field(default_factory=dict)
    """What was made to fit, by how."""
    notes: Counter[str] = field(default_factory=Counter)
    errors: list[WeftError] = field(default_factory=list)
    """Why conversations could not be rendered."""
    overlong: list[Overlong] = field(default_factory=list)

    def add(self, part: BlockAccount, *, reports_bad_rows: bool) -> None:
        """Enter what became of a block."""
        numbers = self.numbers
        bad_rows = part.bad_rows if reports_bad_rows else ()
        self.conversations += part.conversations
        numbers.records += part.conversations + len(bad_rows)
        numbers.examples += part.examples
        numbers.tokens += part.tokens
        numbers.trained_tokens += part.trained_tokens
        numbers.longest = max(numbers.longest, part.longest)
        numbers.too_long += len(part.overlong)
        numbers.shortened += len(part.shortened)
        numbers.documents += part.documents
        numbers.blocks += part.blocks
        numbers.block_tokens += part.block_tokens
        numbers.turns += part.turns
        numbers.closed_turns += part.closed_turns
        self.notes.update(part.notes)
        self.errors += part.errors
        self.overlong += part.overlong
        for row in bad_rows:
            self.dropped.setdefault(row.reason, []).append(row.location)
        for found, entered in ((part.dropped, self.dropped), (part.shortened, self.shortened)):
            for reason, location in found:
                entered.setdefault(reason, []).append(location)


@dataclass(kw_only=True)
class BlockAccount:
    """What became of the rows of a block."""

    conversations: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    examples: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    documents: int = 0
    blocks: int = 0
    block_tokens: int = 0
    turns: int = 0
    closed_turns: int = 0
    dropped: list[tuple[str, Location]] = field(default_factory=list)
    shortened: list[tuple[str, Location]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    errors: list[WeftError] = field(default_factory=list)
    overlong: list[Overlong] = field(default_factory=list)

    @classmethod
    def of(cls, block: Block, renderings: Sequence[Rendering], columns: Columns, stops: Collection[int]) -> Self:
        """The account of a block, of what was made of its conversations, and of all the examples in that."""
        account = cls(conversations=len(block.kept), bad_rows=block.bad_rows)
        for notes, count in Counter(rendering.notes for rendering in renderings).items():
            for note in notes:
                account.notes[note] += count
        for rendering in renderings:
            if not (rendering.overlong or rendering.shortened or rendering.error):
                continue
            account.overlong += rendering.overlong
            account.shortened += [(how, rendering.location) for how in rendering.shortened]
            if rendering.error:
                account.errors.append(rendering.error)
                account.dropped.append((_reason(rendering.error), rendering.location))
            if rendering.overlong:
                how = PARTLY_TOO_LONG if rendering.parts else TOO_LONG
                account.dropped.append((f"{how}, {rendering.overlong[0].limit:,} tokens", rendering.location))
        if len(columns):
            account._count(
                columns, stops, [one.document for one in renderings for part in one.parts for _ in range(len(part))]
            )
        account.documents = sum(one.document and bool(one.parts) for one in renderings)
        return account

    def _count(self, columns: Columns, stops: Collection[int], is_block: Sequence[bool]) -> None:
        trained = columns.weights > 0
        goes_on = np.append(trained[1:], False)
        goes_on[columns.ends - 1] = False
        lengths = columns.ends - columns.starts
        of_documents = np.repeat(is_block, lengths)
        last = trained & ~goes_on & ~of_documents
        self.blocks, self.block_tokens = sum(is_block), int(of_documents.sum())
        self.examples = len(columns.ends)
        self.tokens = len(columns.ids)
        self.trained_tokens = int(trained.sum())
        self.longest = int(lengths.max())
        self.turns = int(last.sum())
        self.closed_turns = int(np.isin(columns.ids[last], list(stops)).sum())


def _reason(error: WeftError) -> str:
    """The same for all errors of a kind, so that they can be counted."""
    return error.reason if isinstance(error, RowError) else error.what


def cannot_be_rendered(errors: Sequence[WeftError], records: int) -> Problems:
    """The first of the ``errors`` with which some of the ``records`` could not be rendered."""
    more = f" ({len(errors) - _SHOWN} more than are shown)" if len(errors) > _SHOWN else ""
    summary = DataError(
        f"{len(errors)} of {records} records cannot be rendered{more}",
        fix="mend them, or leave them out with on_bad_row=drop, which counts and lists them",
    )
    return Problems([*errors[:_SHOWN], summary])


def are_too_long(overlong: Sequence[Overlong]) -> Problems:
    """The first of the examples that are too long where none may be."""
    limit, longest = overlong[0].limit, max(problem.tokens for problem in overlong)
    more = f" ({len(overlong) - _SHOWN} more than are shown)" if len(overlong) > _SHOWN else ""
    summary = DataError(
        f"{len(overlong)} examples are longer than model.max_seq_len, {limit:,} tokens{more}, which data.overlong: error refuses",
        fix=f"set model.max_seq_len={longest} to keep all of them whole, or data.overlong to drop, truncate or split_turns",
    )
    return Problems([*overlong[:_SHOWN], summary])


def nothing_is_left(accounts: Sequence[Account], files: str) -> WeftError:
    """Why no source has an example."""
    if not any(account.conversations for account in accounts):
        return NoExamplesError(
            "there are too few records to hold one out for validation",
            where=files,
            fix="set data.val_split_ratio=0, or name a file of validation records with data.val_path",
        )
    if errors := [error for account in accounts for error in account.errors]:
        return cannot_be_rendered(errors, sum(account.numbers.records for account in accounts))
    overlong = [problem for account in accounts for problem in account.overlong]
    lengths = sorted(problem.tokens for problem in overlong)
    return NoExamplesError(
        f"every example is longer than model.max_seq_len, {overlong[0].limit:,} tokens: the shortest has {lengths[0]:,}",
        where=files,
        fix=f"set model.max_seq_len={lengths[-1]} to keep all of them, or to {lengths[0]} or more to keep some",
        dropped=merged(account.dropped for account in accounts),
    )


def merged(found: Iterable[Mapping[str, Sequence[Location]]]) -> dict[str, list[Location]]:
    """Places by reason, of several sources, as those of one."""
    together: dict[str, list[Location]] = {}
    for each in found:
        for reason, places in each.items():
            together.setdefault(reason, []).extend(places)
    return together
