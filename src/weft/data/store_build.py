"""From conversations to a file of examples, with an account of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from weft.data.conversations import ConversationFile
from weft.data.example_file import ExampleWriter
from weft.data.formats import RowError
from weft.data.render import Overlong, Renderer, Rendering
from weft.errors import DataError, Problems, WeftError
from weft.types import Document, Example, Location, Material

Progress = Callable[[int, int], None]
"""Called with the number of conversations that are encoded, and of all."""

TOO_LONG = "longer than model.max_seq_len"
"""How the reason begins for which examples are left out that are too long."""

_AT_ONCE = 512  # conversations: enough to keep all cores busy, few enough to show progress
_CHARACTERS_AT_ONCE = 2**22  # of documents, which may be long
_SHOWN = 20


class NoExamplesError(DataError):
    """There are records, but none of them becomes an example: all are too long, or held out."""


@dataclass(kw_only=True)
class SourceAccount:
    """What became of the records of one source."""

    records: int
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


@dataclass
class Account:
    """What became of the records."""

    sources: list[SourceAccount] = field(default_factory=list)
    turns: int = 0
    """Trained runs of tokens."""
    closed_turns: int = 0
    """Those of them that end with a stop token."""
    dropped: dict[str, list[Location]] = field(default_factory=dict)
    shortened: dict[str, list[Location]] = field(default_factory=dict)
    """What was made to fit, by how."""
    notes: Counter[str] = field(default_factory=Counter)
    fingerprint: str = ""

    @property
    def records(self) -> int:
        """Of all sources."""
        return sum(source.records for source in self.sources)

    @property
    def is_empty(self) -> bool:
        """Whether no source has an example."""
        return not any(source.examples for source in self.sources)

    def drop(self, reason: str, location: Location) -> None:
        """Enter something that is left out."""
        self.dropped.setdefault(reason, []).append(location)

    def fit(self, rendering: Rendering) -> None:
        """Enter what was too long in a conversation of the source that was opened last, and what was made to fit."""
        for problem in rendering.overlong:
            self.drop(f"{TOO_LONG}, {problem.limit:,} tokens", rendering.location)
        for how in rendering.shortened:
            self.shortened.setdefault(how, []).append(rendering.location)
        self.sources[-1].too_long += len(rendering.overlong)
        self.sources[-1].shortened += len(rendering.shortened)

    def count(self, example: Example, stops: Collection[int], *, is_block: bool = False) -> None:
        """Enter an example of the source that was opened last; ``is_block``: of a document, which has no turns."""
        trained = example.loss_weights > 0
        last = trained & ~np.append(trained[1:], False)
        source = self.sources[-1]
        source.examples += 1
        source.tokens += len(example.ids)
        source.trained_tokens += int(trained.sum())
        source.longest = max(source.longest, len(example.ids))
        if is_block:
            source.blocks += 1
            source.block_tokens += len(example.ids)
            return
        self.turns += int(last.sum())
        self.closed_turns += sum(index in stops for index in example.ids[last].tolist())


def write_examples(
    path: Path,
    sources: Sequence[ConversationFile],
    renderer: Renderer,
    *,
    on_bad_row: Literal["error", "drop"],
    progress: Progress,
) -> Account:
    """Encode the conversations of all sources, in order, into the file ``path``.

    Raises:
        NoExamplesError: all examples are too long, or there is no conversation at all.
        Problems: conversations cannot be rendered, and ``on_bad_row`` is ``error`` or no example is left; or some are too long
            where none may be.
    """
    if not any(source.conversations for source in sources):
        raise NoExamplesError(
            "there are too few records to hold one out for validation",
            where=", ".join(file for source in sources for file in source.files),
            fix="set data.val_split_ratio=0, or name a file of validation records with data.val_path",
        )
    account = Account()
    errors: list[WeftError] = []
    overlong: list[Overlong] = []
    for row in (row for source in sources for row in source.bad_rows):
        account.drop(row.reason, row.location)
    with ExampleWriter(path, [file for source in sources for file in source.files]) as writer:
        for renderings in _rendered(sources, renderer, account, progress):
            for rendering in renderings:
                account.notes.update(rendering.notes)
                overlong += rendering.overlong
                if rendering.error:
                    errors.append(rendering.error)
                    account.drop(_reason(rendering.error), rendering.location)
                account.fit(rendering)
                account.sources[-1].documents += rendering.document and bool(rendering.examples)
                for example in rendering.examples:
                    account.count(example, renderer.stop_ids, is_block=rendering.document)
            writer.write([example for rendering in renderings for example in rendering.examples])
        account.fingerprint = writer.digest()
    if errors and (on_bad_row == "error" or account.is_empty):
        raise _problems(errors, account.records)
    if overlong and renderer.overlong == "error":
        raise _too_long(overlong)
    if account.is_empty:
        raise _all_too_long(overlong, sources)
    return account


def _rendered(
    sources: Sequence[ConversationFile], renderer: Renderer, account: Account, progress: Progress
) -> Iterator[list[Rendering]]:
    """What becomes of each source's conversations, some at a time; opens each source in the account."""
    done, total = 0, sum(len(source.conversations) for source in sources)
    for source in sources:
        account.sources.append(SourceAccount(records=sum(source.files.values())))
        for batch in _batches(source.conversations):
            yield renderer.render_batch(batch)
            done += len(batch)
            progress(done, total)


def _batches(materials: Sequence[Material]) -> Iterator[Sequence[Material]]:
    """What is encoded at once: not too many, and of documents not too much text."""
    start = characters = 0
    for place, one in enumerate(materials):
        characters += len(one.text) if isinstance(one, Document) else 0
        if place + 1 - start == _AT_ONCE or characters > _CHARACTERS_AT_ONCE:
            yield materials[start : place + 1]
            start, characters = place + 1, 0
    if start < len(materials):
        yield materials[start:]


def _reason(error: WeftError) -> str:
    """The same for all errors of a kind, so that they can be counted."""
    return error.reason if isinstance(error, RowError) else error.what


def _problems(errors: Sequence[WeftError], records: int) -> Problems:
    more = f" ({len(errors) - _SHOWN} more than are shown)" if len(errors) > _SHOWN else ""
    summary = DataError(
        f"{len(errors)} of {records} records cannot be rendered{more}",
        fix="mend them, or leave them out with on_bad_row=drop, which counts and lists them",
    )
    return Problems([*errors[:_SHOWN], summary])


def _too_long(overlong: Sequence[Overlong]) -> Problems:
    limit, longest = overlong[0].limit, max(problem.tokens for problem in overlong)
    more = f" ({len(overlong) - _SHOWN} more than are shown)" if len(overlong) > _SHOWN else ""
    summary = DataError(
        f"{len(overlong)} examples are longer than model.max_seq_len, {limit:,} tokens{more}, which data.overlong: error refuses",
        fix=f"set model.max_seq_len={longest} to keep all of them whole, or data.overlong to drop, truncate or split_turns",
    )
    return Problems([*overlong[:_SHOWN], summary])


def _all_too_long(overlong: Sequence[Overlong], sources: Sequence[ConversationFile]) -> NoExamplesError:
    lengths = sorted(problem.tokens for problem in overlong)
    return NoExamplesError(
        f"every example is longer than model.max_seq_len, {overlong[0].limit:,} tokens: the shortest has {lengths[0]:,}",
        where=", ".join(file for source in sources for file in source.files),
        fix=f"set model.max_seq_len={lengths[-1]} to keep all of them, or to {lengths[0]} or more to keep some",
    )
