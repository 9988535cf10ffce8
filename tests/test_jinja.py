"""The sandbox: what Transformers prints, and nothing that eats memory or time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, cycle, repeat
from typing import Any

import pytest

from template_families import FAMILIES, messages, source
from weft.data.jinja import JinjaTemplate
from weft.data.limits import time_limit
from weft.data.watch import WatchingTemplate
from weft.errors import TemplateError, TemplateTooSlow


def render(text: str, **variables: Any) -> str:
    return JinjaTemplate(text, "mine.jinja").render(variables)


# ---- as Transformers does it -------------------------------------------------------------------------------------------

FEATURES = [
    "{{ messages | tojson }}",
    "{{ messages | tojson(indent=2) }}",
    "{{ {'b': '<é>', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}",
    "{% set ns = namespace(n=0, self=1) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "{{ nothing }}|{{ nothing is defined }}|{{ messages[0].nothing }}|{{ messages[0].get('nothing', 'x') }}",
    "{% generation %}{{ messages[0].content }}{% endgeneration %}",
    "{{ dict(a=1) }}{{ dict.fromkeys(['a'], 2) }}",
    "  {% if true %}\n  text\n  {% endif %}\n\n{%- if false %}{% endif +%}\n x",
    "{{ '%s-%05.1f' % ('a', 2) }}{{ '%(a)s' % {'a': 1} }}{{ '{:>4}{b!r}'.format('x', b='y') }}{{ '%d' | format(3) }}",
    "{{ ['a', 1, none] | join(', ') }}|{{ messages | join('/', attribute='role') }}|{{ '-'.join(['a', 'b']) }}",
    "{{ 'a' ~ 1 ~ none ~ nothing }}|{{ 'abc'[1:] }}|{{ 'abc'[::-1] }}|{{ [1, 2, 3][:2] }}|{{ 'ab' * 3 }}|{{ 2 ** 5 }}",
    "{{ 'a\nb' | indent(2, true) }}|{{ 'x' | center(5) }}|{{ 'x'.ljust(3) }}|{{ 'aXb' | replace('X', '--') }}|"
    "{{ nothing | replace('a', 'b') }}|{{ 'ab'.replace('a', 'c', 1) }}|{{ 2.345 | round(1) }}|{{ 'a b' | wordwrap(1) }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}{{ range(3) | sum }}",
    "{% macro f(x, y='d') %}[{{ x }}{{ y }}{{ caller() if caller }}]{% endmacro %}{{ f('a') }}{% call f(1) %}z{% endcall %}",
    "{% set block %}{{ messages[0].content | trim }}{% endset %}{{ block | length }}",
    "{{ raise_exception('no') }}",
    "{{ messages.append(1) }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ ''.__class__ }}",
    "{{ namespace(_a=1) }}",
    "{{ 1 + 'a' }}",
]


@pytest.mark.parametrize("text", [*FEATURES, *map(source, FAMILIES)])
@pytest.mark.parametrize("add_generation_prompt", [False, True])
def test_it_prints_what_transformers_prints(text: str, add_generation_prompt: bool) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    variables = {"add_generation_prompt": add_generation_prompt, "eos_token": "</s>", "bos_token": "<s>"}
    dialogue = [{"role": m.role, "content": m.content} for m in messages("uaua", " Q\n", "<A>", "é", "B")]

    def theirs() -> str:
        [printed], _ = render_jinja_template([dialogue], chat_template=text, **variables)
        return printed

    def ours() -> str:
        return render(text, messages=dialogue, tools=None, documents=None, **variables)

    assert _outcome(ours, TemplateError) == _outcome(theirs, Exception)


def _outcome(work: Callable[[], str], refusal: type[Exception]) -> str | None:
    """What it returns, or None where it refuses."""
    try:
        return work()
    except refusal:
        return None


def test_the_clock_stands_still_for_one_template() -> None:
    template = JinjaTemplate("{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}", "clock")
    assert template.render({}) == template.render({})
    assert template.render({}).startswith(time.strftime("%Y-"))


def test_generation_marks() -> None:
    template = JinjaTemplate(
        "{% macro m(x) %}{% generation %}{{ x }}{% endgeneration %}{% endmacro %}{% set y = m('b') %}a{{ y }}c",
        "tagged",
    )
    assert template.is_tagged
    assert template.render({}) == "abc"
    assert template.render({}, ("<", ">")) == "a<b>c"
    assert template.render({}) == "abc"
    assert not JinjaTemplate("{# {% generation %} #}{{ '{% generation %}' }}", "plain").is_tagged


def test_what_a_template_expects() -> None:
    template = JinjaTemplate("{% set messages = messages[1:] %}{% for m in messages %}{{ m.x + y }}{% endfor %}", "t")
    assert template.variables == {"messages", "y"}


# ---- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n{% if x %}", "mine.jinja:2: the chat template is not valid Jinja: Unexpected end of template."),
        ("\n\n{{ x | nofilter }}", "mine.jinja:3: the chat template is not valid Jinja: No filter named 'nofilter'."),
        ("a\n{{ raise_exception('Roles!') }}", "mine.jinja:2: the chat template refused the conversation: Roles!"),
        ("{% macro f() %}\n{{ 1 // 0 }}\n{% endmacro %}\n{{ f() }}", "mine.jinja:2: the chat template failed (ZeroDiv"),
        ("\n{{ x.y.z }}", "mine.jinja:2: the chat template failed (UndefinedError: 'x' is undefined)"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "mine.jinja:1: the chat template failed (RecursionError"),
        ("{{ ''.__class__.__mro__ }}", "mine.jinja:1: the chat template failed (SecurityError"),
    ],
)
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(text)
    assert str(caught.value).startswith(message)
    assert caught.value.fix


@pytest.mark.parametrize("text", ["{{ raise_exception('x' * 10**6) }}", "{{ messages['x' * 10**6].y }}"])
def test_what_a_template_says_about_itself_is_cut(text: str) -> None:
    with pytest.raises(TemplateError, match=r"x{450}") as caught:
        render(text, messages={})
    assert len(str(caught.value)) < 1000


# ---- limits ------------------------------------------------------------------------------------------------------------

BOMBS = [
    "{{ 'a' * 10**9 }}",
    "{{ [1] * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ 9 ** (9 ** 9) }}",
    "{% set ns = namespace(x=2) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{% set ns = namespace(x='aaaa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='aaaa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(99) %}"
    "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ''.join([ns.x, ns.x]) %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = '{0}{0}'.format(ns.x) %}{% endfor %}",
    "{% set big = 'a' * 10**6 %}{{ big | replace('', big) }}",
    "{% set big = 'a' * 10**6 %}{{ big.replace('a', big) }}",
    "{% set big = 'a' * 10**6 %}{{ (['b'] * 1000) | join(big) }}",
    "{% set big = 'a' * 10**6 %}{{ big.join(range(1000) | map('string')) }}",
    "{% set big = 'a' * 10**6 %}{% for i in range(100) %}{{ big }}{% endfor %}",
    "{% set big = 'a' * 10**6 %}{% for i in range(100) %}{% set x = big[1:] %}{% endfor %}",
    "{% set big = 'a' * 10**6 %}{% for i in range(100) %}{% set x = big.upper() %}{% endfor %}",
    "{% set big = 'a' * 10**6 %}{{ ('{0}' * 1000).format(big) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '%.1000000000f' | format(1.5) }}",
    "{{ '{:>1000000000}'.format('a') }}",
    "{{ '{:>{}}'.format('a', 10**9) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a' | center(width=10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{% set pad = 'a'.rjust %}{{ pad(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ 'a\nb' | indent(10**9) }}",
    "{{ [[1]] | tojson(indent=10**9) }}",
    "{{ [[1]] | tojson(true, 'x' * 10**6) }}",
    "{{ [1] | batch(10**9, 0) | list }}",
    "{{ [1] | batch(linecount=10**9, fill_with=0) | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ 1.5 | round(10**9, 'floor') }}",
    "{{ strftime_now('%1000000000Y') }}",
    "{{ 'a' | wordwrap(1, wrapstring='b' * 10**7) }}{{ ('a ' * 1000) | wordwrap(1, true, 'b' * 10**6) }}",
    *(
        "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = GROW %}{% set ns.y = GROW %}{% endfor %}"
        "{{ ns.x == ns.y }}".replace("GROW", grow)
        for grow in (
            "[ns.x, ns.x]",
            "(ns.x, ns.x)",
            "{'a': ns.x, 'b': ns.x}",
            "dict(a=ns.x, b=ns.x)",
            "[ns.x, ns.x] | batch(1) | list",
            "dict.fromkeys(['a', 'b'], ns.x)",
        )
    ),
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_stopped_before_they_grow(bomb: str) -> None:
    started = time.perf_counter()
    with pytest.raises(
        TemplateError, match=r"^mine\.jinja(:\d)?: the chat template was stopped: it (makes|asks|computes)"
    ):
        render(bomb)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("text", ["{{ range(10**9) }}", "{{ 'a'.translate({97: 'b'}) }}", "{{ lipsum(10**9) }}"])
def test_what_else_a_template_may_not_do(text: str) -> None:
    with pytest.raises(TemplateError, match="the chat template failed"):
        render(text)


def test_the_budget_is_for_one_render() -> None:
    template = JinjaTemplate("{% for i in range(40) %}{% set x = big.upper() %}{% endfor %}", "t")
    for _ in range(3):
        assert template.render({"big": "a" * 10**6}) == ""


ENDLESS = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"


def test_endless_loops_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.data.jinja.time_limit", lambda: time_limit(0.1))
    with pytest.raises(
        TemplateTooSlow, match=r"^mine\.jinja:1: the chat template was stopped: it ran for more than 0\.1 sec"
    ):
        render(ENDLESS)


def test_a_template_that_ran_out_of_time_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.data.jinja.time_limit", lambda: time_limit(0.1))
    template = JinjaTemplate(ENDLESS, "mine.jinja")
    started = time.monotonic()
    for _ in range(50):
        with pytest.raises(TemplateTooSlow, match="it ran for more than"):
            template.render({})
    assert time.monotonic() - started < 2


@pytest.fixture
def each_render_takes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[float]], None]:
    """Makes renders seem to take so many seconds of work, one after another."""

    def take(seconds: Iterable[float]) -> None:
        clock = accumulate(reading for each in seconds for reading in (0.0, each))
        monkeypatch.setattr("weft.data.jinja.time.thread_time", lambda: next(clock))

    return take


def test_a_template_that_is_slow_again_and_again_is_stopped(
    each_render_takes: Callable[[Iterable[float]], None],
) -> None:
    each_render_takes(repeat(0.0601))  # of which 0.01 are granted, and hardly more for so short a conversation
    template = JinjaTemplate("{{ 1 }}", "mine.jinja")
    watching = WatchingTemplate("{{ 1 }}", "mine.jinja", None, (), template.pace)  # what is proved of it takes time too
    for _ in range(100):
        assert template.render({"messages": []}) == watching.render({"messages": []}) == "1"
    with pytest.raises(TemplateTooSlow) as raised:
        template.render({"messages": []})
    assert str(raised.value).startswith(
        "mine.jinja: the chat template was stopped: it is too slow, 200 renders took 12.0 seconds\n  fix: "
    )


@pytest.mark.parametrize(
    "seconds",
    [
        [0.009],
        [0.5, *[0.002] * 99],  # a pause now and then
        [9.0, *[0.001] * 999],
    ],
)
def test_a_template_that_is_quick_on_the_whole_may_take_as_long_as_it_likes(
    seconds: list[float], each_render_takes: Callable[[Iterable[float]], None]
) -> None:
    each_render_takes(cycle(seconds))
    template = JinjaTemplate("{{ 1 }}", "mine.jinja")
    assert {template.render({}) for _ in range(5000)} == {"1"}


def test_long_conversations_may_take_longer(each_render_takes: Callable[[Iterable[float]], None]) -> None:
    each_render_takes(repeat(0.2))
    template = JinjaTemplate("{{ 1 }}", "mine.jinja")
    long = {"messages": [{"role": "user", "content": "a"}] * 5000}
    assert {template.render(long) for _ in range(200)} == {"1"}


def test_what_is_printed_beside_the_conversation_is_limited() -> None:
    said = {"messages": [{"content": "a" * 100_000}]}
    assert len(render("{% for i in range(60) %}{{ messages[0].content }}{% endfor %}", **said)) == 6_000_000
    with pytest.raises(
        TemplateError, match=r"^mine\.jinja: .* it prints 7,000,000 characters of a conversation of 100,0"
    ):
        render("{% for i in range(70) %}{{ messages[0].content }}{% endfor %}", **said)
    assert len(render("{{ 'a' * 250_000 }}")) == 250_000
    with pytest.raises(TemplateError, match=r"it prints 300,000 characters"):
        render("{{ 'a' * 300_000 }}")


def test_a_sum_of_lists_is_stopped_before_it_begins() -> None:
    with pytest.raises(TemplateError, match="it sums other things than numbers"):
        render("{{ ([[1] * 10000] * 1000) | sum(start=[]) }}")
    assert render("{{ [1, 2.5] | sum }} {{ [1] | sum(start=2) }}") == "3.5 3"


@pytest.fixture
def alarm() -> Iterator[list[int]]:
    """An alarm clock that somebody else has set."""
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    yield rung
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_another_alarm_clock_is_put_back(alarm: list[int]) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with time_limit(5):
        pass
    assert signal.getsignal(signal.SIGALRM) is handler
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.2
    with time_limit(5):
        time.sleep(0.3)
    time.sleep(0.05)
    assert alarm == [signal.SIGALRM]


def test_other_threads_render_too() -> None:
    printed: list[str] = []
    thread = threading.Thread(target=lambda: printed.append(render("{{ x }}", x=1)))
    thread.start()
    thread.join()
    assert printed == ["1"]
