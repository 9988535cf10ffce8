"""YAML 1.2, core schema: what scalars mean, and what is refused with a line."""

from __future__ import annotations

import math
from typing import Any

import pytest

from weft.config.nodes import ListNode, MapNode, Node, ScalarNode, compose
from weft.config.scalars import dump, resolve
from weft.errors import ConfigError, WeftError

# YAML 1.2.2, 10.3.2: the tag resolution table, with what YAML 1.1 or a library's own rules would make something else of.
SCALARS: list[tuple[str, Any]] = [
    *[(text, None) for text in ("", "~", "null", "Null", "NULL")],
    *[(text, True) for text in ("true", "True", "TRUE")],
    *[(text, False) for text in ("false", "False", "FALSE")],
    *[(text, text) for text in ("no", "No", "yes", "on", "Off", "y", "n", "tRUE", "nULL", "None")],
    ("0", 0),
    ("-0", 0),
    ("+12", 12),
    ("010", 10),
    ("-019", -19),
    ("0o17", 15),
    ("0x1F", 31),
    *[
        (text, text)
        for text in ("0o18", "-0o17", "0O17", "0x", "0X1F", "-0x1F", "0b1", "1_000", "1:30", "190:20:30", "+")
    ],
    ("2e-4", 2e-4),
    ("1e5", 100000.0),
    ("1E+5", 100000.0),
    (".5", 0.5),
    ("5.", 5.0),
    ("-1.5e3", -1500.0),
    ("+.5", 0.5),
    *[
        (text, text)
        for text in (".", "e5", "1e", "1e5.0", ".e5", "1_0.5", "1,5", "٣", "1.2.3", "2024-01-31", "=", "<<")
    ],
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("+.Inf", math.inf),
    *[(text, text) for text in ("inf", "nan", ".iNF", "-.nan", "infinity")],
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_plain_scalar_has_the_value_of_the_core_schema(text: str, value: Any) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_nan(text: str) -> None:
    value = resolve(text)
    assert isinstance(value, float)
    assert math.isnan(value)


def test_a_number_too_long_for_python_overflows_to_infinity() -> None:
    assert resolve("9" * 5000) == math.inf


@pytest.mark.parametrize(
    "value", [None, True, 0, -7, 2e-4, 3.0, 1e300, "no", "true", "5", "a: b", "a\nb", "é", "", "# x"]
)
def test_a_dumped_value_reads_back(value: Any) -> None:
    assert plain(read(f"key: {dump([value])}")) == {"key": [value]}


def read(text: str) -> Node | None:
    problems: list[WeftError] = []
    node = compose(text, lambda line: f"x.yaml:{line}", problems)
    if problems:
        raise problems[0]
    return node


def plain(node: Node | None) -> Any:
    if isinstance(node, MapNode):
        return {entry.key: plain(entry.node) for entry in node.entries}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return node.value if isinstance(node, ScalarNode) else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 'no'\nb: \"1\"\nc: |\n  1\n", {"a": "no", "b": "1", "c": "1\n"}),
        ("a: !!str 5\nb: !!float 5\nc: !!int 0o7\nd: ! 5", {"a": "5", "b": 5.0, "c": 7, "d": "5"}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ('{"a": "\\ud83d\\ude00", "b":[1,null]}', {"a": "😀", "b": [1, None]}),  # JSON, with a surrogate pair
        ("1: a\ntrue: b\n: c\n", {"1": "a", "true": "b", "": "c"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("a: x\u2028y\nb: 'x\u2029y'", {"a": "x\u2028y", "b": "x\u2029y"}),  # line breaks in YAML 1.1 only
        ("\ufeffa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("# nothing\n", None),
        ("", None),
    ],
)
def test_documents(text: str, value: Any) -> None:
    assert plain(read(text)) == value


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a:\n\tb: 1", 2, "indent with spaces"),
        ("a: 1\nb: c: d", 2, "put quotes around"),
        ("a: [1, 2", 1, "not valid YAML"),
        ("a: 1\n  b: 2", 2, "not valid YAML"),
        ("a: 1\nb: \0", 2, "U+0000"),
        ("a: 'x\x85y'", 1, "U+0085"),
        ("a: 1\n---\nb: 2", 2, "a second one starts here"),
        ("%YAML 1.1\n---\na: no", 2, "reads YAML 1.2"),
        (
            "a: !!python/object/apply:os.system [ls]",
            1,
            "tag:yaml.org,2002:python/object/apply:os.system is not allowed",
        ),
        ("a: 1\nb: !env HOME", 2, "!env is not allowed"),
        ("a: !!int fast", 1, "not of the type"),
        ("a: !!float 0x1F", 1, "not of the type"),
        ("a: !!set {x}", 1, "not allowed"),
        ("a: *nobody", 1, "names no anchor"),
        ("a: &x [*x]", 1, "stands inside"),
        ("? [a]\n: b", 1, "a key must be a name"),
        ('a: "\\ud800"', 1, "half of a character"),
        ('a: "\\0"', 1, "NUL"),
        ("a: 1\nb: 2\na: 3", 3, "'a' is set twice in one mapping, first at x.yaml:1"),
        ("a: {b: 1, b: 1}", 1, "'b' is set twice"),
        ("[" * 20_000, 1, "nested more than 20"),
        ("a: 1\n" + "b: " + "[" * 21 + "]" * 21, 2, "nested more than 20"),
    ],
)
def test_what_is_refused_has_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.where == f"x.yaml:{line}"
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "%YAML 1.3\n---\na: 1"])
def test_texts_that_make_the_parser_itself_fail(text: str) -> None:
    with pytest.raises(ConfigError, match="malformed"):
        read(text)


def test_aliases_of_aliases_are_counted_as_written_out() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(9):
        bomb += f"a{level + 1}: &a{level + 1} [{', '.join([f'*a{level}'] * 9)}]\n"
    with pytest.raises(ConfigError, match="more than 10,000 values"):
        read(bomb)
