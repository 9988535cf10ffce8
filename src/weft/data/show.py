"""Training examples for the eye: as text, as segments, and in stretches of tokens of one kind."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any

import numpy as np

from weft.config.schema import Config
from weft.data.common_fields import CommonField, refuse_slips
from weft.data.conversation_reader import ConversationReader
from weft.data.inputs import load_renderer, training_files
from weft.data.places import Paths
from weft.data.render import Renderer
from weft.data.rows import BadRow
from weft.data.store import SourceFile
from weft.data.style import effective_system_prompt
from weft.data.system_prompt import with_system_prompt
from weft.data.template import Printed, Rendered
from weft.data.tokenizer import Tokenizer
from weft.errors import ConfigError, TemplateTooSlow, WeftError
from weft.types import Conversation, Document, Example, Location, Material, Message, Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Neighbouring tokens of one kind, and what they add to the text."""

    text: str
    ids: tuple[int, ...]
    weight: float
    """What each of them counts in the loss."""
    control: bool
    begins: bool
    """Whether the first of them begins a run that was encoded apart from what goes before."""


@dataclass(frozen=True, kw_only=True)
class ShownExample:
    """An example and the text that it was encoded from."""

    printed: Printed
    example: Example
    stretches: tuple[Stretch, ...]
    borders: tuple[int, ...]
    """The ids with which the runs begin that were encoded apart."""
    left_out: bool
    """Whether it is too long to be trained."""

    def text(self, eos: str) -> str:
        """What the model reads."""
        return "".join(segment.text for segment in self.printed.segments) + (eos if self.printed.append_eos else "")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "location": str(self.example.location),
            "segments": segments_as_dicts(self.printed.segments),
            "append_eos": self.printed.append_eos,
            "notes": list(self.printed.notes),
            "ids": self.example.ids.tolist(),
            "loss_weights": self.example.loss_weights.tolist(),
            "borders": list(self.borders),
            "left_out": self.left_out,
        }


def show_training(config: Config, count: int) -> tuple[Renderer, list[ShownExample]]:
    """The examples of the first ``count`` training records, and the renderer that made them.

    They weigh what they weigh in training, their set's ``loss_weight`` included. Those that are too long are shown as they were
    made to fit, or whole where they are left out; of a document with several blocks the first and the last one. Those that
    cannot be used are passed over where ``on_bad_row`` is ``drop``, unless there are no others.

    Raises:
        WeftError: these records, or their files, the tokenizer or the template cannot be used.
    """
    if count < 1:
        raise ConfigError(
            "the number of records must be at least 1", where="-n", fix="leave it out to see the first one"
        )
    renderer = load_renderer(config)
    shown: list[list[ShownExample]] = []
    refused: list[WeftError] = []
    for file, material in _materials(config):
        try:
            shown.append(_examples(renderer, material, file.loss_weight))
        except TemplateTooSlow:
            raise
        except WeftError as error:
            if config.on_bad_row == "error":
                raise
            refused.append(error)
        if len(shown) == count:
            break
    if refused and not shown:
        raise refused[0]
    return renderer, list(chain.from_iterable(shown))


def _examples(renderer: Renderer, material: Material, loss_weight: float) -> list[ShownExample]:
    """What one conversation or document becomes."""
    if isinstance(material, Document):
        return _blocks(renderer, material, loss_weight)
    found = renderer.render_batch([material])[0]
    if not found.shortened:
        unlimited = Renderer(renderer.tokenizer, renderer.template, sys.maxsize, train_on=renderer.train_on)
        found = unlimited.render_batch([material])[0]
    if found.error:
        raise found.error
    examples = [_weighed(example, loss_weight) for example in found.examples]
    if found.shortened:
        return [
            _as_fitted(renderer.tokenizer, example, found.shortened, borders)
            for example, borders in zip(examples, found.borders, strict=True)
        ]
    return [
        ShownExample(
            printed=text,
            example=example,
            stretches=tuple(stretches(renderer.tokenizer, example, borders)),
            borders=borders,
            left_out=len(example.ids) > renderer.max_seq_len,
        )
        for text, example, borders in zip(renderer.texts(material), examples, found.borders, strict=True)
    ]


