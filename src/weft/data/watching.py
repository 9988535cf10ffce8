"""A printer that remembers what it prints, and one that prints under watch (:mod:`weft.data.watch`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weft.data.jinja import NO_MARKS, Marks
from weft.data.pieces import without_marks
from weft.data.printer import Printer, Variant
from weft.data.shape_pattern import WORD
from weft.data.watch import WatchingTemplate, watch_of
from weft.data.watched import Watch, Watched, WatchedObject, Written, unwatched
from weft.types import Message, ToolCall


@dataclass(frozen=True, slots=True)
class StandIn:
    """What stands in a message or definition for an object, or a list or a number, which a template only writes as JSON."""

    word: str


class RecordingPrinter(Printer):
    """Prints as another printer does.

    Args:
        printer: the other one.

    Attributes:
        printed: what it printed, but for texts with marks in them (:mod:`weft.data.pieces`).
    """

    def __init__(self, printer: Printer) -> None:
        # Headers that are read here are no others'.
        self.__dict__ |= {name: value for name, value in printer.__dict__.items() if name != "_headers"}
        self.printed: dict[str, None] = {}

    def dialogue(self, messages: Sequence[Message], generation_marks: Marks = NO_MARKS) -> str:
        """As in :class:`weft.data.printer.Printer`."""
        return self._recorded(super().dialogue(messages, generation_marks))

    def prompt(self, messages: Sequence[Message], variant: Variant = ()) -> str:
        """As in :class:`weft.data.printer.Printer`."""
        return self._recorded(super().prompt(messages, variant))

    def _recorded(self, text: str) -> str:
        if without_marks(text) == text:
            self.printed[text] = None
        return text


class WatchingPrinter(RecordingPrinter):
    """Prints messages of stand-ins under watch.

    Args:
        printer: what prints them otherwise.
        template: its template, watching.
        watch: is told what the template does.
        examples: for each number that stands for no text, a value of its kind.

    Raises:
        LookedInto: from all that prints: where the template looks into a value.
    """

    def __init__(self, printer: Printer, template: WatchingTemplate, watch: Watch, examples: Mapping[int, Any]) -> None:
        super().__init__(printer)
        self.template, self._watch, self._examples = template, watch, examples

    def _print(self, messages: Sequence[Message], marks: Marks = NO_MARKS, **arguments: bool) -> str:
        return unwatched(super()._print(list(map(self._watched, messages)), marks, **arguments))

    def _as_json(self, arguments: Any) -> str:
        if not watch_of(arguments):
            return super()._as_json(arguments)
        how = Written(named=(("ensure_ascii", False),))
        return self._watch.writes(arguments, how, lambda value: json.dumps(value, ensure_ascii=False))

    def _watched(self, message: Message) -> Message:
        setting = message.setting
        return replace(
            message,
            content=self._text(message.content),
            reasoning=self._text(message.reasoning),
            tool_calls=tuple(map(self._watched_call, message.tool_calls)),
            tool_call_id=self._id(message.tool_call_id),
            name=message.name and self._text(message.name),
            setting=setting and replace(setting, tools=tuple(map(self._value, setting.tools))),
        )

    def _watched_call(self, call: ToolCall) -> ToolCall:
        arguments = self._value(call.arguments)
        if isinstance(arguments, dict):
            arguments = {name: self._text(item) if type(item) is str else item for name, item in arguments.items()}
        return replace(call, name=self._text(call.name), arguments=arguments, id=self._id(call.id))

    def _text(self, text: str) -> str:
        return Watched(text, self._watch, _number(text)) if text else text

    def _id(self, text: str | None) -> str | None:
        return text and Watched(text, self._watch, _number(text), is_id=True)

    def _value(self, value: Any) -> Any:
        """Stand-ins under watch, wherever they are; everything else as it is."""
        word = value.word if isinstance(value, StandIn) else value
        if isinstance(word, str) and (number := _number(word)) in self._examples:
            return WatchedObject(word, self._watch, number, self._examples[number])
        if isinstance(value, Mapping):
            return {name: self._value(item) for name, item in value.items()}
        return value


def _number(text: str) -> int:
    """The number of the value that a text, with marks or without, stands for; -1 for a text that is no stand-in."""
    plain = without_marks(text)
    word = WORD.fullmatch(plain) or WORD.fullmatch(plain.swapcase())  # the second time they are written so
    return int(word[1]) if word else -1
