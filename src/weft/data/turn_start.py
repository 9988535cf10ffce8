"""Where a turn begins: at the end of the generation prompt that inference feeds.

Usually the prompt is how the printed conversation begins. Where the two part, there are two exact ways out, and else an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from weft.data.pieces import Piece
from weft.data.printer import VARIANTS, Variant, question_before
from weft.data.turns import Chat, Contents, Turn
from weft.errors import TemplateError

_TAG = re.compile(r"</?\w+>")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTurn:
    """A turn at the end of a text."""

    text: str
    start: int
    """Where the generation prompt ends."""
    contents: Contents
    """Where ``text`` prints the messages up to this turn."""
    variant: Variant
    """The template's arguments for that prompt."""
    note: str | None = None
    """``prompt-mismatch`` or ``spliced``, where the prompt is not how the printed conversation begins."""

    def pieces(self, turn: Turn) -> list[Piece]:
        """The pieces of the content of ``turn``, which is this or an earlier one."""
        return [piece for index in turn.messages if index in self.contents for piece in self.contents[index].pieces]


def place(chat: Chat, turn: Turn) -> PlacedTurn:
    """The text that ends with ``turn``, and where in it the model begins to write.

    Raises:
        TemplateError: where the history is printed in two ways that cannot be joined.
    """
    if turn.prompt is not None:
        contents = chat.contents(turn.last + 1, turn.dialogue)
        return PlacedTurn(text=turn.dialogue, start=len(turn.prompt), contents=contents, variant=turn.variant)
    spliced = _splice(chat, turn)
    if spliced is not None:
        return spliced
    history = chat.dialogue(turn.first) if turn.first else ""
    prompt = chat.prompt(turn.first)
    if shared_length(prompt, turn.dialogue) >= len(history):
        return _cut_at_mismatch(chat, turn, prompt)
    raise TemplateError(
        f"the chat template prints the messages before answer {turn.first + 1} differently once the answer is there, and "
        "what the answer adds cannot be told apart",
        fix="use a template that prints earlier messages alike with and without `add_generation_prompt`",
    )


def _cut_at_mismatch(chat: Chat, turn: Turn, prompt: str) -> PlacedTurn:
    """For templates whose generation prompt is not what they print before an answer, as with a forced ``<think>``.

    The model then begins where the two part, but never inside a token or a tag of either.
    """
    text = turn.dialogue
    contents = chat.contents(turn.last + 1, text)
    answer = contents[turn.first].pieces if turn.first in contents else ()
    start = min([shared_length(prompt, text), *(piece.start for piece in answer)])
    indivisible = [
        span
        for each in (text, prompt)
        for span in (*chat.control.find(each), *(tag.span() for tag in _TAG.finditer(each)))
    ]
    start = min([start, *(begin for begin, end in indivisible if begin < start < end)])
    return PlacedTurn(text=text, start=start, contents=contents, variant=(), note="prompt-mismatch")


def _splice(chat: Chat, turn: Turn) -> PlacedTurn | None:
    """For templates that print the history in one way before an answer and in another behind it; None where it cannot be done.

    The prompt of inference is joined with what the answer adds. That is read off a conversation of one question, and must be how
    the whole conversation ends.
    """
    for variant, prompt, added in _splice_candidates(chat, turn):
        cut = len(turn.dialogue) - len(added)
        answer = chat.contents(turn.last + 1, turn.dialogue, turn.messages)
        if not turn.dialogue.endswith(added) or any(
            piece.start < cut for printed in answer.values() for piece in printed.pieces
        ):
            continue
        history = chat.contents_of_prompt(turn.first, prompt, variant)
        return PlacedTurn(
            text=prompt + added,
            start=len(prompt),
            contents=history | _moved(answer, len(prompt) - cut),
            variant=variant,
            note="spliced",
        )
    return None


def _splice_candidates(chat: Chat, turn: Turn) -> list[tuple[Variant, str, str]]:
    """Variants, the generation prompts that they print, and what the answer adds to the one after a single question."""
    question = [question_before(chat.messages)]
    candidates = []
    for variant in VARIANTS:
        try:
            prompt = chat.prompt(turn.first, variant)
            asked = chat.printer.prompt(question, variant)
            answered = chat.printer.dialogue([*question, *chat.messages[turn.first : turn.last + 1]])
        except TemplateError:
            continue
        if answered.startswith(asked) and answered != asked:
            candidates.append((variant, prompt, answered[len(asked) :]))
    return candidates


def _moved(contents: Contents, distance: int) -> Contents:
    return {
        index: replace(
            printed,
            pieces=tuple(
                replace(piece, start=piece.start + distance, end=piece.end + distance) for piece in printed.pieces
            ),
        )
        for index, printed in contents.items()
    }


def shared_length(one: str, other: str) -> int:
    """How many characters the two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # by halves: comparing slices is quicker than comparing characters
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
