"""Deriving once for many conversations: a plan per sequence of roles.

Most conversations of the same roles are printed alike but for their contents. So the derivation runs once on placeholders; a
record then costs one render per example and one per generation prompt, each of which must equal the plan's text with the
record's contents in it. Where one does not, and for contents that a template may look into, the derivation runs in full. The
results are the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from weft.data.control import ControlTokens
from weft.data.derive import Derived, Rendered, derive
from weft.data.printer import PLACEHOLDER, Printer, Variant, placeholder
from weft.data.said import is_text_only
from weft.data.turns import Chat
from weft.errors import TemplateError
from weft.types import Message, Role, Segment


class Planner:
    """Derives examples, by plan where that is proved to be the same.

    Args:
        printer: the template.
        control: the tokenizer's control tokens.
        by_tag, last_turn: as for :func:`weft.data.derive.derive`.
    """

    def __init__(
        self, printer: Printer, control: ControlTokens, *, by_tag: bool = True, last_turn: bool = False
    ) -> None:
        self._printer, self._control, self._by_tag, self._last_turn = printer, control, by_tag, last_turn
        self._plans: dict[tuple[Role, ...], tuple[_ExamplePlan, ...] | None] = {}

    def examples(self, messages: Sequence[Message]) -> tuple[Rendered, ...]:
        """As :func:`weft.data.derive.derive`, without its evidence, and with the note ``prompt-varies``."""
        return self._by_plan(messages) or self._in_full(messages)

    def _in_full(self, messages: Sequence[Message]) -> tuple[Rendered, ...]:
        plans = self._plan_for(tuple(message.role for message in messages)) or ()
        usual: dict[int, _Start] = {}
        for plan in plans:
            usual |= _starts([(count, variant) for count, variant, _ in plan.prompts], plan.notes)
        examples = []
        for derived in self._derive(messages):
            rendered = derived.rendered
            starts = _starts(derived.prompts, rendered.notes)
            if any(usual.get(count, start) != start for count, start in starts.items()):
                rendered = replace(rendered, notes=(*rendered.notes, "prompt-varies"))
            examples.append(rendered)
        return tuple(examples)

    def _derive(self, messages: Sequence[Message]) -> tuple[Derived, ...]:
        chat = Chat(self._printer, self._control, messages)
        return derive(chat, by_tag=self._by_tag, last_turn=self._last_turn)

    def _by_plan(self, messages: Sequence[Message]) -> tuple[Rendered, ...]:
        """Nothing where there is no plan, or where it does not hold for these contents."""
        selects = self._by_tag and self._printer.template.is_tagged  # what the tag selects is not seen in the text
        if selects or not all(map(self._is_plain, messages)):
            return ()
        contents = [message.content for message in messages]
        examples = []
        for plan in self._plan_for(tuple(message.role for message in messages)) or ():
            if not plan.holds(self._printer, messages, contents):
                return ()
            examples.append(plan.fill(contents))
        return tuple(examples)

    def _is_plain(self, message: Message) -> bool:
        """Whether it is a role and a content in which a template has nothing to trim or to look for."""
        content = message.content
        if not is_text_only(message):
            return False
        return content != "" and not (content[0].isspace() or content[-1].isspace() or self._control.occur_in(content))

    def _plan_for(self, roles: tuple[Role, ...]) -> tuple[_ExamplePlan, ...] | None:
        if roles not in self._plans:
            self._plans[roles] = self._make_plan([placeholder(role, number) for number, role in enumerate(roles)])
        return self._plans[roles]

    def _make_plan(self, messages: Sequence[Message]) -> tuple[_ExamplePlan, ...] | None:
        try:
            return tuple(_ExamplePlan.of(derived, self._printer, messages) for derived in self._derive(messages))
        except TemplateError:  # the template may still print real contents; and if not, the error names the record
            return None


_Start = tuple[Variant, bool]
"""Where a turn begins: behind the prompt of this variant, or (True) where that and what is printed part."""


def _starts(prompts: Sequence[tuple[int, Variant]], notes: Sequence[str]) -> dict[int, _Start]:
    """Where each turn of an example begins, by the number of messages before it; only the last can part from its prompt."""
    starts = {count: (variant, False) for count, variant in prompts}
    count, variant = prompts[-1]
    return starts | {count: (variant, "prompt-mismatch" in notes)}


class _Pattern:
    """A text with places for contents."""

    def __init__(self, text: str) -> None:
        self._parts = PLACEHOLDER.split(text)
        self.numbers = [int(number) for number in self._parts[1::2]]
        """Which message's content stands in each place."""

    def fill(self, contents: Sequence[str]) -> str:
        parts = self._parts.copy()
        parts[1::2] = [contents[number] for number in self.numbers]
        return "".join(parts)


class _SegmentPattern:
    """A segment with places for contents."""

    def __init__(self, segment: Segment) -> None:
        self._trained, self._pattern = segment.trained, _Pattern(segment.text)
        places = [match.span() for match in PLACEHOLDER.finditer(segment.text)]
        self._control = []
        """For each control token: how many contents stand before it, and its span were they all empty."""
        for start, end in segment.control:
            before = [(a, b) for a, b in places if b <= start]
            removed = sum(b - a for a, b in before)
            self._control.append((len(before), start - removed, end - removed))

    def fill(self, contents: Sequence[str]) -> Segment:
        lengths = [0]
        for number in self._pattern.numbers:
            lengths.append(lengths[-1] + len(contents[number]))
        return Segment(
            text=self._pattern.fill(contents),
            trained=self._trained,
            control=tuple((start + lengths[n], end + lengths[n]) for n, start, end in self._control),
        )


@dataclass(frozen=True, slots=True)
class _ExamplePlan:
    """One example of a plan, and the renders that prove it."""

    segments: tuple[_SegmentPattern, ...]
    append_eos: bool
    notes: tuple[str, ...]
    count: int
    dialogue: _Pattern
    """The first ``count`` messages as they are printed."""
    prompts: tuple[tuple[int, Variant, _Pattern], ...]
    """For each turn: how many messages stand before it, and its generation prompt."""

    @classmethod
    def of(cls, derived: Derived, printer: Printer, messages: Sequence[Message]) -> _ExamplePlan:
        rendered = derived.rendered
        return cls(
            tuple(map(_SegmentPattern, rendered.segments)),
            rendered.append_eos,
            rendered.notes,
            derived.count,
            _Pattern(printer.dialogue(messages[: derived.count])),
            tuple(
                (count, variant, _Pattern(printer.prompt(messages[:count], variant)))
                for count, variant in derived.prompts
            ),
        )

    def holds(self, printer: Printer, messages: Sequence[Message], contents: Sequence[str]) -> bool:
        try:
            return printer.dialogue(messages[: self.count]) == self.dialogue.fill(contents) and all(
                printer.prompt(messages[:count], variant) == pattern.fill(contents)
                for count, variant, pattern in self.prompts
            )
        except TemplateError:
            return False

    def fill(self, contents: Sequence[str]) -> Rendered:
        return Rendered(
            segments=tuple(segment.fill(contents) for segment in self.segments),
            append_eos=self.append_eos,
            notes=self.notes,
        )
