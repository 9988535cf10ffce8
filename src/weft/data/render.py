"""The one place where text becomes ids and a mask (laws 1 and 3).

Training, checking, evaluation and chat all come through here. A template prints a conversation as runs of context and of
trained text; each run is encoded apart, so that the ids of a prompt are a strict prefix of the ids of its training
example. Nothing is added that the template did not print, no matter what the tokenizer's own post-processor would add (a
BOS, for one): what is trained is what a server feeds that renders with the same template. The one exception is the EOS
that a template asks for where its turns have no closing token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from weft.config.schema import OverlongPolicy, TrainOn
from weft.data.formats import RowError
from weft.data.overlong import SPLIT, Encoded, split, truncate
from weft.data.runs import Stretch, stretches_of
from weft.errors import DataError, WeftError
from weft.types import Conversation, Example, Location, Message

if TYPE_CHECKING:
    from weft.data.template import ChatTemplate, Printed
    from weft.data.tokenizer import Tokenizer


class Overlong(DataError):
    """An example of more tokens than ``model.max_seq_len`` allows, which is left out."""

    def __init__(self, tokens: int, limit: int, where: Location):
        self.tokens, self.limit = tokens, limit
        super().__init__(
            f"the example has {tokens:,} tokens; {limit:,} are allowed",
            where=where,
            fix=f"set model.max_seq_len to {tokens} or more, or shorten the record (data.overlong can do that)",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """What became of one conversation."""

    location: Location
    examples: tuple[Example, ...] = ()
    overlong: tuple[Overlong, ...] = ()
    shortened: tuple[str, ...] = ()
    """How examples were made to fit, for each that was."""
    error: WeftError | None = None
    """Why the conversation gives no example at all, where it is not for length."""
    notes: tuple[str, ...] = ()
    """What the template's derivation found worth counting."""


