"""Proofs by watching: where they say that a template prints contents as they are, it does, whatever the contents."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planned import CHATML, Compared, Tried, campaign
from random_templates import TemplateMaker
from varied_records import WORDS
from weft.data.control import ControlTokens
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.shape_pattern import Pattern, word
from weft.data.shape_plan import Planner
from weft.data.shape_proof import Proof
from weft.data.template import BUILT_IN, built_in_source
from weft.data.watch import WatchingTemplate
from weft.data.watched import LookedInto, Watch
from weft.data.watched_safe import made_safe
from weft.data.watched_text import Watched, unwatched
from weft.data.watching import WatchingPrinter
from weft.errors import TemplateError
from weft.types import Message, Role

TEMPLATES = Path(__file__).parent / "templates"
ROLES: tuple[Role, ...] = ("user", "assistant", "user", "assistant")

MORE = (
    "0", "123", "1.5", "abc", "HELLO", "Hello World", "<b>", "&lt;", "{% if %}", "%s", "http://a.b/c?d=e&f",
    "e\u0301", "ß", "ǅ", "\u200b", "a\u00a0b", "qZ0Zq", "word " * 60 + "end",
)  # fmt: skip
CONTENTS = (*WORDS, *MORE)


def chat(*contents: str, roles: Sequence[Role] = ROLES) -> list[Message]:
    return [Message(role=role, content=content) for role, content in zip(roles, contents, strict=False)]


def printer_of(source: str) -> Printer:
    return Printer(JinjaTemplate(source, "template"), bos="<s>", eos="</s>")


@dataclass(frozen=True)
class Proved:
    """What a template prints for messages, where that is proved."""

    pattern: Pattern
    proof: Proof
    contents: Sequence[str]
    """Of the messages, with ``@`` for each value."""

    def is_wrong(self, printer: Printer, values: Sequence[str]) -> bool:
        """Whether it is proved for these values, and they are printed otherwise."""
        if not self.proof.covers(values):
            return False
        try:
            return printer.dialogue(chat(*filled(self.contents, values))) != self.pattern.fill(values)
        except TemplateError:
            return True


def filled(contents: Sequence[str], values: Sequence[str]) -> list[str]:
    """The contents with a value for each ``@``."""
    rest = iter(values)
    return [re.sub("@", lambda _: next(rest), content) for content in contents]


def watching(printer: Printer, watch: Watch, examples: Mapping[int, Any] | None = None) -> WatchingPrinter:
    template = printer.template
    return WatchingPrinter(printer, WatchingTemplate(template.source, template.name), watch, examples or {})


def proved(printer: Printer, contents: Sequence[str] = ("@", "@")) -> Proved | None:
    """What is printed for messages with these contents, with a value for each ``@``, if it is proved."""
    count = "".join(contents).count("@")
    words = list(map(word, range(count)))
    others = list(map(str.swapcase, words))
    pattern, watch = Pattern(printer.dialogue(chat(*filled(contents, words)))), Watch()
    try:
        text = watching(printer, watch).dialogue(chat(*filled(contents, others)))
    except (TemplateError, LookedInto):
        return None
    if watch.looked_into or any(number >= count for number in pattern.numbers) or pattern.fill(others) != text:
        return None
    return Proved(pattern, Proof.of(watch), contents)


def disagreements(plan: Proved, printer: Printer, contents: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The contents that are proved, and that are printed otherwise."""
    return [each for each in contents if plan.is_wrong(printer, each)]


def exchange(content: str) -> str:
    """A template that prints a content in this way."""
    return "{% for m in messages %}<{{ m.role }}>" + content + "\n{% endfor %}"


