"""Proofs by watching: where they say that a template prints contents as they are, it does, whatever the contents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from random_templates import TemplateMaker
from weft.data.control import ControlTokens
from weft.data.derive import derive
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer, placeholder
from weft.data.shape_pattern import Pattern
from weft.data.shape_plan import Planner, _ExamplePlan, _Proof
from weft.data.template import BUILT_IN, built_in_source
from weft.data.turns import Chat
from weft.errors import TemplateError
from weft.types import Message, Role

TEMPLATES = Path(__file__).parent / "templates"
ROLES: tuple[Role, ...] = ("user", "assistant", "user", "assistant")

CONTENTS = (
    *(
        "hello",
        "a",
        "y",
        "0",
        "A",
        "b<c>",
        "<b>",
        "a < b & c",
        'it\'s "so"',
        "</think>",
        "<think>hm</think>yes",
        "ok</think>",
    ),
    *(
        "{{ x }}",
        "{% if %}",
        "%s",
        "100 %",
        "{}",
        "{0}",
        "line\nline",
        "a\n\n  b",
        "a\tb",
        "é\u0301",
        "中文",
        "\U0001f600",
    ),
    *(
        "HELLO",
        "Hello World",
        "123",
        "1.5",
        "None",
        "True",
        "x" * 300,
        "word " * 60 + "end",
        "\\n",
        "http://a.b/c?d=e&f",
    ),
    *(
        "abc",
        "\u200b",
        "a\u00a0b",
        "&lt;",
        "Qz0zQ",
        "qZ0Zq",
        "[]",
        "user",
        "assistant",
        "\x00",
        "ß",
        "ǅ",
        "'",
        '"',
        "\\",
    ),
)


def chat(*contents: str, roles: Sequence[Role] = ROLES) -> list[Message]:
    return [Message(role=role, content=content) for role, content in zip(roles, contents, strict=False)]


def printer_of(source: str) -> Printer:
    return Printer(JinjaTemplate(source, "template"), bos="<s>", eos="</s>")


def proved(printer: Printer, count: int = 2) -> _ExamplePlan | None:
    """The plan of what is printed for ``count`` messages, if it is proved."""
    messages = [placeholder(role, number) for number, role in enumerate(ROLES[:count])]
    pattern = Pattern(printer.dialogue(messages))
    if any(number >= count for number in pattern.numbers):
        return None
    plan = _ExamplePlan((), (), False, (), count, pattern, (), ())
    proof = plan.prove(printer.watching, messages)
    return None if proof is None else replace(plan, proof=proof)


def disagreements(plan: _ExamplePlan, printer: Printer, contents: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The contents that the plan covers, and that are printed otherwise than it says."""
    return [each for each in contents if plan.covers(each) and not plan.holds(printer, chat(*each), each)]


def exchange(content: str) -> str:
    """A template that prints a content in this way."""
    return "{% for m in messages %}<{{ m.role }}>" + content + "\n{% endfor %}"


LOOKING = {
    "a text from a filter that marks it as HTML is searched": "{{ 'X' if m.content in ('hello'|safe) }}{{ m.content }}",
    "… joined": "{{ (''|safe) + m.content }}",
    "… compared": "{{ 'X' if ('hello'|safe) == m.content }}{{ m.content }}",
    "… in a list": "{{ 'X' if m.content in ['hello'|e] }}{{ m.content }}",
    "autoescape": "{% autoescape true %}{{ m.content }}{% endautoescape %}",
    "autoescape around a set": "{% autoescape true %}{% set x %}hello{% endset %}{% endautoescape %}"
    "{{ 'X' if x == m.content }}{{ m.content }}",
    "identity: Python has one object for each short text": "{{ 'X' if m.content is sameas 'y' }}{{ m.content }}",
    "attributes of the watch": "{{ '' if m.content.watch is defined else (m.content|length) }}{{ m.content }}",
    "a chain of comparisons": "{{ 'X' if 'a' in 'abc' == m.content }}{{ m.content }}",
    "static methods": "{{ 'X' if 60 in ''.maketrans(m.content, m.content) }}{{ m.content }}",
    "chance": "{{ ['', '']|random }}{{ m.content }}",
    "the words of placeholders": "{{ m.content }}Qz0zQ",
    "length": "{{ 'X' if m.content|length > 9 }}{{ m.content }}",
    "letters": "{% for letter in m.content %}{{ letter }}{% endfor %}",
    "a slice": "{{ m.content[:99] }}",
    "JSON": "{{ (m.content|tojson)[1:-1] }}",
    "a format": "{{ '%s' % m.content }}",
    "another format": "{{ '{}'.format(m.content) }}",
    "a format's filter": "{{ '%s'|format(m.content) }}",
    "join": "{{ ''.join([m.content]) }}",
    "join as a filter": "{{ [m.content]|join }}",
    "order": "{{ 'X' if m.content < 'b' }}{{ m.content }}",
    "a key": "{{ {'hello': 'X'}[m.content] }}{{ m.content }}",
    "an attribute's name": "{{ [][m.content] }}{{ m.content }}",
    "numbers": "{{ 'X' if m.content|int }}{{ m.content }}",
    "groups": "{% for _, each in messages|groupby('content') %}{{ each[0].content }}{% endfor %}",
    "equal contents": "{{ 'X' if loop.changed(m.content) }}{{ m.content }}",
    "trimming more than white space": "{{ m.content.strip('.') }}",
    "joined texts": "{{ 'X' if (m.role ~ m.content) == 'userhello' }}{{ m.content }}",
    "a block": "{% set x %}{{ m.content }}{% endset %}{{ 'X' if 'b' in x }}{{ x }}",
    "unpacking": "{% set a, b = m.content, 1 %}{{ a|upper|lower }}",
}


