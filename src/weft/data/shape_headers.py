"""Values where a derivation compares texts character by character, to see where an answer begins or goes on.

It does so where the generation prompt is not what stands before an answer, and where an answer holds a stop. What answers say it
knows the places of; but of a name in a header one letter may decide, so that no plan holds for all names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from weft.data.control import ControlTokens
from weft.data.derive import Derived
from weft.data.printer import Printer, Variant
from weft.data.shape_pattern import WORD, Pattern, number_as_json, number_at
from weft.types import Message

_COMPARED = frozenset({"closed-within", "header-appended", "prompt-mismatch", "spliced", "stop-within"})
"""Notes of answers of which headers were compared."""


def are_in_headers(
    printer: Printer,
    messages: Sequence[Message],
    derived: Sequence[Derived],
    control: ControlTokens,
) -> bool:
    """Whether there are values in the headers that were compared.

    Args:
        printer: the template.
        messages: stand-ins.
        derived: the examples of these.
        control: the tokenizer's control tokens.

    Raises:
        TemplateError: the template does not print the beginning of this conversation.
    """
    compared = [one for one in derived if _COMPARED.intersection(one.rendered.notes)]
    prompts = {prompt for one in compared for prompt in one.prompts}
    answers = [number for one in compared for turn, _ in one.layout.runs for number in turn.messages]
    return any(_prompt_says_more(printer, messages[:count], variant) for count, variant in prompts if count) or any(
        _begins_with_value(printer, messages[: number + 1], control) for number in answers
    )


def _prompt_says_more(printer: Printer, history: Sequence[Message], variant: Variant) -> bool:
    """Whether a generation prompt repeats what the conversation says, or says what that does not print."""
    return bool(_values_of(printer.prompt(history, variant)) - _values_of(printer.dialogue(history)))


def _begins_with_value(printer: Printer, messages: Sequence[Message], control: ControlTokens) -> bool:
    """Whether the last message, or what follows a stop in it, begins with another value than those that are looked for; or the
    message before it ends with one.
    """
    text, history = printer.dialogue(messages), printer.dialogue(messages[:-1]) if len(messages) > 1 else ""
    said_before, own, unseen = _values_of(history), _own_values(messages[-1]), _unseen_values(messages[-1])
    if any(number not in own for number in _values_of(text) - said_before):
        return True
    if history and any(number in _unseen_values(messages[-2]) for number in Pattern(history).numbers[-1:]):
        return True
    end = len(history) if text.startswith(history) else 0
    is_begun = False
    for place in WORD.finditer(text, end):
        if any(text[start:stop] in control.stops for start, stop in control.find(text, end, place.start())):
            is_begun = False
        number, end = int(place[1]), place.end()
        if number not in own:
            continue
        if not is_begun and number in unseen:
            return True
        is_begun = True
    return False


def _own_values(message: Message) -> set[int]:
    """The values of a message, as it says them and as JSON."""
    places = [place[0] for place in WORD.finditer(repr(message))]
    return {number for place in places for number in (number_at(place), number_as_json(place)) if number is not None}


def _unseen_values(message: Message) -> set[int]:
    """The values of a message that a derivation does not look for."""
    arguments = [call.arguments for call in message.tool_calls if isinstance(call.arguments, dict)]
    others = [value for each in arguments for value in each.values() if not isinstance(value, str)]
    unseen = [
        message.name,
        message.tool_call_id,
        [call.id for call in message.tool_calls],
        list(map(list, arguments)),
        others,
    ]
    seen = [message.content, message.reasoning, [call.name for call in message.tool_calls]]
    return {*_values_of(repr(unseen))} - {*_values_of(repr(seen))}


def _values_of(text: str) -> Counter[int]:
    return Counter(Pattern(text).numbers)
