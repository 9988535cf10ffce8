"""Documents → ids, and ids → blocks: what continued pretraining sees.

A document is encoded as the model's own tokenizer encodes a text, behind the token that it puts before every text, if it does (a
BOS), and followed by the token that ends a text: the EOS. Where the chat template closes turns with the EOS, as those of many
chat models do, and the model names another token that stops generation, it is that one, because an answer's end is not the end
of a text. Every token that has one before it is trained.

The model sees at most ``block_size`` tokens of a document at once. One that is longer becomes several blocks; each but the first
begins with the last token of the block before, as context, so that every token is trained, and once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weft.data.derive import Rendered
from weft.data.long_text import encode_texts
from weft.errors import ConfigError
from weft.types import Document, Example, Location, Segment

if TYPE_CHECKING:
    from weft.config.schema import Config
    from weft.data.store import ExampleStore, SourceFile
    from weft.data.template import ChatTemplate
    from weft.data.tokenizer import Tokenizer

CUT = "cut after the tokens of pack_factor blocks"
"""How a document was shortened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentForm:
    """How documents become examples."""

    opening: str
    """The control token before each document; empty for none."""
    closing: str
    """The control token behind each."""
    block_size: int
    """The most tokens of an example."""
    pack_factor: float | None = None
    """The most blocks that a document gives the tokens of; None for all of it."""

    @property
    def limit(self) -> int | None:
        """The most tokens of a document; None for all of them."""
        return None if self.pack_factor is None else int(self.pack_factor * (self.block_size - 1)) + 1

    def printed(self, document: Document) -> Rendered:
        """A document as the model reads it."""
        opening = Segment(text=self.opening, trained=False, control=((0, len(self.opening)),))
        end = len(document.text)
        text = Segment(text=document.text + self.closing, trained=True, control=((end, end + len(self.closing)),))
        return Rendered(segments=(opening, text) if self.opening else (text,), append_eos=False, notes=())

    def ids(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[np.ndarray]:
        """int32 [T] for each text, the opening and closing tokens included."""
        before, after = ([tokenizer.control_id(token)] if token else [] for token in (self.opening, self.closing))
        ends = np.array(before, np.int32), np.array(after, np.int32)
        return [np.concatenate([ends[0], ids, ends[1]]) for ids in encode_texts(texts, tokenizer)]

    def blocks(self, ids: np.ndarray, location: Location) -> tuple[Example, ...]:
        """The examples of a document of these ``ids``, which are at least two."""
        return tuple(_block(ids[start:stop], location) for start, stop in block_spans(len(ids), self.block_size))


def document_form(config: Config, tokenizer: Tokenizer, template: ChatTemplate | None) -> DocumentForm | None:
    """How a run's documents become examples; None where it trains none."""
    if config.mode == "sft":
        return None
    return DocumentForm(
        opening=tokenizer.opening,
        closing=end_of_text(tokenizer, template),
        block_size=block_size(config),
        pack_factor=config.pack_factor,
    )


def block_size(config: Config) -> int:
    """The most tokens of a document that the model sees at once."""
    return config.block_size or config.model.max_seq_len


def longest_row(config: Config) -> int:
    """The most tokens of a row: those of a block where all rows are of documents."""
    return block_size(config) if config.mode == "cpt" else config.model.max_seq_len


def end_of_text(tokenizer: Tokenizer, template: ChatTemplate | None) -> str:
    """The token that ends a document; see the module."""
    of_turns = template.closing_strings if template else frozenset()
    return next((stop for stop in tokenizer.ordered_stops if stop not in of_turns), tokenizer.eos)


def block_spans(length: int, size: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of at most ``size`` tokens that cover ``length`` of them, at least two; each begins with the last
    token of the one before.
    """
    return ((start, min(start + size, length)) for start in range(0, length - 1, size - 1))


def require_both_kinds(config: Config, store: ExampleStore, files: tuple[SourceFile, ...]) -> None:
    """Refuse a mixture of documents and conversations without either.

    Raises:
        ConfigError: there is only one kind in the training sets that have a weight.
    """
    if config.mode != "cpt_mixed":
        return
    accounts = [store.report.sources[file.name] for file in files if file.weight != 0]
    blocks, examples = sum(one.blocks for one in accounts), sum(one.examples for one in accounts)
    if blocks in (0, examples):
        kind, other, mode = ("conversations", "documents", "cpt") if blocks else ("documents", "conversations", "sft")
        raise ConfigError(
            f"mode: cpt_mixed trains documents and conversations, but there are no {kind}",
            where="mode",
            fix=f"add some under datasets (with a weight above 0), or set mode: {mode} to train {other} alone",
        )


def _block(ids: np.ndarray, location: Location) -> Example:
    weights = np.ones(len(ids), np.float32)
    weights[0] = 0
    return Example(ids=ids, loss_weights=weights, location=location)
