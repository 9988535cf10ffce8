"""The parts of plans: where texts part, what could be a control token, and conversations that stand for others."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mask_pairs import SHAPES, A, U, with_a_telling_id
from weft.data.control import ControlTokens
from weft.data.shape import Depth, examples, shape_of, stand_ins
from weft.data.shape_edges import Edges
from weft.data.shape_pattern import SegmentPattern, word
from weft.data.shape_proof import Partings
from weft.types import Message, Segment, Setting, ToolCall


def test_texts_that_part_in_a_value() -> None:
    printed = [f"<a>{word(0)}<b>", "<a>x y<b>", f"<a>{word(1)}"]
    assert Partings.of(printed, from_behind=False) == Partings(others=((0, "x y<b>"), (1, "x y<b>")), pairs=((0, 1),))
    partings = Partings.of([f"{word(0)}<b>", "x<b>"], from_behind=True)
    assert partings.others_behind == ((0, "x"),)
    assert partings.hold(["y"])
    assert not partings.hold(["x"])
    assert not partings.hold(["y x"])


def edges_of(*control: str) -> Edges:
    return Edges(ControlTokens(control, ()))


def test_edges_that_control_tokens_may_cross() -> None:
    edges = edges_of("<|a|>", "[B]")
    assert not edges.around([f"<{word(0)}>"], ["x"], [])
    assert edges.around([f"<{word(0)} "], ["x"], [0])
    assert edges.around([f" {word(0)}|>"], ["x"], [0])
    assert edges.around([f" {word(0)}|{word(1)}"], ["x", "y"], [0, 1])
    assert edges.around([f"{word(0)}{word(1)}"], ["x", "y"], [0])
    assert not edges.around([f" {word(0)}<{word(1)} "], ["x", "y"], [0])
    assert not edges.around([f"<|a|>{word(0)}<|a|>"], ["x"], [0])
    assert edges.around([f"[{word(0)}"], [5], [])
    assert not edges.around([f"[{word(0)}"], [{"a": 1}], [])
    brackets = edges_of("<{>", "]~b]")
    assert brackets.around([f"<{word(0)}"], [{"a": 1}], [])
    assert brackets.around([f" {word(0)}~b] "], [[1]], [])
    assert not brackets.around([f"<t>{word(0)}</t>"], [{"a": 1}], [])


def test_edges_that_control_tokens_cross() -> None:
    edges = edges_of("<|a|>")
    around = edges.around([f"once <|a|>more: <p={word(0)}> and <q={word(0)}>"], ["x"], [0])
    assert [pattern.fill(["name"]).text for pattern in around] == [" <p=name> an", " <q=name>"]
    between = edges.around([f"<{word(0)}<{word(1)}|>"], ["x", "y"], [1])
    assert [pattern.fill(["x", "y"]).text for pattern in between] == ["<y|>"]
    assert not edges.are_crossed(around, ["name"])
    assert not edges.are_crossed(around, ["|a|>"])
    assert edges.are_crossed(around, ["<|a|"])


@pytest.mark.parametrize(
    ("text", "numbers", "values"),
    [
        (f" {word(0)}|{word(1)}> ", [0], ["<", "a|"]),
        (f" <{word(0)}|{word(1)} ", [0], ["|a", ">"]),
        (f" <{word(0)}a{word(1)}> ", [0], ["|", "|"]),
        (f" {word(0)}{word(1)}{word(2)} ", [0, 1, 2], ["<|", "a", "|>"]),
    ],
)
def test_edges_that_control_tokens_cross_over_several_values(text: str, numbers: list[int], values: list[str]) -> None:
    edges = edges_of("<|a|>")
    around = edges.around([text], values, numbers)
    assert around
    assert edges.are_crossed(around, values)
    assert not edges.are_crossed(around, ["x"] * len(values))


LETTERS = "ab>"


@given(
    tokens=st.lists(st.text(LETTERS, min_size=2, max_size=5), min_size=1, max_size=4, unique=True),
    words=st.lists(st.text(LETTERS, max_size=8), min_size=2, max_size=4),
    data=st.data(),
)
@example(tokens=["aa", "bba"], words=["bbaa", ""], data=None)
def test_no_control_token_crosses_an_edge_unseen(
    tokens: list[str], words: list[str], data: st.DataObject | None
) -> None:
    found = ControlTokens(tokens, ())
    values = [data.draw(st.text(LETTERS, min_size=1, max_size=6)) if data else "a" for _ in words[1:]]
    text = words[0] + "".join(word(number) + after for number, after in enumerate(words[1:]))
    edges = Edges(found)
    around = edges.around([text], values, range(len(values)))
    filled = SegmentPattern(Segment(text=text, trained=False, control=tuple(found.find(text)))).fill(values)
    in_values = any(map(found.find, values))
    if not (in_values or edges.are_crossed(around, values)):
        assert tuple(found.find(filled.text)) == filled.control


def test_control_tokens_in_json() -> None:
    control = ControlTokens(['<|"|>', "<|end|>"], [])
    assert control.occur_in_json('{"a": "x<|end|>"}')
    assert control.occur_in_json(json.dumps({"a": 'x<|"|>y'}))
    assert control.occur_in_json(json.dumps({'<|"|>': 1}))
    assert not control.occur_in_json(json.dumps({"a": '<|" |>'}))


@pytest.mark.parametrize("ident", ["weather-weather", "functions. weather:0"])
def test_an_id_that_names_its_tool_otherwise_has_no_shape(ident: str) -> None:
    name = " weather" if " " in ident else "weather"
    assert shape_of([U("Q"), A("", ToolCall(name=name, arguments={"a": 1}, id=ident))], Depth()) is None


CONVERSATIONS = SHAPES | {
    "call without an id": [U("Q"), A("", ToolCall(name="weather", arguments={"city": "Rome"}))],
    "a telling id": list(map(with_a_telling_id, SHAPES["call after call"])),
    "a definition of another form": [U("Q", setting=Setting(tools=({"name": "weather"},))), A("A")],
}


def outline(message: Message, *, argument_names: bool) -> tuple[object, ...]:
    """What a message has, whatever it says; the names of arguments too where they are asked for."""
    calls = [
        (call.id is None, list(call.arguments) if argument_names else bool(call.arguments))
        for call in message.tool_calls
    ]
    tools = None if message.setting is None else len(message.setting.tools)
    says = [text and True for text in (message.content, message.reasoning, message.tool_call_id, message.name)]
    return message.role, says, calls, tools, message.setting and message.setting.arguments


@pytest.mark.parametrize("have_strings", [True, False])
@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize(
    "depth", [Depth(), Depth(arguments="items", definitions="fields"), Depth(arguments="names", definitions="exact")]
)
def test_stand_ins_have_the_shape(name: str, depth: Depth, have_strings: bool) -> None:
    found = shape_of(CONVERSATIONS[name], depth)
    assert found
    shape, values = found
    words = list(map(word, range(len(values))))
    made = stand_ins(CONVERSATIONS[name], depth, words.__getitem__, have_strings=have_strings)
    assert [outline(message, argument_names=depth.arguments == "names") for message in made] == [
        outline(message, argument_names=depth.arguments == "names") for message in CONVERSATIONS[name]
    ]
    if not examples(values):  # else a text stands for what is none
        expected = [given if value else value for given, value in zip(words, values, strict=True)]
        assert shape_of(made, depth) == (shape, expected)
