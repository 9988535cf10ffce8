"""From the blocks of a source to examples, by one process or by several that share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from weft.data.block_files import BlockFiles
from weft.data.columns import Columns, joined
from weft.data.conversation_reader import ConversationReader, Tally
from weft.data.render import Renderer
from weft.data.shortcut import ShortcutWrong
from weft.data.split import Portion
from weft.data.store_account import BlockAccount
from weft.garbage import collecting_seldom

_FOLDERS = _CLAIMS, _BLOCKS = "claims", "blocks"
"""Of what processes leave for each other."""


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
        self,
        put: Callable[[int, Columns], None],
        mine: Callable[[int], bool] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Done:
        """Encode the blocks that are ``mine``.

        Args:
            put: given the number of each of these blocks, and its examples.
            mine: as for the reader.
            progress: told how many rows are done.

        Raises:
            DataError: a file cannot be read.
            ShortcutWrong: everything is to be made again.
            CannotShare: some blocks are for others, and only one process can do it.
        """
        accounts: dict[int, BlockAccount] = {}
        rows = 0
        known = self.renderer.disproved
        with collecting_seldom():
            for number, account, columns in encoded(self.source, self.renderer, self.on_bad_row, mine):
                if (reason := self.renderer.disproved) and reason != known:
                    raise ShortcutWrong(reason)
                accounts[number] = account
                put(number, columns)
                rows += account.conversations + len(account.bad_rows)
                if progress:
                    progress(rows)
        return Done(accounts=accounts, tally=self.source.reader.tally)


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What became of the rows that one process, or all of them, read."""

    accounts: dict[int, BlockAccount]
    """Of the blocks, by number."""
    tally: Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What each of several processes is told."""

    work: Work
    folder: Path
    """Where they leave things for each other."""
    disproved: str | None
    """Why no shortcuts may be taken, if they may not: what a renderer has learnt does not travel with it."""

    @classmethod
    def of(cls, work: Work, folder: Path) -> Self:
        """The share of any process, in a ``folder`` that is empty."""
        for name in _FOLDERS:
            (folder / name).mkdir()
        return cls(work=work, folder=folder, disproved=work.renderer.disproved)

    @property
    def claims(self) -> Path:
        """The directory where blocks are claimed."""
        return self.folder / _CLAIMS

    @property
    def blocks(self) -> BlockFiles:
        """What is made."""
        return BlockFiles(self.folder / _BLOCKS, self.work.source.reader.files)

    def do(self, progress: Callable[[int], None], put: Callable[[int, Columns], None] | None = None) -> Done:
        """Encode as many blocks as can be claimed; ``put`` says where to, if not to :attr:`blocks`."""
        if self.disproved:
            self.work.renderer.take_no_shortcuts(self.disproved)

        def mine(number: int) -> bool:
            try:
                (self.claims / str(number)).touch(exist_ok=False)
            except FileExistsError:
                return False
            return True

        return self.work.do(put or self.blocks.put, mine, progress)
