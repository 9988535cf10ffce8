"""The order in which an epoch visits examples, from one source or from several with weights.

A source of weight w gets the share w / Σw of an epoch, of its examples or of its tokens. Where no source has a weight, the
weight of each is what it holds: they are joined. How much an epoch holds:

``total``     as much as all sources together; with weights that match the sources, each is visited once.
``longest``   until the source that lasts longest at its share is visited once: nothing is left out, the others repeat.
``shortest``  until the first source is used up at its share: nothing repeats, of the others a part is left out.
a number      that many examples or tokens.

Every example of a source is visited equally often (whole copies), but for a remainder that is drawn without replacement, anew
in every epoch. The shares are realised to less than one example of each source; by tokens, to the tokens of its longest one
at most. Each epoch visits as many examples as the others, so that a step's place needs no search. An epoch's order derives
from the seed and the epoch's number alone (law 9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from weft.config.data_schema import EpochLength, MixBy
from weft.data.seeds import derive_seed
from weft.errors import ConfigError

MOST_VISITS = 10**8
"""Examples in an epoch; more, where the sources do not have as many, are a weight that is a slip of the hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What an epoch takes of one source, in examples or tokens."""

    name: str
    target: float
    """What its weight asks for."""
    realised: int
    examples: int
    """Visits to its examples."""
    passes: float
    """How often an example is visited, on average."""


class Mixture:
    """A deterministic order of examples for every epoch.

    Args:
        source_slices: which examples come from which source.
        weights: each source's share of an epoch, relative to the others; 0 leaves a source out, as if it were not there. None is
            1 beside others, and what the source holds where all are None.
        seed: the run's seed.
        by: what the weights share out.
        epoch: see the module.
        lengths: int [n], tokens of every example; needed for ``by="tokens"``.

    Attributes:
        by: as above.
        epoch_length: examples that an epoch visits.

    Raises:
        ConfigError: no source has a weight, one with a weight has no examples, or an epoch would hold no example or too many.
    """

    def __init__(
        self,
        source_slices: Mapping[str, range],
        weights: Mapping[str, float | None],
        seed: int,
        *,
        by: MixBy = "examples",
        epoch: EpochLength = "total",
        lengths: np.ndarray | None = None,
    ):
        present = {name: source_slices[name] for name in source_slices if weights[name] != 0}
        if not present:
            raise ConfigError("no dataset has a weight above 0", where="datasets", fix="give one a positive weight")
        for name, examples in present.items():
            if not examples:
                raise ConfigError(
                    f"the dataset '{name}' has no examples", where="datasets", fix="remove it, or give it the weight 0"
                )
        self.by = by
        self._names, self._sources = list(present), list(present.values())
        assert by == "examples" or lengths is not None, "tokens cannot be shared out without the examples' lengths"
        ones = np.ones(max(source.stop for source in self._sources), np.int64)
        self._lengths = ones if by == "examples" or lengths is None else lengths
        self._sizes = [int(self._lengths[source.start : source.stop].sum()) for source in self._sources]
        self._targets = _targets(self._sizes, _relative([weights[name] for name in present], self._sizes), epoch)
        self._refuse_too_many()
        self._counts = _apportion(self._targets) if by == "examples" else self._counts_for_tokens()
        self.epoch_length = sum(self._counts)
        if not self.epoch_length:
            raise ConfigError(
                f"an epoch of {epoch} {by} holds no example", where="data.mix.epoch", fix="make it longer"
            )
        self._seed = seed
        self._order = lru_cache(maxsize=2)(self._draw)  # an epoch, and the next one at its border

    @property
    def repeats(self) -> bool:
        """Whether all epochs visit the same examples equally often, because no source has a remainder to draw."""
        return all(count % len(source) == 0 for source, count in zip(self._sources, self._counts, strict=True))

    @property
    def visits_each_once(self) -> bool:
        """Whether every epoch visits every example of the sources just once."""
        return all(count == len(source) for source, count in zip(self._sources, self._counts, strict=True))

    @property
    def is_plain(self) -> bool:
        """Whether nothing is mixed: one source, each of its examples once an epoch."""
        return len(self._sources) == 1 and self.visits_each_once

    def order(self, epoch: int) -> np.ndarray:
        """The examples of an epoch in the order of their visit: int64 [epoch_length], not to be changed."""
        return self._order(epoch)

    def shares(self, epoch: int = 0) -> tuple[Share, ...]:
        """What an epoch takes of each source; by tokens, epochs differ by a little."""
        order = self.order(epoch)
        return tuple(
            Share(
                name=name,
                target=target,
                realised=int(self._lengths[order[(order >= source.start) & (order < source.stop)]].sum()),
                examples=count,
                passes=count / len(source),
            )
            for name, source, target, count in zip(self._names, self._sources, self._targets, self._counts, strict=True)
        )

    @property
    def undrawn(self) -> list[str]:
        """Sources that have a share of an epoch, and no example in it."""
        drawn = zip(self._names, self._targets, self._counts, strict=True)
        return [name for name, target, count in drawn if target and not count]

    def _refuse_too_many(self) -> None:
        passes = [target / size for target, size in zip(self._targets, self._sizes, strict=True)]
        visits = sum(times * len(source) for times, source in zip(passes, self._sources, strict=True))
        if not visits <= max(MOST_VISITS, 2 * sum(map(len, self._sources))):
            often = self._names[int(np.argmax(passes))]
            raise ConfigError(
                f"an epoch would visit more than {MOST_VISITS:,} examples, most of them of the dataset '{often}'",
                where="data.mix.epoch",
                fix="set it to total or shortest, or bring the weights closer to each other",
            )

    def _counts_for_tokens(self) -> list[int]:
        """How many examples have about the tokens that each source is to give."""
        counts = []
        for source, size, target in zip(self._sources, self._sizes, self._targets, strict=True):
            copies, rest = divmod(target, size)
            counts.append(int(copies) * len(source) + round(rest / size * len(source)))
        return counts

    def _draw(self, epoch: int) -> np.ndarray:
        random = np.random.Generator(np.random.PCG64(derive_seed(self._seed, "order", epoch)))
        visits = [self._visits(number, random) for number in range(len(self._sources))]
        order = random.permutation(np.concatenate(visits))
        order.setflags(write=False)
        return order

    def _visits(self, number: int, random: np.random.Generator) -> np.ndarray:
        """The visits to a source: all of its examples as often as that goes, then some of them once more."""
        source, size = self._sources[number], self._sizes[number]
        copies, remainder = divmod(self._counts[number], len(source))
        examples = np.arange(source.start, source.stop, dtype=np.int64)
        if self.by == "examples":
            drawn = random.choice(examples, remainder, replace=False)
        else:
            shuffled = random.permutation(examples)
            drawn = _about(shuffled, self._lengths[shuffled], remainder, self._targets[number] - copies * size)
        return np.concatenate([np.tile(examples, copies), drawn])


def mixture_line(by: MixBy, shares: Sequence[Share]) -> str:
    """A mixture in a line for people: of each source the realised share, the one aimed at, and the visits."""
    aimed, realised = sum(share.target for share in shares), sum(share.realised for share in shares)
    parts = (
        f"{share.name} {share.realised / realised:.2%} (target {share.target / aimed:.2%}), {share.realised:,} {by}"
        f" in {share.passes:.2f} passes"
        for share in shares
    )
    return f"by {by}: " + "; ".join(parts)


def _relative(weights: Sequence[float | None], sizes: Sequence[int]) -> Sequence[float]:
    """Those of the ``weights`` that are not stated, too."""
    are_joined = all(weight is None for weight in weights)
    return sizes if are_joined else [1.0 if weight is None else weight for weight in weights]


def _targets(sizes: Sequence[int], weights: Sequence[float], epoch: EpochLength) -> list[float]:
    """What each source is to give to an epoch, in the unit of ``sizes``."""
    relative = np.array(weights, np.float64) / max(weights)  # whose sum cannot overflow
    if epoch not in ("longest", "shortest"):
        total = sum(sizes) if epoch == "total" else epoch
        return [float(target) for target in relative / relative.sum() * total]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # of a weight that is 0 beside another
        lasts = np.array(sizes) / relative
        measure = int(np.argmax(lasts) if epoch == "longest" else np.argmin(lasts))
        return [float(target) for target in relative / relative[measure] * sizes[measure]]


def _apportion(targets: Sequence[float]) -> list[int]:
    """Whole numbers for ``targets``, and for their sum, by the method of largest remainders."""
    exact = np.array(targets)
    counts = np.floor(exact).astype(np.int64)
    missing = round(float(exact.sum())) - int(counts.sum())
    largest_first = np.argsort(counts - exact, kind="stable")  # among equals the one that is listed first
    counts[largest_first[:missing]] += 1
    return [int(count) for count in counts]


def _about(shuffled: np.ndarray, lengths: np.ndarray, count: int, tokens: float) -> np.ndarray:
    """``count`` examples with about ``tokens`` tokens, which is about ``count`` times the mean of ``lengths``.

    They are neighbours on the circle of the ``shuffled`` examples. The tokens of all such windows average to that number of
    means, and two neighbouring windows differ by no more than the longest example; so one of them is off by less than
    that. The first one is taken that is off by no more than a mean example, or else the nearest.
    """
    around = np.concatenate([np.arange(len(shuffled)), np.arange(count)])
    sums = np.concatenate([[0], np.cumsum(lengths[around], dtype=np.int64)])
    off = np.abs(sums[count : count + len(shuffled)] - sums[: len(shuffled)] - tokens)
    close = off <= lengths.mean()
    start = int(np.argmax(close) if close.any() else np.argmin(off))
    drawn: np.ndarray = shuffled[around[start : start + count]]
    return drawn
