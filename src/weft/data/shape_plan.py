"""Deriving once for many conversations: a plan per shape (:mod:`weft.data.shape`).

Most conversations of one shape are printed alike but for what they say. So the derivation runs once on stand-ins, under watch
(:mod:`weft.data.watch`). A record whose values are proved to be printed as they are then costs no render, but for a sample.
Where nothing is proved, contents alone cost one render per example and one per generation prompt, each of which must equal the
plan's text with the record's contents in it. Where one does not, and for values that a template may look into, the derivation
runs in full. The results are the same.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from weft.config.data_schema import PromptMismatch
from weft.data.call_ids import with_call_ids
from weft.data.control import ControlTokens
from weft.data.derive import Derived, Printed, Rendered, derive
from weft.data.placeholders import placeholder
from weft.data.printer import Printer, Variant
from weft.data.runs import Runs, Stretch
from weft.data.said import is_text_only
from weft.data.shape import Depth, examples, shape_of, stand_ins, without_place
from weft.data.shape_examples import ExamplePlan, Plan, trials_of
from weft.data.shape_pattern import Weights, word
from weft.data.shape_proof import Edges, Proof
from weft.data.turns import Chat
from weft.data.watch import WatchingTemplate
from weft.data.watched import LookedInto, Watch
from weft.data.watching import RecordingPrinter, WatchingPrinter
from weft.data.weighing import weighing_notes
from weft.errors import TemplateError
from weft.types import Message, Role, Segment

_TRIED_FIRST, _TRIED_OF = 16, 1024
"""Of the uses of proofs, the first ones and then one of so many are tried."""
_MOST_PLANS, _MOST_CHARACTERS = 512, 2**22
"""So many plans, and of so many characters, are kept."""
_SIGHTS, _LATER_SIGHTS, _MOST_SIGHTED = 2, 16, 2**14
"""A plan of more than contents is made when its shape is seen so often; and any plan so often where plans had to go already."""
_MESSAGES_A_SIGHT = 8
"""So many messages ask for one sight more: to make a plan takes as long as to derive some records, and long ones of one shape are
seldom."""
_DISPROVED = "the template prints some contents otherwise than it was proved to"

_Key = tuple[tuple[str, ...], Hashable]
"""Notes that examples of these conversations have anyhow, and their shape."""


class Planner:
    """Derives examples, by plan where that is proved to be the same.

    Args:
        printer: the template.
        control: the tokenizer's control tokens.
        by_tag, last_turn: as for :func:`weft.data.derive.derive`.
        mismatch: as for :class:`weft.data.turns.Chat`.

    Attributes:
        disproved: what a sample showed, where the template printed a record otherwise than was proved. Everything is derived
            in full then, and what was derived before should be derived again.
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
        self._selects = by_tag and printer.template.is_tagged  # what the tag selects is not seen in the text
        self._depth = Depth()
        self._plans: dict[_Key, Plan | None] = {}
        self._characters = 0
        self._sighted: dict[_Key, int] = {}
        self._sights = _SIGHTS
        self._usual_starts: dict[tuple[Role, ...], dict[int, _Start]] = {}
        self.disproved: str | None = None
        self._uses = 0

    def examples(self, messages: Sequence[Message]) -> tuple[Printed, ...]:
        """As :func:`weft.data.derive.derive`, without its evidence, and with the notes ``prompt-varies`` and ``call-ids``."""
        identified = with_call_ids(messages, self._printer.takes_call_id)
        notes = () if identified is messages else ("call-ids",)
        return self._by_plan(identified, notes) or self._in_full(identified, notes)

    def _in_full(self, messages: Sequence[Message], notes: tuple[str, ...] = ()) -> tuple[Rendered, ...]:
        usual = self._usual(tuple(message.role for message in messages))
        return tuple(_noted(one, usual, notes) for one in self._derive(self._printer, messages))

    def _derive(self, printer: Printer, messages: Sequence[Message]) -> tuple[Derived, ...]:
        chat = Chat(printer, self._control, messages, self._mismatch)
        return derive(chat, by_tag=self._by_tag, last_turn=self._last_turn)

    def _usual(self, roles: tuple[Role, ...]) -> dict[int, _Start]:
        """Where turns begin in plain conversations of these roles."""
        if roles not in self._usual_starts:
            if len(self._usual_starts) >= _MOST_SIGHTED:
                self._usual_starts.clear()
            starts: dict[int, _Start] = {}
            with suppress(TemplateError):  # the template may still print such conversations
                plain = [placeholder(role, number) for number, role in enumerate(roles)]
                for derived in self._derive(self._printer, plain):
                    starts |= _starts(derived)
            self._usual_starts[roles] = starts
        return self._usual_starts[roles]

    def _by_plan(self, messages: Sequence[Message], notes: tuple[str, ...]) -> tuple[Printed, ...]:
        """Nothing where there is no plan, or where it does not hold for these values."""
        found = None if self._selects or self.disproved else shape_of(messages, self._depth)
        if found is None:
            return ()
        shape, values = found
        plan = self._plan_for((notes, shape), messages)
        if plan is None or not _weigh_turns(messages, plan):
            return ()
        weights = [message.weight for message in messages]
        given = weights if any(weight is not None for weight in weights) else None
        texts = plan.covered(values, self._control)
        if texts is None:
            holds = plan.holds_on_trial(self._printer, messages, values, self._control)
            return tuple(_Filled(one, values, given) for one in plan.examples) if holds else ()
        filled = tuple(_Filled(one, texts, given) for one in plan.examples)
        self._uses += 1
        plan.uses += 1
        if plan.uses > 1 and self._uses > _TRIED_FIRST and self._uses % _TRIED_OF:
            return filled
        if plan.trials and plan.uses > 1:  # that is as good for contents alone, and quicker
            if plan.is_printed(self._printer, messages, texts):
                return filled
            self.disproved = _DISPROVED
            return ()
        in_full = self._in_full(messages, notes)
        if list(map(_outcome, in_full)) != list(map(_outcome, filled)):
            self.disproved = _DISPROVED
        return in_full

    def _plan_for(self, key: _Key, messages: Sequence[Message]) -> Plan | None:
        """The plan for conversations such as this one: of few contents at once, of more where it seems to be worth the while."""
        if key in self._plans:
            return self._plans[key]
        if len(self._sighted) >= _MOST_SIGHTED:
            self._sighted.clear()
        self._sighted[key] = self._sighted.get(key, 0) + 1
        is_simple = self._sights == _SIGHTS and all(map(is_text_only, messages))
        if self._sighted[key] < (1 if is_simple else self._sights) + len(messages) // _MESSAGES_A_SIGHT:
            return None
        del self._sighted[key]
        plan = self._plans[key] = self._make_plan(messages, key[0])
        self._characters += plan.size if plan else 0
        while len(self._plans) > _MOST_PLANS or (self._characters > _MOST_CHARACTERS and len(self._plans) > 1):
            oldest = self._plans.pop(next(iter(self._plans)))
            self._characters -= oldest.size if oldest else 0
            self._sights = _LATER_SIGHTS
        return plan

    @cached_property
    def _edges(self) -> Edges:
        return Edges(self._control.control)

    @cached_property
    def _watching(self) -> WatchingTemplate:
        template = self._printer.template
        return WatchingTemplate(template.source, template.name, template.moment, template.places, template.pace)

    def _make_plan(self, messages: Sequence[Message], notes: tuple[str, ...]) -> Plan | None:
        found = shape_of(messages, self._depth)
        assert found, "what has a key has a shape"
        values, is_plain = found[1], all(map(is_text_only, messages))
        kinds = examples(values)
        if kinds and any(map(_JSON_HIDES.search, self._control.control)):
            return None
        if self._printer.standing_prompt:  # texts are compared beside their white space then, which no proof covers
            return None
        watch = Watch()
        words = list(map(word, range(len(values))))
        others = list(map(str.swapcase, words))  # not those that the template may have of its own
        usual = self._usual(tuple(message.role for message in messages))

        def derived(printer: Printer, words: Sequence[str], *, have_strings: bool) -> list[Derived]:
            stand_for = stand_ins(messages, self._depth, words.__getitem__, have_strings=have_strings)
            return [replace(one, rendered=_noted(one, usual, notes)) for one in self._derive(printer, stand_for)]

        def watching() -> WatchingPrinter:
            return WatchingPrinter(self._printer, self._watching, watch, kinds)

        plan = None
        try:
            printer = RecordingPrinter(self._printer) if is_plain else watching()
            first = derived(printer, words, have_strings=True)
            if self._edges.may_cross(printer.printed, values, without_place(messages, self._depth)):
                return None
            plan = Plan.of(first, printer.printed, values, messages)
            if plan and is_plain:
                plan.trials = tuple(trials_of(printer, first, stand_ins(messages, self._depth, words.__getitem__)))
            again = derived(watching(), others, have_strings=False)
        except (
            TemplateError,
            LookedInto,
        ):  # the template may still print real values; and if not, the error names the record
            self._go_deeper(watch.opened, values, messages)
        else:
            if plan and not watch.looked_into and _are_alike(plan, first, again, others):
                plan.proof = Proof.of(watch)
        return plan if plan and (plan.proof or is_plain) else None

    def _go_deeper(self, opened: Iterable[int], values: Sequence[object], messages: Sequence[Message]) -> None:
        """Know conversations from now on by what the template looks into, where that may be the same in many."""
        setting = messages[0].setting
        definitions = [part for tool in (setting.tools if setting else ()) for part in (tool, tool.get("function"))]
        for number in opened:
            is_definition = any(values[number] is each for each in definitions)
            deeper = {"definitions": True} if is_definition else {"argument_names": True}
            self._depth = replace(self._depth, **deeper)


