"""Words that processes tell each other: known without being encoded, with the same ids, whatever was known before."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.data.chunk_cache import ChunkCache
from weft.data.flat_ids import FlatIds
from weft.data.shared_words import SharedWords

END = 300


class Process:
    """A cache that gives every text its bytes for ids, and an end, so that its cuts can be told; and what it hears and tells."""

    def __init__(self, folder: Path) -> None:
        self._cache = ChunkCache(self._encode, {"<s>": 256}, ())
        self._shared = SharedWords(folder)
        self.asked: list[str] = []

    def _encode(self, words: list[str]) -> FlatIds:
        self.asked += words
        return FlatIds.of([[*word.encode(), END] for word in words])

    def encode(self, text: str) -> list[int]:
        self.asked.clear()
        return self._cache.encode([(text,)], self._shared).ids.tolist()


def words(first: int, end: int) -> str:
    return " ".join(f"wörd{number}" for number in range(first, end))


def ids(*chunks: str) -> list[int]:
    return [index for chunk in chunks for index in (*chunk.encode(), END)]


def test_words_that_another_process_met_are_not_encoded_again(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    some, more = ([f" wörd{number}" for number in range(first, 700)] for first in (0, 400))
    assert one.encode(f"a {words(0, 400)}") == ids("a", *some[:400])
    assert other.encode(f"b {words(300, 700)}") == ids("b", *some[300:])
    assert other.asked == ["b", *more]
    assert one.encode(f"a {words(0, 701)}") == ids("a", *some, " wörd700")
    assert one.asked == [" wörd700"]


def test_few_words_are_not_told(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.encode(f"a {words(0, 100)}")
    assert list(tmp_path.iterdir()) == []
    other.encode(f"a {words(0, 100)}")
    assert len(other.asked) == 101


@pytest.mark.parametrize("rounds", [1, 3])
def test_what_is_told_is_heard_once_and_not_by_who_told_it(rounds: int, tmp_path: Path) -> None:
    one, other = SharedWords(tmp_path), SharedWords(tmp_path)
    told = [[f"{turn} {number}" for number in range(300)] for turn in range(rounds)]
    for some in told:
        one.tell(some, FlatIds.of([[number, number + 1] for number in range(len(some))]))
    assert list(one.hear()) == []
    heard = list(other.hear())
    assert sorted(found.to_pylist() for found, _ in heard) == told
    assert all(ids.run(number).tolist() == [number, number + 1] for _, ids in heard for number in range(300))
    assert list(other.hear()) == []


def test_white_space_at_the_edge_of_a_word_is_seen_in_words_that_were_told(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.encode(f"a {words(0, 400)} \n x\n \tx  y")
    for edge in ("\n", "x\n", "\tx", ""):
        chunk = f" {edge} y" if edge != "\tx" else " y"
        assert other.encode(f"{words(0, 400)} {edge} y")[-len(ids(chunk)) :] == ids(chunk)
