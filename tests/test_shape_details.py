"""What tells conversations of one shape further apart: white space, reasoning in its tags, and equal values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_pairs import TEXT_SHAPES, A, S, U
from weft.data.shape import Depth, shape_of, stand_ins
from weft.data.shape_details import Details, details_of
from weft.data.shape_pattern import word
from weft.types import Message

CONTENTS: dict[str, tuple[list[Message], list[tuple[str | int, ...]], list[str]]] = {
    "white space": ([U(" q\n"), A("a ")], [(" ", 0, "\n"), (1, " ")], ["q", "a"]),
    "a question of white space": ([U(" \n"), A("a")], [(" \n",), (1,)], ["", "a"]),
    "no question": ([U(""), A("a\n")], [(), (1, "\n")], ["", "a"]),
    "reasoning": (
        [U("q"), A("<think>\nw\n</think>\n\na\n")],
        [(0,), ("<think>\n", 2, "\n</think>\n\n", 1, "\n")],
        ["q", "a", "w"],
    ),
    "unopened reasoning": ([U("q"), A("w</think>a")], [(0,), (2, "</think>", 1)], ["q", "a", "w"]),
    "no reasoning in its tags": (
        [U("q"), A("<think>\n\n</think>\n\na")],
        [(0,), ("<think>\n\n</think>\n\n", 1)],
        ["q", "a"],
    ),
    "reasoning and no answer": ([U("q"), A("<think>w</think>")], [(0,), ("<think>", 1, "</think>")], ["q", "w"]),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_contents_consist_of_words_and_values(name: str) -> None:
    messages, contents, values = CONTENTS[name]
    found = details_of(messages, [message.content for message in messages])
    assert found == (Details(tuple(contents), tuple(range(len(values)))), values)


@pytest.mark.parametrize(
    "messages",
    [
        [U("q"), A("a")],
        [U("q"), A(" \n")],  # an answer of white space
        [U("<think>w</think>q"), A("a")],
        [U("q"), A("so <think>w</think>a")],
        [U("q"), A("<think>w</think>x</think>a")],
        [U("q"), A("<think>w<think></think>a")],
    ],
)
def test_what_is_said_otherwise_is_one_value(messages: list[Message]) -> None:
    assert details_of(messages, [message.content for message in messages]) is None


def test_equal_values_are_the_first_of_them() -> None:
    found = details_of([U("x"), A("y"), U("x"), A("x\n")], ["x", "y", "x", "x\n", "y", {"a": 1}, {"a": 1}])
    assert found == (
        Details(((0,), (1,), (2,), (3, "\n")), (0, 1, 0, 0, 1, 5, 6)),
        ["x", "y", "x", "x", "y", {"a": 1}, {"a": 1}],
    )


def test_a_system_message_that_is_looked_at_is_words() -> None:
    messages = [S("Hi. /no_think"), U("/no_think"), A("a")]
    values = [message.content for message in messages]
    assert details_of(messages, values) is None
    assert details_of(messages, values, {0, 1}) == (
        Details((("Hi. /no_think",), (1,), (2,)), (0, 1, 2)),
        ["", *values[1:]],
    )
    assert details_of([S("/no_think" * 200), *messages[1:]], ["/no_think" * 200, *values[1:]], {0, 1}) is None


def is_put_together(messages: list[Message]) -> bool:
    """Whether details and values are a conversation's, and those of its stand-ins."""
    shape = shape_of(messages, Depth())
    assert shape
    found = details_of(messages, shape[1])
    if found is None:
        return True
    details, values = found
    made = stand_ins(messages, Depth(), word, details=details)
    again = shape_of(made, Depth())
    return (
        [details.content(number, values.__getitem__) for number in range(len(messages))]
        == [message.content for message in messages]
        and again is not None
        and again[0] == shape[0]
        and details_of(made, again[1])
        == (details, [value and word(details.same[number]) for number, value in enumerate(values)])
    )


@pytest.mark.parametrize("name", TEXT_SHAPES)
def test_stand_ins_have_the_details(name: str) -> None:
    assert is_put_together(TEXT_SHAPES[name])


@given(
    st.lists(st.text(alphabet="ab \n") | st.sampled_from(["<think>a</think>b", "<think>\n</think>", "a</think>\nb "]))
)
def test_any_contents_are_put_together(contents: list[str]) -> None:
    said = [U(content) if number % 2 == 0 else A(content) for number, content in enumerate(contents)]
    assert is_put_together(said)
