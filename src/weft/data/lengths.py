"""Records whose prompt or response is too short or too long to train on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from weft.config.data_schema import FilterConfig
from weft.config.locate import tokenizer_place
from weft.config.schema import ModelConfig
from weft.data.conversations import canonical
from weft.data.rows import BadRow
from weft.data.said import said
from weft.types import Conversation, Document, Material

Lengths = Callable[[Sequence[str]], list[int]]
"""How long each of several texts is."""

_AT_ONCE = 512
"""Conversations: enough to keep all cores busy with tokenizing."""


class _Limit(NamedTuple):
    key: str
    part: str
    """``prompt`` or ``response``."""
    bound: int
    is_minimum: bool

    def allows(self, length: int) -> bool:
        return length >= self.bound if self.is_minimum else length <= self.bound


def by_length(
    conversations: Sequence[Material], rules: FilterConfig, model: ModelConfig
) -> tuple[Sequence[Material], list[BadRow]]:
    """The conversations within all limits of ``data.filter``, in their order, and the others.

    The length of a prompt is that of all that the user says, the length of a response that of all that the assistant says: its
    contents, its reasoning, and its calls of tools (names and arguments). A document has neither, and stays.

    Args:
        conversations: any.
        rules: the limits, in ``rules.unit``.
        model: whose tokenizer counts tokens.

    Raises:
        ModelError: tokens are to be counted, and there is no such model, or its tokenizer cannot be used.
    """
    limits = _limits(rules)
    if not limits:
        return conversations, []
    lengths = {"characters": _in_characters, "words": _in_words}.get(rules.unit) or _in_tokens(model)
    measured = {part: _measure(conversations, part, lengths) for part in dict.fromkeys(limit.part for limit in limits)}
    kept: list[Material] = []
    left_out: list[BadRow] = []
    for number, conversation in enumerate(conversations):
        broken = next((limit for limit in limits if not limit.allows(measured[limit.part][number])), None)
        if broken is None or isinstance(conversation, Document):
            kept.append(conversation)
        else:
            left_out.append(_left_out(conversation, broken, measured[broken.part][number], rules.unit))
    return kept, left_out


def _limits(rules: FilterConfig) -> list[_Limit]:
    named = (
        _Limit(f"data.filter.{name}_{part}", part, bound, name == "min")
        for part, minimum, maximum in (
            ("prompt", rules.min_prompt, rules.max_prompt),
            ("response", rules.min_response, rules.max_response),
        )
        for name, bound in (("min", minimum), ("max", maximum))
        if bound is not None
    )
    return list(named)


def _measure(conversations: Sequence[Material], part: str, lengths: Lengths) -> list[int]:
    """The length of a part of each conversation."""
    totals = [0] * len(conversations)
    for start in range(0, len(conversations), _AT_ONCE):
        some = enumerate(conversations[start : start + _AT_ONCE], start)
        texts = [(number, text) for number, each in some for text in _texts(each, part)]
        for (number, _), length in zip(texts, lengths([text for _, text in texts]), strict=True):
            totals[number] += length
    return totals


def _texts(conversation: Material, part: str) -> Iterable[str]:
    if isinstance(conversation, Document):
        return ()
    if part == "prompt":
        return (message.content for message in conversation.messages if message.role == "user")
    spoken = (said(message).values() for message in conversation.messages if message.role == "assistant")
    return chain.from_iterable(spoken)


def _left_out(conversation: Conversation, limit: _Limit, length: int, unit: str) -> BadRow:
    how = "shorter" if limit.is_minimum else "longer"
    return BadRow(
        location=conversation.location,
        reason=f"the {limit.part} is {how} than {limit.key}, {limit.bound:,} {unit}",
        detail=f"its length is {length:,}",
        raw=json.dumps(canonical(conversation), ensure_ascii=False),
    )


def _in_characters(texts: Sequence[str]) -> list[int]:
    """Unicode code points."""
    return [len(text) for text in texts]


def _in_words(texts: Sequence[str]) -> list[int]:
    """What whitespace separates."""
    return [len(text.split()) for text in texts]


def _in_tokens(model: ModelConfig) -> Lengths:
    from weft.data.encoding import Run
    from weft.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_place(model))
    return lambda texts: [len(ids) for ids in tokenizer.encode_batch([Run(parts=[text]) for text in texts])]
