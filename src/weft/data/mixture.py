"""The order in which an epoch visits examples, from one source or from several with weights.

An epoch of a mixture has as many examples as its sources have together. A source of weight w gets the share w / Σw of them,
rounded by largest remainders, so that it is less than one example from the exact share. Every example of a source is
visited equally often, but for a remainder that is drawn without replacement, anew in every epoch. An epoch's order derives
from the seed and the epoch's number alone (law 9).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from weft.data.seeds import derive_seed
from weft.errors import ConfigError


class Mixture:
    """A deterministic order of examples for every epoch.

    Args:
        source_slices: which examples come from which source.
        weights: each source's share of an epoch, relative to the others; 0 leaves a source out, as if it were not there.
        seed: the run's seed.

    Raises:
        ConfigError: no source has a weight, or one with a weight has no examples.
    """

    def __init__(self, source_slices: Mapping[str, range], weights: Mapping[str, float], seed: int):
        present = {name: source_slices[name] for name in source_slices if weights[name] > 0}
        if not present:
            raise ConfigError("no dataset has a weight above 0", where="datasets", fix="give one a positive weight")
        for name, examples in present.items():
            if not examples:
                raise ConfigError(
                    f"the dataset '{name}' has no examples", where="datasets", fix="remove it, or give it the weight 0"
                )
        self.epoch_length = sum(map(len, present.values()))
        self._sources = list(present.values())
        self._counts = _apportion(self.epoch_length, [weights[name] for name in present])
        self._seed = seed
        self._order = lru_cache(maxsize=2)(self._draw)  # an epoch, and the next one at its border

    @property
    def repeats(self) -> bool:
        """Whether all epochs visit the same examples equally often, because no source has a remainder to draw."""
        return all(count % len(source) == 0 for source, count in zip(self._sources, self._counts, strict=True))

    def order(self, epoch: int) -> np.ndarray:
        """The examples of an epoch in the order of their visit: int64 [epoch_length], not to be changed."""
        return self._order(epoch)

    def _draw(self, epoch: int) -> np.ndarray:
        random = np.random.Generator(np.random.PCG64(derive_seed(self._seed, "order", epoch)))
        visits = [_visits(source, count, random) for source, count in zip(self._sources, self._counts, strict=True)]
        order = random.permutation(np.concatenate(visits))
        order.setflags(write=False)
        return order


def _visits(source: range, count: int, random: np.random.Generator) -> np.ndarray:
    """``count`` visits to a source: all of its examples as often as that goes, then some of them once more."""
    copies, remainder = divmod(count, len(source))
    examples = np.arange(source.start, source.stop, dtype=np.int64)
    return np.concatenate([np.tile(examples, copies), random.choice(examples, remainder, replace=False)])


def _apportion(total: int, weights: list[float]) -> list[int]:
    """``total`` divided in proportion to ``weights`` into whole numbers, by the method of largest remainders."""
    relative = np.array(weights, np.float64) / max(weights)  # whose sum cannot overflow
    exact = relative / relative.sum() * total
    counts = np.floor(exact).astype(np.int64)
    missing = total - int(counts.sum())
    largest_first = np.argsort(counts - exact, kind="stable")  # among equals the one that is listed first
    counts[largest_first[:missing]] += 1
    return [int(count) for count in counts]
