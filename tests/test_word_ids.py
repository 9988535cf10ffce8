"""The ids of words: those of each by itself, in whatever way the tokenizer is asked."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from byte_level_zoo import CUTTING, NORMALIZERS, PLAIN, a_text, byte_level, spec
from weft.data.chunk_proof import chunks_of
from weft.data.word_ids import WordIds


def by_itself(tokenizer: Tokenizer, words: list[str]) -> list[list[int]]:
    return [tokenizer.encode(word, add_special_tokens=False).ids for word in words]


def word_ids(description: dict[str, Any]) -> tuple[WordIds, Tokenizer]:
    tokenizer = Tokenizer.from_str(json.dumps(description))
    return WordIds(tokenizer, description), tokenizer


def listed(subject: WordIds, words: list[str]) -> list[list[int]]:
    return [ids.tolist() for ids in subject.of_chunks(words).each()]


def unmerged(cut: pre_tokenizers.PreTokenizer, *merges: tuple[str, str]) -> dict[str, Any]:
    """A tokenizer whose ids are the places of bytes in the alphabet, and then those of what is merged."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, *map("".join, merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = cut
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    return description


class Counted:
    """A tokenizer that keeps count of the texts, and of the groups of words, that it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.texts, self.groups = tokenizer, 0, 0

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        self.texts += len(texts)
        return self._tokenizer.encode_batch_fast(texts, **options)

    def encode_batch(self, groups: list[list[str]], **options: Any) -> Any:
        self.groups += len(groups)
        return self._tokenizer.encode_batch(groups, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def counted(description: dict[str, Any]) -> tuple[WordIds, Counted]:
    tokenizer = Counted(Tokenizer.from_str(json.dumps(description)))
    return WordIds(tokenizer, description), tokenizer  # type: ignore[arg-type]


def test_chunks_are_encoded_as_one_text_and_divided_by_their_bytes() -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    description = unmerged(byte_level(), ("Ġ", "a"))
    subject, tokenizer = counted(description)
    space, c3, a9 = letters.index("Ġ"), letters.index("Ã"), letters.index("©")
    # Those of the first chunk, which follows none, are those of a word.
    expected = [
        [letters.index("a"), letters.index("b")],
        [len(letters)],
        [len(letters), letters.index("a")],
        [space, c3, a9],
    ]
    assert listed(subject, ["ab", " a", " aa", " é"]) == expected
    assert (tokenizer.texts, tokenizer.groups) == (1, 1)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("cut", CUTTING)
def test_ids_of_chunks_are_those_of_each_by_itself(cut: str, normalizer: str) -> None:
    random = Random(3)
    subject, tokenizer = word_ids(spec(CUTTING[cut](), NORMALIZERS[normalizer](), PLAIN))
    for _ in range(20):
        chunks = [chunk for _ in range(random.randrange(1, 200)) for chunk in chunks_of(a_text(random))]
        random.shuffle(chunks)
        # Many of a group that make a text, and others that make none.
        chunks += chunks_of("it is " + " ".join(random.choices(["one", "é", "two's", "12", "中文", "<think>"], k=1200)))
        assert listed(subject, chunks) == by_itself(tokenizer, chunks)


def test_chunks_that_no_other_stands_beside_are_encoded_as_words() -> None:
    subject, tokenizer = counted(unmerged(byte_level(), ("b", "c")))
    words = ["ab", " \nb", " c ", " d\n e", "", " "]
    assert listed(subject, words) == by_itself(tokenizer._tokenizer, words)
    assert (tokenizer.texts, tokenizer.groups) == (1, 1)


def test_where_an_id_reaches_over_a_border_chunks_are_encoded_as_words() -> None:
    over = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    subject, tokenizer = counted(unmerged(over, ("b", "Ġ")))
    words = [" ab", " c"]
    assert listed(subject, words) == by_itself(tokenizer._tokenizer, words)
    assert (tokenizer.texts, tokenizer.groups) == (1, 1)


@pytest.mark.parametrize("kind", ["a byte without an id", "a token that is normalised", "a text that is normalised"])
def test_where_bytes_do_not_tell_whose_ids_are_whose_chunks_are_encoded_as_words(kind: str) -> None:
    if kind == "a byte without an id":
        description = unmerged(byte_level())
        del description["model"]["vocab"]["Ã"]
    elif kind == "a token that is normalised":
        description = spec(byte_level(), normalizers.NFD(), PLAIN)
    else:
        description = spec(byte_level(), normalizers.NFC())
    subject, tokenizer = counted(description)
    words = [" E\u0301a", " b", " e\u0301"]
    assert listed(subject, words) == by_itself(tokenizer._tokenizer, words)
    assert tokenizer.groups == 1
