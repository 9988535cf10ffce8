"""Where a turn ends: behind the token that stops generation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from weft.data.control import ControlTokens, Span
from weft.data.not_printed import not_printed
from weft.data.pieces import REASONING_TAGS, shared_length
from weft.data.placeholders import placeholder, question_before
from weft.data.turn_start import TAG, PlacedTurn, parting
from weft.data.turns import Chat, Turn, is_out_of_reach
from weft.errors import TemplateError
from weft.types import Message

_IN_A_WORD = re.compile(r"(?<=\w)\w")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTurn:
    """A text in which the model's turn ends at ``end``."""

    text: str
    end: int
    append_eos: bool = False
    """Whether no token closes the turn, so that an EOS token must follow."""
    note: str | None = None
    """``next-role-closes`` or ``eos-appended``, where the template does not print the stop itself."""


def close(chat: Chat, turn: Turn, placed: PlacedTurn) -> ClosedTurn:
    """Find what ends the turn at the end of ``placed.text``, or add it.

    Raises:
        TemplateError: where the turn's content is not printed.
    """
    for index in turn.messages:
        if index not in placed.contents:
            raise _not_said(chat, index)
    text = placed.text
    answer_end = _answer_end(turn, placed, placed.start)
    end = chat.closing(text, answer_end)
    if end is not None:
        return ClosedTurn(text=text, end=end)
    answer_end += len(_space_at_the_end(chat, turn, placed, answer_end))
    if chat.printer.standing_prompt:
        return ClosedTurn(text=text[:answer_end], end=answer_end, append_eos=True, note="eos-appended")
    closer = _next_role_closer(chat, chat.messages[turn.last])
    if closer is not None:
        return ClosedTurn(text=text + closer, end=len(text + closer), note="next-role-closes")
    return ClosedTurn(text=text, end=max(answer_end, len(text.rstrip())), append_eos=True, note="eos-appended")


def _not_said(chat: Chat, index: int) -> TemplateError:
    """The error for an answer of which the template does not print what it must."""
    answer, number = chat.messages[index], index + 1
    if answer.content.rstrip().endswith(REASONING_TAGS[1]) and not answer.tool_calls:
        return TemplateError(
            f"an answer is nothing but reasoning (message {number}), and the chat template leaves that out",
            fix="write the answer behind its reasoning, leave the record out, or choose a template that prints reasoning with "
            "data.template_path",
        )
    if len(answer.tool_calls) > 1 and _prints_first_call(chat, index):
        return TemplateError(
            f"the chat template prints some of the {len(answer.tool_calls)} calls of tools of an answer (message {number}), "
            "and leaves out the others",
            fix="give each call a message of its own, with its result behind it, or choose another template with "
            "data.template_path",
        )
    return not_printed("assistant", number, calls=answer.tool_calls != ())


def _prints_first_call(chat: Chat, index: int) -> bool:
    answer = chat.messages[index]
    alone = replace(chat, messages=[*chat.messages[:index], replace(answer, tool_calls=answer.tool_calls[:1])])
    try:
        return index in alone.contents(index + 1, alone.dialogue(index + 1), (index,))
    except TemplateError:
        return False


def span_within(chat: Chat, turn: Turn, later: PlacedTurn) -> Span | None:
    """Where the text of a ``later`` turn holds ``turn`` exactly as the model says it, its closing included; else None.

    Templates that rewrite their history (that drop reasoning, or close the last turn in another way) do not hold it.
    """
    if turn.prompt is None or not later.text.startswith(turn.prompt):
        return None
    if any(index not in later.contents for index in turn.messages):
        return None
    start = len(turn.prompt)
    pieces = later.pieces(turn)
    if pieces and is_out_of_reach(chat, turn, later.text, pieces[0].start):
        return None
    answer_end = _answer_end(turn, later, start)
    alike = shared_length(turn.dialogue, later.text)
    if alike < answer_end:
        return None
    end = chat.closing(turn.dialogue, answer_end)
    if end is None and alike == len(turn.dialogue):
        end = stop_after_space(chat.control, later.text, alike)
        return None if end is None else (start, end)
    return None if end is None or end > alike else (start, end)


