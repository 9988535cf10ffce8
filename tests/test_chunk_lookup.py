"""Looking chunks up: few words cost nothing that grows with the words that are known, and each word is encoded once."""

from __future__ import annotations

from typing import Any

import pytest

from weft.data.chunk_cache import ChunkCache, ControlToken
from weft.data.flat_ids import FlatIds

MANY = " ".join(f"word{number}" for number in range(3000))
FEW = "word7 new word7 words"


def by_bytes() -> ChunkCache:
    """Every text has its bytes for ids."""
    return ChunkCache(lambda words: FlatIds.of([list(word.encode()) for word in words]), {"<s>": 256}, ())


def ids_of(cache: ChunkCache, *parts: str) -> list[int]:
    return [int(index) for index in cache.encode([parts]).ids]


def test_few_words_are_looked_up_without_a_pass_over_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = by_bytes()
    assert ids_of(cache, MANY) == list(MANY.encode())

    def passes_over_all(*_: Any, **__: Any) -> Any:
        raise AssertionError("Arrow begins with all words that are known")

    monkeypatch.setattr("pyarrow.compute.index_in", passes_over_all)
    few = ids_of(cache, f"a {FEW}", ControlToken("<s>"), f"{FEW}  \n ")
    assert few == [*f"a {FEW}".encode(), 256, *f"{FEW}  \n ".encode()]


@pytest.mark.parametrize(("first", "second"), [(MANY, FEW), (FEW, MANY)], ids=["among many first", "among few first"])
def test_a_word_is_encoded_once(first: str, second: str) -> None:
    cache = by_bytes()
    assert ids_of(cache, f"a {first}", f"a {second}") == list(f"a {first}a {second}".encode())
    together = by_bytes()
    for text in (first, second, first):
        assert ids_of(together, f"a {text}") == list(f"a {text}".encode())
    assert together.encoded == cache.encoded == 1 + 3000 + 2  # a, MANY's words, and those of FEW alone
