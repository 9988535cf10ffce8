"""What is derived once for all conversations of a shape, and for which of them it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weft.data.control import ControlTokens
from weft.data.derive import Derived, Printed
from weft.data.example_plan import ExamplePlan, Filled, outcome
from weft.data.jinja import to_json
from weft.data.pieces import without_marks
from weft.data.printer import Printer, Variant
from weft.data.shape_pattern import WORD, Pattern, SegmentPattern, WeighablePattern
from weft.data.shape_proof import Partings, Proof, has_space_at_ends, written
from weft.data.watched import Written
from weft.errors import TemplateError
from weft.types import Message

_LONGEST_PROVED = 2**18
"""Characters of the values that a proof is used for: longer ones may meet the limits of the sandbox."""

_AS_IT_IS = Written()
_IN_A_TAG = re.compile(rf"</?\w*{WORD.pattern}")

Trial = tuple[int, Variant | None, Pattern]
"""How many messages are printed, with the prompt of a variant or (None) without one, and the text."""


def trials_of(printer: Printer, derived: Sequence[Derived], messages: Sequence[Message]) -> Iterator[Trial]:
    """What must be printed for contents as it is for these: what the model reads and says in each turn."""
    last = max(one.count for one in derived)
    for number, message in enumerate(messages[:last], 1):
        if message.role == "assistant":
            yield number, None, Pattern(printer.dialogue(messages[:number]))
    for count, variant in dict.fromkeys(prompt for one in derived for prompt in one.prompts):
        if count:  # nothing that is said stands before an answer that opens the conversation
            yield count, variant, Pattern(printer.prompt(messages[:count], variant))


@dataclass(kw_only=True)
class Plan:
    """What is derived from conversations of one shape."""

    examples: tuple[ExamplePlan, ...]
    partings: Partings
    objects: tuple[int, ...]
    """The values that are no texts."""
    spoken: tuple[int, ...]
    """The values that are more than white space: of that no place is found."""
    ending: tuple[int, ...]
    """The values behind which an EOS may follow: white space at their ends may be the template's or theirs."""
    messages: int
    """How many there are: so many values are contents."""
    are_glued: bool
    """Whether an answer follows another."""
    proof: Proof | None = None
    """None where nothing is proved."""
    trials: tuple[Trial, ...] = ()
    """By which contents that it is not proved for may be tried; none where there is more than contents, or words in these."""
    around: tuple[SegmentPattern, ...] = ()
    """Where control tokens may begin in the template's words and end in a value, or the other way round."""
    quotable: frozenset[int] = frozenset()
    """The values that a derivation finds also where they are JSON, or looks for nowhere."""
    weighable: tuple[WeighablePattern, ...] = ()
    """For each example, what of it counts what messages say; none where the plan is not for messages that say so."""
    uses: int = 0

    @classmethod
    def of(
        cls,
        derived: Sequence[Derived],
        printed: Iterable[str],
        values: Sequence[object],
        messages: Sequence[Message],
    ) -> Plan | None:
        """The plan from examples ``derived`` from stand-ins; None where the template has such words of its own.

        Args:
            derived: the examples.
            printed: all that was printed for them.
            values: those of a conversation of this shape.
            messages: that conversation.
        """
        texts = list(printed)
        rendered = [one.rendered for one in derived]
        if any(number >= len(values) for text in texts for number in Pattern(text).numbers):
            return None
        if any(without_marks(segment.text) != segment.text for one in rendered for segment in one.segments):
            return None  # what was printed with such characters in it was not remembered
        notes = {note for one in rendered for note in one.notes}
        if "prompt-mismatch" in notes and any(
            map(_IN_A_TAG.search, texts)
        ):  # a value may make a tag, which is never cut
            return None
        answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
        spoken = (*(number for number in answers if values[number]), *range(len(messages), len(values)))
        return cls(
            examples=tuple(map(ExamplePlan.of, rendered)),
            partings=Partings.of(texts, from_behind=not notes.isdisjoint(("spliced", "prompt-mismatch"))),
            objects=tuple(number for number, value in enumerate(values) if not isinstance(value, str)),
            spoken=spoken,
            ending=spoken if any(one.append_eos for one in rendered) else (),
            messages=len(messages),
            are_glued=any(number + 1 in answers for number in answers),
            weighable=tuple(map(_weighable_in, derived)),
        )

    def is_alike(self, first: Sequence[Derived], again: Sequence[Derived], words: Sequence[str]) -> bool:
        """Whether the plan, which was made of what was derived ``first``, is with these words what was derived ``again``."""
        return [(one.count, one.prompts) for one in first] == [(one.count, one.prompts) for one in again] and [
            outcome(Filled(one, words)) for one in self.examples
        ] == [outcome(one.rendered) for one in again]

    def weighs(self, texts: Sequence[str]) -> bool:
        """Whether what messages count is known, too, with these texts: white space at their ends is no part of it."""
        return self.weighable != () and not any(map(has_space_at_ends, texts))

    def filled(self, texts: Sequence[str], weights: Mapping[int, float]) -> tuple[Printed, ...]:
        """The examples with these texts, where messages say what they count, by their indices."""
        if weights:
            pairs = zip(self.examples, self.weighable, strict=True)
            return tuple(one.weighed(texts, weighable.fill(texts), weights) for one, weighable in pairs)
        return tuple(Filled(one, texts) for one in self.examples)

    @property
    def size(self) -> int:
        """Characters that it keeps."""
        return sum(one.size for one in self.examples) + sum(pattern.size for *_, pattern in self.trials)

    def covered(self, values: Sequence[Any], control: ControlTokens) -> list[str] | None:
        """The values as they are printed; None where they are not proved to be printed as the stand-ins are."""
        if self.proof is None:
            return None
        texts = list(values)
        if self.objects and not self._write(texts, control):
            return None
        self.proof.quote(texts)
        together = "".join(texts)  # which may hold control tokens that no text does: this way, one search will do
        if len(together) > _LONGEST_PROVED or (
            control.occur_in(together) and not self._may_say_control(texts, control)
        ):
            return None
        for number in self.spoken:
            if texts[number].isspace():
                return None
        for number in self.ending:
            if has_space_at_ends(texts[number]):
                return None
        for number in self.proof.without_space:
            texts[number] = texts[number].strip()
            if not texts[number]:
                return None
        return texts if self.partings.hold(texts) and self.proof.covers(texts) else None

    def _may_say_control(self, texts: Sequence[str], control: ControlTokens) -> bool:
        """Whether control tokens stand where a derivation takes them for words: in contents of which it knows the places, and
        which hold them when they are printed, too.

        Where an answer follows another, it looks for them between the two.
        """
        assert self.proof
        is_trimmed = control.may_be_trimmed and self.proof.without_space
        return not (self.are_glued or is_trimmed or any(map(control.occur_in, texts[self.messages :])))

    def quoted_in(self, values: Sequence[Any]) -> set[int]:
        """The numbers of texts that the template writes as JSON, where they look otherwise; of quotable ones alone."""
        if self.proof is None:
            return set()
        others = {
            value for number, value in enumerate(values) if number not in self.quotable and isinstance(value, str)
        }
        return {number for number in self.proof.quoted_in(values, self.quotable) if values[number] not in others}

    def _write(self, values: list[Any], control: ControlTokens) -> bool:
        """Put in place of objects what is written for them; not where that is no JSON, or holds control tokens."""
        try:
            for number in self.objects:
                value = values[number]
                values[number] = to_json(value)
                if control.occur_in_json(values[number]):
                    return False
                how = self._written.get(number, _AS_IT_IS)
                if how != _AS_IT_IS:
                    values[number] = written(value, how)
        except (TypeError, ValueError, RecursionError):  # an error of the template's, too
            return False
        return True

    @cached_property
    def _written(self) -> dict[int, Written]:
        assert self.proof
        return dict(self.proof.written)

    def holds_on_trial(
        self, printer: Printer, messages: Sequence[Message], contents: Sequence[Any], control: ControlTokens
    ) -> bool:
        """Whether these contents, for which nothing is proved, are printed as the stand-ins are."""
        if not self.trials or any(has_space_at_ends(content) or control.occur_in(content) for content in contents):
            return False
        return self.partings.hold(contents) and self.is_printed(printer, messages, contents)

    def is_printed(self, printer: Printer, messages: Sequence[Message], contents: Sequence[str]) -> bool:
        """Whether these contents are printed as the stand-ins are, wherever that is tried."""
        try:
            return all(
                pattern.fill(contents)
                == (
                    printer.dialogue(messages[:count]) if variant is None else printer.prompt(messages[:count], variant)
                )
                for count, variant, pattern in self.trials
            )
        except TemplateError:
            return False


def _weighable_in(derived: Derived) -> WeighablePattern:
    text = "".join(segment.text for segment in derived.rendered.segments)
    return WeighablePattern(text, derived.weighable)
