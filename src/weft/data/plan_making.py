"""Making a plan (:mod:`weft.data.shape_plan`): the derivation of stand-ins, and the proof of what it holds for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from operator import gt
from typing import Any

from weft.data.derive import Derived
from weft.data.printer import Printer
from weft.data.said import is_text_only
from weft.data.shape import Depth, examples, quotable, stand_ins, without_place
from weft.data.shape_details import Details, beside_space
from weft.data.shape_edges import Edges
from weft.data.shape_examples import Plan, trials_of
from weft.data.shape_headers import are_in_headers
from weft.data.shape_pattern import quotable_word, word
from weft.data.shape_proof import Proof
from weft.data.watch import WatchingTemplate
from weft.data.watched import LookedInto, Part, Watch
from weft.data.watching import RecordingPrinter, WatchingPrinter
from weft.errors import TemplateError
from weft.types import Message

_PARTED = frozenset({"closed-within", "prompt-mismatch", "spliced"})
"""Notes of answers that were found by comparing texts beside their white space, which no proof covers."""


@dataclass(kw_only=True)
class PlanMaker:
    """Makes the plan for conversations such as one.

    Args:
        printer: the template.
        template: the same, watching.
        edges: those of the tokenizer's control tokens.
        derive: the examples of a conversation as a printer prints it.
        messages: the conversation.
        values: its values.
        depth: how far its shape goes.
        details: what further makes a conversation such as this one, if anything does.

    Attributes:
        opened: what of conversations the template looked into.
    """

    printer: Printer
    template: WatchingTemplate
    edges: Edges
    derive: Callable[[Printer, Sequence[Message]], Sequence[Derived]]
    messages: Sequence[Message]
    values: Sequence[Any]
    depth: Depth
    details: Details | None
    opened: set[Part] = field(default_factory=set)

    def make(self) -> Plan | None:
        """The plan; None where nothing is proved, and trying each record would not do either."""
        watch = Watch()
        is_plain = all(map(is_text_only, self.messages))
        printer = RecordingPrinter(self.printer) if is_plain else self._watching(watch)
        plan = None
        try:
            first_chat = self._stand_ins(self._words, self.details, have_strings=True)
            first = self.derive(printer, first_chat)
            if self.printer.standing_prompt and any(_PARTED.intersection(one.rendered.notes) for one in first):
                return None
            if any(map(self._repeats_a_part, printer.printed)):
                return None
            printed = tuple(printer.printed)  # before headers are
            if are_in_headers(printer, first_chat, first, self.edges.control):
                return None
            plan = Plan.of(first, printed, self.values, self.messages)
            if plan and is_plain and not self.details:
                plan.trials = tuple(trials_of(printer, first, first_chat))
            if plan and self._is_proved(plan, first, watch, self.details):
                self._prove(plan, self._with_space(plan, first, Proof.of(watch)), printed)
        except (TemplateError, LookedInto):
            # the template may still print real values; and if not, the error names the record
            self.opened |= watch.opened
        return plan if plan and (plan.proof or plan.trials) else None

    def _repeats_a_part(self, text: str) -> bool:
        """Whether a content's reasoning is printed more often than its answer, or the other way round.

        Then it matters to the derivation in which of the two the middle of the content lies. Where one says what something else
        says, which of them is printed more often than it is said is not known.
        """
        if not self.details:
            return False
        same = self.details.same
        divided = [[same[part] for part in parts if isinstance(part, int)] for parts in self.details.contents]
        for said in divided:
            printed = [text.count(self._words[first]) for first in said]
            given = [same.count(first) for first in said]
            is_more = any(map(gt, printed, given))
            if len(said) > 1 and (len({*printed} - {0}) > 1 or (max(given) > 1 and is_more)):
                return True
        return False

    def _prove(self, plan: Plan, proof: Proof, printed: Sequence[str]) -> None:
        """Enter what is proved, and what the proof leaves to be looked at in each record."""
        plan.proof = proof
        plan.quotable = quotable(self.messages, self.depth) if proof.plain else frozenset()
        # The marks with which a derivation looks for a text are spelled out in ASCII, and so it finds none of its places.
        in_ascii = [number for number, is_ascii in proof.plain if is_ascii]
        in_ascii += [number for number, _, is_ascii in proof.quoted if is_ascii]
        plan.around = self.edges.around(printed, self.values, {*self._without_place, *in_ascii})

    def _is_proved(self, plan: Plan, first: Sequence[Derived], watch: Watch, details: Details | None) -> bool:
        """Whether the same is derived from other stand-ins under ``watch``.

        If what counts what messages say is not, the plan is not for messages that say so.
        """
        chat = self._stand_ins(self._others, details, have_strings=False)
        again = self.derive(self._watching(watch), chat)
        if [one.weighable for one in first] != [one.weighable for one in again]:
            plan.weighable = ()
        return not watch.looked_into and plan.is_alike(first, again, self._others)

    def _with_space(self, plan: Plan, first: Sequence[Derived], proof: Proof) -> Proof:
        """The proof, also for contents with white space at their ends, where the template leaves that out."""
        details = None if self.details else beside_space(self.messages, len(self.values), proof.trimmed)
        watch = Watch()
        with suppress(TemplateError, LookedInto):
            if details and self._is_proved(plan, first, watch, details):
                return proof.with_space(Proof.of(watch), len(self.messages))
        return proof

    @cached_property
    def _words(self) -> list[str]:
        words = list(map(word, range(len(self.values))))
        for number, as_json in self.details.quoted if self.details else ():
            words[number] = quotable_word(number, as_json)
            words[as_json] = json.dumps(words[number])[1:-1]
        return words

    @cached_property
    def _others(self) -> list[str]:
        """Not those that the template may have of its own."""
        return list(map(str.swapcase, self._words))

    @cached_property
    def _kinds(self) -> Mapping[int, Any]:
        return examples(self.values)

    def _stand_ins(self, words: Sequence[str], details: Details | None, *, have_strings: bool) -> list[Message]:
        return stand_ins(self.messages, self.depth, words.__getitem__, details=details, have_strings=have_strings)

    def _watching(self, watch: Watch) -> WatchingPrinter:
        return WatchingPrinter(self.printer, self.template, watch, self._kinds)

    @cached_property
    def _without_place(self) -> list[int]:
        as_json = self.details.as_json if self.details else []
        return [*without_place(self.messages, self.depth, self.details), *as_json]
