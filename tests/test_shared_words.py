"""Words that processes find out together: their ids are those that each would find alone, and are found out once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import pytest

from weft.data.flat_ids import FlatIds
from weft.data.shared_words import SharedWords


class Process:
    """Gives every word its bytes for ids."""

    def __init__(self, folder: Path, number: int = 0, processes: int = 1) -> None:
        self._shared = SharedWords(folder, number, processes)
        self.asked: list[str] = []
        self.meanwhile: list[str] = []
        """What the next process finds out as soon as this one asks."""
        self.next: Process | None = None

    def _encode(self, words: Sequence[str]) -> FlatIds:
        self.asked += words
        if self.next:
            self.next.ids(self.meanwhile)
            self.next = None
        return FlatIds.of([list(word.encode()) for word in words])

    def ids(self, words: list[str]) -> list[list[int]]:
        self.asked.clear()
        return [ids.tolist() for ids in self._shared.ids(words, self._encode).each()]


def words(first: int, end: int) -> list[str]:
    return [f" wörd{number}" for number in range(first, end)]


def by_bytes(words: list[str]) -> list[list[int]]:
    return [list(word.encode()) for word in words]


def test_words_that_another_process_found_out_are_not_encoded_again(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    assert one.ids(words(0, 2400)) == by_bytes(words(0, 2400))
    assert other.ids(words(400, 4500)) == by_bytes(words(400, 4500))
    assert sorted(other.asked) == words(2400, 4500)
    assert one.ids(words(2300, 4501)) == by_bytes(words(2300, 4501))
    assert sorted(one.asked) == [*words(2300, 2400), *words(4500, 4501)]  # its own are its caller's to keep


def test_words_that_another_process_finds_out_meanwhile_are_left_out(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.next, one.meanwhile = other, words(0, 12_288)
    assert one.ids(words(0, 12_288)) == by_bytes(words(0, 12_288))
    assert len(one.asked) == len(set(one.asked)) == 4_096


def test_each_process_begins_with_words_of_its_own_and_goes_back_through_those_of_another(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in "ab")
    for folder in (first, second):  # apart, so that neither is told anything
        folder.mkdir()
    one, other = Process(first, 0, 2), Process(second, 1, 2)
    for process in (one, other):
        assert process.ids(words(0, 10_000)) == by_bytes(words(0, 10_000))
    own = len([word for word in words(0, 10_000) if crc32(word.encode()) < 2**31])
    assert one.asked[own:] == other.asked[: 10_000 - own][::-1]
    assert other.asked[10_000 - own :] == one.asked[:own][::-1]


def test_words_that_are_few_each_time_are_told_together(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.ids(words(0, 1200))
    one.ids(words(1200, 2400))
    assert other.ids(words(0, 2400)) == by_bytes(words(0, 2400))
    assert other.asked == []


def test_few_words_are_not_told(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.ids(words(0, 1999))
    assert list(tmp_path.iterdir()) == []
    other.ids(words(0, 1999))
    assert len(other.asked) == 1999


def test_what_is_told_has_an_end(tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    one.ids(words(0, 100_000))
    other.ids(words(0, 100_000))
    assert len(other.asked) == 100_000 - 2**15


@pytest.mark.parametrize("known", [[], words(0, 2048)], ids=["nothing", "all"])
def test_of_no_words_there_are_no_ids(known: list[str], tmp_path: Path) -> None:
    one, other = Process(tmp_path), Process(tmp_path)
    other.ids(known)
    assert one.ids([]) == []
    assert one.ids(known) == by_bytes(known)
    assert one.asked == []