LOOKING = {
    "a text from a filter that marks it as HTML is searched": "{{ 'X' if m.content in ('hello'|safe) }}{{ m.content }}",
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
    "the words of placeholders": "{{ m.content }}Qz00000zQ",
    "length": "{{ 'X' if m.content|length > 9 }}{{ m.content }}",
    "letters": "{% for letter in m.content %}{{ letter }}{% endfor %}",
    "a slice": "{{ m.content[:99] }}",
    "JSON": "{{ (m.content|tojson)[2:-1] }}",
    "a format": "{{ '%s' % m.content }}",
    "another format": "{{ '{}'.format(m.content) }}",
    "a format's filter": "{{ '%s'|format(m.content) }}",
    "join": "{{ ''.join([m.content]) }}",
    "join as a filter": "{{ [m.content]|join }}",
    "order": "{{ 'X' if m.content < 'b' }}{{ m.content }}",
    "a key": "{{ {'hello': 'X'}[m.content] }}{{ m.content }}",
    "an attribute's name": "{{ [][m.content] }}{{ m.content }}",
    "numbers": "{{ 'X' if m.content|int }}{{ m.content }}",
    "an attribute that begins so": "{{ 'X' if [m]|selectattr('content', 'lower')|list }}{{ m.content }}",
    "a part of an attribute": "{{ 'X' if [m]|selectattr('content.0', 'eq', 'h')|list }}{{ m.content }}",
    "attributes that are chosen by a value": "{{ [m]|selectattr(m.content)|list|length }}{{ m.content }}",
    "groups": "{% for _, each in messages|groupby('content') %}{{ each[0].content }}{% endfor %}",
    "equal texts": "{{ 'X' if 'u' ~ m.content == m.role[0] ~ messages[0].content }}{{ m.content }}",
    "a text that is safe, with what it escapes": "{{ '<' + (m.content | safe) }}",
    "… behind it": "{{ (m.content | safe) + '&' }}",
    "safe words with what they escape": "{{ ('t' | safe) + '<' }}{{ m.content }}",
    "… behind a text": "{{ m.role ~ m.content ~ '<' + ('t' | safe) }}",
    "safe words in a text": "{{ 'X' if ('b' | safe) in m.content }}{{ m.content }}",
    "a text in safe words": "{{ 'X' if m.content in ('a b' | safe) }}{{ m.content }}",
    "safe words that it may be": "{{ 'X' if ('a b' | safe) == m.content }}{{ m.content }}",
    "trimmed safe words": "{{ (' a' | safe | trim) + m.content }}",
    "a part of a text that is safe": "{{ (m.content | safe)[1:] }}",
    "a safe text without white space": "{{ (m.content | safe).strip() }}",
    "an item of a text": "{{ m.content[0] is defined }}{{ m.content }}",
    "trimming more than white space": "{{ m.content.strip('.') }}",
    "white space where two texts are joined": "{% set x = m.role ~ m.content %}{{ 'X' if 'r\n' in x }}{{ x }}",
    "… at the end": "{% set x = m.content ~ m.role %}{{ x.replace(' u', '') }}",
    "both of two values that are joined": "{% set x = m.content ~ m.content %}{{ 'X' if 'ab' in x }}{{ x }}",
    "a joined text as JSON": "{{ (m.role ~ m.content) | tojson }}",
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
    "{% for x in [m] | selectattr('role', 'equalto', 'user') %}{{ x.content }}{% endfor %}": (),
    "{% for x in [m] | rejectattr('content', 'in', ['a b']) | map(attribute='content') %}{{ x }}{% endfor %}": ("a b",),
    "{% set x %}{{ m.content }}{% endset %}{{ x }}": (),
    "{% set x %}{{ m.content }}{% endset %}{{ 'X' if 'b' in x }}{{ x }}": ("b",),
    "{% set x = '' %}{% set x = x + m.content + '' %}{{ (x ~ '').endswith('/no') }}{{ x }}": ("/no",),
    "{% set x = '<t></t>' ~ m.content %}{{ x.split('</t>')[-1] | trim if '</t>' in x }}": ("</t>",),
    "{% set x = m.role ~ m.content %}{{ x.startswith('user<t>') }}{{ x.strip('\n') }}": ("<t>",),
    "{{ 'X' if (m.role ~ m.content) == 'userhello' }}{{ m.content }}": ("hello",),
    "{{ m.content.split('</think>')[-1].lstrip('\n') }}": ("</think>",),
    "{{ m.content.replace('<s>', '') }}": ("<s>",),
    "{{ 'X' if '<' in m.content }}{{ m.content }}": ("<",),
    "{{ 'X' if m.content == 'hello' }}{{ m.content }}": ("hello",),
    "{{ 'X' if m.content in ['hello', 'a b'] }}{{ m.content }}": ("a b", "hello"),
    "{{ 'X' if m.content.startswith(('<t>', ' a')) }}{{ m.content }}": ("<t>",),
    "{{ 'X' if m == {'role': 'user', 'content': 'hello'} }}{{ m.content }}": ("hello",),
    "{{ m.content | safe }}": (),
    "{{ '[' + (m.content | safe) + ']' + (m.content | safe) }}": (),
    "{{ ((m.content | safe) ~ '') + '<' }}": (),
    "{{ '[' + ('<t>' | safe) + ']' }}{{ m.content }}": (),
    "{{ ('<t>' | safe) + m.content }}": ('"', "&", "'", "<", ">"),
    "{{ m.role + m.content + ('<t>' | safe) }}": ('"', "&", "'", "<", ">"),
    "{{ m.role + m.content + (m.content | safe) }}": ('"', "&", "'", "<", ">"),
    "{{ '<t>' | safe }}{{ ('<t>' | safe) ~ m.content }}{{ ('<t>' | safe) | length }}": (),
    "{% set x = m.content | safe | string %}{{ 'X' if x == 'hello' or 'b' in x }}{{ '[' ~ x ~ ']' }}": ("b", "hello"),
    "{{ 'X' if m.content.content is defined or m.content['text'] }}{{ m.content }}": (),
    "{{ 'X' if m == messages[-1] }}{{ m.content }}": (),
    "{{ 'X' if loop.changed(m.content) }}{{ m.content | trim }}": (),
    "{{ 'X' if m.content | trim == messages[-1].content | trim }}{{ m.content }}": (),
}


