"""What a record says that its messages count, laid over an example: weights for spans of its text.

A message of the assistant weighs what the model says in it, its end included. Any other message weighs its content, with the stop
that follows it: that trains the model to speak as the user does, which only a record can ask for. Whatever prints a message more
than once (several examples of one conversation) lets it count in one of them only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from weft.data.control import Span
from weft.data.pieces import shared_length
from weft.data.turn_end import stop_after_space
from weft.data.turn_start import PlacedTurn
from weft.data.turns import Chat, Contents, Turn
from weft.types import Segment


class Weighted(NamedTuple):
    """A range of characters, and what each of its tokens counts."""

    start: int
    end: int
    weight: float
    is_answer: bool
    """Whether the model says it, so that it counts only where it is trained anyhow."""


def weighted_spans(chat: Chat, placed: PlacedTurn, runs: Sequence[tuple[Turn, Span]], own: range) -> list[Weighted]:
    """The spans of an example's text that count what their messages say, in order and apart.

    Args:
        chat: the conversation.
        placed: the example's last turn, and its text.
        runs: the turns that it trains.
        own: the messages that are not the assistant's and count in this example.
    """
    found: list[Weighted] = []
    for index in sorted(placed.contents):
        message = chat.messages[index]
        if message.weight is None:
            continue
        run = next((run for run in runs if index in run[0].messages), None)
        if run is not None:
            moved = len(placed.text) - len(run[0].dialogue) if run is runs[-1] else 0  # as splicing moves a text
            found.append(Weighted(*_within_turn(chat, placed.contents, *run, index, moved), message.weight, True))
        else:
            weight = message.weight if index in own and message.role != "assistant" else 0.0
            found += [Weighted(*span, weight, False) for span in _with_stop(chat, placed, index)]
    return list(_apart(found))


def weigh(segments: Iterable[Segment], weighted: Sequence[Weighted]) -> tuple[Segment, ...]:
    """The segments with the weights that differ from those that they have anyhow."""
    if not weighted:
        return tuple(segments)
    result, position = [], 0
    for segment in segments:
        end = position + len(segment.text)
        inside = tuple(
            (max(one.start, position) - position, min(one.end, end) - position, one.weight)
            for one in weighted
            if one.start < end and one.end > position and _matters(one, segment)
        )
        result.append(replace(segment, weights=inside) if inside else segment)
        position = end
    return tuple(result)


def weighing_notes(segments: Iterable[Segment]) -> Iterator[str]:
    """What is worth counting about the weights of an example."""
    given = [segment for segment in segments if segment.weights]
    if any(segment.trained for segment in given):
        yield "weighted"
    if any(weight for segment in given if not segment.trained for *_, weight in segment.weights):
        yield "prompt-trained"


def _matters(one: Weighted, segment: Segment) -> bool:
    if segment.trained:
        return one.weight != 1
    return not (one.is_answer and one.weight)


def _within_turn(chat: Chat, contents: Contents, turn: Turn, span: Span, index: int, moved: int) -> Span:
    """The part of a turn, which the text holds in ``span``, that is the message ``index``."""

    def border(following: int) -> int:
        """Where the messages before ``following`` end: where their own render parts from that of the whole turn."""
        before, after = contents[following - 1].pieces, contents[following].pieces
        place = moved + shared_length(chat.dialogue(following), turn.dialogue)
        place = max([place, *(piece.end for piece in before[-1:])])
        return min([place, *(piece.start for piece in after[:1])])

    start = span[0] if index == turn.first else border(index)
    return start, span[1] if index == turn.last else border(index + 1)


def _with_stop(chat: Chat, placed: PlacedTurn, index: int) -> list[Span]:
    """Where the text prints a message, with the stop behind it."""
    spans = [(piece.start, piece.end) for piece in placed.contents[index].pieces if piece.start < piece.end]
    if spans and (stop := stop_after_space(chat.control, placed.text, spans[-1][1])) is not None:
        spans[-1] = (spans[-1][0], stop)
    return spans


def _apart(spans: Iterable[Weighted]) -> Iterator[Weighted]:
    position = 0
    for one in sorted(spans):
        if one.end > position:
            yield one._replace(start=max(one.start, position))
            position = one.end
