"""The same text written the same way: line ends, control characters, Unicode form, outer whitespace; each change counted."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from weft.config.data_schema import NormaliseConfig
from weft.data.row_error import EMPTY_DOCUMENT, RowError
from weft.data.turn_order import check_turns
from weft.types import Document, Material, Message

_LINE_END = re.compile("\r\n|[\r\v\f\x85]")
"""What ends a line beside LF: the newline functions of the Unicode Standard, section 5.8, but for U+2028 and U+2029, which are no
control characters."""
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]")
"""C0, DEL and C1 but tab and line ends; and the byte order mark, which inside a text is nothing else than a leftover."""
_ZERO_WIDTH = re.compile("[\u00ad\u200b\u2060]")
"""Soft hyphen, zero-width space, word joiner. Not the joiner and non-joiner (U+200D, U+200C), which Persian, Hindi and emoji are
spelled with, nor the marks of direction."""

_Step = tuple[str, Callable[[str], str]]


class Normaliser:
    """Normalises the texts of conversations and documents, and counts what it changed.

    Of a conversation contents and reasoning of system, user and assistant messages are normalised. Calls of tools, their
    results and definitions, ids and ``meta`` stay as they are to the byte.

    Attributes:
        changed: in how many records each step changed something, by the step's name, in the order of the steps.
    """

    def __init__(self, rules: NormaliseConfig) -> None:
        self._steps = _steps(rules)
        self.changed: Counter[str] = Counter(dict.fromkeys((name for name, _ in self._steps), 0))

    def __call__(self, conversation: Material) -> Material:
        """The conversation or document, normalised; the same object where nothing had to change.

        Raises:
            RowError: a question, an answer or a document is empty now.
        """
        steps: set[str] = set()
        if isinstance(conversation, Document):
            text = self._text(conversation.text, steps)
            if not text:
                raise RowError(EMPTY_DOCUMENT, where=conversation.location, fix="leave it out")
            self.changed.update(steps)
            return replace(conversation, text=text) if steps else conversation
        messages = tuple(self._message(message, steps) for message in conversation.messages)
        if not steps:
            return conversation
        check_turns(messages)
        self.changed.update(steps)
        return replace(conversation, messages=messages)

    def _text(self, text: str, steps: set[str]) -> str:
        """One text, normalised; the names of the steps that changed it are added to ``steps``."""
        for name, step in self._steps:
            if (changed := step(text)) != text:
                steps.add(name)
                text = changed
        return text

    def _message(self, message: Message, steps: set[str]) -> Message:
        if message.role == "tool":
            return message
        content, reasoning = self._text(message.content, steps), self._text(message.reasoning, steps)
        if content == message.content and reasoning == message.reasoning:
            return message
        return replace(message, content=content, reasoning=reasoning)


def _steps(rules: NormaliseConfig) -> tuple[_Step, ...]:
    """In this order a second pass finds nothing to do: what is removed may bring characters together that NFC composes."""
    steps: list[_Step] = []
    if rules.control:
        steps += [
            ("line ends", lambda text: _LINE_END.sub("\n", text)),
            ("control characters", lambda text: _CONTROL.sub("", text)),
        ]
    if rules.zero_width:
        steps += [("zero-width characters", lambda text: _ZERO_WIDTH.sub("", text))]
    if rules.nfc:
        steps += [("Unicode form (NFC)", lambda text: unicodedata.normalize("NFC", text))]
    if rules.trim:
        steps += [("outer whitespace", str.strip)]
    return tuple(steps)