@pytest.mark.parametrize(("content", "absent"), ASKING.items(), ids=ASKING)
def test_what_is_asked_for_is_all_that_must_be_absent(content: str, absent: tuple[str, ...]) -> None:
    macro = "{% macro say() %}{{ caller(messages[0].content) }}{% endmacro %}"
    printer = printer_of(macro + exchange(content))
    plan = proved(printer)
    assert plan is not None
    assert {text for _, texts in plan.proof.absent for text in texts} == set(absent)
    assert disagreements(plan, printer, [(one, "hello") for one in CONTENTS]) == []


@pytest.mark.parametrize(
    "content",
    [
        "{{ (m.content | safe).striptags is defined }}",
        "{{ (m.content | safe) + 5 }}",
        "{{ (m.content | safe)[0:] }}",
        "{{ (m.content | safe).strip() }}",
        "{{ (m.content | safe | trim) }}",
        "{{ ('t' | safe) + '<' }}",
        "{{ '<' + ('t' | safe) }}",
        "{{ ('t' | safe).striptags() }}",
    ],
)
def test_what_is_done_otherwise_with_safe_texts_is_looked_into(content: str) -> None:
    with pytest.raises(LookedInto):
        watching(printer_of(exchange(content)), Watch()).dialogue(chat("Qz00000zQ", "Qz00001zQ"))


@pytest.mark.parametrize(
    "use",
    [
        lambda text: text + 5,
        lambda text: text + "<",
        lambda text: text[0:],
        lambda text: text.strip(),
        lambda text: text.lstrip(),
        lambda text: text.rstrip(),
        lambda text: text.split("x"),
        lambda text: text.rsplit("x"),
        lambda text: text.replace("x", "y"),
    ],
)
def test_what_safe_texts_make_is_safe_and_looked_into(use: Callable[[str], object]) -> None:
    text = made_safe(Watched(word(0), Watch()))
    assert unwatched(text + " and more") == f"{word(0)} and more"
    with pytest.raises(LookedInto):
        use(text)


def test_very_long_contents_are_printed_rather_than_proved() -> None:
    planner = Planner(printer_of(FORCED), CHATML)
    planner.examples(chat("q", "a"))
    (plan,) = planner._plans.values()
    assert plan
    assert plan.covered(["x" * 2**17, "y"], CHATML)
    assert not plan.covered(["x" * 2**18, "y"], CHATML)


# ---- templates that people use -----------------------------------------------------------------------------------------

SHAPES: tuple[tuple[Role, ...], ...] = (("user", "assistant"), ROLES, ("system", "user", "assistant"))


def _sources() -> dict[str, str]:
    tag = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
    files = sorted(TEMPLATES.glob("*.jinja")) + sorted(TEMPLATES.glob("pairs/*.jinja"))
    own = {f"{path.parent.name}/{path.stem}": tag.sub("", path.read_text(encoding="utf-8")) for path in files}
    return {name: built_in_source(name) for name in BUILT_IN} | own


SOURCES = _sources()


@pytest.mark.usefixtures("hardly_any_trial")
@pytest.mark.parametrize("name", SOURCES)
def test_real_templates_are_proved_and_plans_are_the_derivation(name: str) -> None:
    source = SOURCES[name]
    tokens = {*re.findall(r"<\|[^|>\s]*\|>|<(?:start|end)_of_turn>|\[/?INST\]|<[｜][^>]*>", source), "</s>"}
    compared = Compared(printer_of(source), ControlTokens(frozenset(tokens), frozenset(tokens)))
    random = Random(0)
    is_proved = []
    for roles in SHAPES:
        for _ in range(12):
            messages = chat(*random.choices(CONTENTS, k=len(roles)), roles=roles)
            assert compared.agrees(messages), messages
        plans = compared.planner._plans.items()
        is_proved.append(any(plan and plan.proof for (_, shape), plan in plans if shape == roles))
    assert compared.planner.disproved is None
    assert is_proved[0]


