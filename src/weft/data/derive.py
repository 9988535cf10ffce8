"""Which characters of a rendered chat must the model produce? Derived for any chat template, without tags in it.

The rules, each in a place of its own:

1. A turn begins where the generation prompt of inference ends (:mod:`weft.data.turn_start`).
2. It ends with the token that stops generation, inclusive (:mod:`weft.data.turn_end`).
3. The text of the last turn is an example. It also trains the earlier turns that it prints exactly as the model says them; every
   other turn gets an example of its own (:func:`derive`).
4. ``{% generation %}`` in a template selects among that (:mod:`weft.data.generation_tag`).
5. Control strings in a content are its author's words, not the template's (:func:`_check_control`).
6. What a record says that a message counts is laid over all this (:mod:`weft.data.weighing`).

What does not follow exactly is named in the example's notes, or raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from weft.data.control import Span
from weft.data.generation_tag import generation_blocks, select
from weft.data.not_printed import not_printed
from weft.data.pieces import REASONING_TAGS
from weft.data.printer import Variant
from weft.data.runs import Runs, Stretch, stretches_of
from weft.data.said import every_string, in_other_words
from weft.data.turn_end import ClosedTurn, answers_within, close, goes_on_behind_stop, span_within
from weft.data.turn_start import PlacedTurn, place
from weft.data.turns import Chat, Turn, find_turns
from weft.data.weighing import Layout, Weighable, weigh, weighing_notes, weights_of
from weft.errors import TemplateError
from weft.types import Message, Segment


class Printed(Protocol):
    """What :class:`Rendered` says of an example."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """As there."""

    @property
    def append_eos(self) -> bool:
        """As there."""

    @property
    def notes(self) -> tuple[str, ...]:
        """As there."""

    @property
    def stretches(self) -> list[Stretch]:
        """As there."""

    def runs(self) -> Runs:
        """As there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One example as text: what the model reads, and what it must write.

    Its text is the concatenation of the segments, and ends with the last trained character.
    """

    segments: tuple[Segment, ...]
    append_eos: bool
    """Whether an EOS token is to follow, trained: the template itself does not close the turn."""
    notes: tuple[str, ...]
    """What was not plain, by name; all but the last eight concern the trained turns:

    - ``prompt:<argument>=<value>``: it follows the generation prompt that the template prints with this argument;
    - ``prompt-varies``: it follows another prompt than a plain answer would, because it holds reasoning;
    - ``prompt-mismatch``: the template's generation prompt is not what it prints before an answer;
    - ``header-appended``: the template has no generation prompt; weft feeds what it prints before an answer;
    - ``spliced``: the prompt of inference is joined with the answer, as the template prints the two differently together;
    - ``content-dropped``, ``content-changed``: the template leaves out or alters a part of the answer;
    - ``closed-within``: the template prints an answer as two, each with a stop; what opens the second is not trained;
    - ``stop-within``: the template prints a stop in the middle of an answer, which is trained with what follows it;
    - ``tools-dropped``: the template does not print the definitions of tools;
    - ``switch-read``: it obeys a system message such as ``/no_think``, which it does not print;
    - ``next-role-closes``: the next role's token ends the answer;
    - ``eos-appended``: nothing in the template ends it, so the end-of-text token does;
    - ``unanswered``: messages after the last answer are left out;
    - ``call-ids``: calls of tools got ids, without which the template does not print them;
    - ``weighted``: answers count what their record says, and not 1;
    - ``prompt-trained``: a message that is not the assistant's is trained, as its record asks.
    """

    @property
    def stretches(self) -> list[Stretch]:
        """The runs in which it is encoded."""
        return stretches_of(self.segments)

    def runs(self) -> Runs:
        """The same, as they are encoded together with those of others."""
        return Runs.of(self.stretches, append_eos=self.append_eos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """An example with the renders that it follows from."""

    rendered: Rendered
    count: int
    """How many messages its text prints."""
    prompts: tuple[tuple[int, Variant], ...]
    """The generation prompts before its turns: how many messages each answers, and the variant."""
    layout: Layout
    """Where it prints what its messages say."""

    @property
    def weighable(self) -> list[Weighable]:
        """What of its text counts what its messages say, whether they say so or not."""
        return self.layout.weighable(range(self.count))


def derive(chat: Chat, *, by_tag: bool = True, last_turn: bool = False) -> tuple[Derived, ...]:
    """The examples of one conversation, such that every turn of the assistant is trained in exactly one of them.

    Args:
        chat: the conversation, and what prints it.
        by_tag: train only what the template marks with ``{% generation %}``, if it has such tags; else whole turns.
        last_turn: train the last turn only; there is one example.

    Raises:
        TemplateError: where no exact mask can be derived; the message says why.
    """
    examples = _derive(chat, by_tag, last_turn)
    if any(chat.control.occur_in(text) for message in chat.messages for text in every_string(message)):
        _check_control(examples, _derive(_harmless(chat), by_tag, last_turn))
    return examples


def _derive(chat: Chat, by_tag: bool, last_turn: bool) -> tuple[Derived, ...]:
    waiting = find_turns(chat)
    if not waiting:
        raise TemplateError("the conversation has no answer to learn from", fix="add an assistant message")
    answered = waiting[-1].last + 1
    selects = by_tag and chat.printer.template.is_tagged
    printed: set[int] = set()
    found: list[_Found] = []
    while waiting:
        turn = waiting.pop()
        placed = place(chat, turn)
        closed = close(chat, turn, placed)
        covered, waiting = ([], []) if last_turn else _covered(chat, waiting, placed)
        runs = [*covered, (turn, (placed.start, closed.end))]
        printed |= placed.contents.keys()
        answers = [(owner, answer) for owner, span in runs for answer in answers_within(chat, owner, placed, span)]
        spans = _selected(chat, turn, placed, answers) if selects else [answer for _, answer in answers]
        if spans:
            found.append(_Found(placed, closed, runs, spans, closed_within=len(answers) > len(runs)))
    for index in range(answered):
        if index not in printed and not chat.reads_as_switch(index):
            message = chat.messages[index]
            raise not_printed(message.role, index + 1, calls=message.tool_calls != ())
    if not found:
        raise TemplateError(
            "the chat template marks no part of the conversation with {% generation %}, so there is nothing to learn",
            fix="put the tag around the assistant's content",
        )
    examples: list[Derived] = []
    for one in reversed(found):
        before = examples[-1].count if examples else 0
        examples.append(
            _example(chat, one, range(one.last_turn.first if last_turn else before, one.last_turn.last + 1))
        )
    return tuple(examples)


_Run = tuple[Turn, Span]
"""A turn, and where an example's text holds what the model says in it (or a part of that)."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What an example is made of."""

    placed: PlacedTurn
    closed: ClosedTurn
    runs: Sequence[_Run]
    spans: Sequence[Span]
    """What is trained of the runs."""
    closed_within: bool
    """Whether some run is more than one answer."""

    @property
    def last_turn(self) -> Turn:
        return self.runs[-1][0]


