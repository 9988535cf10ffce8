"""What a chat template that ignores ``add_generation_prompt`` prints before an answer: the header that announces it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from weft.data.not_printed import not_printed
from weft.data.pieces import shared_length, unused_marks
from weft.data.placeholders import placeholder, placeholder_call, question_before
from weft.data.said import is_text_only
from weft.errors import TemplateError
from weft.types import Message, Role

_WITHIN_WORD, _LAST_WORD, _OPENED = re.compile(r"(?<=\w)\w"), re.compile(r"\w+$"), re.compile(r"[<\[][^\s<>\[\]]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a template that ignores ``add_generation_prompt`` prints between the messages and an answer."""

    text: str | None
    """None where an answer does not simply follow the messages, so that only what stands before it can be told."""
    space: int
    """Characters of white space at its end that are the model's to say, not what servers feed as the end of the messages."""


class AnswerHeaders:
    """The headers of one template.

    Args:
        dialogue: prints messages without a generation prompt, or raises :class:`~weft.errors.TemplateError`.
        prints_variables: whether it prints the variables ``system``, ``user``, ``assistant`` instead of ``messages``.
    """

    def __init__(self, dialogue: Callable[[Sequence[Message]], str], *, prints_variables: bool) -> None:
        self._dialogue, self._prints_variables = dialogue, prints_variables
        self._read: dict[tuple[tuple[Role, bool], ...], Header] = {}

    def before_answer(self, messages: Sequence[Message]) -> str:
        """The text up to where an answer to these messages stands.

        Raises:
            TemplateError: the template does not print it.
        """
        (mark,) = unused_marks(messages, 1)
        answer = f"0{mark}0"  # digits, which no filter turns into others
        text = self._dialogue([*messages, Message(role="assistant", content=answer)])
        before, found, _ = text.partition(answer)
        if not found:
            raise not_printed("assistant")
        return before

    def behind(self, messages: Sequence[Message]) -> Header:
        """The header behind such messages: read off placeholders, for a content may end in white space of its own."""
        if not all(map(is_text_only, messages)):
            return self._read_header(messages)
        shape = tuple((message.role, message.content != "") for message in messages)
        if shape not in self._read:
            self._read[shape] = self._read_header(messages)
        return self._read[shape]

    def _read_header(self, messages: Sequence[Message]) -> Header:
        stand_ins = [
            replace(message, content=message.content and placeholder(message.role, number).content)
            for number, message in enumerate(messages)
        ]
        text = self._header_text(stand_ins)
        if text is None:  # a history may be printed in two ways, and a single question in one
            text = self._header_text([question_before(messages)])
        whole = text is None or self._prints_variables  # no server prints templates of single variables
        prompt = self.before_answer(stand_ins) if whole else text or ""
        return Header(text=text, space=len(prompt) - len(prompt.rstrip()))

    def _header_text(self, messages: Sequence[Message]) -> str | None:
        try:
            history, before_answer = self._dialogue(messages), self.before_answer(messages)
        except TemplateError:
            return None
        if not before_answer.startswith(history):
            return None
        return self._before_every_answer(messages, before_answer, len(history))[len(history) :]

    def _before_every_answer(self, messages: Sequence[Message], before_plain: str, least: int) -> str:
        """As much of what stands before a plain answer, the ``least`` behind which it follows aside, as stands before any answer.

        What one that reasons or calls a tool begins with otherwise, the model itself says: it chooses among them.
        """
        plain = placeholder("assistant", len(messages))
        call = placeholder_call(len(messages) + 1)
        for answer, told in (
            (replace(plain, reasoning=plain.content, content=call.name), plain.content),
            (replace(plain, content="", tool_calls=(call,)), call.name),
        ):
            with suppress(TemplateError):
                text = self._dialogue([*messages, answer])
                shared = shared_length(before_plain, text)
                if told in text and least <= shared < len(before_plain):
                    before_plain = before_plain[: max(least, _whole(before_plain, shared))]
        return before_plain


def _whole(text: str, end: int) -> int:
    """How many of the first ``end`` characters of a text there are before the word or the tag that would be cut there."""
    if _WITHIN_WORD.match(text, end):
        end = _LAST_WORD.search(text, 0, end).start()  # type: ignore[union-attr]  # there is one
    opened = _OPENED.search(text, 0, end)
    return opened.start() if opened else end
