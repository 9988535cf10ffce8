"""Which examples share a row: the sequence of rows that an epoch's visits make.

A row is what a micro-batch is made of, and holds examples or pieces of them, each of which stays a segment of its own.

``none``     a row for each visit.
``bfd``      whole examples, best fit decreasing over the whole epoch, into rows of ``capacity`` tokens; the rows are shuffled.
             Of examples of one length those come first that the epoch's order visits first, so that every epoch packs
             anew.
``wrapped``  the epoch as one stream in its order, cut into rows of ``capacity`` tokens. An example of just so many, such as a
             full block of a document, is a row by itself and no part of the stream, so that it is not cut. A piece that
             continues an example starts with the last token of the piece before it, as context: a token can only be a target
             where there is one before it, so in this way every target of the stream is trained, and once. (A row is
             left one token short where that would be the first of an example, which alone trains nothing.)

Rows derive from the seed, the epoch and the lengths alone (law 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter

import numpy as np

from weft.config.schema import Config, PackingMethod
from weft.data.best_fit import best_fit_decreasing
from weft.data.documents import longest_row
from weft.data.mixture import Mixture
from weft.data.seeds import derive_seed
from weft.data.store import ExampleStore, SourceFile
from weft.types import Example


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """The tokens ``start`` to ``stop`` (exclusive) of one example."""

    example: int
    start: int
    stop: int


Row = tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The rows of an epoch, in the order of their visit."""

    examples: np.ndarray
    """int64 [p], the example of each piece, row after row."""
    starts: np.ndarray
    """int64 [p], the first token of each piece."""
    stops: np.ndarray
    """int64 [p], the token after its last one."""
    offsets: np.ndarray
    """int64 [rows + 1]: row r holds the pieces ``offsets[r]`` to ``offsets[r + 1]``."""
    capacity: int
    """Tokens that a row may hold."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        pieces = slice(self.offsets[index], self.offsets[index + 1])
        columns = (column[pieces].tolist() for column in (self.examples, self.starts, self.stops))
        return tuple(
            Piece(example=example, start=start, stop=stop) for example, start, stop in zip(*columns, strict=True)
        )

    @property
    def tokens(self) -> int:
        """Tokens of all rows, those that are repeated as context included."""
        return int((self.stops - self.starts).sum())

    @property
    def fill(self) -> float:
        """The share of the rows' capacity that is used."""
        return self.tokens / (len(self) * self.capacity)

    @property
    def cut_examples(self) -> int:
        """Examples that some row holds only a part of."""
        return len(np.unique(self.examples[self.starts > 0]))


class Packing:
    """The rows of every epoch.

    Args:
        mixture: visits the examples.
        lengths: int [n], tokens of every example.
        how: see the module.
        capacity: tokens that a row may hold, at least as many as an example.
        seed: the run's seed.

    Attributes:
        how, capacity: as above.
        visits: examples that an epoch visits.
        longest: tokens of the longest example.
        alike: whether every epoch is known to have as many rows as the first.
        mixture: visits the examples.
    """

    def __init__(self, mixture: Mixture, lengths: np.ndarray, *, how: PackingMethod, capacity: int, seed: int):
        self.how, self.capacity = how, capacity
        self.visits, self.longest = mixture.epoch_length, int(lengths.max())
        self.alike = how == "none" or (how == "bfd" and mixture.repeats)
        self.mixture, self._lengths, self._seed = mixture, lengths, seed
        self._rows = lru_cache(maxsize=2)(self._pack)  # an epoch, and the next one at its border
        self._count = lru_cache(maxsize=None)(lambda epoch: len(self._rows(epoch)))

    def rows(self, epoch: int) -> Rows:
        """The rows of an epoch."""
        return self._rows(epoch)

    def row_count(self, epoch: int) -> int:
        """How many rows an epoch has; packs it only where nothing else tells."""
        if self.how == "none":
            return self.visits
        return self._count(0 if self.alike else epoch)

    def most_tokens(self, rows: int) -> int:
        """Tokens of so many rows of an epoch if they are full, or hold the longest examples."""
        if self.how != "none":
            return min(rows * self.capacity, self.rows(0).tokens)
        count = min(rows, len(self._lengths))
        return int(np.partition(self._lengths, -count)[-count:].sum())

    def _pack(self, epoch: int) -> Rows:
        seed = derive_seed(self._seed, "rows", epoch)
        return pack(self.mixture.order(epoch), self._lengths, how=self.how, capacity=self.capacity, seed=seed)