FORCED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


@pytest.mark.usefixtures("hardly_any_trial")
@pytest.mark.parametrize(
    ("answer", "in_full"),
    [
        *(("yes", 0), ("th", 0), ("<b>", 0), ("<think>yes", 0)),
        *(("<", 1), ("<thin", 1), ("<think>\n", 1), ("<think>\nhm\n</think>yes", 1)),
    ],
)
def test_an_answer_that_begins_as_the_prompt_ends_is_derived_in_full(answer: str, in_full: int) -> None:
    compared = Compared(printer_of(FORCED))
    assert compared.goes_by_plan(chat("q", "some words"))
    compared.in_full = 0
    assert compared.agrees(chat("q", answer))
    assert compared.in_full == in_full


@pytest.mark.usefixtures("hardly_any_trial")
def test_a_template_with_the_words_of_placeholders_is_derived_in_full() -> None:
    compared = Compared(printer_of(FORCED.replace("<think>", "Qz00000zQ Qz00007zQ")))
    assert not compared.goes_by_plan(chat("q", "some words"))
    assert compared.agrees(chat("q", "yes"))


def test_a_proof_that_a_sample_disproves_is_used_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    no_facts = Proof.of(Watch())
    monkeypatch.setattr(Proof, "of", lambda _: no_facts)
    source = FORCED.replace("<think>\n", "").replace("{{ m.content }}", "{{ m.content.replace('<', '') }}")
    compared = Compared(printer_of(source))
    assert compared.agrees(chat("q", "yes"))
    assert compared.planner.disproved is None
    messages = chat("a<b", "yes")
    examples = compared.planner.examples(messages)
    assert compared.planner.disproved == "the template prints some contents otherwise than it was proved to"
    assert "".join(segment.text for segment in examples[0].segments).startswith("<|im_start|>user\nab<|im_end|>")


# ---- values among words ------------------------------------------------------------------------------------------------

AMONG_WORDS = {
    "{{ m.content }}": "{}",
    "{{ m.content.strip() }}": "<think>\n{0}\n</think>\n\n{1}",
    "{{ m.content | trim }}": "<think>\n{0}\n</think>\n\n{1}",
    "{{ m.content.lstrip('\n') }}": " <think>\n{0}\n</think>\n\n{1}\n",
    "{{ m.content.rstrip() }}": " <think>\n{0}\n</think>\n\n{1}",
    "{{ m.content.split('</think>')[-1].lstrip('\n') }}": "{1}\n",
    "{{ m.content.split('</think>')[0].split('<think>')[-1] | trim }}": "{0}",
    "{{ m.content.rsplit('</think>', 1)[0] }}": " <think>\n{0}\n",
    "{{ m.content.replace('<think>', '[').replace('</think>', ']') }}": " [\n{0}\n]\n\n{1}\n",
    "{{ m.content | replace('<think>', '') }}": " \n{0}\n</think>\n\n{1}\n",
    "{{ m.content[1:-1] }}": "<think>\n{0}\n</think>\n\n{1}",
    "{{ m.content[8:] }}": "\n{0}\n</think>\n\n{1}\n",
    "{{ 'yes' if '<think>' in m.content and '</think>' in m.content and 'a' not in m.content }}": "yes",
    "{{ 'yes' if m.content.startswith(' <think>') and not m.content.startswith(' <think>\nx') }}": "yes",
    "{{ 'yes' if m.content.endswith('\n') and not m.content.endswith(('z\n', ' ')) }}": "yes",
    "{{ 'yes' if m.content != ' <think>' and m.content != 'x' and m.content == m.content }}": "yes",
    "{{ 'yes' if m.content | length > 0 and 1 <= m.content | length and m.content | length }}": "yes",
    "{{ 'no' if m.content | length == 0 or m.content | length < 1 or m.content | length <= 0 }}": "",
    "{% for part in [m] | map(attribute='content') | list %}{{ part.strip('\n ') }}{% endfor %}": (
        "<think>\n{0}\n</think>\n\n{1}"
    ),
    "{% for key, part in {'B': m.content, 'a': m.role} | dictsort %}{{ key }}{{ part }}{% endfor %}": (
        "auserB <think>\n{0}\n</think>\n\n{1}\n"
    ),
}