def _covered(chat: Chat, earlier: Sequence[Turn], placed: PlacedTurn) -> tuple[list[_Run], list[Turn]]:
    """Those of the ``earlier`` turns that the text of ``placed`` trains too, and those that it does not."""
    covered: list[_Run] = []
    waiting: list[Turn] = []
    for turn in earlier:
        span = None if placed.note == "spliced" else span_within(chat, turn, placed)
        if span is not None and span[1] <= placed.start:
            covered.append((turn, span))
        else:
            waiting.append(turn)
    return covered, waiting


def _selected(chat: Chat, turn: Turn, placed: PlacedTurn, answers: Sequence[_Run]) -> list[Span]:
    """The parts of the answers that the template's ``{% generation %}`` blocks hold."""
    blocks = [
        (start + placed.moved, end + placed.moved)
        for start, end in generation_blocks(chat, turn.last + 1, turn.dialogue)
    ]
    selected: list[Span] = []
    for owner, (start, end) in answers:
        pieces = [piece for piece in placed.pieces(owner) if start <= piece.end and piece.start <= end]
        selected += select((start, end), pieces, blocks)
    return selected


def _example(chat: Chat, found: _Found, own: range) -> Derived:
    """The example; ``own`` are the messages of which no other example says what they count."""
    placed, closed, runs, turn = found.placed, found.closed, found.runs, found.last_turn
    end = found.spans[-1][1]
    starts = {index: start for turn, (start, _) in runs for index in turn.messages}
    pieces = [  # an answer that begins as its prompt ends (with <think>) says only what follows the prompt
        (max(piece.start, starts.get(index, 0)), piece.end)
        for index, printed in placed.contents.items()
        for piece in printed.pieces
    ]
    prompts = [(earlier.first, earlier.variant) for earlier, _ in runs[:-1]] + [(turn.first, placed.variant)]
    segments = _segments(closed.text[:end], found.spans, chat.control.outside(closed.text, pieces))
    layout = Layout(chat=chat, placed=placed, runs=runs, own=own)
    weights = weights_of(chat.messages)
    segments = weigh(segments, layout.weighable(weights), weights)
    notes = [
        *_notes(chat, placed, closed, [turn for turn, _ in runs], prompts),
        *(["closed-within"] if found.closed_within else ()),
        *(["stop-within"] if goes_on_behind_stop(chat, placed, found.spans) else ()),
        *weighing_notes(segments),
    ]
    return Derived(
        rendered=Rendered(
            segments=segments,
            append_eos=closed.append_eos and end == closed.end,
            notes=tuple(dict.fromkeys(notes)),
        ),
        count=turn.last + 1,
        prompts=tuple(prompts),
        layout=layout,
    )