_JSON_HIDES = re.compile(r'["\\\x00-\x1f]')
"""What JSON writes otherwise: control tokens with it in them could not be seen there."""

_Start = tuple[Variant, bool]
"""Where a turn begins: behind the prompt of this variant, or (True) where that and what is printed part."""


def _starts(derived: Derived) -> dict[int, _Start]:
    """Where each turn of an example begins, by the number of messages before it; only the last can part from its prompt."""
    starts = {count: (variant, False) for count, variant in derived.prompts}
    count, variant = derived.prompts[-1]
    return starts | {count: (variant, "prompt-mismatch" in derived.rendered.notes)}


def _noted(derived: Derived, usual: Mapping[int, _Start], notes: tuple[str, ...]) -> Rendered:
    """The example, with its notes and those that do not come from its own derivation."""
    varies = any(usual.get(count, start) != start for count, start in _starts(derived).items())
    rendered = derived.rendered
    return replace(rendered, notes=(*rendered.notes, *(("prompt-varies",) if varies else ()), *notes))


def _outcome(example: Printed) -> tuple[object, ...]:
    return tuple(example.segments), example.append_eos, frozenset(example.notes)


def _are_alike(plan: Plan, first: Sequence[Derived], again: Sequence[Derived], words: Sequence[str]) -> bool:
    """Whether the plan, with these words, is what was derived ``again`` with them."""
    return [(one.count, one.prompts) for one in first] == [(one.count, one.prompts) for one in again] and [
        _outcome(_Filled(one, words, None)) for one in plan.examples
    ] == [_outcome(one.rendered) for one in again]


def _weigh_turns(messages: Sequence[Message], plan: Plan) -> bool:
    """Whether each weight that a message gives is that of a whole turn in the one example that there is, if there are any."""
    weighted = [number for number, message in enumerate(messages) if message.weight is not None]
    if not weighted:
        return True
    is_plain = all(map(is_text_only, messages))
    return is_plain and len(plan.examples) == 1 and all(plan.examples[0].is_turn(number) for number in weighted)


@dataclass(slots=True)
class _Filled:
    """An example by plan (:class:`weft.data.derive.Printed`), put together when it is asked for."""

    plan: ExamplePlan
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