def answers_within(chat: Chat, turn: Turn, placed: PlacedTurn, span: Span) -> list[Span]:
    """The answers of which the ``span`` that prints ``turn`` consists: usually one.

    Some templates close an answer before all of it is printed (its words, and then its calls of tools), and open another one for
    the rest. Generation stops there, and what opens the other answer is fed, as by a generation prompt.
    """
    start, end = span
    answers: list[Span] = []
    said = start
    for piece in placed.pieces(turn):
        stops = chat.stops_between(placed.text, said, piece.start)
        opened = _opened(chat, turn, placed.text[stops[-1] : piece.start]) if stops else 0
        if opened:
            answers.append((start, stops[-1]))
            start = stops[-1] + opened
        said = max(said, piece.end)
    return [*answers, (start, end)]


def goes_on_behind_stop(chat: Chat, placed: PlacedTurn, answers: Sequence[Span]) -> bool:
    """Whether the template itself prints a stop in one of the ``answers`` before its end, where generation would stop."""
    pieces = [(piece.start, piece.end) for printed in placed.contents.values() for piece in printed.pieces]
    stops = [
        end for begin, end in chat.control.outside(placed.text, pieces) if placed.text[begin:end] in chat.control.stops
    ]
    return any(start < stop < end for start, end in answers for stop in stops)


def _opened(chat: Chat, turn: Turn, text: str) -> int:
    """How many characters at the beginning of ``text`` open an answer as a generation prompt does; 0 if none do.

    That of ``turn``, or the one behind a single question: behind the results of tools there may be nothing that opens an answer.
    """
    question = replace(chat, messages=[question_before(chat.messages)])
    for before, count in ((chat, turn.first), (question, 1)):
        try:
            header = before.prompt(count, turn.variant).removeprefix(before.history(count)).lstrip()
        except TemplateError:
            continue
        in_header, end = parting(chat, header, text)
        left_out = TAG.sub("", header[in_header:])  # a forced <think>, which history need not have
        if text[:end].strip() and not left_out.strip() and not _IN_A_WORD.match(text, end):
            return end
    return 0


def _answer_end(turn: Turn, placed: PlacedTurn, start: int) -> int:
    """Where the content of ``turn`` ends in the text, which is not before its ``start``."""
    return max([start, *(piece.end for piece in placed.pieces(turn))])


def _space_at_the_end(chat: Chat, turn: Turn, placed: PlacedTurn, answer_end: int) -> str:
    """The white space with which the answer itself ends, if the template prints it behind the content that ends there.

    It does if what it prints without that space is the same text without it. Space that the template trims, and space of its own,
    are no part of the answer.
    """
    answer = chat.messages[turn.last]
    space = answer.content[len(answer.content.rstrip()) :]
    if not space or answer.tool_calls or not placed.text.startswith(space, answer_end):
        return ""
    end = answer_end - placed.moved
    shorter = [*chat.messages[: turn.last], replace(answer, content=answer.content.rstrip())]
    try:
        without = chat.printer.dialogue(shorter)
    except TemplateError:
        return ""
    return space if without == turn.dialogue[:end] + turn.dialogue[end + len(space) :] else ""


def _next_role_closer(chat: Chat, answer: Message) -> str | None:
    """What follows an answer of this kind in a minimal conversation, if the next role's token is a stop."""
    exchange = [question_before(chat.messages), replace(placeholder("assistant", 1), tool_calls=answer.tool_calls)]
    reply = placeholder("tool" if answer.tool_calls else "user", 2)
    if answer.tool_calls:
        reply = replace(reply, tool_call_id=answer.tool_calls[-1].id, name=answer.tool_calls[-1].name)
    try:
        shorter = chat.printer.dialogue(exchange)
        longer = chat.printer.dialogue([*exchange, reply])
    except TemplateError:
        return None
    if not longer.startswith(shorter):  # what stands before an answer may change once it is history
        (_, told, shorter), (_, found, longer) = (text.partition(exchange[1].content) for text in (shorter, longer))
        if not (told and found and longer.startswith(shorter)):
            return None
    end = stop_after_space(chat.control, longer, len(shorter))
    return None if end is None else longer[len(shorter) : end]


def stop_after_space(control: ControlTokens, text: str, position: int) -> int | None:
    """The end of the stop that follows ``position`` with nothing but white space between."""
    for start, end in control.find(text, position)[:1]:
        if text[start:end] in control.stops and not text[position:start].strip():
            return end
    return None
