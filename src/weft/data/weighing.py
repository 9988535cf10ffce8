"""What a record says that its messages count, laid over an example: weights for spans of its text.

A message of the assistant weighs what the model says in it, its end included. Any other message weighs its content, with the stop
that follows it: that trains the model to speak as the user does, which only a record can ask for. Whatever prints a message more
than once (several examples of one conversation) lets it count in one of them only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from weft.data.control import Span
from weft.data.pieces import shared_length
from weft.data.turn_end import stop_after_space
from weft.data.turn_start import PlacedTurn
from weft.data.turns import Chat, Turn
from weft.types import Message, Segment


class Weighable(NamedTuple):
    """A range of an example's characters that counts what a message says."""

    start: int
    end: int
    message: int
    is_answer: bool
    """Whether the model says it, so that it counts only where it is trained anyhow."""
    counts: bool
    """False where the message counts in another example, and here not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where an example prints what its messages say.

    Attributes:
        chat: the conversation.
        placed: the example's last turn, and its text.
        runs: the turns that it trains.
        own: the messages that are not the assistant's and count in this example.
    """

    chat: Chat
    placed: PlacedTurn
    runs: Sequence[tuple[Turn, Span]]
    own: range

    def weighable(self, messages: Iterable[int]) -> list[Weighable]:
        """The spans of the text that count what these messages say, as far as it prints them."""
        found: list[Weighable] = []
        for index in sorted(self.placed.contents.keys() & set(messages)):
            run = next((run for run in self.runs if index in run[0].messages), None)
            if run is not None:
                found.append(Weighable(*self._within_turn(*run, index), index, is_answer=True, counts=True))
            else:
                counts = index in self.own and self.chat.messages[index].role != "assistant"
                found += [
                    Weighable(*span, index, is_answer=False, counts=counts)
                    for span in _with_stop(self.chat, self.placed, index)
                ]
        return found

    def _within_turn(self, turn: Turn, span: Span, index: int) -> Span:
        """The part of a turn, which the text holds in ``span``, that is the message ``index``."""
        contents = self.placed.contents
        is_last = turn is self.runs[-1][0]
        moved = len(self.placed.text) - len(turn.dialogue) if is_last else 0  # as splicing moves a text

        def border(following: int) -> int:
            """Where the messages before ``following`` end: where their own render parts from that of the whole turn."""
            before, after = contents[following - 1].pieces, contents[following].pieces
            place = moved + shared_length(self.chat.dialogue(following), turn.dialogue)
            place = max([place, *(piece.end for piece in before[-1:])])
            return min([place, *(piece.start for piece in after[:1])])

        start = span[0] if index == turn.first else border(index)
        return start, span[1] if index == turn.last else border(index + 1)


def weigh(
    segments: Iterable[Segment], weighable: Iterable[Weighable], weights: Mapping[int, float]
) -> tuple[Segment, ...]:
    """The segments with the weights that differ from those that they have anyhow.

    Args:
        segments: of an example.
        weighable: the spans of its text that count what their messages say.
        weights: what messages say that they count, by their indices.
    """
    weighted = list(_apart(_weighted(weighable, weights)))
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


def weights_of(messages: Sequence[Message]) -> dict[int, float]:
    """What messages say that they count, by their indices."""
    return {index: message.weight for index, message in enumerate(messages) if message.weight is not None}


def weighing_notes(segments: Iterable[Segment]) -> Iterator[str]:
    """What is worth counting about the weights of an example."""
    given = [segment for segment in segments if segment.weights]
    if any(segment.trained for segment in given):
        yield "weighted"
    if any(weight for segment in given if not segment.trained for *_, weight in segment.weights):
        yield "prompt-trained"


class _Weighted(NamedTuple):
    """A range of characters, and what each of its tokens counts."""

    start: int
    end: int
    weight: float
    is_answer: bool


def _weighted(weighable: Iterable[Weighable], weights: Mapping[int, float]) -> Iterator[_Weighted]:
    for start, end, message, is_answer, counts in weighable:
        if message in weights:
            yield _Weighted(start, end, weights[message] if counts else 0.0, is_answer)


def _matters(one: _Weighted, segment: Segment) -> bool:
    if segment.trained:
        return one.weight != 1
    return not (one.is_answer and one.weight)


def _with_stop(chat: Chat, placed: PlacedTurn, index: int) -> list[Span]:
    """Where the text prints a message, with the stop behind it."""
    spans = [(piece.start, piece.end) for piece in placed.contents[index].pieces if piece.start < piece.end]
    if spans and (stop := stop_after_space(chat.control, placed.text, spans[-1][1])) is not None:
        spans[-1] = (spans[-1][0], stop)
    return spans


def _apart(spans: Iterable[_Weighted]) -> Iterator[_Weighted]:
    position = 0
    for one in sorted(spans):
        if one.end > position:
            yield one._replace(start=max(one.start, position))
            position = one.end