def packing_of(config: Config, store: ExampleStore, files: Sequence[SourceFile]) -> Packing:
    """How ``config`` packs the training examples of ``store``, which come from ``files``.

    Raises:
        ConfigError: the files cannot be mixed.
    """
    weights, mix = {file.name: file.weight for file in files}, config.data.mix
    by = mix.by if mix.by != "auto" else "tokens" if config.mode == "cpt_mixed" else "examples"
    mixture = Mixture(store.source_slices, weights, config.seed, by=by, epoch=mix.epoch, lengths=store.lengths)
    how, capacity = config.train.packing, longest_row(config)
    return Packing(mixture, store.lengths, how=how, capacity=capacity, seed=config.seed)


def pack(order: np.ndarray, lengths: np.ndarray, *, how: PackingMethod, capacity: int, seed: int = 0) -> Rows:
    """The rows of one epoch.

    Args:
        order: int64 [visits], the examples in the order of their visit; one may be visited more than once.
        lengths: int [n], tokens of every example, at most ``capacity`` of those that ``bfd`` is to keep whole.
        how: see the module.
        capacity: tokens that a row may hold.
        seed: shuffles the rows of ``bfd``.
    """
    match how:
        case "none":
            return _whole(order, lengths, np.arange(len(order) + 1), capacity)
        case "bfd":
            return _best_fit(order, lengths, capacity, seed)
        case "wrapped":
            return _wrapped(order, lengths, capacity)


def packing_line(how: str, *, rows: int, capacity: int, fill: float) -> str:
    """A packing in a line for people."""
    if how == "none":
        return "none, each example is a row of its own"
    return f"{how}, {rows:,} rows of {capacity:,} tokens, {fill:.1%} full"


def cut_conversations(rows: Rows, store: ExampleStore) -> int:
    """How many examples some row holds only a part of, where a source has conversations: documents are cut anyway."""
    cut = np.unique(rows.examples[rows.starts > 0])
    talks = [range_ for name, range_ in store.source_slices.items() if store.report.sources[name].blocks < len(range_)]
    return sum(int(((cut >= source.start) & (cut < source.stop)).sum()) for source in talks)


def examples_of(row: Row, examples: Sequence[Example]) -> list[Example]:
    """What a row holds, in order: a whole example as it is; of a piece the ids and weights, the first of which is context
    where the piece continues another.
    """
    return [_part(examples[piece.example], piece) for piece in row]


def _part(example: Example, piece: Piece) -> Example:
    if piece.stop - piece.start == len(example.ids):
        return example
    ids, weights = (values[piece.start : piece.stop] for values in (example.ids, example.loss_weights))
    if piece.start:
        weights = np.concatenate([np.zeros_like(weights[:1]), weights[1:]])
    return replace(example, ids=ids, loss_weights=weights)


def _whole(examples: np.ndarray, lengths: np.ndarray, offsets: np.ndarray, capacity: int) -> Rows:
    stops = lengths[examples].astype(np.int64)
    return Rows(examples=examples, starts=np.zeros_like(stops), stops=stops, offsets=offsets, capacity=capacity)


def _best_fit(order: np.ndarray, lengths: np.ndarray, capacity: int, seed: int) -> Rows:
    longest_first = order[np.argsort(-lengths[order], kind="stable")]
    assert lengths[longest_first[0]] <= capacity, "an example is longer than a row"
    bins = best_fit_decreasing(lengths[longest_first], capacity)
    count = int(bins.max()) + 1
    shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(count)[bins]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(shuffled, minlength=count))])
    return _whole(longest_first[np.argsort(shuffled, kind="stable")], lengths, offsets, capacity)


def _wrapped(order: np.ndarray, lengths: np.ndarray, capacity: int) -> Rows:
    pieces: list[tuple[int, int, int, int]] = []
    """Row, example, start and stop of each."""
    opened = 0
    row, room = 0, 0  # of the stream
    for example, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        if length == capacity:
            pieces.append((opened, example, 0, length))
            opened += 1
            continue
        stop = 0
        while stop < length:
            if room < 2:
                row, room = opened, capacity
                opened += 1
            start = max(stop - 1, 0)
            stop = min(start + room, length)
            room -= stop - start
            pieces.append((row, example, start, stop))
    rows, examples, starts, stops = np.array(sorted(pieces, key=itemgetter(0)), np.int64).T
    return Rows(
        examples=examples,
        starts=starts,
        stops=stops,
        offsets=np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=opened))]),
        capacity=capacity,
    )