def _weighed(example: Example, loss_weight: float) -> Example:
    return replace(example, loss_weights=example.loss_weights * np.float32(loss_weight))


def stretches(tokenizer: Tokenizer, example: Example, borders: Sequence[int] = ()) -> list[Stretch]:
    """The example from its first token to its last, cut at ``borders`` as well.

    The text comes from the ids, not from the record: what the model reads is shown, whatever the tokenizer made of it.
    """
    ids: list[int] = example.ids.tolist()
    weights: list[float] = example.loss_weights.tolist()
    numbers = np.searchsorted(np.array(borders, np.int64), np.arange(len(ids)), side="right").tolist()
    kinds = zip(weights, (index in tokenizer.control_ids for index in ids), numbers, strict=True)
    found: list[Stretch] = []
    start, before = 0, ""
    for (weight, is_control, _), group in groupby(kinds):
        end = start + sum(1 for _ in group)
        # A stretch is decoded together with what goes before: some decoders drop the space at the start of a text.
        text = tokenizer.decode(ids[:end], skip_control=False)
        added = text[len(before) :] if text.startswith(before) else tokenizer.decode(ids[start:end], skip_control=False)
        found.append(
            Stretch(text=added, ids=tuple(ids[start:end]), weight=weight, control=is_control, begins=start in borders)
        )
        start, before = end, text
    return found


def _blocks(renderer: Renderer, document: Document, loss_weight: float) -> list[ShownExample]:
    """A document of one block, or the first and the last block of one."""
    blocks = [_weighed(block, loss_weight) for block in renderer.render(document)]
    if len(blocks) == 1:
        parts = tuple(stretches(renderer.tokenizer, blocks[0]))
        (printed,) = renderer.texts(document)
        return [ShownExample(printed=printed, example=blocks[0], stretches=parts, borders=(), left_out=False)]
    return [
        _as_fitted(renderer.tokenizer, blocks[number - 1], (f"block {number:,} of {len(blocks):,}",))
        for number in (1, len(blocks))
    ]


def _as_fitted(
    tokenizer: Tokenizer, example: Example, how: tuple[str, ...], borders: tuple[int, ...] = ()
) -> ShownExample:
    """An example that says less than its record, from the tokens that are left of it."""
    parts = tuple(stretches(tokenizer, example, borders))
    segments = tuple(
        Segment(
            text=part.text,
            trained=part.weight > 0,
            control=((0, len(part.text)),) if part.control else (),
            weights=((0, len(part.text), part.weight),) if part.weight not in (0, 1) else (),
        )
        for part in parts
    )
    printed = Rendered(segments=segments, append_eos=False, notes=tuple(dict.fromkeys(how)))
    return ShownExample(printed=printed, example=example, stretches=parts, borders=borders, left_out=False)


def question(config: Config, text: str) -> tuple[Message, ...]:
    """``text`` as a user would ask it in chat, below the system message that applies."""
    alone = Conversation(messages=(Message(role="user", content=text),), location=Location(path="the question"))
    return with_system_prompt(alone, effective_system_prompt(config)).messages


def segments_as_dicts(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {"text": one.text, "trained": one.trained, "control": one.control, "weights": one.weights} for one in segments
    ]


def _materials(config: Config) -> Iterator[tuple[SourceFile, Material]]:
    """The conversations or documents of the training files, each with the set that it is of."""
    found: list[tuple[Paths, Sequence[CommonField]]] = []
    for file in training_files(config):
        reader = ConversationReader(
            file.path,
            format=file.format,
            system_prompt=effective_system_prompt(config),
            source=file.name,
            seed=file.seed,
        )
        for material in _materials_of(reader, file, config):
            yield file, material
        found.append((file.path, reader.common))
    refuse_slips(found)


def _materials_of(reader: ConversationReader, file: SourceFile, config: Config) -> Iterator[Material]:
    """The conversations or documents of a source, of which no more is read than is asked for; all of it where a row cannot be
    used, so that all of these are named.
    """
    bad_rows: list[BadRow] = []
    for block in reader.blocks(portion=file.portion):
        bad_rows += block.bad_rows
        if not (bad_rows and config.on_bad_row == "error"):
            yield from block.conversations
    reader.refuse(bad_rows, config.on_bad_row)
