"""Nothing is proved wrongly of templates that nobody would write."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from planned import Tried, campaign, planner_of
from planned_records import WHOLE, weighed
from random_templates import PartByPartMaker, RecordTemplateMaker
from varied_records import varied
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.shape import Depth, examples, shape_of, stand_ins
from weft.data.shape_pattern import Pattern, word
from weft.data.shape_proof import Proof, written
from weft.data.watch import WatchingTemplate
from weft.data.watched import LookedInto, Watch
from weft.data.watching import WatchingPrinter
from weft.errors import TemplateError
from weft.types import Message, ToolCall

pytestmark = pytest.mark.usefixtures("hardly_any_trial")


def try_seed(seed: int) -> Tried:
    source = RecordTemplateMaker(seed).template()
    try:
        printer = Printer(JinjaTemplate(source, "template"), bos="<s>", eos="</s>")
    except TemplateError:
        return 0, None
    watching = WatchingTemplate(source, "template")
    for depth in (
        Depth(),
        Depth(arguments="items"),
        Depth(arguments="names"),
        Depth(arguments="names", definitions="fields"),
        Depth(arguments="names", definitions="exact"),
    ):
        found = shape_of(WHOLE, depth)
        assert found
        shape, values = found
        words = list(map(word, range(len(values))))
        others = list(map(str.swapcase, words))
        watch = Watch()
        watched = WatchingPrinter(printer, watching, watch, examples(values))
        try:
            one, two = (
                watched.dialogue(stand_ins(WHOLE, depth, given.__getitem__, have_strings=is_first))
                for given, is_first in ((words, True), (others, False))
            )
        except (TemplateError, LookedInto):
            continue
        pattern = Pattern(one)
        if watch.looked_into or pattern.fill(others) != two:
            continue
        proof = Proof.of(watch)
        compared = 0
        for number in range(40):
            record = varied(WHOLE, Random(f"{seed} {number}"))
            found = shape_of(record, depth)
            if not found or found[0] != shape:
                continue
            texts = [value if isinstance(value, str) else "" for value in found[1]]
            for place, how in proof.written:
                texts[place] = written(found[1][place], how)
            if not proof.covers(texts):
                continue
            compared += 1
            try:
                is_right = printer.dialogue(record) == pattern.fill(texts)
            except TemplateError:
                is_right = False
            if not is_right:
                return compared, f"{depth} {record} in {source}"
        return compared, None
    return 0, None


def test_random_templates_are_not_proved_wrongly() -> None:
    compared, wrong = campaign(try_seed, range(150))
    assert wrong == []
    assert compared >= 20


@pytest.mark.slow
class TestMore:  # in a class, as xdist gives a process all functions of a module at once
    @pytest.mark.parametrize("start", range(10_000, 40_000, 5_000))
    def test_random_templates_are_not_proved_wrongly(self, start: int) -> None:
        compared, wrong = campaign(try_seed, range(start, start + 5_000))
        assert wrong == []
        assert compared >= 700


def with_other_names(messages: list[Message], random: Random) -> list[Message]:
    """The messages with other names of arguments, of which some are those of tools, or what arguments say."""

    def renamed(call: ToolCall) -> ToolCall:
        names = random.sample(
            (*call.arguments, "a b", "x", "python", "items", "open", "<b>", "ü", "hello"), len(call.arguments)
        )
        return replace(call, arguments=dict(zip(names, call.arguments.values(), strict=True)))

    return [replace(message, tool_calls=tuple(map(renamed, message.tool_calls))) for message in messages]


def with_quotes(messages: list[Message], random: Random) -> list[Message]:
    """The messages with something in results of tools, arguments and definitions that looks otherwise as JSON."""

    def quoted(text: str) -> str:
        parts = (("a", "é b"), ('"', "\\", "\n"), ("c", '"d"'))
        return text and text + "".join(map(random.choice, parts))

    def with_quotes_in(call: ToolCall) -> ToolCall:
        arguments = {
            quoted(name): quoted(value) if isinstance(value, str) else value for name, value in call.arguments.items()
        }
        return replace(call, arguments=arguments)

    def defined(tool: Any) -> Any:
        return {**tool, "function": tool["function"] | {"description": quoted("d")}}

    return [
        replace(
            message,
            content=quoted(message.content) if message.role == "tool" else message.content,
            tool_calls=tuple(map(with_quotes_in, message.tool_calls)),
            setting=message.setting and replace(message.setting, tools=tuple(map(defined, message.setting.tools))),
        )
        for message in messages
    ]


def try_part_by_part(seed: int) -> Tried:
    source = PartByPartMaker(seed).template().replace("random", "first")
    source = source.replace("| reverse", "| string | reverse")  # which prints an address of what is not there
    if re.search(r"\.(strip|format)\b(?!\()", source):  # prints an address, another one every time
        return 0, None
    try:
        compared = planner_of(source)
    except TemplateError:  # no Jinja
        return 0, None
    by_plan = 0
    for number in range(60 if seed % 2 else 14):  # to quote or not to quote makes many shapes of one
        random = Random(number)
        record = with_other_names(varied(WHOLE, random), random)
        record = with_quotes(record, random) if seed % 2 else record
        compared.in_full = 0
        if not compared.agrees(record) or compared.planner.disproved:
            return by_plan, f"{seed}: {record} in {source}"
        by_plan += not compared.in_full
    return by_plan, None


def test_random_templates_that_print_part_by_part_are_not_proved_wrongly() -> None:
    compared, wrong = campaign(try_part_by_part, range(40, 100))
    assert wrong == []
    assert compared >= 15


@pytest.mark.slow
class TestMoreThatPrintPartByPart:
    @pytest.mark.parametrize("start", range(10_000, 12_000, 500))
    def test_random_templates_are_not_proved_wrongly(self, start: int) -> None:
        compared, wrong = campaign(try_part_by_part, range(start, start + 500))
        assert wrong == []
        assert compared >= 80


def test_plans_of_random_templates_are_the_derivation() -> None:
    by_plan = 0
    for seed in range(150):
        try:
            compared = planner_of(RecordTemplateMaker(seed).template(is_chat=True).replace("random", "first"))
        except TemplateError:  # no Jinja
            continue
        for number in range(12):
            record = varied(WHOLE, Random(number))
            record = weighed(record, Random(seed)) if number % 4 == 3 else record
            compared.in_full = 0
            assert compared.agrees(record), (seed, record)
            by_plan += not compared.in_full
        assert compared.planner.disproved is None
    assert by_plan >= 150
