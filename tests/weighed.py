"""Conversations whose messages say what they count."""

from __future__ import annotations

from dataclasses import replace

from chatml_by_hand import PLACE
from template_families import messages
from weft.data.render import Renderer
from weft.data.template import ChatTemplate, load_template
from weft.data.tokenizer import Tokenizer
from weft.types import Conversation

CONTENTS = {"s": "Be kind", "u": "Hello", "a": "One"}


def weighed(roles: str, *weights: float | None, contents: tuple[str, ...] = ()) -> Conversation:
    """A conversation of these roles and weights."""
    said = contents or tuple(f"{CONTENTS[role]} {number}" for number, role in enumerate(roles))
    parts = zip(messages(roles, *said), weights, strict=True)
    return Conversation(messages=tuple(replace(one, weight=weight) for one, weight in parts), location=PLACE)


def renderer_of(
    tokenizer: Tokenizer, limit: int = 512, template: ChatTemplate | None = None, **choices: str
) -> Renderer:
    return Renderer(tokenizer, template or load_template(None, tokenizer), limit, **choices)  # type: ignore[arg-type]
