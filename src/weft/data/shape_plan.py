"""Deriving once for many conversations: a plan per sequence of roles.

Most conversations of the same roles are printed alike but for their contents. So the derivation runs once on placeholders.
A record whose contents are proved to be printed as they are (:mod:`weft.data.watch`) then costs no render, but for a sample.
Another costs one per example and one per generation prompt, each of which must equal the plan's text with the record's contents
in it. Where one does not, and for contents that a template may look into, the derivation runs in full. The results are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from weft.config.data_schema import PromptMismatch
from weft.data.call_ids import with_call_ids
from weft.data.control import ControlTokens
from weft.data.derive import Derived, Printed, Rendered, derive
from weft.data.printer import VARIANTS, Printer, Variant, placeholder
from weft.data.runs import Runs, Stretch
from weft.data.said import is_text_only
from weft.data.shape_pattern import Pattern, RunsPattern, SegmentPattern, StretchPattern, Weights
from weft.data.turns import Chat
from weft.data.watch import LookedInto, Watch
from weft.data.weighing import weighing_notes
from weft.errors import TemplateError
from weft.types import Message, Role, Segment

_TRIED_FIRST, _TRIED_OF = 16, 256
"""Of the uses of proofs, the first ones and then one of so many are tried."""
_MOST_CHARACTERS = 2**18
"""Of the contents that a proof is used for: longer ones may meet the limits of the sandbox."""


class Planner:
    """Derives examples, by plan where that is proved to be the same.

    Args:
        printer: the template.
        control: the tokenizer's control tokens.
        by_tag, last_turn: as for :func:`weft.data.derive.derive`.
        mismatch: as for :class:`weft.data.turns.Chat`.

    Attributes:
        disproved: what a sample showed, where the template printed contents otherwise than was proved. Proofs are not used
            any more then, and what was derived before should be derived again.
    """

    def __init__(
        self,
        printer: Printer,
        control: ControlTokens,
        *,
        by_tag: bool = True,
        last_turn: bool = False,
        mismatch: PromptMismatch = "template",
    ) -> None:
        self._printer, self._control, self._by_tag, self._last_turn = printer, control, by_tag, last_turn
        self._mismatch: PromptMismatch = mismatch
        self._plans: dict[tuple[Role, ...], tuple[_ExamplePlan, ...] | None] = {}
        self.disproved: str | None = None
        self._uses = 0

    def examples(self, messages: Sequence[Message]) -> tuple[Printed, ...]:
        """As :func:`weft.data.derive.derive`, without its evidence, and with the notes ``prompt-varies`` and ``call-ids``."""
        identified = with_call_ids(messages, self._printer.takes_call_id)
        if identified is not messages:
            return tuple(replace(one, notes=(*one.notes, "call-ids")) for one in self._in_full(identified))
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
        chat = Chat(self._printer, self._control, messages, self._mismatch)
        return derive(chat, by_tag=self._by_tag, last_turn=self._last_turn)

    def _by_plan(self, messages: Sequence[Message]) -> tuple[Printed, ...]:
        """Nothing where there is no plan, or where it does not hold for these contents."""
        selects = self._by_tag and self._printer.template.is_tagged  # what the tag selects is not seen in the text
        if selects or not all(map(self._is_plain, messages)):
            return ()
        plans = self._plan_for(tuple(message.role for message in messages)) or ()
        contents = [message.content for message in messages]
        if not _weigh_turns(messages, plans):
            return ()
        weights = [message.weight for message in messages]
        given = weights if any(weight is not None for weight in weights) else None
        examples: list[Printed] = []
        for plan in plans:
            if not self._holds(plan, messages, contents):
                return ()
            examples.append(_Filled(plan, contents, given))
        return tuple(examples)

    def _holds(self, plan: _ExamplePlan, messages: Sequence[Message], contents: Sequence[str]) -> bool:
        """Whether the template prints these contents as the plan does: by its proof, of which a sample is tried, or by trying."""
        if plan.continues_a_prompt(contents):
            return False
        if self.disproved or not plan.covers(contents):
            return not any(map(_has_space_at_ends, contents)) and plan.holds(self._printer, messages, contents)
        self._uses += 1
        if self._uses > _TRIED_FIRST and self._uses % _TRIED_OF:
            return True
        holds = plan.holds(self._printer, messages, contents)
        if not holds:
            self.disproved = "the template prints some contents otherwise than it was proved to"
        return holds

    def _is_plain(self, message: Message) -> bool:
        """Whether it is a role and a content, one of which nothing can be taken for the template's; and no answer with white
        space at its ends, which is left out where an EOS follows.
        """
        content = message.content
        if not is_text_only(message) or content == "" or self._control.occur_in(content):
            return False
        return message.role != "assistant" or not _has_space_at_ends(content)

    def _plan_for(self, roles: tuple[Role, ...]) -> tuple[_ExamplePlan, ...] | None:
        if roles not in self._plans:
            self._plans[roles] = self._make_plan([placeholder(role, number) for number, role in enumerate(roles)])
        return self._plans[roles]

    def _make_plan(self, messages: Sequence[Message]) -> tuple[_ExamplePlan, ...] | None:
        try:
            plans = tuple(_ExamplePlan.of(derived, self._printer, messages) for derived in self._derive(messages))
        except TemplateError:  # the template may still print real contents; and if not, the error names the record
            return None
        if any(number >= len(messages) for plan in plans for number in plan.numbers):
            return None  # the template has such words of its own
        return tuple(replace(plan, proof=plan.prove(self._printer.watching, messages)) for plan in plans)


_Start = tuple[Variant, bool]
"""Where a turn begins: behind the prompt of this variant, or (True) where that and what is printed part."""


def _starts(prompts: Sequence[tuple[int, Variant]], notes: Sequence[str]) -> dict[int, _Start]:
    """Where each turn of an example begins, by the number of messages before it; only the last can part from its prompt."""
    starts = {count: (variant, False) for count, variant in prompts}
    count, variant = prompts[-1]
    return starts | {count: (variant, "prompt-mismatch" in notes)}


def _weigh_turns(messages: Sequence[Message], plans: Sequence[_ExamplePlan]) -> bool:
    """Whether each weight that a message gives is that of a whole turn in the one example that there is, if there are any."""
    weighted = [number for number, message in enumerate(messages) if message.weight is not None]
    if not weighted:
        return True
    return len(plans) == 1 and all(plans[0].is_turn(number) for number in weighted)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Proof:
    """For which contents a plan is proved."""

    absent: tuple[str, ...]
    """They hold none of these."""
    trimmed: bool
    """And, if this is so, have no white space at their ends."""

    def covers(self, content: str) -> bool:
        if self.trimmed and _has_space_at_ends(content):
            return False
        return not any(text in content for text in self.absent)


def _has_space_at_ends(content: str) -> bool:
    return content[0].isspace() or content[-1].isspace()


@dataclass(frozen=True, slots=True)
class _ExamplePlan:
    """One example of a plan, and the renders that prove it."""

    segments: tuple[SegmentPattern, ...]
    stretches: tuple[StretchPattern, ...]
    runs: RunsPattern
    """The same as the stretches."""
    notes: tuple[str, ...]
    count: int
    dialogue: Pattern
    """The first ``count`` messages as they are printed."""
    prompts: tuple[tuple[int, Variant, Pattern], ...]
    """For each turn: how many messages stand before it, and its generation prompt."""
    openings: tuple[tuple[int, str], ...]
    """Messages, and characters with which they would begin as a generation prompt goes on that is not theirs."""
    proof: _Proof | None = None
    """None where nothing is proved."""

    @classmethod
    def of(cls, derived: Derived, printer: Printer, messages: Sequence[Message]) -> _ExamplePlan:
        rendered = derived.rendered
        return cls(
            tuple(map(SegmentPattern, rendered.segments)),
            tuple(map(StretchPattern, rendered.stretches)),
            RunsPattern(rendered.stretches, append_eos=rendered.append_eos),
            rendered.notes,
            derived.count,
            Pattern(printer.dialogue(messages[: derived.count])),
            tuple(
                (count, variant, Pattern(printer.prompt(messages[:count], variant)))
                for count, variant in derived.prompts
            ),
            tuple((count, opening) for count, _ in derived.prompts for opening in _openings(printer, messages, count)),
        )

    def prove(self, watching: Printer, messages: Sequence[Message]) -> _Proof | None:
        """For which contents the plan is what is printed, by the messages that it was made of."""
        watch = Watch()
        words = [message.content.swapcase() for message in messages]  # not those that the template may have of its own
        watched = [replace(message, content=watch.content(word)) for message, word in zip(messages, words, strict=True)]
        try:
            holds = self.holds(watching, watched, words)
        except LookedInto:
            return None
        if watch.looked_into or not holds:
            return None
        return _Proof(absent=tuple(sorted(watch.absent)), trimmed=watch.trimmed)

    @property
    def numbers(self) -> set[int]:
        """Of the messages whose contents stand somewhere."""
        return {
            number for pattern in (self.dialogue, *(each for _, _, each in self.prompts)) for number in pattern.numbers
        }

    def continues_a_prompt(self, contents: Sequence[str]) -> bool:
        """Whether an answer may begin as another generation prompt ends, which then would be its own."""
        return any(contents[number].startswith(opening) for number, opening in self.openings)

    def covers(self, contents: Sequence[str]) -> bool:
        """Whether the plan is proved for these contents."""
        is_short = sum(map(len, contents)) <= _MOST_CHARACTERS
        return self.proof is not None and is_short and all(map(self.proof.covers, contents))

    def holds(self, printer: Printer, messages: Sequence[Message], contents: Sequence[str]) -> bool:
        try:
            return printer.dialogue(messages[: self.count]) == self.dialogue.fill(contents) and all(
                printer.prompt(messages[:count], variant) == pattern.fill(contents)
                for count, variant, pattern in self.prompts
            )
        except TemplateError:
            return False

    def is_turn(self, number: int) -> bool:
        """Whether a message is a turn of its own that is trained."""
        return any(segment.is_turn(number) for segment in self.segments)


def _openings(printer: Printer, messages: Sequence[Message], count: int) -> Iterator[str]:
    """With which characters generation prompts go on where the answer to ``count`` messages begins."""
    before, found, _ = printer.dialogue(messages[: count + 1]).partition(messages[count].content)
    for variant in VARIANTS:
        try:
            prompt = printer.prompt(messages[:count], variant)
        except TemplateError:
            continue
        if found and prompt.startswith(before):
            yield from prompt[len(before) : len(before) + 1]


@dataclass(slots=True)
class _Filled:
    """An example by plan (:class:`weft.data.derive.Printed`), put together when it is asked for."""

    plan: _ExamplePlan
    contents: Sequence[str]
    weights: Weights
    """What each message says that it counts; None where none says anything."""

    @property
    def append_eos(self) -> bool:
        return self.plan.runs.frame.append_eos

    @property
    def notes(self) -> tuple[str, ...]:
        return self.plan.notes if self.weights is None else (*self.plan.notes, *weighing_notes(self.segments))

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(segment.fill(self.contents, self.weights) for segment in self.plan.segments)

    @property
    def stretches(self) -> list[Stretch]:
        return [stretch.fill(self.contents, self.weights) for stretch in self.plan.stretches]

    def runs(self) -> Runs:
        """As :meth:`weft.data.derive.Rendered.runs`."""
        if self.weights is not None:
            return Runs.of(self.stretches, append_eos=self.append_eos)
        return self.plan.runs.fill(self.contents)
