"""``{% generation %}`` in a template: a selection among what the model says."""

from __future__ import annotations

from collections.abc import Sequence

from weft.data.control import Span
from weft.data.pieces import Piece, take_out, unused_marks
from weft.data.turns import Chat
from weft.errors import TemplateError


def generation_blocks(chat: Chat, count: int, dialogue: str) -> list[Span]:
    """The ranges of ``dialogue``, which prints the first ``count`` messages, that the template marks.

    Raises:
        TemplateError: where the template works on what it has marked, so that the marks would change its output.
    """
    messages = chat.messages[:count]
    begin, end = unused_marks(messages, 2)
    unmarked, marks = take_out(chat.printer.dialogue(messages, (begin, end)), (begin, end))
    if unmarked != dialogue:
        raise TemplateError(
            "the chat template changes what stands inside {% generation %}, so the tag does not tell what is trained",
            fix="put the tag directly around what is printed, outside of filters",
        )
    starts = [place for mark, place in marks if mark == begin]
    ends = [place for mark, place in marks if mark == end]
    return list(zip(starts, ends, strict=True))


def select(turn: Span, pieces: Sequence[Piece], blocks: Sequence[Span]) -> list[Span]:
    """The parts of a turn, whose content is printed in ``pieces``, that lie in ``blocks``.

    A block that begins with the turn's content begins with the turn, and one that ends with it ends with the turn: its header
    and its stop fall as they do without the tag.
    """
    selected: list[Span] = []
    for start, end in blocks:
        if start < turn[1] and end > turn[0]:
            first = turn[0] if all(piece.start >= start for piece in pieces) else start
            last = turn[1] if all(piece.end <= end for piece in pieces) else end
            if selected and first <= selected[-1][1]:  # content and stop are often tagged apart
                first = selected.pop()[0]
            selected.append((first, last))
    return selected