@pytest.mark.parametrize(("content", "expected"), AMONG_WORDS.items(), ids=AMONG_WORDS)
def test_words_around_values_are_what_templates_find(content: str, expected: str) -> None:
    given = " <think>\n@\n</think>\n\n@\n"
    printer = printer_of("{% for m in messages %}" + content + "{% endfor %}")
    plan = proved(printer, (given,))
    assert plan is not None
    expected = expected.replace("{}", given.replace("@", "{0}", 1).replace("@", "{1}"))
    for values in (["why", "so"], ["y", "b\n\nd"], ["because of\nit", "x" * 99]):
        if plan.proof.covers(values):
            assert plan.pattern.fill(values) == printer.dialogue(chat(*filled((given,), values)))
            assert plan.pattern.fill(values) == expected.format(*values)
    assert plan.proof.covers(["why", "so"])


NOT_KNOWN = {
    "a word that may begin in the words": ("{{ 'X' if '\nw' in m.content }}", "<think>\n@"),
    "… or end there": ("{{ m.content.split('y\n')[0] }}", "@\n</think>"),
    "… or both": ("{{ m.content.replace('k>a</', '') }}", "<think>@</think>"),
    "… or stand between values": ("{{ 'X' if 'a</think>b' in m.content }}", "@</think>@"),
    "the beginning of a value and what follows": ("{{ 'X' if m.content.startswith('a</') }}", "@</think>"),
    "what comes before and the end of a value": ("{{ 'X' if m.content.endswith('>a') }}", "@<think>@"),
    "equality of two values": ("{{ 'X' if m.content == 'a</think>b' }}", "@</think>@"),
    "a part of a value": ("{{ m.content[9:] }}", "<think>\n@"),
    "letters": ("{{ m.content.lstrip('<thinkA>') }}", "<think>@"),
    "a place": ("{{ m.content.find('</think>') }}", "@</think>"),
    "more than any length": ("{{ 'X' if m.content | length > 1 }}", "@"),
    "a length": ("{{ m.content | length }}", "@"),
    "an attribute of a length": ("{{ 'X' if (m.content | length).real == 4 }}", "@"),
    "what stands in a list in the place of a length": ("{{ 'X' if messages[m.content | length] is defined }}", "@"),
    "a length as JSON": ("{{ [m.content | length, m.content] | tojson }}", "@"),
    "the kind of a length": ("{{ 'X' if m.content | length is sameas 5 }}", "@"),
    "the text of attributes": ("{{ [m] | map(attribute='content') | join }}", "@"),
    "sorted by values": ("{{ {'a': m.content, 'b': 'm'} | dictsort(by='value') }}", "@"),
}


@pytest.mark.parametrize(("content", "given"), NOT_KNOWN.values(), ids=NOT_KNOWN)
def test_what_words_around_values_do_not_tell(content: str, given: str) -> None:
    assert proved(printer_of("{% for m in messages %}" + content + "{% endfor %}"), (given,)) is None


# ---- templates that nobody would write ---------------------------------------------------------------------------------

GIVEN = (
    "@",
    "@",
    "@\n",
    " @",
    "\n\n@ ",
    "<think>\n@\n</think>\n\n@",
    "@</think>@",
    "<think>@</think>\n@\n",
    "<think></think>@",
)


def try_seed(seed: int) -> Tried:
    source, random = TemplateMaker(seed).template(), Random(seed)
    given = random.choices(GIVEN, k=2)
    try:
        printer = printer_of(source)
        plan = proved(printer, given)
    except TemplateError:
        return 0, None
    if plan is None:
        return 0, None
    count = "".join(given).count("@")
    contents = [[one, *random.choices(CONTENTS, k=count - 1)] for one in CONTENTS]
    if given != ["@", "@"]:
        contents = [each for each in contents if not any(value[:1].isspace() or value[-1:].isspace() for value in each)]
    wrong = disagreements(plan, printer, contents)
    return sum(map(plan.proof.covers, contents)), f"{wrong[0]} in {source}" if wrong else None


def test_random_templates_are_not_proved_wrongly() -> None:
    compared, wrong = campaign(try_seed, range(150))
    assert wrong == []
    assert compared >= 10


@pytest.mark.slow
@pytest.mark.parametrize("start", range(10_000, 40_000, 5_000))
def test_more_random_templates_are_not_proved_wrongly(start: int) -> None:
    compared, wrong = campaign(try_seed, range(start, start + 5_000))
    assert wrong == []
    assert compared >= 250


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2))
def test_any_contents_are_printed_as_proved(contents: list[str]) -> None:
    for printer, plan in _USUAL:
        assert disagreements(plan, printer, [contents]) == []


_USUAL = [
    (printer, plan)
    for printer in (printer_of(exchange(content)) for content in ASKING if "say" not in content)
    if (plan := proved(printer))
]