class Renderer:
    """Conversations to examples, with one tokenizer and one template.

    Args:
        tokenizer: encodes.
        template: prints.
        max_seq_len: the most tokens that an example may have.
        overlong: what becomes of longer ones (:mod:`weft.data.overlong`); ``error`` is for whoever reads the renderings.
        train_on: which tokens get a weight: those of every turn of the ``assistant``, those of its ``last_turn``, or ``all``
            but the first, which nothing before it could predict.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        max_seq_len: int,
        *,
        overlong: OverlongPolicy = "drop",
        train_on: TrainOn = "assistant",
    ):
        self.tokenizer, self.template, self.max_seq_len = tokenizer, template, max_seq_len
        self.overlong, self.train_on = overlong, train_on

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything besides the records that decides on ids and weights."""
        choices = [self.max_seq_len, self.overlong, self.train_on]
        parts = [self.template.source, self.tokenizer.fingerprint, *choices]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end an answer: the tokenizer's stops, and the control tokens with which the template closes turns."""
        return self.tokenizer.stopping_ids(self.template.stop_strings)

    @property
    def disproved(self) -> str | None:
        """What showed that the shortcuts taken so far were none; None where nothing did.

        What is rendered from then on is right. What was rendered before should be rendered again.
        """
        return self.template.disproved or self.tokenizer.disproved

    def take_no_shortcuts(self, reason: str) -> None:
        """Print and encode everything in full."""
        self.template.take_no_shortcuts(reason)
        self.tokenizer.take_no_shortcuts(reason)

    def render(self, conversation: Conversation) -> list[Example]:
        """The examples of one conversation: one, or one per turn where the template rewrites its history, or per part.

        Raises:
            Overlong: an example is longer than ``max_seq_len``.
            RowError: an example trains nothing, or cannot be encoded.
            TemplateError: the template does not print this conversation.
        """
        rendering = self.render_batch([conversation])[0]
        for error in (rendering.error, *rendering.overlong):
            if error is not None:
                raise error
        return list(rendering.examples)

    def render_batch(self, conversations: Sequence[Conversation]) -> list[Rendering]:
        """What becomes of each conversation; problems are returned, not raised. Many at once are faster."""
        renderings = self._render(conversations)
        if self.overlong != "split_turns":
            return renderings
        return [
            self._split(conversation, rendering) if rendering.overlong else rendering
            for conversation, rendering in zip(conversations, renderings, strict=True)
        ]

    def _split(self, conversation: Conversation, whole: Rendering) -> Rendering:
        """The parts of a conversation that is too long; ``whole``, as it is, where one of them cannot be printed alone."""
        parts = split(
            conversation,
            lambda part: self._render([part])[0],
            lambda part: not part.overlong,
            only_last=self.train_on == "last_turn",
        )
        if any(part.error for part in parts):
            return whole
        fitting = [part for part in parts if not part.overlong]
        return Rendering(
            location=conversation.location,
            examples=tuple(example for part in fitting for example in part.examples),
            overlong=tuple(problem for part in parts for problem in part.overlong),
            shortened=(SPLIT,) if fitting else (),
            notes=tuple(note for part in fitting for note in part.notes),
        )

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendering]:
        printed = [self._print(conversation) for conversation in conversations]
        runs = [stretch.run for texts, _ in printed for _, stretches in texts for stretch in stretches]
        encoded = iter(self.tokenizer.encode_batch(runs))
        renderings = []
        for conversation, (texts, error) in zip(conversations, printed, strict=True):
            found = [
                self._fitted(self._encoded(text, stretches, islice(encoded, len(stretches))), conversation.location)
                for text, stretches in texts
            ]
            renderings.append(
                Rendering(
                    location=conversation.location,
                    examples=tuple(example for example, _ in found if isinstance(example, Example)),
                    overlong=tuple(problem for problem, _ in found if isinstance(problem, Overlong)),
                    shortened=tuple(how for _, how in found if how),
                    error=error,
                    notes=tuple(note for text, _ in texts for note in text.notes),
                )
            )
        return renderings

    def texts(self, conversation: Conversation) -> tuple[Printed, ...]:
        """The examples of a conversation as text, whatever their length.

        Raises:
            TemplateError: the template does not print this conversation.
        """
        return self.template.examples(conversation, last_turn=self.train_on == "last_turn")

    def prompt_ids(self, messages: Sequence[Message]) -> np.ndarray:
        """What inference feeds to get the next answer: int32 [T], ending with the generation prompt.

        For a first turn it is a strict prefix of the training example's ids. For later turns it is too where the template
        cuts a prompt as it cuts an example and the tokenizer puts no space behind control tokens; this is not claimed.
        """
        stretches = _encodable(stretches_of(self.template.prompt(messages)))
        encoded = self.tokenizer.encode_batch([stretch.run for stretch in stretches])
        runs = [run[stretch.skip :] for stretch, run in zip(stretches, encoded, strict=True)]
        return np.concatenate([np.empty(0, np.int32), *runs])

    def _print(self, conversation: Conversation) -> tuple[list[tuple[Printed, list[Stretch]]], WeftError | None]:
        """The conversation as the template prints it, with the runs to encode; or why it cannot be used."""
        try:
            printed = [(text, _encodable(text.stretches)) for text in self.texts(conversation)]
            for _, stretches in printed:
                if not any(stretch.trained for stretch in stretches):
                    raise RowError("nothing in it is trained", fix="give it an answer, or remove it")
        except WeftError as error:
            error.where = error.where or conversation.location
            return [], error
        return printed, None

    def _encoded(self, text: Printed, stretches: Sequence[Stretch], encoded: Iterable[np.ndarray]) -> Encoded:
        found = [run[each.skip :] if each.skip else run for each, run in zip(stretches, encoded, strict=True)]
        runs: list[tuple[int, int]] = []
        end = 0
        for stretch, run in zip(stretches, found, strict=True):
            start, end = end, end + len(run)
            if stretch.trained and end > start:
                runs.append((start, end))
        if text.append_eos:
            found.append(np.array([self.tokenizer.eos_id], np.int32))
            start = runs.pop()[0] if runs and runs[-1][1] == end else end
            runs.append((start, end + 1))
        return Encoded(ids=np.concatenate(found), runs=runs)

    def _fitted(self, encoded: Encoded, location: Location) -> tuple[Example | Overlong, str | None]:
        """The example, and how it was made to fit; or that it is too long."""
        if len(encoded.ids) <= self.max_seq_len:
            return self._example(encoded, location), None
        if self.overlong == "truncate":
            decode = partial(self.tokenizer.decode, skip_control=False)
            if shorter := truncate(encoded, self.max_seq_len, self.stop_ids, decode):
                return self._example(shorter[0], location), shorter[1]
        return Overlong(len(encoded.ids), self.max_seq_len, location), None

    def _example(self, encoded: Encoded, location: Location) -> Example:
        weights = np.zeros(len(encoded.ids), np.float32)
        for start, end in [(1, len(weights))] if self.train_on == "all" else encoded.runs:
            weights[start:end] = 1
        return Example(ids=encoded.ids, loss_weights=weights, location=location)


def _encodable(stretches: list[Stretch]) -> list[Stretch]:
    r"""The stretches, if their text is Unicode that can be written.

    Raises:
        RowError: one holds half of a surrogate pair, as a broken ``\ud83d`` escape in JSON leaves it.
    """
    for part in (part for stretch in stretches for part in stretch.run.parts):
        try:
            part.encode()
        except UnicodeEncodeError as error:
            half = part[error.start]
            raise RowError(
                "half a surrogate pair is no character", detail=repr(half), fix="correct its \\u escape"
            ) from None
    return stretches
