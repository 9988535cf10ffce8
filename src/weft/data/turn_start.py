"""Where a turn begins: at the end of the generation prompt that inference feeds.

Usually the prompt is how the printed conversation begins. Where the two part, there are two exact ways out, and else an error.
Where it is only the prompt that differs, ``data.prompt_mismatch`` chooses among them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from weft.data.control import Span
from weft.data.pieces import Piece, shared_length
from weft.data.placeholders import placeholder, question_before
from weft.data.printer import VARIANTS, Variant
from weft.data.turns import Chat, Contents, Turn, find_turns, is_out_of_reach
from weft.errors import TemplateError

TAG = re.compile(r"</?\w+>")
"""Such as ``<think>``: never divided, be it a token or not."""
_WORD = re.compile(r"\w")
_WITHIN_WORD = re.compile(r"(?<=\w)\w")
_TAIL = 32
"""Characters at the end of a prompt that are looked for before all of it is."""


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
    moved: int = 0
    """By how many characters the turn stands further behind in ``text`` than in its dialogue."""
    note: str | None = None
    """``prompt-mismatch`` or ``spliced``, where the prompt is not how the printed conversation begins."""

    def pieces(self, turn: Turn) -> list[Piece]:
        """The pieces of the content of ``turn``, which is this or an earlier one."""
        return [piece for index in turn.messages if index in self.contents for piece in self.contents[index].pieces]


def place(chat: Chat, turn: Turn) -> PlacedTurn:
    """The text that ends with ``turn``, and where in it the model begins to write.

    Raises:
        TemplateError: where the history is printed in two ways that cannot be joined, or the prompt differs and must not.
    """
    if turn.prompt is not None:
        contents = chat.contents(turn.last + 1, turn.dialogue)
        placed = PlacedTurn(text=turn.dialogue, start=len(turn.prompt), contents=contents, variant=turn.variant)
        pieces = placed.pieces(turn)
        if not pieces or not is_out_of_reach(chat, turn, placed.text, pieces[0].start):
            return placed
        start = _start_after_one_question(chat, turn)
        if start is None or start <= placed.start:
            return placed
        return _mismatched(chat, turn, turn.prompt, replace(placed, start=start, variant=()))
    if turn.first == 0 and (opening := _opening(chat, turn)):
        return opening
    spliced = _splice(chat, turn) or _splice_behind_trailer(chat, turn) or _splice_behind_same_header(chat, turn)
    if spliced is not None:
        return spliced
    prompt = chat.prompt(turn.first)
    return _mismatched(chat, turn, prompt, _cut_at_mismatch(chat, turn, prompt))


def _opening(chat: Chat, turn: Turn) -> PlacedTurn | None:
    """For templates that print no prompt for no messages, but an answer that opens a conversation; None where they do not so.

    The answer begins as it does behind a question. No server asks for it, so that there is no prompt to follow.
    """
    try:
        chat.prompt(0)
    except TemplateError:
        start = _start_after_one_question(chat, turn)
        if start is not None:
            contents = chat.contents(turn.last + 1, turn.dialogue)
            return _mismatched(
                chat, turn, "", PlacedTurn(text=turn.dialogue, start=start, contents=contents, variant=())
            )
    return None


def _mismatched(chat: Chat, turn: Turn, prompt: str, cut: PlacedTurn) -> PlacedTurn:
    """What ``data.prompt_mismatch`` makes of a turn that does not follow its generation ``prompt``, but what ``cut`` says."""
    if chat.mismatch == "error":
        rest = prompt[shared_length(prompt, turn.dialogue) :]
        differs = f"it goes on with {rest!r:.60} where the answer comes otherwise"
        if not rest:
            differs = f"it ends before what introduces answer {turn.first + 1}"
        raise TemplateError(
            f"the chat template's generation prompt is not what it prints before an answer: {differs}",
            fix="set data.prompt_mismatch to template or splice, or mend the template",
        )
    if chat.mismatch == "template":
        return replace(cut, note="prompt-mismatch")
    own = [piece.start for piece in cut.pieces(turn)]  # behind a prompt that ends with <think>, more than that is cut
    joined = _join(chat, turn, prompt, (), turn.dialogue[min([cut.start, *own]) :])
    assert joined is not None, "the cut is not behind the answer's beginning"
    return joined


def _cut_at_mismatch(chat: Chat, turn: Turn, prompt: str) -> PlacedTurn:
    """For templates whose generation prompt is not what they print before an answer, as with a forced ``<think>``.

    The model then begins where the two part for more than white space, but never inside a token or a tag of either. What was said
    before is printed alike in both. Where the template's own words behind it differ, the answer begins as it does behind a single
    question; or where it does behind the header that both end with, if the prompt only has more words before that.
    """
    text = turn.dialogue
    contents = chat.contents(turn.last + 1, text)
    own = [piece.start for index in turn.messages if index in contents for piece in contents[index].pieces]
    earlier = [piece.end for index in range(turn.first) if index in contents for piece in contents[index].pieces]
    shared = shared_length(prompt, text)
    at_prompt, start = parting(chat, prompt, text[: min(own, default=len(text))])
    if at_prompt < len(prompt.rstrip()) and shared < len(chat.history(turn.first)):
        aligned = _start_after_one_question(chat, turn)
        if aligned is None:
            aligned = _start_where_a_question_begins(chat, turn, prompt, max(earlier, default=0), own)
        if aligned is None:
            raise _told_apart(turn)
        start = aligned
    elif shared < max(earlier, default=0):
        raise _told_apart(turn)
    else:
        start = max(start, _start_behind_same_header(chat, turn, prompt) or 0)
    return PlacedTurn(text=text, start=min([start, *own]), contents=contents, variant=())


def _told_apart(turn: Turn) -> TemplateError:
    return TemplateError(
        f"the chat template prints the messages before answer {turn.first + 1} differently once the answer is there, and "
        "what the answer adds cannot be told apart",
        fix="use a template that prints earlier messages alike with and without `add_generation_prompt`",
    )


def parting(chat: Chat, prompt: str, text: str) -> tuple[int, int]:
    """Where a generation prompt and a text part for more than white space, in each of the two; not inside a token or a tag."""
    indivisible = [[*chat.control.find(each), *(tag.span() for tag in TAG.finditer(each))] for each in (prompt, text)]
    *again, first = reversed(_stretches_alike(prompt, text))
    for here, there, length in again:
        holds_token = any(here <= begin and end <= here + length for begin, end in indivisible[0])
        if holds_token or length >= len(prompt[here:].split(maxsplit=1)[0]):  # and not only a few letters
            return _snapped((here, there), length, indivisible)
    return _snapped((0, 0), first[2], indivisible)


def _stretches_alike(prompt: str, text: str) -> list[tuple[int, int, int]]:
    """What the two go on alike with, where white space that only one has is left out: where in each, and how long.

    The first is what they begin with.
    """
    here = there = shared_length(prompt, text)
    stretches = [(0, 0, here)]
    while True:
        while here < len(prompt) and prompt[here].isspace():
            here += 1
        while there < len(text) and text[there].isspace():
            there += 1
        length = shared_length(prompt[here:], text[there:])
        if not length:
            return stretches
        stretches.append((here, there, length))
        here, there = here + length, there + length


def _snapped(starts: Span, length: int, indivisible: Sequence[Sequence[Span]]) -> Span:
    """The ends of two stretches of that ``length``, or where a token or a tag begins that they would cut."""
    back = [
        start + length - begin
        for start, spans in zip(starts, indivisible, strict=True)
        for begin, end in spans
        if begin < start + length < end
    ]
    length -= max(back, default=0)
    return starts[0] + length, starts[1] + length


def _start_after_one_question(chat: Chat, turn: Turn) -> int | None:
    """Where the answer begins if it is printed as behind a single question; None where it is not."""
    if turn.first == 1 and chat.messages[0].role == "user":  # that is a single question
        return None
    answered = [question_before(chat.messages), *chat.messages[turn.first : turn.last + 1]]
    alone = replace(chat, messages=answered, mismatch="template")  # whatever is made of it, it begins at the same place
    try:
        first, *others = find_turns(alone)
        placed = place(alone, first)
    except TemplateError:
        return None
    added = placed.text[placed.start :]
    return len(turn.dialogue) - len(added) if not others and turn.dialogue.endswith(added) else None


def _start_where_a_question_begins(chat: Chat, turn: Turn, prompt: str, said: int, own: Sequence[int]) -> int | None:
    """Where the answer begins if that is where a question in its place would, and where the prompt goes on otherwise.

    For templates that end a conversation in one way (with a token behind the results of tools, say), and leave that out where an
    answer follows: three texts that part at one place, behind all that was ``said`` before, show that nothing of what stands
    there belongs to the earlier messages. Of an answer without a header, ``own`` words may begin as another text goes on. None
    where the texts do not part so.
    """
    try:
        asked = chat.printer.dialogue([*chat.messages[: turn.first], placeholder("user", turn.first)])
    except TemplateError:
        return None
    texts = (prompt, turn.dialogue, asked)
    tokens = [chat.control.find(text) for text in texts]
    starts = [
        _snapped((0, 0), shared_length(texts[one], texts[other]), (tokens[one], tokens[other]))[0]
        for one, other in ((0, 1), (1, 2), (0, 2))
    ]
    start = min(starts)
    return start if start >= said and (len(set(starts)) == 1 or start in own) else None


def _start_behind_same_header(chat: Chat, turn: Turn, prompt: str) -> int | None:
    """Where the answer begins if only one of the prompt and what stands before it has words that the other lacks, in one place.

    Then both end with the same header, a word or a control token at least, and any other answer would stand behind it as well.
    None where they do not.
    """
    text, common = turn.dialogue, _before_any_answer(chat, turn)
    tokens = chat.control.find(prompt)
    parted, _ = _snapped((0, 0), shared_length(prompt, text), (tokens, chat.control.find(text)))
    header = prompt[tokens[-1][0] :] if tokens else ""
    last = text.rfind(header, parted, common) if header else -1
    if last >= 0 and prompt.endswith(text[parted : last + len(header)]):
        return last + len(header)
    return _behind_words_put_in(prompt, text, parted, common) or _behind_words_left_out(prompt, text, parted, common)


def _before_any_answer(chat: Chat, turn: Turn) -> int:
    """How many characters at the beginning of the turn's dialogue stand before any other answer as well."""
    try:
        other = chat.printer.dialogue([*chat.messages[: turn.first], placeholder("assistant", turn.first)])
    except TemplateError:
        return 0
    return shared_length(turn.dialogue, other)


