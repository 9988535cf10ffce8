"""What becomes of examples that are longer than ``model.max_seq_len`` (``data.overlong``).

``drop``         they are left out, counted and listed.
``error``        they stop it, each with its place and length.
``truncate``     an example ends with the last trained turn that fits in whole, its end token included. Where not even the first
                 one does, its text is cut between two characters and its end token follows, because a model that never sees
                 the end of an answer does not learn to stop. Where nothing of an answer fits, the example is left out.
``split_turns``  the conversation becomes several, cut before a question. Each holds the system message and as many of the
                 exchanges that follow each other as fit, printed by the template as a conversation of its own: exactly what
                 inference would feed if it had begun there. Earlier exchanges are not repeated as context, so every answer is
                 trained once. An exchange that is too long by itself is left out. Where only the last turn is trained, there is
                 one part: the last exchange, and as many before it as fit.

What is left out or made shorter is counted by reason and listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from weft.types import Conversation, Message

TURNS_LEFT_OFF = "truncated after the last turn that fits"
ANSWER_CUT = "truncated within the first answer"
SPLIT = "split between turns"

_BYTES = 3  # of a character that a cut may leave behind

Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """An example's ids, and where what the model says lies in them: half-open runs, in order."""

    ids: np.ndarray
    """int32 [T]."""
    runs: list[tuple[int, int]]


def truncate(
    example: Encoded, limit: int, stops: Collection[int], decode: Callable[[Sequence[int]], str]
) -> tuple[Encoded, str] | None:
    """The example in at most ``limit`` tokens, and how it was shortened; None where no part of an answer fits.

    Args:
        example: one that is longer, with at least one run.
        limit: the most tokens.
        stops: ids that end an answer.
        decode: ids to text, control tokens included.
    """
    ids, runs = example.ids.tolist(), example.runs
    ends = [end for _, end in runs if ids[end - 1] in stops] or [runs[-1][1]]  # a tag may cut a turn into several runs
    fitting = [end for end in ends if end <= limit]
    if fitting:
        kept = [run for run in runs if run[1] <= fitting[-1]]
        return Encoded(ids=example.ids[: fitting[-1]], runs=kept), TURNS_LEFT_OFF
    closing = [index for index in ids[ends[0] - 1 : ends[0]] if index in stops]
    kept = [(start, min(end, limit - len(closing))) for start, end in runs if start < limit - len(closing)]
    if not kept:
        return None
    start, end = kept[-1]
    end = _between_characters(ids, start, end, decode)
    if end == start:
        return None
    cut = np.array([*ids[:end], *closing], np.int32)
    shorter = Encoded(ids=cut, runs=[*kept[:-1], (start, end + len(closing))])
    return shorter, ANSWER_CUT


def _between_characters(ids: Sequence[int], start: int, end: int, decode: Callable[[Sequence[int]], str]) -> int:
    """``end``, or the place a few tokens before it where the text of ``ids`` from ``start`` ends with a whole character."""
    for place in range(end, max(start, end - _BYTES - 1), -1):
        if not decode(ids[start:place]).endswith("\ufffd"):
            return place
    return start if end - start <= _BYTES else end  # it is the answer's own, not half of another


def split(
    conversation: Conversation, render: Callable[[Conversation], Part], fits: Callable[[Part], bool], *, only_last: bool
) -> list[Part]:
    """What ``render`` makes of the parts of a conversation that is too long; those that do not fit are single exchanges.

    Args:
        conversation: system messages at its beginning belong to every part.
        render: makes something of a part.
        fits: whether that is short enough.
        only_last: only the part with the last exchange, and as many of those before it as fit.
    """
    messages = conversation.messages
    head = next((place for place, message in enumerate(messages) if message.role != "system"), len(messages))
    borders = [head, *_questions(messages, head + 1), len(messages)]

    def part(first: int, exchanges: int) -> Part:
        opening, *others = (*messages[:head], *messages[borders[first] : borders[first + exchanges]])
        opening = replace(opening, setting=messages[0].setting)  # the tools belong to every part, too
        return render(replace(conversation, messages=(opening, *others)))

    count = len(borders) - 1
    if only_last:
        return [_most(count, lambda exchanges: part(count - exchanges, exchanges), fits)[1]]
    parts, first = [], 0
    while first < count:
        size, rendered = _most(count - first, partial(part, first), fits)
        parts.append(rendered)
        first += size
    return parts


def _questions(messages: Sequence[Message], start: int) -> list[int]:
    """Where a user speaks after an answer, and is answered."""
    roles = [message.role for message in messages]
    return [
        place
        for place in range(start, len(roles))
        if roles[place - 1 : place + 1] == ["assistant", "user"] and "assistant" in roles[place:]
    ]


def _most(most: int, make: Callable[[int], Part], fits: Callable[[Part], bool]) -> tuple[int, Part]:
    """The largest size from 1 to ``most`` whose result fits, found by halving, with that result; 1 in any case."""
    least, found = 1, make(1)
    if not fits(found):
        return least, found
    while least < most:
        middle = (least + most + 1) // 2
        made = make(middle)
        if fits(made):
            least, found = middle, made
        else:
            most = middle - 1
    return least, found
