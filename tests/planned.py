"""Plans that are compared with the derivation in full, of templates that people use and of random ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from weft.data.call_ids import with_call_ids
from weft.data.control import ControlTokens
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.shape_plan import Planner
from weft.errors import TemplateError
from weft.types import Message

CHATML = ControlTokens(frozenset({"<|im_start|>", "<|im_end|>"}), frozenset({"<|im_end|>"}))


def printed(example: Any) -> tuple[Any, ...]:
    """Everything that decides on the ids and weights of an example, and what is counted."""
    runs = [(stretch, [type(part) for part in stretch.run.parts]) for stretch in example.stretches]
    return tuple(example.segments), runs, example.runs(), example.append_eos, sorted(example.notes)


class Compared:
    """A planner that is compared with the derivation in full.

    Attributes:
        in_full: how often it derived in full, but for the comparison.
    """

    def __init__(self, printer: Printer, control: ControlTokens = CHATML, **options: Any) -> None:
        self.planner, self.printer = Planner(printer, control, **options), printer
        self.in_full = 0
        self._derived = self.planner._in_full
        self.planner._in_full = self._counted  # type: ignore[method-assign]

    def _counted(self, *arguments: Any) -> Any:
        self.in_full += 1
        return self._derived(*arguments)

    def agrees(self, messages: Sequence[Message]) -> bool:
        """Whether the planner gives what the derivation gives, or its error."""
        identified = with_call_ids(messages, self.printer.takes_call_id)
        try:
            expected = self._derived(identified, () if identified is messages else ("call-ids",))
        except TemplateError as error:
            with pytest.raises(TemplateError, match=re.escape(error.what)):
                self.planner.examples(messages)
            return True
        return list(map(printed, self.planner.examples(messages))) == list(map(printed, expected))

    def goes_by_plan(self, messages: Sequence[Message]) -> bool:
        """Whether this record does, which is not the first of its kind."""
        for _ in range(6):
            self.planner.examples(messages)
        self.in_full = 0
        self.planner.examples(messages)
        return not self.in_full


def planner_of(source: str) -> Compared:
    return Compared(Printer(JinjaTemplate(source, "template"), bos="", eos=""))


Tried = tuple[int, str | None]
"""Of a random template: how many records were compared with what was proved for them, and what is wrong with the proof."""


def campaign(try_seed: Callable[[int], Tried], seeds: Iterable[int]) -> tuple[int, list[str]]:
    """Of how many templates a record was compared, and what is wrong with their proofs."""
    found = [try_seed(seed) for seed in seeds]
    return sum(compared > 0 for compared, _ in found), [wrong for _, wrong in found if wrong]
