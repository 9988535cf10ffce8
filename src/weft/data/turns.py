"""The turns of the model in a conversation, and what inference feeds before each.

A turn is what the model says at once. Everything about it is found by comparing renders of the same conversation: a template is
only ever asked to print, never read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weft.data.control import ControlTokens
from weft.data.equal_messages import locate_with_equals
from weft.data.pieces import REASONING_TAGS, Printed
from weft.data.placeholders import placeholder
from weft.data.printer import VARIANTS, Printer, Variant
from weft.errors import TemplateError
from weft.types import Message

if TYPE_CHECKING:
    from weft.config.data_schema import PromptMismatch

_SWITCH = re.compile(r"/\w+")

Contents = dict[int, Printed]
"""Indices of messages → where their contents are printed."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, and what prints it."""

    printer: Printer
    control: ControlTokens
    messages: Sequence[Message]
    mismatch: PromptMismatch = "template"
    """What a turn follows whose generation prompt is not what the template prints before it."""

    def dialogue(self, count: int) -> str:
        """The first ``count`` messages as the template prints them."""
        return self.printer.dialogue(self.messages[:count])

    def prompt(self, count: int, variant: Variant = ()) -> str:
        """What the model reads before it answers the first ``count`` messages."""
        return self.printer.prompt(self.messages[:count], variant)

    def history(self, count: int) -> str:
        """As :meth:`dialogue`, without the generation prompt that some templates print unasked; nothing for no messages."""
        return self.dialogue(count).removesuffix(self.printer.standing_prompt) if count else ""

    def closing(self, text: str, answer_end: int) -> int | None:
        """Where the turn ends in ``text`` whose answer ends there: behind the token that closes it; None where none does."""
        within = self.printer.within_answers
        return self.control.closing(text, answer_end, within=within, by_stop=self.printer.standing_prompt != "")

    def stops_between(self, text: str, start: int, end: int) -> list[int]:
        """Behind which characters of this part of a text generation would stop."""
        return [stop for begin, stop in self.control.find(text, start, end) if text[begin:stop] in self.control.stops]

    def reads_as_switch(self, index: int) -> bool:
        """Whether the message is a system message that says only a switch, such as ``/no_think``, which the template obeys.

        Anything else in its place would be printed.
        """
        message = self.messages[index]
        if message.role != "system" or not _SWITCH.fullmatch(message.content.strip()):
            return False
        other = placeholder("system").content
        messages = [*self.messages[:index], replace(message, content=other), *self.messages[index + 1 :]]
        return other in self.printer.dialogue(messages)

    def contents(self, count: int, dialogue: str, indices: Sequence[int] | None = None) -> Contents:
        """Where ``dialogue``, which prints the first ``count`` messages, prints their contents (or those of ``indices``)."""
        tags = self.control.control.intersection(REASONING_TAGS)
        return locate_with_equals(self.printer.dialogue, self.messages[:count], dialogue, indices, tags=tags)

    def contents_of_prompt(self, count: int, prompt: str, variant: Variant) -> Contents:
        """Where ``prompt``, which the model reads before it answers the first ``count`` messages, prints their contents."""
        tags = self.control.control.intersection(REASONING_TAGS)
        return locate_with_equals(
            lambda marked: self.printer.prompt(marked, variant), self.messages[:count], prompt, tags=tags
        )


@dataclass(slots=True, kw_only=True)
class Turn:
    """What the model says at once: one assistant message, or several that the template prints as one."""

    first: int
    last: int
    """Indices of its first and last message."""
    dialogue: str
    """The conversation up to this turn, as the template prints it."""
    prompt: str | None
    """What inference feeds before this turn; None where ``dialogue`` does not begin with it."""
    variant: Variant
    """The template's arguments for that prompt."""

    @property
    def messages(self) -> range:
        """The indices of its messages."""
        return range(self.first, self.last + 1)


def find_turns(chat: Chat) -> list[Turn]:
    """The turns of a conversation, in order.

    Raises:
        TemplateError: where the template does not print the conversation up to one of them.
    """
    turns: list[Turn] = []
    for index, message in enumerate(chat.messages):
        if message.role != "assistant":
            continue
        dialogue = chat.dialogue(index + 1)
        prompt, variant = _matching_prompt(chat, index, dialogue)
        turn = Turn(first=index, last=index, dialogue=dialogue, prompt=prompt, variant=variant)
        if turns and turns[-1].last == index - 1 and _continues(chat, turns[-1], turn):
            turns[-1].last, turns[-1].dialogue = index, dialogue
        else:
            turns.append(turn)
    return turns


def _matching_prompt(chat: Chat, count: int, dialogue: str) -> tuple[str | None, Variant]:
    """The first generation prompt that ``dialogue`` begins with, and the variant of the template that prints it."""
    for variant in VARIANTS:
        try:
            prompt = chat.prompt(count, variant)
        except TemplateError:  # raised again where the prompt is needed
            continue
        if dialogue.startswith(prompt):
            return prompt, variant
    return None, ()


def is_out_of_reach(chat: Chat, turn: Turn, text: str, answer_start: int) -> bool:
    """Whether a model that is fed the turn's prompt does not get as far as its answer, which ``text`` prints there.

    So it is where an answer follows another, and the prompt ends with that one or with what closes it: generation would have
    stopped there, and the template itself goes on from there. So it is, too, where an answer follows no question, and the
    template prints its generation prompt behind questions only.
    """
    assert turn.prompt is not None
    if chat.stops_between(text, len(turn.prompt), answer_start):
        return True
    last = chat.messages[turn.first - 1].role if turn.first else "system"
    if last in ("user", "tool"):
        return False
    return turn.prompt == chat.history(turn.first) or (last == "assistant" and _precedes_a_question(chat, turn))


def _precedes_a_question(chat: Chat, turn: Turn) -> bool:
    """Whether the turn's prompt only closes the answer before it, as it is also closed before a question."""
    try:
        asked = chat.printer.dialogue([*chat.messages[: turn.first], placeholder("user", turn.first)])
    except TemplateError:
        return False
    return asked.startswith(turn.prompt or "")


def _continues(chat: Chat, last: Turn, turn: Turn) -> bool:
    """Whether the template glues this message to the ``last`` turn: no prompt between them, and nothing that closes that one."""
    if turn.prompt is not None:
        return False
    contents = chat.contents(turn.last + 1, turn.dialogue, (last.last, turn.first))
    before, own = contents.get(last.last), contents.get(turn.first)
    if before is None or own is None or not before.pieces or not own.pieces:
        return False
    between = before.pieces[-1].end, own.pieces[0].start
    if chat.stops_between(turn.dialogue, *between):
        return False
    closer = _closer(chat, last)
    return closer is None or all(
        turn.dialogue[begin:end] != closer for begin, end in chat.control.find(turn.dialogue, *between)
    )


def _closer(chat: Chat, turn: Turn) -> str | None:
    """The control token that closes a turn at the end of its dialogue, be it a stop or not."""
    printed = chat.contents(turn.last + 1, turn.dialogue, (turn.last,)).get(turn.last)
    if printed is None or not printed.pieces:
        return None
    end = chat.closing(turn.dialogue, printed.pieces[-1].end)
    return next((turn.dialogue[begin:stop] for begin, stop in chat.control.find(turn.dialogue) if stop == end), None)
