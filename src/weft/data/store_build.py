"""From the blocks of a source to a file of examples, by one process or by several that share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weft.data.columns import Columns, joined
from weft.data.conversation_reader import ConversationReader, Tally
from weft.data.example_file import ExampleDigest, ExampleWriter
from weft.data.render import Renderer
from weft.data.shortcut import ShortcutWrong
from weft.data.split import Portion
from weft.data.store_account import BlockAccount
from weft.garbage import collecting_seldom


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where conversations come from."""

    reader: ConversationReader
    portion: Portion | None
    """Which of them; None for all."""
    reports_bad_rows: bool
    """Whether rows that cannot be used are told here."""


def encoded(
    source: Source,
    renderer: Renderer,
    on_bad_row: Literal["error", "drop"],
    mine: Callable[[int], bool] | None = None,
) -> Iterator[tuple[int, BlockAccount, Columns]]:
    """The blocks of a source with their examples; ``mine`` as for the reader.

    Where rows that cannot be used are an error, nothing is encoded behind the first: all that is left to do is to find the
    others.
    """
    is_refused = False
    for block in source.reader.blocks(mine, source.portion):
        is_refused = is_refused or (on_bad_row == "error" and bool(block.bad_rows))
        renderings = [] if is_refused else renderer.render_batch(block.conversations)
        columns = joined(part for rendering in renderings for part in rendering.parts)
        yield block.number, BlockAccount.of(block, renderings, columns, renderer.stop_ids), columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What several processes may share: the encoding of one source."""

    source: Source
    renderer: Renderer
    on_bad_row: Literal["error", "drop"]

    def do(
        self, path: Path, mine: Callable[[int], bool] | None = None, progress: Callable[[int], None] | None = None
    ) -> Done:
        """Encode the blocks that are ``mine`` into the file ``path``; ``progress`` is told how many rows are done.

        Raises:
            DataError: a file cannot be read.
            ShortcutWrong: everything is to be made again.
            CannotShare: some blocks are for others, and only one process can do it.
        """
        blocks: dict[int, tuple[BlockAccount, bool]] = {}
        rows = 0
        digest = None if mine else ExampleDigest()
        known = self.renderer.disproved
        with collecting_seldom(), ExampleWriter(path, self.source.reader.files) as writer:
            for number, account, columns in encoded(self.source, self.renderer, self.on_bad_row, mine):
                if (reason := self.renderer.disproved) and reason != known:
                    raise ShortcutWrong(reason)
                blocks[number] = account, len(columns) > 0
                if len(columns):
                    batch = writer.write(columns)
                    if digest:
                        digest.update(batch)
                rows += account.conversations + len(account.bad_rows)
                if progress:
                    progress(rows)
        fingerprint = digest.hexdigest() if digest else ""
        return Done(path=path, blocks=blocks, tally=self.source.reader.tally, fingerprint=fingerprint)


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What one process made."""

    path: Path
    """The file of examples: a batch for each block that has some, in order."""
    blocks: dict[int, tuple[BlockAccount, bool]]
    """By number: what became of a block, and whether it has examples."""
    tally: Tally
    fingerprint: str
    """Of the examples in the file; empty where they are a share of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one of several processes is told."""

    work: Work
    path: Path
    """The file to write."""
    claims: Path
    """The directory where blocks are claimed."""
    disproved: str | None
    """Why no shortcuts may be taken, if they may not: what a renderer has learnt does not travel with it."""

    def do(self, progress: Callable[[int], None] | None = None) -> Done:
        """Encode as many blocks as can be claimed."""
        if self.disproved:
            self.work.renderer.take_no_shortcuts(self.disproved)

        def mine(number: int) -> bool:
            try:
                (self.claims / str(number)).touch(exist_ok=False)
            except FileExistsError:
                return False
            return True

        return self.work.do(self.path, mine, progress)
