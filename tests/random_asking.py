"""Templates that ask what stands in what people say, by words, parts and ends; and records that nearly hold what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from weft.data.control import ControlTokens
from weft.types import Message, Role, ToolCall

_T = TypeVar("_T")
_WORDS = (
    "<think>", "</think>", "<think>\n", "\n</think>", "</think>\n\n", "\n", "\n\n", " ", "a", "ab", "x y", ".", ":",
    "functions.", "/no_think", "hello", "weather", "\u3000", "<", "k>", "</think>a", "a</think>", "q", "Z", "1",
)  # fmt: skip
_FIELDS = (
    "m.content", "m.content", "m.content", "m.content", "(m.reasoning_content or '')", "(m.name or '')",
    "(m.tool_call_id or '')", "(c.id or '')", "c.function.name", "messages[0].content", "messages[-1].content",
    "(loop.previtem.content if loop.previtem is defined else '')", "ns.kept", "kept",
    "(messages | map(attribute='content') | list | last)", "(messages | map(attribute='content') | list)[0]",
    "(m | items | list | last | last)", "({'b': m.content, 'a': m.role} | dictsort | last | last)", "said(m)",
    "(c.function.arguments.city or '')",
)  # fmt: skip
_SPACE = (" ", "\n", "\n\n", "\t \n", "\u3000", "\x1c", "\x85", "\u2028", "\u00a0", "\r\n")
_VALUES = (
    "a", "b", "ab", "x", "y", "x y", "hello", "hel", "lo", "think>", "<think", "</think", "<", ">", "k>a", "functions.",
    "functions", "weather", ":0", ".", ":", "a\x1cb", "a\x85b", "\u200b", "\u200ba", "b\u2028c", "hello world", "/no_think",
    "a\nb", "q\n\nr", "some words", "more of it", "why", "so", "user", "assistant", "<|im_start|", "Sure", "1", "100", "é",
    "x" * 20, "long words " * 12 + "end", '"a"', "a.b", "Human:", "<think a='b'>", "<b>", "c\u3000d", "\\", "12345678",
)  # fmt: skip
PARTS = (".text", ".content", "['text']", ".striptags")
"""Of texts: there is none."""
PLAIN = ("some words", "more of it", "why not", "because", "well then", "indeed")


class AskingTemplateMaker:
    """Makes templates that find parts of what is said, and print them or something else.

    Args:
        seed: another one makes other templates.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def template(self) -> str:
        """A template with a loop over messages that asks something of what they say."""
        said = self._pick("m.content", "m.content", "m.content | trim", self._text("m.content", 2), self._text(depth=1))
        calls = (
            "{% for c in m.tool_calls or [] %}" + self._maybe() + "<call>{{ c.function.name }}"
            "{{ c.function.arguments | tojson }}" + self._pick("", "{{ c.id }}", self._maybe()) + "</call>{% endfor %}"
        )
        reasoning = self._pick(
            "",
            "{% if m.reasoning_content %}<think>\n{{ "
            + self._text("m.reasoning_content", 1)
            + " }}\n</think>\n\n{% endif %}",
        )
        begin, end = self._pick(
            ("<|im_start|>{{ m.role }}\n", "<|im_end|>\n"),
            ("<|im_start|>{{ m.role }}\n", "<|im_end|>\n"),
            ("{{ m.role }}: ", "\n"),
            ("<{{ m.role }}>", "<|im_end|>"),
        )
        opening = begin.replace("{{ m.role }}", "assistant")
        prompt = self._pick(opening, opening, opening.rstrip(), opening + "<think>\n", opening + "Sure: ", "")
        asked = "{% if add_generation_prompt %}" + prompt + "{% endif %}"
        return (
            "{% macro said(m) %}{{ m.content }}{% endmacro %}{% set ns = namespace(kept='', n=0) %}"
            "{% for m in messages %}{% set kept = m.content %}"
            "{% set c = m.tool_calls[0] if m.tool_calls else {'id': '', 'function': {'name': '', 'arguments': {}}} %}"
            f"{begin}{self._maybe()}{reasoning}{{{{ {said} }}}}{calls}{end}"
            + self._pick("", "{% set ns.kept = " + self._text("m.content", 1) + " %}")
            + "{% endfor %}"
            + self._pick(asked, asked, asked, asked, prompt)
        )

    def _pick(self, *choices: _T) -> _T:
        return self._random.choice(choices)

    def _maybe(self) -> str:
        return self._statement(1) if self._random.random() < 0.7 else ""

    def _statement(self, depth: int) -> str:
        text, is_so = self._text(depth=self._random.randint(0, 2)), self._bool()
        inner = self._statement(depth - 1) if depth else "Y"
        return self._pick(
            f"{{{{ 'X' if {is_so} }}}}",
            f"{{{{ 'X' if {is_so} else 'Y' }}}}",
            f"{{% if {is_so} %}}{inner}{{% else %}}Z{{% endif %}}",
            f"{{% if {is_so} and {self._bool()} %}}{inner}{{% endif %}}",
            f"{{% set kept = {text} %}}{inner}",
            f"{{% set ns.kept = {text} %}}{inner}",
            f"{{% for part in {text}.split({self._word()}) %}}{{{{ 'X' if part and {self._asked('part')} }}}}{{% endfor %}}",
            f"[{{{{ {text} }}}}]",
            f"{{% if {is_so} %}}{{% set ns.n = ns.n + 1 %}}{{% endif %}}{{{{ ns.n }}}}",
            f"{{{{ 'X' if loop.changed({text}) }}}}",
        )

    def _word(self) -> str:
        return repr(self._pick(*_WORDS))

    def _text(self, field: str = "", depth: int = 0) -> str:
        text = field or self._pick(*_FIELDS)
        for _ in range(depth):
            word, place = self._word(), self._pick("0", "-1", "-1", "1")
            text = self._pick(
                *(f"{text}.{name}({of})" for name in ("strip", "lstrip", "rstrip") for of in ("", "'\\n'")),
                f"({text} | trim)",
                f"{text}.split({word})[{place}]",
                f"{text}.rsplit({word}, 1)[{place}]",
                f"({text}.split({word}) | {self._pick('first', 'last')})",
                f"{text}.replace({word}, {self._word()})",
                f"{text}.replace({word}, '')",
                f"({text} | replace({word}, ''))",
                f"{text}[{self._pick('0:', '1:', ':-1', '1:-1', '7:', ':-8')}]",
                f"({text} if {self._asked(text)} else '')",
                f"({text} | {self._pick('safe', 'string')})",
            )
        return text

    def _bool(self) -> str:
        return self._asked(self._text(depth=self._random.randint(0, 2)))

    def _asked(self, text: str) -> str:
        word = self._word()
        length = self._pick("> 0", "== 0", "< 1", "!= 0", ">= 1", "<= 0", "> 1", "== 9")
        return self._pick(
            f"{word} in {text}",
            f"{word} not in {text}",
            f"{text}.{self._pick('startswith', 'endswith')}({word})",
            f"{text}.{self._pick('startswith', 'endswith')}(({word}, {self._word()}))",
            f"{text} {self._pick('==', '!=')} {word}",
            f"{text} {self._pick('==', '!=')} {self._pick(*_FIELDS)}",
            f"{text} {self._pick('in', 'not in')} [{word}, {self._word()}]",
            f"{text} is {self._pick('eq', 'ne', 'in', 'equalto')}({word})",
            f"{text}{self._pick(*PARTS)} is {self._pick('defined', 'string')}",
            f"m == {self._pick('messages[-1]', 'messages[0]', 'loop.previtem')}",
            f"{text} == {self._pick('messages[-1].content', 'messages[0].content | trim')}",
            f"({text} | length) {length}",
            f"({text}.split({word}) | length) {self._pick('> 1', '== 2', '== 1')}",
            f"{text} is {self._pick('string', 'none', 'defined', 'iterable', 'sequence', 'mapping', 'true')}",
            text,
        )


