"""The ids of many words, for which a tokenizer is asked as seldom as can be.

To find the ids of a word takes it some microseconds, and so does what is around: to take the word over, to make an answer. So
words are handed over as the words of a few texts. Or, where texts have the ids of their chunks (:mod:`weft.data.chunk_cache`),
as the texts that they make: then nothing is done for a single word but to encode it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import compress

import numpy as np
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from weft.data.chunk_proof import Spec
from weft.data.flat_ids import FlatIds

_IN_GROUP = 512
"""Words that are handed over as one text: few, so that every core gets some."""
_FOLLOWS = re.compile(r" \S(.*\S)?", re.DOTALL)
"""A chunk that stands, in some text, behind another and before a third."""
_SHORT = 16
"""Characters of a word, on average."""


class WordIds:
    """Finds out the ids of words, each by itself.

    Args:
        tokenizer: without control tokens that a word could spell.
        spec: its description.
    """

    def __init__(self, tokenizer: Tokenizer, spec: Spec) -> None:
        self._tokenizer, self._spec = tokenizer, spec

    def of_words(self, words: Sequence[str]) -> FlatIds:
        """The ids of words, of at least one.

        The tokenizer makes one answer for the words of a group, and encodes each of them by itself. ``encode_batch_fast`` would
        not say whose ids are whose, but is faster where the words are long, as they are in scripts without spaces.
        """
        if sum(map(len, words)) > _SHORT * len(words):
            found = self._tokenizer.encode_batch_fast(words, add_special_tokens=False)
            return FlatIds.of([encoding.ids for encoding in found])
        starts = range(0, len(words), _IN_GROUP)
        found = self._tokenizer.encode_batch(_groups(words), is_pretokenized=True, add_special_tokens=False)
        ids = [np.array(encoding.ids, np.int32) for encoding in found]
        owners = [start + np.array(encoding.word_ids, np.int64) for start, encoding in zip(starts, found, strict=True)]
        ends = np.searchsorted(np.concatenate(owners), np.arange(len(words)), side="right")
        return FlatIds(np.concatenate(ids), ends)

    def of_chunks(self, chunks: Sequence[str]) -> FlatIds:
        """As :meth:`of_words`, in two thirds of the time, where the tokenizer is proved to encode texts by the chunk.

        Chunks that can follow each other are encoded as the text that they make. Whose ids are whose is told by the bytes that
        each id stands for; where it is not, they are encoded as words.
        """
        if self._bytes is None:
            return self.of_words(chunks)
        follow = np.array([_FOLLOWS.fullmatch(chunk) is not None for chunk in chunks])
        found = self._of_text(list(compress(chunks, follow)), self._bytes)
        if follow.all():
            return found
        others = self.of_words(list(compress(chunks, ~follow)))
        order = np.append(np.flatnonzero(follow), np.flatnonzero(~follow))
        return FlatIds.joined([found, others]).take(np.argsort(order))

    def _of_text(self, chunks: Sequence[str], lengths: np.ndarray) -> FlatIds:
        """The ids of chunks that can follow each other; ``lengths`` as :attr:`_bytes`."""
        groups = _groups(chunks)
        texts = ["".join(group) for group in groups]
        answers = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        parts = [FlatIds.of([])]
        for group, text, answer in zip(groups, texts, answers, strict=True):
            divided = _divided(np.array(answer.ids, np.int32), group, lengths) if self._is_normal(text) else None
            parts.append(self.of_words(group) if divided is None else divided)
        return FlatIds.joined(parts)

    @cached_property
    def _bytes(self) -> np.ndarray | None:
        """How many bytes of text each id stands for: int64; None where that is not one number, or where bytes have no id."""
        vocabulary = self._spec["model"]["vocab"]
        if not vocabulary.keys() >= set(ByteLevel.alphabet()):
            return None
        added = {token["id"]: token["content"] for token in self._spec["added_tokens"]}
        if not all(map(self._is_normal, added.values())):
            return None
        lengths = np.zeros(max([*vocabulary.values(), *added]) + 1, np.int64)
        lengths[np.fromiter(vocabulary.values(), np.int64)] = np.fromiter(map(len, vocabulary), np.int64)
        lengths[list(added)] = [len(content.encode()) for content in added.values()]
        return lengths

    def _is_normal(self, text: str) -> bool:
        normalizer = self._tokenizer.normalizer
        return normalizer is None or normalizer.normalize_str(text) == text


def _divided(ids: np.ndarray, chunks: Sequence[str], lengths: np.ndarray) -> FlatIds | None:
    """The ids of a text as those of its chunks; None where one reaches over a border.

    Args:
        ids: of the text, int32.
        chunks: of the text.
        lengths: how many bytes each id of the vocabulary stands for.
    """
    chunk_ends = np.cumsum([len(chunk.encode()) for chunk in chunks])
    id_ends = np.cumsum(lengths[ids])
    ends = np.searchsorted(id_ends, chunk_ends) + 1
    are_ends = ends[-1] == len(ids) and bool((id_ends[ends - 1] == chunk_ends).all())
    return FlatIds(ids, ends) if are_ends else None


def _groups(words: Sequence[str]) -> list[Sequence[str]]:
    return [words[start : start + _IN_GROUP] for start in range(0, len(words), _IN_GROUP)]
