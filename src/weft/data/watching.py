"""A printer that remembers what it prints, and one that prints under watch (:mod:`weft.data.watch`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weft.data.jinja import NO_MARKS, Marks
from weft.data.pieces import without_marks
from weft.data.printer import Printer, Variant
from weft.data.shape_pattern import PLACE, number_at
from weft.data.watch import WatchingTemplate
from weft.data.watched import Part, Watch, Written
from weft.data.watched_object import WatchedArguments, WatchedObject, watch_of, write_watched
from weft.data.watched_text import Watched, unwatched
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
        return write_watched(self._watch, arguments, how, lambda value: json.dumps(value, ensure_ascii=False))

    def _watched(self, message: Message) -> Message:
        setting = message.setting
        return replace(
            message,
            content=self._text(message.content),
            reasoning=self._text(message.reasoning),
            tool_calls=tuple(map(self._watched_call, message.tool_calls)),
            tool_call_id=self._id(message.tool_call_id),
            name=message.name and self._text(message.name),
            setting=setting and replace(setting, tools=tuple(map(self._definition, setting.tools))),
        )

    def _watched_call(self, call: ToolCall) -> ToolCall:
        arguments = self._value(call.arguments, "arguments")
        if isinstance(arguments, dict):
            arguments = {name: self._text(item) if type(item) is str else item for name, item in arguments.items()}
            if any(map(PLACE.fullmatch, arguments)):
                arguments = WatchedArguments(
                    [(Watched(name, self._watch, "arguments"), item) for name, item in arguments.items()]
                )
        return replace(call, name=self._text(call.name), arguments=arguments, id=self._id(call.id))

    def _text(self, text: str) -> str:
        return Watched(text, self._watch) if PLACE.search(text) else text

    def _id(self, text: str | None) -> str | None:
        return text and (Watched(text, self._watch, is_id=True) if PLACE.fullmatch(text) else self._text(text))

    def _definition(self, tool: Any) -> Any:
        """A stand-in for a definition; what its fields hold are texts under watch, too."""
        tool = self._value(tool, "definitions")
        fields = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(fields, dict):
            return tool
        watched = {
            name: Watched(item, self._watch, "definitions") if _is_word(item) else item for name, item in fields.items()
        }
        return {**tool, "function": watched}

    def _value(self, value: Any, part: Part) -> Any:
        """Stand-ins under watch, wherever they are; everything else as it is."""
        word = value.word if isinstance(value, StandIn) else value
        if _is_word(word) and (number := number_at(word)) in self._examples:
            return WatchedObject(word, self._watch, number, part, self._examples[number])
        if isinstance(value, Mapping):
            return {name: self._value(item, part) for name, item in value.items()}
        return value


def _is_word(value: Any) -> bool:
    return type(value) is str and PLACE.fullmatch(value) is not None