def _start_behind_same_question(chat: Chat, turn: Turn, prompt: str) -> int | None:
    """Where the answer begins if it follows the last message and what the prompt prints behind that; None where it does not."""
    last = chat.contents_of_prompt(turn.first, prompt, ()).get(turn.first - 1)
    if last is None or not last.pieces:
        return None
    question = prompt[last.pieces[-1].start :]
    place = turn.dialogue.rfind(question, 0, _before_any_answer(chat, turn))
    return None if place < 0 else place + len(question)


def _behind_words_put_in(prompt: str, text: str, parted: int, common: int) -> int | None:
    """The end of the longest header before ``common`` in ``text`` with which the prompt ends, behind words of its own."""
    while parted and _WITHIN_WORD.match(text, parted):  # the words put in begin with the same letters
        parted -= 1
    tail = prompt[-_TAIL:]
    for end in range(common, parted, -1):
        last = tail[
            parted - end :
        ]  # no longer than there is text: few places end with it, so that few are looked at whole
        if text.endswith(last, parted, end) and prompt.endswith(text[parted:end]) and _WORD.search(text, parted, end):
            return end
    return None


def _behind_words_left_out(prompt: str, text: str, parted: int, common: int) -> int | None:
    """The end of what the prompt goes on with where ``text`` first has words of its own, before ``common``."""
    rest = prompt[parted:]
    place = text.rfind(rest, parted, common)
    return place + len(rest) if place >= 0 and _WORD.search(rest) else None