def _segments(text: str, trained: Sequence[Span], control: Sequence[Span]) -> tuple[Segment, ...]:
    """Cut ``text`` into runs of context and trained text, each with its own of the control tokens."""
    segments = []
    position = 0
    for start, end in trained:
        for begin, stop, is_trained in ((position, start, False), (start, end, True)):
            if begin < stop:
                own = tuple((a - begin, b - begin) for a, b in control if begin <= a and b <= stop)
                segments.append(Segment(text=text[begin:stop], trained=is_trained, control=own))
        position = end
    return tuple(segments)


def _notes(
    chat: Chat,
    placed: PlacedTurn,
    closed: ClosedTurn,
    turns: Sequence[Turn],
    prompts: Sequence[tuple[int, Variant]],
) -> Iterator[str]:
    for count, variant in prompts:
        yield from (f"prompt:{name}={value}" for name, value in variant)
        if chat.printer.lacks_header(chat.messages[:count]):
            yield "header-appended"
    if placed.note is not None:
        yield placed.note
    for printed in (placed.contents[index] for turn in turns for index in turn.messages):
        if not printed.is_complete:
            yield "content-dropped"
        if not all(piece.is_whole for piece in printed.pieces):
            yield "content-changed"
    setting = chat.messages[0].setting
    if setting is not None and setting.tools and not chat.printer.prints_tools:
        yield "tools-dropped"
    if any(n not in placed.contents and chat.reads_as_switch(n) for n in range(turns[-1].last)):
        yield "switch-read"
    if closed.note is not None:
        yield closed.note
    rest = chat.messages[turns[-1].last + 1 :]
    if rest and not any(message.role == "assistant" for message in rest):
        yield "unanswered"


# ---- control strings in contents (law 4) -------------------------------------------------------------------------------


def _harmless(chat: Chat) -> Chat:
    """The conversation with letters in place of the control strings of its messages and tools.

    The tags of an answer's reasoning stay: templates take such contents apart, and write the tags anew.
    """

    def neutralised(message: Message) -> Message:
        keep = REASONING_TAGS if message.role == "assistant" else ()
        return in_other_words(message, lambda text: chat.control.neutralised(text, keep), chat.control.neutralised)

    return replace(chat, messages=[neutralised(message) for message in chat.messages])


def _check_control(examples: Sequence[Derived], harmless: Sequence[Derived]) -> None:
    """Require that a conversation with control strings yields the control tokens that a harmless one does, in the same runs.

    So a content whose control strings the template moved, changed or printed in part is refused, not guessed at.
    """
    if [_outline(example.rendered) for example in examples] != [_outline(example.rendered) for example in harmless]:
        raise TemplateError(
            "the record holds control tokens as text, and the chat template treats them as more than text",
            fix="remove the control tokens from the record",
        )


def _outline(rendered: Rendered) -> list[tuple[bool, int, list[str]]]:
    return [
        (segment.trained, len(segment.text), [segment.text[start:end] for start, end in segment.control])
        for segment in rendered.segments
    ]