@pytest.mark.parametrize("content", LOOKING.values(), ids=LOOKING)
def test_looking_into_contents_proves_nothing(content: str) -> None:
    assert proved(printer_of(exchange(content))) is None


ASKING = {
    "{{ m.content }}": (),
    "{{ m['content'] | trim }}": (),
    "{{ m.content.strip() + '\n' }}": (),
    "{{ '[' ~ m.content ~ ']' }}": (),
    "{{ m.content | default('') }}": (),
    "{{ m.content if m.content is string else m.content | tojson }}": (),
    "{% if m.content is iterable and m.content is not mapping %}{{ m.content }}{% endif %}": (),
    "{% if m.content is not none and m.content %}{{ m.content }}{% endif %}": (),
    "{% set x = namespace(y=m.content) %}{{ x.y }}": (),
    "{% call(x) say() %}{{ x }}{% endcall %}": (),
    "{% set x %}{{ m.content }}{% endset %}{{ x }}": (),
    "{{ m.content.split('</think>')[-1].lstrip('\n') }}": ("</think>",),
    "{{ m.content.replace('<s>', '') }}": ("<s>",),
    "{{ 'X' if '<' in m.content }}{{ m.content }}": ("<",),
    "{{ 'X' if m.content == 'hello' }}{{ m.content }}": ("hello",),
    "{{ 'X' if m.content in ['hello', 'a b'] }}{{ m.content }}": ("a b", "hello"),
    "{{ 'X' if m.content.startswith(('<t>', ' a')) }}{{ m.content }}": ("<t>",),
    "{{ 'X' if m == {'role': 'user', 'content': 'hello'} }}{{ m.content }}": ("hello",),
}


@pytest.mark.parametrize(("content", "absent"), ASKING.items(), ids=ASKING)
def test_what_is_asked_for_is_all_that_must_be_absent(content: str, absent: tuple[str, ...]) -> None:
    macro = "{% macro say() %}{{ caller(messages[0].content) }}{% endmacro %}"
    printer = printer_of(macro + exchange(content))
    plan = proved(printer)
    assert plan is not None
    assert plan.proof is not None
    assert plan.proof.absent == absent
    assert disagreements(plan, printer, [(one, "hello") for one in CONTENTS]) == []


def test_very_long_contents_are_printed_rather_than_proved() -> None:
    plan = proved(printer_of(exchange("{{ m.content }}")))
    assert plan is not None
    assert plan.covers(["x" * 2**17, "y"])
    assert not plan.covers(["x" * 2**18, "y"])


# ---- templates that people use -----------------------------------------------------------------------------------------

SHAPES: tuple[tuple[Role, ...], ...] = (("user", "assistant"), ROLES, ("system", "user", "assistant"))
NOT_PROVED = {"prompt_only"}


def _sources() -> dict[str, str]:
    tag = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
    files = sorted(TEMPLATES.glob("*.jinja")) + sorted(TEMPLATES.glob("pairs/*.jinja"))
    own = {f"{path.parent.name}/{path.stem}": tag.sub("", path.read_text(encoding="utf-8")) for path in files}
    return {name: built_in_source(name) for name in BUILT_IN} | own


