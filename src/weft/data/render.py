"""The one place where text becomes ids and a mask (laws 1 and 3).

Training, checking, evaluation and chat all come through here. A template prints a conversation as runs of context and of
trained text; each run is encoded apart, so that the ids of a prompt are a strict prefix of the ids of its training
example. Nothing is added that the template did not print, no matter what the tokenizer's own post-processor would add (a
BOS, for one): what is trained is what a server feeds that renders with the same template. The one exception is the EOS
that a template asks for where its turns have no closing token. Documents, which no template prints, are encoded as
:mod:`weft.data.documents` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from itertools import accumulate, compress
from typing import TYPE_CHECKING

import numpy as np

from weft.data.assemble import assemble
from weft.data.columns import Borders, Columns, Part, whole
from weft.data.documents import CUT, DocumentForm
from weft.data.draft import Batch, Draft, encodable, require_unicode
from weft.data.encoded import Encoded, counted
from weft.data.overlong import SPLIT, split, truncate
from weft.data.rendering import NothingTrained, Overlong, Rendering
from weft.data.row_error import RowError
from weft.data.runs import Runs, Stretch, stretches_of
from weft.disk import value_digest
from weft.errors import TemplateTooSlow, WeftError
from weft.types import Conversation, Document, Example, Location, Material, Message

if TYPE_CHECKING:
    from weft.config.data_schema import OverlongPolicy, TrainOn
    from weft.data.template import ChatTemplate, Printed
    from weft.data.tokenizer import Tokenizer


class Renderer:
    """Conversations and documents to examples, with one tokenizer and one template.

    Args:
        tokenizer: encodes.
        template: prints conversations; None where only documents are trained and the tokenizer has none.
        max_seq_len: the most tokens that an example may have.
        overlong: what becomes of longer ones (:mod:`weft.data.overlong`); ``error`` is for whoever reads the renderings.
        train_on: which tokens get a weight: those of every turn of the ``assistant``, those of its ``last_turn``, or ``all``
            but the first, which nothing before it could predict.
        documents: how documents become examples; None where none are trained.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        max_seq_len: int,
        *,
        overlong: OverlongPolicy = "drop",
        train_on: TrainOn = "assistant",
        documents: DocumentForm | None = None,
    ):
        self.tokenizer, self.template, self.max_seq_len = tokenizer, template, max_seq_len
        self.overlong, self.train_on, self.documents = overlong, train_on, documents
        self._beside = 1.0 if train_on == "all" else 0.0
        """What a token counts that is not the model's to say."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything besides the records that decides on ids and weights."""
        template = self.template and [self.template.source, self.template.prompt_mismatch]
        choices = [self.max_seq_len, self.overlong, self.train_on, self.documents and asdict(self.documents)]
        parts = [template, self.tokenizer.fingerprint, *choices]
        return value_digest(parts)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end an answer: the tokenizer's stops, and the control tokens with which the template closes turns."""
        return self.tokenizer.stopping_ids(self.template.stop_strings if self.template else ())

    @property
    def disproved(self) -> str | None:
        """What showed that the shortcuts taken so far were none; None where nothing did.

        What is rendered from then on is right. What was rendered before should be rendered again.
        """
        return (self.template and self.template.disproved) or self.tokenizer.disproved

    def take_no_shortcuts(self, reason: str) -> None:
        """Print and encode everything in full."""
        if self.template:
            self.template.take_no_shortcuts(reason)
        self.tokenizer.take_no_shortcuts(reason)

    def render(self, conversation: Material) -> list[Example]:
        """The examples of one conversation: one, or one per turn where the template rewrites its history, or per part; or the
        blocks of a document.

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

    def render_batch(self, materials: Sequence[Material]) -> list[Rendering]:
        """What becomes of each conversation or document; problems are returned, not raised. Many at once are faster."""
        conversations = [one for one in materials if isinstance(one, Conversation)]
        if len(conversations) == len(materials):
            return self._render_talks(conversations)
        talks = iter(self._render_talks(conversations))
        documents = iter(self._render_documents([one for one in materials if isinstance(one, Document)]))
        return [next(documents if isinstance(one, Document) else talks) for one in materials]

    def _render_documents(self, documents: Sequence[Document]) -> list[Rendering]:
        form = self.documents
        assert form or not documents, "who reads documents says how they are rendered"
        if not form:
            return []
        errors = [_unusable(document) for document in documents]
        usable = [one.text for one, error in zip(documents, errors, strict=True) if not error]
        encoded = iter(form.ids(usable, self.tokenizer))
        return [
            Rendering(location=document.location, error=error, document=True)
            if error
            else self._in_blocks(document.location, next(encoded), form)
            for document, error in zip(documents, errors, strict=True)
        ]

    def _in_blocks(self, location: Location, ids: np.ndarray, form: DocumentForm) -> Rendering:
        if len(ids) < 2:
            nothing = RowError("nothing in it is trained", where=location, fix="leave it out")
            return Rendering(location=location, error=nothing, document=True)
        kept = ids[: form.limit]
        blocks = form.blocks(kept, location)
        return Rendering(
            location=location,
            parts=(whole(Columns.of(blocks)),),
            shortened=(CUT,) if len(kept) < len(ids) else (),
            document=True,
        )

    def _render_talks(self, conversations: Sequence[Conversation]) -> list[Rendering]:
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
        if any(part.error and not isinstance(part.error, NothingTrained) for part in parts):
            return whole
        fitting = [part for part in parts if part.parts]
        return Rendering(
            location=conversation.location,
            parts=tuple(columns for part in fitting for columns in part.parts),
            overlong=tuple(problem for part in parts for problem in part.overlong),
            shortened=(SPLIT,) if fitting else (),
            notes=tuple(note for part in fitting for note in part.notes),
        )

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendering]:
        drafts = [self._print(conversation) for conversation in conversations]
        try:
            return self._encode(drafts)
        except UnicodeEncodeError:
            return self._encode(list(map(encodable, drafts)))

    def _encode(self, drafts: Sequence[Draft]) -> list[Rendering]:
        """What becomes of conversations as they are printed.

        Raises:
            UnicodeEncodeError: one of them holds text that is no Unicode.
        """
        texts = [text for draft in drafts for text in draft.texts]
        if not texts:
            return [Rendering(location=draft.location, error=draft.error) for draft in drafts]
        runs = [each for draft in drafts for each in draft.runs]
        encoded = self.tokenizer.encode_flat(
            [parts for each in runs for parts in each.parts],
            [continues for each in runs for continues in each.frame.continues],
        )
        columns, borders, is_open = assemble(
            encoded,
            [each.frame for each in runs],
            [draft.location for draft in drafts for _ in draft.texts],
            eos_id=self.tokenizer.eos_id,
            beside=self._beside,
        )
        is_apart = is_open | (np.diff(columns.ends, prepend=0) > self.max_seq_len)
        batch = Batch(columns, borders, (is_apart | [each.are_weighed for each in runs]).tolist(), texts, encoded)
        ends = list(accumulate(len(draft.texts) for draft in drafts))
        return [
            self._rendering(draft, batch, start, end)
            for draft, start, end in zip(drafts, [0, *ends], ends, strict=False)
        ]

    def _rendering(self, draft: Draft, batch: Batch, start: int, end: int) -> Rendering:
        """What became of a conversation; its texts are those from ``start`` to ``end``."""
        notes = draft.texts[0].notes if end - start == 1 else tuple(note for text in draft.texts for note in text.notes)
        if True not in batch.is_apart[start:end]:
            parts = (Part(batch.columns, start, end, batch.borders),) if start < end else ()
            return Rendering(location=draft.location, parts=parts, error=draft.error, notes=notes)
        found: list[Part] = []
        overlong: list[Overlong] = []
        shortened: list[str] = []
        for number in range(start, end):
            if not batch.is_apart[number]:
                found.append(Part(batch.columns, number, number + 1, batch.borders))
                continue
            fitted, how = self._fitted(self._encoded(batch.texts[number], batch.ids_of(number)), draft.location)
            if isinstance(fitted, Overlong):
                overlong.append(fitted)
            else:
                example = Example(ids=fitted.ids, loss_weights=fitted.weights, location=draft.location)
                borders = Borders(np.array(fitted.borders, np.int64), np.array([len(fitted.borders)]))
                found.append(whole(Columns.of([example]), borders))
            if how:
                shortened.append(how)
        return Rendering(
            location=draft.location,
            parts=tuple(found),
            overlong=tuple(overlong),
            shortened=tuple(shortened),
            notes=notes,
        )

    def texts(self, material: Material) -> tuple[Printed, ...]:
        """The examples of a conversation as text, whatever their length; those of which nothing is trained are left out. Or a
        document.

        Raises:
            TemplateError: the template does not print this conversation.
        """
        if isinstance(material, Document):
            assert self.documents, "who reads documents says how they are rendered"
            return (self.documents.printed(material),)
        return tuple(text for text in self._printed(material) if self._trains(text, text.runs()))

    def _printed(self, conversation: Conversation) -> tuple[Printed, ...]:
        assert self.template, "conversations are printed by a template"
        return self.template.examples(conversation, last_turn=self.train_on == "last_turn")

    def _is_trained(self, stretch: Stretch) -> bool:
        """Whether something in a stretch counts."""
        if not stretch.weights:
            return stretch.trained or self._beside > 0
        usual = stretch.trained or self._beside > 0
        if usual and sum(end - start for start, end, _ in stretch.weights) < len(stretch.run.text) - stretch.shift:
            return True
        return any(weight for *_, weight in stretch.weights)

    def prompt_ids(self, messages: Sequence[Message]) -> np.ndarray:
        """What inference feeds to get the next answer: int32 [T], ending with the generation prompt.

        For a first turn it is a strict prefix of the training example's ids. For later turns it is too where the template
        cuts a prompt as it cuts an example and the tokenizer puts no space behind control tokens; this is not claimed.
        """
        assert self.template, "conversations are printed by a template"
        stretches = stretches_of(self.template.prompt(messages))
        require_unicode(part for stretch in stretches for part in stretch.run.parts)
        encoded = self.tokenizer.encode_batch([stretch.run for stretch in stretches])
        runs = [run[stretch.skip :] for stretch, run in zip(stretches, encoded, strict=True)]
        return np.concatenate([np.empty(0, np.int32), *runs])

    def _print(self, conversation: Conversation) -> Draft:
        """The conversation as the template prints it, with the runs to encode; or why it cannot be used."""
        try:
            texts = self._printed(conversation)
            runs = [text.runs() for text in texts]
            trains = list(map(self._trains, texts, runs))
            if False in trains:
                texts, runs = tuple(compress(texts, trains)), list(compress(runs, trains))
            if not texts:
                raise NothingTrained
        except TemplateTooSlow:
            raise
        except WeftError as error:
            return Draft(conversation.location).refused(error)
        return Draft(conversation.location, texts, runs)

    def _trains(self, text: Printed, runs: Runs) -> bool:
        """Whether something of an example counts."""
        if runs.are_weighed:
            return any(map(self._is_trained, text.stretches))
        return True in runs.frame.trained or (self._beside > 0 and bool(runs.parts))

    def _encoded(self, text: Printed, encoded: Sequence[np.ndarray]) -> Encoded:
        """The ids, up to the last one that counts, with what each counts.

        Args:
            text: the example.
            encoded: the ids of its runs.
        """
        stretches = text.stretches
        found = [run[each.skip :] if each.skip else run for each, run in zip(stretches, encoded, strict=True)]
        borders: list[int] = []
        runs: list[tuple[int, int]] = []
        given: list[tuple[int, int, float]] = []
        end = 0
        for stretch, run in zip(stretches, found, strict=True):
            start, end = end, end + len(run)
            borders.append(start)
            if stretch.trained and end > start:
                runs.append((start, end))
            if stretch.weights:
                given += self._given(stretch, start, end)
        if text.append_eos:
            found.append(np.array([self.tokenizer.eos_id], np.int32))
            start = runs.pop()[0] if runs and runs[-1][1] == end else end
            runs.append((start, end + 1))
            given += [(end, end + 1, weight) for _, last, weight in given[-1:] if last == end]
        return counted(np.concatenate(found), borders, runs, given, beside=self._beside)

    def _given(self, stretch: Stretch, start: int, end: int) -> Iterator[tuple[int, int, float]]:
        """Which ids of a stretch, whose ids are those from ``start`` to ``end``, count what its record says."""
        *_, (first, last, weight) = stretch.weights
        if last - first == len(stretch.run.text) - stretch.shift:
            yield start, end, weight
            return
        places = self.tokenizer.places(stretch.run)[stretch.skip :]
        for first, last, weight in stretch.weights:
            inside = [number for number, place in enumerate(places, start) if place[0] < last and place[1] > first]
            if inside:
                yield inside[0], inside[-1] + 1, weight

    def _fitted(self, encoded: Encoded, location: Location) -> tuple[Encoded | Overlong, str | None]:
        """What is trained of it, and how it was made to fit; or that it is too long."""
        if len(encoded.ids) <= self.max_seq_len:
            return encoded, None
        if self.overlong == "truncate":
            decode = partial(self.tokenizer.decode, skip_control=False)
            if shorter := truncate(encoded, self.max_seq_len, self.stop_ids, decode):
                return shorter
        return Overlong(len(encoded.ids), self.max_seq_len, location), None


def _unusable(document: Document) -> RowError | None:
    """Why a document cannot be encoded."""
    try:
        require_unicode([document.text])
    except RowError as error:
        error.where = document.location
        return error
    return None
