"""From conversations to a file of examples, with an account of what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weft.data.conversation_reader import ConversationReader, Held
from weft.data.example_file import Columns, ExampleWriter
from weft.data.render import Overlong, Renderer
from weft.data.rows import BadRow
from weft.data.store_account import (
    Account,
    BlockAccount,
    NoExamplesError,
    SourceAccount,
    all_are_too_long,
    are_too_long,
    cannot_be_rendered,
)
from weft.errors import WeftError


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where conversations come from."""

    reader: ConversationReader
    held: Held | None
    """Which of them; None for all."""
    reports_bad_rows: bool
    """Whether rows that cannot be used are told here."""


def encoded(
    source: Source,
    renderer: Renderer,
    on_bad_row: Literal["error", "drop"],
    mine: Callable[[int], bool] | None = None,
) -> Iterator[tuple[int, BlockAccount, Columns | None]]:
    """The blocks of a source with their examples, None where there are none; ``mine`` as for the reader.

    Where rows that cannot be used are an error, nothing is encoded behind the first: all that is left to do is to find the
    others.
    """
    is_refused = False
    for block in source.reader.blocks(mine, source.held):
        is_refused = is_refused or (on_bad_row == "error" and bool(block.bad_rows))
        renderings = [] if is_refused else renderer.render_batch(block.conversations)
        examples = [example for rendering in renderings for example in rendering.examples]
        columns = Columns.of(examples) if examples else None
        yield block.number, BlockAccount.of(block, renderings, columns, renderer.tokenizer.stop_ids), columns


def write_examples(
    path: Path,
    sources: Sequence[Source],
    renderer: Renderer,
    *,
    on_bad_row: Literal["error", "drop"],
    progress: Callable[[int], None],
) -> Account:
    """Encode the conversations of all sources, in order, into the file ``path``.

    Args:
        path: the file to write.
        sources: what to encode.
        renderer: makes examples of conversations.
        on_bad_row: whether rows may be left out.
        progress: told how many records are done.

    Raises:
        NoExamplesError: all examples are too long, or there is no conversation at all.
        Problems: rows cannot be used or conversations cannot be rendered, and ``on_bad_row`` is ``error`` or no example is left;
            or some are too long where none may be.
        ShortcutWrong: everything is to be made again.
    """
    account = Account()
    errors: list[WeftError] = []
    overlong: list[Overlong] = []
    files = [file for source in sources for file in source.reader.files]
    with ExampleWriter(path, files) as writer:
        for source in sources:
            account.sources.append(SourceAccount(records=0))
            bad_rows: list[BadRow] = []
            for _, part, found in encoded(source, renderer, on_bad_row):
                bad_rows += part.bad_rows
                account.add(part, reports_bad_rows=source.reports_bad_rows)
                errors += part.errors
                overlong += part.overlong
                if found is not None:
                    writer.write(found)
                progress(account.records)
            source.reader.refuse(bad_rows, on_bad_row)
        account.fingerprint = writer.digest()
    if not account.conversations:
        raise NoExamplesError(
            "there are too few records to hold one out for validation",
            where=", ".join(files),
            fix="set data.val_split_ratio=0, or name a file of validation records with data.val_path",
        )
    if errors and (on_bad_row == "error" or account.is_empty):
        raise cannot_be_rendered(errors, account.records)
    if overlong and renderer.overlong == "error":
        raise are_too_long(overlong)
    if account.is_empty:
        raise all_are_too_long(overlong, files)
    return account