CONTROL = (
    {"<|im_start|>", "<|im_end|>"},
    {"<|im_start|>", "<|im_end|>"},
    {"<|im_start|>", "<|im_end|>", "<think>", "</think>"},
    {"<|im_start|>", "<|im_end|>", "\n\nHuman:", "a </s>"},
)


class RecordMaker:
    """Makes records of one pattern: roles, fields, white space, tags, and what is equal.

    Args:
        seed: another one makes other patterns.
    """

    def __init__(self, seed: int) -> None:
        random = self._random = Random(seed)
        self.control = ControlTokens(frozenset(random.choice(CONTROL)), frozenset({"<|im_end|>"}))
        roles: list[Role] = [*random.choice(((), ("system",))), "user", "assistant"]
        roles += random.choice(((), (), ("user", "assistant"), ("tool", "assistant"), ("assistant",), ("user",)))
        self._count = 0
        has_more = random.random() < 0.4
        self._ident = random.choice(("functions.{}:0", "call_1", "123456789", "{}"))
        self._weighs = random.random() < 0.15
        self._messages = [(role, self._content(role), self._fields(role) if has_more else ()) for role in roles]

    def _slot(self) -> str:
        if self._count and self._random.random() < 0.15:
            return f"\0{self._random.randrange(self._count)}\0"
        self._count += 1
        return f"\0{self._count - 1}\0"

    def _end(self) -> str:
        return self._random.choice(_SPACE) if self._random.random() < 0.3 else ""

    def _content(self, role: str) -> str:
        end, slot = self._end, self._slot
        kind = self._random.random()
        if kind < 0.05:
            return self._random.choice(("", " ", "\n", "/no_think"))
        if kind < (0.4 if role == "assistant" else 0.1):
            return self._random.choice(
                (
                    f"{end()}<think>{end()}{slot()}{end()}</think>{end()}{slot()}{end()}",
                    f"<think>\n{slot()}\n</think>\n\n{slot()}{end()}",
                    f"{slot()}{end()}</think>{end()}{slot()}{end()}",
                    f"<think>{end()}</think>{end()}{slot()}{end()}",
                    f"{slot()}<think>{slot()}</think>{slot()}",
                    f"<think>{slot()}</think>{slot()}</think>{slot()}",
                    f"<think>{slot()}</think>{end()}",
                )
            )
        return f"{end()}{slot()}{end()}"

    def _fields(self, role: str) -> tuple[str, ...]:
        if role == "assistant":
            return self._random.choice((("reasoning",), ("call",), ("reasoning", "call"), ()))
        return ("result",) if role == "tool" else self._random.choice(((), ("name",)))

    def record(self, *, plain: bool = False) -> list[Message]:
        """Another record of that pattern."""
        random = self._random
        usual = plain or random.random() < 0.3
        words = [random.choice(PLAIN if usual or random.random() < 0.4 else _VALUES) for _ in range(self._count)]
        if usual:
            words = [f"{word} {number}" for number, word in enumerate(words)]

        def filled(text: str) -> str:
            for number, word in enumerate(words):
                text = text.replace(f"\0{number}\0", word)
            return text

        def value() -> str:
            chosen = random.choice(PLAIN if plain or random.random() < 0.4 else _VALUES)
            if not plain and random.random() < 0.15:
                return random.choice(_SPACE) * random.randint(0, 1) + chosen + random.choice(_SPACE)
            return random.choice(words) if words and not plain and random.random() < 0.2 else chosen

        def message(role: Role, content: str, fields: Sequence[str]) -> Message:
            name = random.choice(("weather", "get", "a")) if not plain else "weather"
            text = filled(content)
            if not plain and text and random.random() < 0.05:
                text = (
                    random.choice(_SPACE) * random.randint(0, 1) + text + random.choice(_SPACE) * random.randint(0, 1)
                )
            weight = random.choice((0.0, 0.5, 1.0, None)) if self._weighs else None
            call = ToolCall(name=name, id=self._ident.format(name), arguments={"city": value()})
            return Message(
                role=role,
                content=text,
                reasoning=value() if "reasoning" in fields else "",
                tool_calls=(call,) if "call" in fields else (),
                tool_call_id=self._ident.format("weather") if "result" in fields else None,
                name=name if "result" in fields or "name" in fields else None,
                weight=weight,
            )

        return [message(*each) for each in self._messages]
