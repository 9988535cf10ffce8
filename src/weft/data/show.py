"""Training examples for the eye: as text, as segments, and in stretches of tokens of one kind."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from weft.config.schema import Config
from weft.data.inputs import load_renderer, training_files
from weft.data.render import Renderer
from weft.data.store import read_source
from weft.data.style import effective_system_prompt
from weft.data.system_prompt import with_system_prompt
from weft.data.template import Printed, Rendered
from weft.data.tokenizer import Tokenizer
from weft.errors import ConfigError
from weft.types import Conversation, Example, Location, Message, Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Neighbouring tokens of one kind, and what they add to the text."""

    text: str
    ids: tuple[int, ...]
    trained: bool
    control: bool


@dataclass(frozen=True, kw_only=True)
class ShownExample:
    """An example and the text that it was encoded from."""

    printed: Printed
    example: Example
    stretches: tuple[Stretch, ...]
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
            "left_out": self.left_out,
        }


def show_training(config: Config, count: int) -> tuple[Renderer, list[ShownExample]]:
    """The examples of the first ``count`` training records, and the renderer that made them.

    Those that are too long are shown as they were made to fit, or whole where they are left out.

    Raises:
        WeftError: these records, or their files, the tokenizer or the template cannot be used.
    """
    renderer = load_renderer(config)
    unlimited = Renderer(renderer.tokenizer, renderer.template, sys.maxsize, train_on=renderer.train_on)
    shown = []
    for conversation in _first(config, count):
        fitted = renderer.render_batch([conversation])[0]
        if fitted.shortened:
            shown += [_as_fitted(renderer.tokenizer, example, fitted.shortened) for example in fitted.examples]
            continue
        printed, examples = renderer.texts(conversation), unlimited.render(conversation)
        for text, example in zip(printed, examples, strict=True):
            parts = tuple(stretches(renderer.tokenizer, example))
            left_out = len(example.ids) > renderer.max_seq_len
            shown.append(ShownExample(printed=text, example=example, stretches=parts, left_out=left_out))
    return renderer, shown


def stretches(tokenizer: Tokenizer, example: Example) -> list[Stretch]:
    """The example from its first token to its last.

    The text comes from the ids, not from the record: what the model reads is shown, whatever the tokenizer made of it.
    """
    ids: list[int] = example.ids.tolist()
    trained = (example.loss_weights > 0).tolist()
    kinds = zip(trained, (index in tokenizer.control_ids for index in ids), strict=True)
    found, start, before = [], 0, ""
    for (is_trained, is_control), group in groupby(kinds):
        end = start + sum(1 for _ in group)
        # A stretch is decoded together with what goes before: some decoders drop the space at the start of a text.
        text = tokenizer.decode(ids[:end], skip_control=False)
        added = text[len(before) :] if text.startswith(before) else tokenizer.decode(ids[start:end], skip_control=False)
        found.append(Stretch(text=added, ids=tuple(ids[start:end]), trained=is_trained, control=is_control))
        start, before = end, text
    return found


def _as_fitted(tokenizer: Tokenizer, example: Example, how: tuple[str, ...]) -> ShownExample:
    """An example that says less than its record, from the tokens that are left of it."""
    parts = tuple(stretches(tokenizer, example))
    segments = tuple(
        Segment(text=part.text, trained=part.trained, control=((0, len(part.text)),) if part.control else ())
        for part in parts
    )
    printed = Rendered(segments=segments, append_eos=False, notes=tuple(dict.fromkeys(how)))
    return ShownExample(printed=printed, example=example, stretches=parts, left_out=False)


def question(config: Config, text: str) -> tuple[Message, ...]:
    """``text`` as a user would ask it in chat, below the system message that applies."""
    alone = Conversation(messages=(Message(role="user", content=text),), location=Location(path="the question"))
    return with_system_prompt(alone, effective_system_prompt(config)).messages


def segments_as_dicts(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """For JSON."""
    return [{"text": one.text, "trained": one.trained, "control": one.control} for one in segments]


def _first(config: Config, count: int) -> list[Conversation]:
    """The first conversations of the training files."""
    if count < 1:
        raise ConfigError(
            "the number of records must be at least 1", where="-n", fix="leave it out to see the first one"
        )
    system_prompt = effective_system_prompt(config)
    talks = (
        talk
        for file in training_files(config)
        for talk in read_source(file, on_bad_row=config.on_bad_row, system_prompt=system_prompt).conversations
    )
    return list(islice(talks, count))
