"""Deriving once for many conversations: a plan per shape (:mod:`weft.data.shape`).

Most conversations of one shape are printed alike but for what they say. So the derivation runs once on stand-ins, under watch
(:mod:`weft.data.watch`). A record whose values are proved to be printed as they are then costs no render, but for a sample.
Where nothing is proved, contents alone cost one render per example and one per generation prompt, each of which must equal the
plan's text with the record's contents in it. Where one does not, and for values that a template may look into, the derivation
runs in full. The results are the same.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from weft.config.data_schema import PromptMismatch
from weft.data.call_ids import with_call_ids
from weft.data.control import ControlTokens
from weft.data.derive import Derived, Printed, Rendered, derive
from weft.data.example_plan import outcome
from weft.data.placeholders import placeholder
from weft.data.plan_making import PlanMaker
from weft.data.printer import Printer, Variant
from weft.data.said import is_text_only
from weft.data.shape import Depth, shape_of
from weft.data.shape_details import Details, details_of
from weft.data.shape_edges import Edges
from weft.data.shape_examples import Plan
from weft.data.turns import Chat
from weft.data.watch import WatchingTemplate
from weft.data.weighing import weights_of
from weft.errors import TemplateError
from weft.types import Message, Role

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
        (shape, values), depth = found, self._depth
        plan = self._plan_for((notes, shape), messages, values)
        if self._depth != depth:  # for want of which there is no plan: that was the sight of another shape, too
            found = shape_of(messages, self._depth)
            if found:
                self._sighted[notes, found[0]] = _LATER_SIGHTS + len(messages)
            return self._by_plan(messages, notes)
        if plan is None:
            return ()
        filled = self._proved(plan, messages, values, notes)
        if not (filled or self.disproved):
            filled = self._closely(plan, shape, messages, values, notes)
        if filled or self.disproved:
            return filled
        weights = weights_of(messages)
        holds = plan.holds_on_trial(self._printer, messages, values, self._control)
        return plan.filled(values, weights) if holds and (plan.weighable or not weights) else ()

    def _closely(
        self, plan: Plan, shape: Hashable, messages: Sequence[Message], values: Sequence[Any], notes: tuple[str, ...]
    ) -> tuple[Printed, ...]:
        """The examples by another plan, for such conversations as have the same details; nothing where there is none."""
        if plan.proof is None:
            return ()
        closer = details_of(messages, values, plan.proof.looked_for_in(values), plan.quoted_in)
        if closer is None or closer[0].cut(messages, self._control):
            return ()
        details, values = closer
        detailed = self._plan_for((notes, (shape, details)), messages, values, details)
        return self._proved(detailed, messages, values, notes) if detailed else ()

    def _proved(
        self, plan: Plan, messages: Sequence[Message], values: Sequence[Any], notes: tuple[str, ...]
    ) -> tuple[Printed, ...]:
        """The examples by this plan; nothing where it is not proved for these values."""
        texts = plan.covered(values, self._control)
        if texts is None or (plan.around and self._edges.are_crossed(plan.around, texts)):
            return ()
        weights = weights_of(messages)
        if weights and not plan.weighs(texts):
            return ()
        filled = plan.filled(texts, weights)
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
        if list(map(outcome, in_full)) != list(map(outcome, filled)):
            self.disproved = _DISPROVED
        return in_full

    def _plan_for(
        self, key: _Key, messages: Sequence[Message], values: Sequence[Any], details: Details | None = None
    ) -> Plan | None:
        """The plan for conversations such as this one: of few contents at once, of more where it seems to be worth the while."""
        if key in self._plans:
            return self._plans[key]
        if len(self._sighted) >= _MOST_SIGHTED:
            self._sighted.clear()
        self._sighted[key] = self._sighted.get(key, 0) + 1
        is_simple = self._sights == _SIGHTS and not details and all(map(is_text_only, messages))
        sights = 1 if is_simple else self._sights * (2 if details else 1)
        if self._sighted[key] < sights + len(messages) // _MESSAGES_A_SIGHT:
            return None
        del self._sighted[key]
        plan = self._plans[key] = self._make_plan(messages, values, key[0], details)
        self._characters += plan.size if plan else 0
        while len(self._plans) > _MOST_PLANS or (self._characters > _MOST_CHARACTERS and len(self._plans) > 1):
            oldest = self._plans.pop(next(iter(self._plans)))
            self._characters -= oldest.size if oldest else 0
            self._sights = _LATER_SIGHTS
        return plan

    @cached_property
    def _edges(self) -> Edges:
        return Edges(self._control)

    @cached_property
    def _watching(self) -> WatchingTemplate:
        template = self._printer.template
        return WatchingTemplate(template.source, template.name, template.moment, template.places, template.pace)

    def _make_plan(
        self, messages: Sequence[Message], values: Sequence[Any], notes: tuple[str, ...], details: Details | None
    ) -> Plan | None:
        usual = self._usual(tuple(message.role for message in messages))

        def derived(printer: Printer, messages: Sequence[Message]) -> list[Derived]:
            return [replace(one, rendered=_noted(one, usual, notes)) for one in self._derive(printer, messages)]

        maker = PlanMaker(
            printer=self._printer,
            template=self._watching,
            edges=self._edges,
            derive=derived,
            messages=messages,
            values=values,
            depth=self._depth,
            details=details,
        )
        plan = maker.make()
        self._depth = self._depth.deeper(maker.opened)  # know conversations from now on by what the template looks into
        return plan


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