def _splice(chat: Chat, turn: Turn) -> PlacedTurn | None:
    """For templates that print the history in one way before an answer and in another behind it; None where it cannot be done.

    The prompt of inference is joined with what the answer adds. That is read off a conversation of one question, and must be how
    the whole conversation ends.
    """
    for variant, prompt, added in _splice_candidates(chat, turn):
        if turn.dialogue.endswith(added) and (joined := _join(chat, turn, prompt, variant, added)):
            return joined
    return None


def _splice_behind_trailer(chat: Chat, turn: Turn) -> PlacedTurn | None:
    """For templates that end every conversation with words of their own, which move behind the answer once it is there.

    So do templates that repeat an instruction before each answer. The conversation then is what stands before those words, the
    header with which the generation prompt goes on behind them, what the answer adds, and the same words again. The answer
    belongs behind the prompt. None where the two are not made so.
    """
    prompt, history = chat.prompt(turn.first), chat.history(turn.first)
    header = prompt.removeprefix(history)
    if not header or header == prompt:
        return None
    contents = chat.contents(turn.last + 1, turn.dialogue)
    earlier = [piece.end for index in range(turn.first) if index in contents for piece in contents[index].pieces]
    moved_from = turn.dialogue.find(header, max(earlier, default=0))
    if moved_from < 0 or turn.dialogue[:moved_from] != history[:moved_from]:
        return None
    trailer = history[moved_from:]
    start, end = moved_from + len(header), len(turn.dialogue) - len(trailer)
    own = {index: contents[index] for index in turn.messages if index in contents}
    within = all(start <= piece.start and piece.end <= end for printed in own.values() for piece in printed.pieces)
    if not trailer.strip() or start > end or not turn.dialogue.endswith(trailer) or not within:
        return None
    return PlacedTurn(
        text=prompt + turn.dialogue[start:end],
        start=len(prompt),
        contents=contents | _moved(own, len(trailer)),
        variant=(),
        moved=len(trailer),
        note="spliced",
    )


