"""Plans of templates that ask what stands in contents, for records that nearly hold what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from planned import Tried, campaign, printed
from random_asking import AskingTemplateMaker, RecordMaker
from weft.data.call_ids import with_call_ids
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.shape_examples import Plan
from weft.data.shape_plan import Planner
from weft.errors import TemplateError

pytestmark = pytest.mark.usefixtures("hardly_any_trial")


@pytest.fixture(autouse=True)
def nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is proved, a content is printed without the marks by which its length would be another."""
    monkeypatch.setattr(Plan, "holds_on_trial", lambda *_: False)


def result(examples: Callable[[], Any]) -> Any:
    try:
        return list(map(printed, examples()))
    except TemplateError as error:
        return error.what


def try_seed(seed: int) -> Tried:
    source, maker, random = AskingTemplateMaker(seed).template(), RecordMaker(seed), Random(seed)
    try:
        printer = Printer(JinjaTemplate(source, "template"), bos="<s>", eos="</s>")
    except TemplateError:
        return 0, None
    mismatch = random.choice(("template", "template", "splice", "error"))
    planner = Planner(printer, maker.control, last_turn=random.random() < 0.15, mismatch=mismatch)
    in_full, derived = planner._in_full, []

    def counted(*arguments: Any) -> Any:
        derived.append(arguments)
        return in_full(*arguments)

    planner._in_full = counted  # type: ignore[method-assign]
    compared = 0
    for number in range(15):
        record = maker.record(plain=number < 5)
        derived.clear()
        found = result(lambda: planner.examples(record))  # noqa: B023 - called at once
        if planner.disproved:
            return compared, f"disproved {seed}: {record} in {source}"
        if derived:
            if number == 5 and not any(planner._plans.values()):
                return 0, None
            continue
        compared += 1
        identified = with_call_ids(record, printer.takes_call_id)
        notes = () if identified is record else ("call-ids",)
        if found != result(lambda: in_full(identified, notes)):  # noqa: B023
            return compared, f"{seed}: {record} in {source}"
    return compared, None


def test_plans_of_templates_that_ask_are_the_derivation() -> None:
    compared, wrong = campaign(try_seed, range(60))
    assert wrong == []
    assert compared >= 10


@pytest.mark.slow
@pytest.mark.parametrize("start", range(10_000, 20_000, 2_500))
def test_more_plans_of_templates_that_ask_are_the_derivation(start: int) -> None:
    compared, wrong = campaign(try_seed, range(start, start + 2_500))
    assert wrong == []
    assert compared >= 400