@pytest.mark.parametrize("source", [pytest.param(source, id=name) for name, source in _sources().items()])
def test_real_templates_are_proved_and_plans_are_the_derivation(source: str, request: pytest.FixtureRequest) -> None:
    tokens = {*re.findall(r"<\|[^|>\s]*\|>|<(?:start|end)_of_turn>|\[/?INST\]|<[｜][^>]*>", source), "</s>"}
    control = ControlTokens(frozenset(tokens), frozenset(tokens))
    printer = printer_of(source)
    planner = Planner(printer, control)
    random = Random(0)
    is_proved = []
    for roles in SHAPES:
        plans = planner._plan_for(roles)
        is_proved.append(plans is not None and all(plan.proof is not None for plan in plans))
        for _ in range(12):
            messages = chat(*random.choices(CONTENTS, k=len(roles)), roles=roles)
            assert outcome(planner, printer, control, messages)
    assert planner.disproved is None
    if not any(name in request.node.name for name in NOT_PROVED):
        assert is_proved[0]


def outcome(planner: Planner, printer: Printer, control: ControlTokens, messages: list[Message]) -> bool:
    """Whether the planner gives what the derivation gives, or its error."""
    try:
        expected = [derived.rendered for derived in derive(Chat(printer, control, messages))]
    except TemplateError as error:
        with pytest.raises(TemplateError, match=re.escape(error.what)):
            planner.examples(messages)
        return True
    return list(map(printed, planner.examples(messages))) == list(map(printed, expected))


def printed(example: Any) -> tuple[Any, ...]:
    """Everything that decides on the ids and weights of an example."""
    runs = [(stretch, [type(part) for part in stretch.run.parts]) for stretch in example.stretches]
    return tuple(example.segments), runs, example.append_eos


FORCED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


@pytest.mark.parametrize("answer", ["yes", "<think>\nhm\n</think>yes", "<think>yes", "<", "<b>", "th"])
def test_an_answer_that_begins_as_the_prompt_ends_is_derived_in_full(answer: str) -> None:
    control = ControlTokens(frozenset({"<|im_start|>", "<|im_end|>"}), frozenset({"<|im_end|>"}))
    printer = printer_of(FORCED)
    assert outcome(Planner(printer, control), printer, control, chat("q", answer))


def test_a_template_with_the_words_of_placeholders_is_derived_in_full() -> None:
    source = FORCED.replace("<think>", "Qz0zQ Qz7zQ")
    control = ControlTokens(frozenset({"<|im_start|>", "<|im_end|>"}), frozenset({"<|im_end|>"}))
    printer = printer_of(source)
    assert outcome(Planner(printer, control), printer, control, chat("q", "yes"))


def test_a_proof_that_a_sample_disproves_is_used_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ExamplePlan, "prove", lambda *_: _Proof(absent=(), trimmed=False))
    source = FORCED.replace("<think>\n", "").replace("{{ m.content }}", "{{ m.content | replace('<', '') }}")
    control = ControlTokens(frozenset({"<|im_start|>", "<|im_end|>"}), frozenset({"<|im_end|>"}))
    printer = printer_of(source)
    planner = Planner(printer, control)
    assert outcome(planner, printer, control, chat("q", "yes"))
    assert planner.disproved is None
    messages = chat("a<b", "yes")
    examples = planner.examples(messages)
    assert planner.disproved == "the template prints some contents otherwise than it was proved to"
    assert "".join(segment.text for segment in examples[0].segments).startswith("<|im_start|>user\nab<|im_end|>")


# ---- templates that nobody would write ---------------------------------------------------------------------------------


def wrong_proof(seed: int) -> tuple[bool, str | None]:
    """Whether a random template is proved, and what is wrong with that."""
    source, random = TemplateMaker(seed).template(), Random(seed)
    try:
        printer = printer_of(source)
        plan = proved(printer)
    except TemplateError:
        return False, None
    if plan is None:
        return False, None
    contents = [(one, random.choice(CONTENTS)) for one in CONTENTS]
    wrong = disagreements(plan, printer, contents)
    return True, f"{wrong[0]} in {source}" if wrong else None


def campaign(seeds: range) -> tuple[int, list[str]]:
    found = [wrong_proof(seed) for seed in seeds]
    return sum(is_proved for is_proved, _ in found), [wrong for _, wrong in found if wrong]


def test_random_templates_are_not_proved_wrongly() -> None:
    count, wrong = campaign(range(150))
    assert wrong == []
    assert count >= 5


@pytest.mark.slow
@pytest.mark.parametrize("start", range(10_000, 40_000, 5_000))
def test_more_random_templates_are_not_proved_wrongly(start: int) -> None:
    _, wrong = campaign(range(start, start + 5_000))
    assert wrong == []


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2))
def test_any_contents_are_printed_as_proved(contents: list[str]) -> None:
    for printer, plan in _USUAL:
        assert disagreements(plan, printer, [contents]) == []


_USUAL = [
    (printer, plan)
    for printer in (printer_of(exchange(content)) for content in ASKING if "say" not in content)
    if (plan := proved(printer))
]