def _end_of_earlier(chat: Chat, turn: Turn) -> int:
    """Where the turn's dialogue has printed the last of what was said before it."""
    contents = chat.contents(turn.last + 1, turn.dialogue)
    ends = [piece.end for index in range(turn.first) if index in contents for piece in contents[index].pieces]
    return max(ends, default=0)


def _splice_behind_same_header(chat: Chat, turn: Turn) -> PlacedTurn | None:
    """For templates that print other words of their own within the history where an answer is to follow than where none is.

    So do templates that open with a system message of their own for inference, or with BOS for training. None where nothing else
    differs.
    """
    prompt = chat.prompt(turn.first)
    if shared_length(prompt, turn.dialogue) >= len(chat.history(turn.first)):  # only the generation prompt differs
        return None
    start = _start_behind_same_header(chat, turn, prompt) or _start_behind_same_question(chat, turn, prompt)
    if start is None or start < _end_of_earlier(chat, turn):  # that was the same question asked before
        return None
    return _join(chat, turn, prompt, (), turn.dialogue[start:])


def _join(chat: Chat, turn: Turn, prompt: str, variant: Variant, added: str) -> PlacedTurn | None:
    """A generation prompt with what the answer adds, which is how the turn's text ends; None where the answer begins before."""
    cut = len(turn.dialogue) - len(added)
    answer = chat.contents(turn.last + 1, turn.dialogue, turn.messages)
    if any(piece.start < cut for printed in answer.values() for piece in printed.pieces):
        return None
    history = chat.contents_of_prompt(turn.first, prompt, variant)
    return PlacedTurn(
        text=prompt + added,
        start=len(prompt),
        contents=history | _moved(answer, len(prompt) - cut),
        variant=variant,
        moved=len(prompt) - cut,
        note="spliced",
    )


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
