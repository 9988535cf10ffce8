r"""Ids by the chunk: text is cut between words, and every chunk is encoded once.

A byte-level BPE never merges across the borders that its pattern finds, and the patterns in use begin a new piece at a space
between two words. So a text cut there, at ``(?<=\S)(?= \S)``, has the ids of its chunks, one after the other; and as words
repeat, looking a chunk up takes the place of encoding it: a fifth of the time. That holds where

- the pre-tokenizer is ByteLevel, alone with its own pattern or behind patterns of which none looks at what stands around a
  match, or has a space anywhere but at its beginning,
- nothing is put before a text, and no merge is left out at random,
- no added token reaches over such a border or swallows the white space around it.

This is read off the tokenizer (:mod:`weft.data.chunk_proof`), tried on texts made to break it, and checked on a sample of what is
encoded. Where it does not hold, texts are encoded whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, count

import numpy as np
import pyarrow as pa

from weft.data.arrow_arrays import number_array, places_of_nulls, text_array, values_of
from weft.data.flat_ids import EncodeWords, FlatIds

_MOST_CHUNKS, _MOST_CHARACTERS = 2**17, 2**22
"""When more are kept, all are forgotten: the common ones are soon there again, and the memory stays bounded."""

_FOLLOWS, _BEGINS_WITH_SPACE, _ENDS_WITH_SPACE = 1, 2, 4
"""Of a chunk: it stands behind a space at which the text was cut; what it begins and ends with."""


class ControlToken(str):
    """The string of a control token, where it stands for the token and not for its letters."""

    __slots__ = ()


class ChunkCache:
    """Encodes runs of text and control tokens.

    Args:
        encode: the tokenizer, for texts without control tokens; the same text always has the same ids. What it raises is
            raised.
        control: the ids of the control tokens.
        forbidden: ids that no text may turn into.

    Attributes:
        looked_up: chunks that were asked for so far.
        encoded: those of them that were not there.
    """

    _words: pa.LargeStringArray
    _word_numbers: np.ndarray
    _known: FlatIds

    def __init__(self, encode: EncodeWords, control: Mapping[str, int], forbidden: Collection[int]) -> None:
        self._encode, self._control = encode, dict(control)
        self._tokens = {token: number for number, token in enumerate(control)}
        """Control tokens are the first chunks."""
        self._forbidden = np.fromiter(forbidden, np.int32, len(forbidden))
        self._lock = threading.Lock()
        self.looked_up = self.encoded = 0
        self._is_unsure = False
        """Whether the last time was not brought to its end, so that of some chunks it is not known what they are."""
        self._forget()

    def encode(self, runs: Sequence[Sequence[str]]) -> FlatIds:
        """The ids of the runs.

        Raises:
            ForbiddenIds: text turned into a control token.
            UnicodeEncodeError: text holds half of a surrogate pair.
        """
        with self._lock:
            if self._is_unsure:
                self._forget()
            self._is_unsure = True
            ids = self._encoded(runs)
            self._is_unsure = False
            return ids

    def _encoded(self, runs: Sequence[Sequence[str]]) -> FlatIds:
        if len(self._known) > _MOST_CHUNKS or self._characters > _MOST_CHARACTERS:
            self._forget()
        numbers, borders = self._numbers(runs)
        self.looked_up += len(numbers)
        wrong = self._cut_beside_space(numbers)
        if wrong.any():
            numbers, borders = self._put_together(runs, numbers, borders, wrong)
        self._encode_new()
        return self._ids(numbers, borders)

    def _numbers(self, runs: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """The chunks of the runs, cut at every space: int64; and where each run begins and ends among them."""
        heads: list[int] = []  # the chunk with which each part begins
        spaced: list[int] = []
        rests: list[str] = []  # of the parts with a space: what follows the first one
        parts = [0]
        tokens, whole = self._tokens, self._whole
        for run in runs:
            for part in run:
                if type(part) is ControlToken:
                    heads.append(tokens[part])
                elif (space := part.find(" ")) < 0:
                    heads.append(whole[part])
                else:
                    spaced.append(len(heads))
                    heads.append(whole[part[:space]])
                    rests.append(part[space + 1 :])
            parts.append(len(heads))
        following, counts = self._numbers_of_words(rests)
        sizes = np.ones(len(heads), np.int64)
        sizes[spaced] += counts
        borders = np.append(0, np.cumsum(sizes))
        is_head = np.zeros(borders[-1], bool)
        is_head[borders[:-1]] = True
        numbers = np.empty(len(is_head), np.int64)
        numbers[is_head], numbers[~is_head] = heads, following
        return numbers, borders[parts]

    def _numbers_of_words(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The chunks of texts that stand behind a space, cut at every further one: int64; and how many each text has."""
        if sum(map(len, texts)) < len(self._words):  # Arrow begins with all known words, whatever is looked up
            split = [text.split(" ") for text in texts]
            counts = np.fromiter(map(len, split), np.int64, len(split))
            return np.fromiter(map(self._behind.__getitem__, chain.from_iterable(split)), np.int64), counts
        import pyarrow.compute as pc  # here, because a run from the cache looks no words up: it takes a tenth of a second

        lists = pc.split_pattern(text_array(texts), " ")
        words = lists.values
        found = pc.index_in(words, value_set=self._words)
        places = values_of(found)
        if found.null_count:
            unknown = places_of_nulls(found)
            missing = words.take(number_array(unknown))
            new = missing.unique()
            places = places.copy()
            places[unknown] = len(self._words) + values_of(pc.index_in(missing, value_set=new))
            self._new_chunks += [f" {word}" for word in self._enter(new)]
        return self._word_numbers[places], np.diff(values_of(lists.offsets))

    def _enter(self, words: pa.LargeStringArray) -> list[str]:
        """Number words that were met behind a space, among many; those among them that were met for the first time.

        All at once: one by one, as among few, would take a third as long as to encode them.
        """
        listed = words.to_pylist()
        new = [word for word in listed if word not in self._behind]
        self._behind.update(zip(new, count(len(self._kinds)), strict=False))
        self._kinds += bytes(_FOLLOWS | _edges(word) for word in new)
        self._characters += sum(map(len, new)) + len(new)
        self._words = pa.concat_arrays([self._words, words])
        numbers = np.fromiter(map(self._behind.__getitem__, listed), np.int64, len(listed))
        self._word_numbers = np.append(self._word_numbers, numbers)
        return new

    def _put_together(
        self, runs: Sequence[Sequence[str]], numbers: np.ndarray, borders: np.ndarray, wrong: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The chunks of runs, and their borders, when those are whole again that were cut where white space stands on a side.

        Args:
            runs: their parts.
            numbers: of their chunks, cut at every space.
            borders: where each run begins and ends among them.
            wrong: bool, which of them should not have been cut off from the one before; never the first of a run.
        """
        begins = np.flatnonzero(~wrong)
        ends = np.append(begins[1:], len(numbers))
        found = numbers[begins]
        places = np.flatnonzero(ends - begins > 1)
        owners = np.searchsorted(borders, begins[places], side="right") - 1
        follows = np.frombuffer(self._kinds, np.uint8)[found[places]] & _FOLLOWS
        starts, stops = begins[places] - borders[owners], ends[places] - borders[owners]
        whole = []
        owner, words = -1, []
        for run, start, stop, is_behind in zip(*map(np.ndarray.tolist, (owners, starts, stops, follows)), strict=True):
            if run != owner:
                owner, words = run, _cut(runs[run])
            chunk = " ".join(words[start:stop])
            whole.append(self._whole[f" {chunk}" if is_behind else chunk])
        found[places] = whole
        return found, np.append(0, np.cumsum(~wrong))[borders]

    def _cut_beside_space(self, numbers: np.ndarray) -> np.ndarray:
        """Which chunks were cut off from the one before where white space stands on a side: bool."""
        kinds = np.frombuffer(self._kinds, np.uint8)[numbers]
        before = np.append(np.uint8(0), kinds[:-1])
        wrong: np.ndarray = ((kinds & _FOLLOWS) != 0) & (
            ((kinds & _BEGINS_WITH_SPACE) | (before & _ENDS_WITH_SPACE)) != 0
        )
        return wrong

    def _ids(self, numbers: np.ndarray, borders: np.ndarray) -> FlatIds:
        found = self._known.take(numbers)
        return FlatIds(found.ids, np.append(0, found.ends)[borders[1:]])

    def _new(self, chunk: str, kind: int) -> int:
        self._new_chunks.append(chunk)
        self._characters += len(chunk)
        self._kinds.append(kind)
        return len(self._kinds) - 1

    def _encode_new(self) -> None:
        """Give ids to the chunks that were met since the last time.

        Raises:
            ForbiddenIds: one turned into a control token.
        """
        if not self._new_chunks:
            return
        self.encoded += len(self._new_chunks)
        found = self._encode(self._new_chunks)
        wrong = np.flatnonzero(np.isin(found.ids, self._forbidden))
        if len(wrong):
            place = int(np.searchsorted(found.ends, wrong[0], side="right"))
            raise ForbiddenIds(self._new_chunks[place], found.run(place).tolist())
        self._known = FlatIds.joined([self._known, found])
        self._new_chunks.clear()

    def _forget(self) -> None:
        self._whole = _Chunks(lambda chunk: self._new(chunk, _edges(chunk)))
        self._behind = _Chunks(lambda word: self._new(f" {word}", _FOLLOWS | _edges(word)))
        """Words met behind a space."""
        self._words = text_array([])
        """Those of them that were met among many; Arrow looks many up at once, in a third of the time that a dictionary takes."""
        self._word_numbers = np.empty(0, np.int64)
        """Of their chunks."""
        self._new_chunks: list[str] = []
        self._kinds = bytearray(len(self._tokens))
        self._characters = 0
        self._known = FlatIds.of([[index] for index in self._control.values()])
        """The ids of the chunks."""


class ForbiddenIds(Exception):
    """Text turned into a control token."""

    def __init__(self, text: str, ids: list[int]) -> None:
        super().__init__(text, ids)
        self.text, self.ids = text, ids


class _Chunks(dict[str, int]):
    """Numbers of chunks; one that is not there is given a number."""

    def __init__(self, number: Callable[[str], int]) -> None:
        super().__init__()
        self._number = number

    def __missing__(self, chunk: str) -> int:
        number = self[chunk] = self._number(chunk)
        return number


def _edges(chunk: str) -> int:
    if not chunk:
        return _BEGINS_WITH_SPACE | _ENDS_WITH_SPACE
    if chunk == chunk.strip():
        return 0
    return _BEGINS_WITH_SPACE * chunk[0].isspace() | _ENDS_WITH_SPACE * chunk[-1].isspace()


def _cut(run: Sequence[str]) -> list[str]:
    """The chunks of a run, cut at every space, without the space."""
    return [word for part in run for word in ((part,) if type(part) is ControlToken else part.split(" "))]
