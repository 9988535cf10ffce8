"""Templates under which one character of a value decides: records that plans made of others must not give otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from mask_pairs import A, U
from planned import CHATML, Compared
from weft.data.control import ControlTokens
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.types import Message, ToolCall

pytestmark = pytest.mark.usefixtures("hardly_any_trial")

EOS = ControlTokens(["</s>"], ["</s>"])
START = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
END = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
OTHERS = "{% else %}{{ m.role }} {{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}"


def calls(argument: str) -> str:
    """Prints the name of each call, and its arguments so."""
    items = "{% for k, v in c.function.arguments.items() %}" + argument + "{% endfor %}"
    return "{% for c in m.tool_calls or [] %}{{ c.function.name }}" + items + "{% endfor %}"


def call(value: str = "Rome", *, name: str = "city", ident: str = "call_1", content: str = "") -> list[Message]:
    function = ToolCall(name="weather", arguments={name: value}, id=ident)
    return [U("Rain?"), A(content, function), Message(role="tool", content="21", tool_call_id=ident), A("No.")]


def named(*names: str) -> list[Message]:
    """A question and an answer, of which each may have a name."""
    question, answer = [*names, None][:2]
    return [
        Message(role="user", content="Rain?", name=question),
        Message(role="assistant", content="No.", name=answer),
    ]


def answers(before: str, prompt: str) -> str:
    """Prints this before answers, and as a prompt."""
    return (
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        + before
        + "{{ m.content }}</s>"
        + OTHERS
        + prompt
        + "{% endif %}"
    )


STANDING = (
    "{% for m in messages %}{{ {'user': 'Q: ', 'assistant': 'A: ', 'tool': 'R: '}[m.role] }}{{ m.content }}"
    + calls(" {{ k }}={{ (v | tojson)[1:-1] }}") + "\n{% endfor %}A: "
)  # fmt: skip
CALLS_APART = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}{% for c in m.tool_calls or [] %}<|im_end|>"
    "<|im_start|>assistant"
)
ASSISTANT = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
BRIEF = (
    "{% for m in messages %}{{ '' if m.role == 'assistant' else 'user: ' }}{{ m.content }}{{ m.name or '' }}<|im_end|>\n"
    "{% endfor %}Be brief.\n{% if add_generation_prompt %}assistant: {% endif %}"
)
TWICE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'user' %}{{ m.content }}{% else %}" + (
    "{{ m.content.split('</think>')[0] ~ m.content }}{% endif %}"
)
THOUGHT = ControlTokens([*CHATML.control, "<think>", "</think>"], CHATML.stops)

Case = tuple[str, ControlTokens, list[list[Message]], list[list[Message]]]
"""A template, the control tokens, records of which a plan is made, and others."""
CASES: dict[str, Case] = {
    "a backslash at the end of an argument in JSON, and nothing behind it": (
        STANDING, EOS, [call('a "b" c'), call('d "e" f')], [call("Rome\\"), call('"'), call("\\\\")],
    ),
    "a control token that begins in half of another one": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}" + calls(" abc{{ k }}={{ v }}")
        + "##\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
        ControlTokens(["##", "ab", "bc", "cde"], ["##"]), [call(), call("Oslo")], [call(name="de")],
    ),
    "a control token that begins in an argument in ASCII": (
        START + calls(" {{ k }}={{ (v | tojson(ensure_ascii=true))[1:-1] }}_end|>") + END, CHATML,
        [call(), call("Oslo")], [call("x and words <|im")],
    ),
    "a control token that begins in an argument, which is also printed in ASCII": (
        START + calls(" {{ v }}_end|> {{ v | tojson(ensure_ascii=true) }}") + END, CHATML,
        [call(), call("Oslo")], [call("x and words <|im")],
    ),
    "a control token that begins in quotes in ASCII": (
        START + calls(" {{ (v | tojson(ensure_ascii=true))[1:-1] }}_end|>") + END, CHATML,
        [call('a "b"'), call('c "d"')], [call('"x" and words <|im')],
    ),
    "a control token that begins in quotes, which are also printed in ASCII": (
        START + calls(" {{ v }}_end|> {{ v | tojson(ensure_ascii=true) }}") + END, CHATML,
        [call('a "b"'), call('c "d"')], [call('"x" and words <|im')],
    ),
    "an id that begins as the prompt goes on": (
        "{% for m in messages %}<|im_start|>{{ m.role }} {% for c in m.tool_calls or [] %}{{ c.id }} {{ c.function.name }}"
        "{{ c.function.arguments | tojson }}{% endfor %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant final: {% endif %}", CHATML,
        [call(), call("Oslo")], [call(ident="finx"), call(ident="final:x")],
    ),
    "an id that begins another answer": (
        CALLS_APART + "{{ c.id }} {{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}" + ASSISTANT, CHATML,
        [call(content="Look"), call("Oslo", content="See")], [call(ident="<x>", content="Look")],
    ),
    "the name of an argument that begins another answer": (
        CALLS_APART + "{% for k, v in c.function.arguments.items() %}{{ k }} {{ v }}{% endfor %}{{ c.function.name }}"
        "{% endfor %}" + ASSISTANT, CHATML,
        [call(content="Look"), call("Oslo", content="See")], [call(name="<x>", content="Look")],
    ),
    "reasoning that is printed twice, and is the answer": (
        TWICE + END, THOUGHT, [[U("q"), A("<think>why</think>why")], [U("p"), A("<think>so</think>so")]],
        [[U("q"), A(f"<think>{words}</think>{words}")] for words in ("a", "ab c d e f g h i", "x y z " * 30)],
    ),
    "reasoning that is printed twice, before an answer that is the question": (
        TWICE + END, THOUGHT, [[U("so"), A("<think>why</think>so")], [U("why"), A("<think>hm</think>why")]],
        [[U(words), A(f"<think>why</think>{words}")] for words in ("a", "so " * 30 + "be it")],
    ),
    "an answer that begins as what stands behind a conversation": (
        BRIEF, CHATML, [[U("q"), A("a"), U("r"), A("s")], [U("qq"), A("aa"), U("rr"), A("ss")]],
        [[U("q"), A(first), U("r"), A(second)] for first in ("Bob", "a", "user") for second in ("Be", "s", "assistant")],
    ),
    "a name in the words that part": (
        answers("{{ messages[0].name }}: ", "Reply to {{ messages[0].name }}: "), EOS,
        [named("Bob"), named("Al")], [named("!!"), named('"')],
    ),
    "a name that the prompt begins with": (
        answers("{{ messages[0].name }} ", "Reply to {{ messages[0].name }}"), EOS,
        [named("Bob"), named("Al")], [named(" Reply"), named("Re")],
    ),
    "names that begin alike": (
        answers("assistant: {{ m.name }} ", "assistant:\n{{ messages[0].name }}"), EOS,
        [named("Bob", "Al"), named("Eve", "Jo")], [named("Bob", "Bobby"), named("Bo", "Bob")],
    ),
    "a name that is a header": (
        answers("As {{ messages[0].name }}: assistant: {{ messages[0].name }} ", "assistant: "), EOS,
        [named("Bob"), named("Eve")], [named("x assistant: y"), named("assistant: ")],
    ),
    "a name behind a question that is a header": (
        "{% for m in messages %}{{ 'assistant:  ' if m.role == 'assistant' else '<|im_start|>' + m.role + '\n' }}{{ m.content }}"
        "{{ m.name or '' }}\n{% endfor %}Be brief.\n{% if add_generation_prompt %}assistant: {% endif %}", CHATML,
        [[*named("Bob", "Al"), *named("Eve")], [*named("Eve", "Jo"), *named("Bob")]],
        [[*named("Bob", "Al"), *named("assistant: x")]],
    ),
    "texts that are the same when they are trimmed": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ 'Again: ' if not loop.first and m.content | trim == "
        "messages[0].content | trim }}{{ m.content | trim }}" + END, CHATML,
        [[U("q"), A("a")], [U("q\n"), A(" a")]], [[U("same"), A("same ")], [U("\nsame"), A("same")]],
    ),
    "a name with white space at the end of a header": (
        "{% for m in messages %}{{ messages[0].name if m.role == 'assistant' else m.role + ': ' }}{{ m.content }}<|im_end|>\n"
        "{% endfor %}", CHATML, [named("Bob"), named("Eve")], [named("<a "), named("Bob\n")],
    ),
    "a question that the prompt repeats": (
        answers("says: ", "{{ messages[-1].content }}: "), EOS,
        [[U("q"), A("a")], [U("p"), A("b")]], [[U("so"), A("x")], [U("says"), A("x")]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("mismatch", ["template", "splice"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_character_decides(case: Case, mismatch: Any) -> None:
    source, control, usual, others = case
    compared = Compared(Printer(JinjaTemplate(source, "template"), bos="", eos=""), control, mismatch=mismatch)
    for _ in range(20):
        for record in usual:
            assert compared.agrees(record)
    for record in others * 3:
        assert compared.agrees(record), record
    assert compared.planner.disproved is None
