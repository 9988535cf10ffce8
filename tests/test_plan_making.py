"""When plans are made: where they pay, in bounded memory, and not where nothing may go by them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from weft.data.control import ControlTokens
from weft.data.derive import Rendered
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.shape_plan import Planner
from weft.types import Message

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<r>{{ m.reasoning_content }}</r>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ControlTokens(frozenset({"<|im_start|>", "<|im_end|>"}), frozenset({"<|im_end|>"}))


@pytest.fixture
def planner() -> Planner:
    return Planner(Printer(JinjaTemplate(CHATML, "template"), bos="", eos=""), CONTROL)


def talk(exchanges: int, reasoning: str = "") -> list[Message]:
    return [
        message
        for number in range(exchanges)
        for message in (
            Message(role="user", content=f"question {number}"),
            Message(role="assistant", content=f"answer {number}", reasoning=reasoning),
        )
    ]


def sights_until_a_plan(planner: Planner, messages: Sequence[Message]) -> int:
    """How many conversations of this shape are derived before there is a plan for it."""
    before = len(planner._plans)
    for sight in range(1, 50):
        planner.examples(messages)
        if len(planner._plans) > before:
            return sight
    raise AssertionError("there is none")


@pytest.mark.parametrize(
    ("reasoning", "sights"), [("", [1, 1, 2, 6]), ("because", [2, 2, 3, 7])], ids=["contents alone", "with reasoning"]
)
def test_the_longer_conversations_are_the_more_of_one_shape_ask_for_a_plan(
    reasoning: str, sights: list[int], planner: Planner
) -> None:
    assert [sights_until_a_plan(planner, talk(exchanges, reasoning)) for exchanges in (1, 3, 4, 20)] == sights


def test_where_plans_had_to_go_those_of_contents_wait_too(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.data.shape_plan._MOST_PLANS", 1)
    assert [sights_until_a_plan(planner, talk(1))] == [1]
    planner.examples(talk(2))
    assert planner._sights == 16
    for _ in range(15):
        planner.examples(talk(3))
    (kept,) = planner._plans
    planner.examples(talk(3))
    assert kept not in planner._plans


def test_what_a_plan_keeps_is_counted(planner: Planner) -> None:
    user, opening, closing = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"
    for reasoning, marks in (("", ""), ("because", "<r></r>")):
        for _ in range(2):
            planner.examples(talk(1, reasoning))
        plan = list(planner._plans.values())[-1]
        assert plan
        segments = len(user + opening + marks + closing)
        trials = 0 if reasoning else len(user + opening + closing + "\n") + len(user + opening)
        assert plan.size == 3 * segments + trials
    assert planner._characters == sum(plan.size for plan in planner._plans.values() if plan)


@pytest.mark.parametrize("reasoning", ["", "because"], ids=["contents alone", "with reasoning"])
def test_after_a_disproof_everything_is_derived_in_full(
    planner: Planner, reasoning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        expected = planner.examples(talk(1, reasoning))
    assert len(planner._plans) == 1
    planner.disproved = "a sample showed something"
    monkeypatch.setattr(planner, "_plan_for", None)  # not even asked for
    derived = planner.examples(talk(1, reasoning))
    assert all(isinstance(one, Rendered) for one in derived)
    assert [one.segments for one in derived] == [one.segments for one in expected]
