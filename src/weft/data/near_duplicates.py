"""Records that say nearly what an earlier one says: found by MinHash, decided by the true similarity.

The similarity of two texts is the resemblance of Broder (1997, "On the resemblance and containment of documents"): of the
pieces of :data:`PIECE` characters that either has, the share that both have (the Jaccard index of the two sets). Pairs that may
be similar are found by locality-sensitive hashing of MinHash signatures in bands (Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", chapter 3). Each is then compared by its pieces themselves, so that nothing below the threshold is left out.

datasketch and rensa do the first half. The one would add SciPy to what weft needs, the other a compiled extension, and the half
that decides, in order and with bounds, would still be ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter

import numpy as np

from weft.data.comparing import all_said, comparable, odd_numbers, piece_hashes
from weft.data.conversations import canonical
from weft.data.in_parallel import in_parallel
from weft.data.rows import BadRow
from weft.types import Conversation

PIECE = 5
"""Characters of a piece: few enough for short records, and the same for scripts with and without spaces."""

_HASHES = 128  # of a signature
_MISSED = 0.01  # the probability that two records exactly at the threshold share no band
_ROOM = 0.15  # more than three standard deviations of a similarity that is estimated from a signature
_PER_BAND, _COMPARED = 128, 6
"""Of the kept records that share a band, so many are looked at; of those that look most similar, so many are compared. This
bounds the time where thousands of records are alike, but not enough: there a few may be missed."""
_AT_ONCE = 512  # pieces: a block of hashes that stays in the cache of a core


_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class NearDuplicate:
    """A record that says nearly what an earlier one says; both are places."""

    location: str
    first: str
    similarity: float


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """The records that were left out because an earlier one is similar."""

    threshold: float
    records: int
    first: tuple[NearDuplicate, ...]
    """The first 20 of them; all are in the rejects file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Similar:
    """A text, the earlier one that it is similar to, and how similar, from 0 to 1; texts by their place."""

    place: int
    first: int
    similarity: float


def without_near_duplicates(
    conversations: Sequence[Conversation], threshold: float, *, jobs: int = 1
) -> tuple[list[Conversation], list[BadRow], NearDuplicates]:
    """The conversations of which none is ``threshold`` similar to an earlier one, in their order; the others; and an account.

    Compared is all that is said, whatever the system message, in lower case and with single spaces. See :func:`find_similar`.
    """
    texts = [comparable(all_said(each)) for each in conversations]
    similar = {each.place: each for each in find_similar(texts, threshold, jobs=jobs)}
    left_out = [
        NearDuplicate(
            location=str(conversations[each.place].location),
            first=str(conversations[each.first].location),
            similarity=each.similarity,
        )
        for each in similar.values()
    ]
    rows = [
        BadRow(
            location=conversations[place].location,
            reason=f"nearly the same as an earlier record (data.near_duplicates: {threshold:g})",
            detail=f"similarity {each.similarity:.3f} to {each.first}",
            raw=json.dumps(canonical(conversations[place]), ensure_ascii=False),
        )
        for place, each in zip(similar, left_out, strict=True)
    ]
    kept = [each for place, each in enumerate(conversations) if place not in similar]
    return kept, rows, NearDuplicates(threshold=threshold, records=len(rows), first=tuple(left_out[:_SHOWN]))


def find_similar(texts: Sequence[str], threshold: float, *, jobs: int = 1) -> list[Similar]:
    """The texts that are at least ``threshold`` similar to an earlier one that is none of them, in order.

    The result depends on the texts and their order alone. A pair exactly at the threshold is found with a probability of 99 %, a
    more similar one with a higher one. In memory are about 900 bytes per text beside the texts.

    Args:
        texts: see :func:`weft.data.comparing.comparable`.
        threshold: above 0, at most 1.
        jobs: processes that compute signatures.
    """
    parts = list(in_parallel(_signatures, texts, jobs))
    signatures = parts[0] if len(parts) == 1 else np.concatenate(parts)
    del parts
    hashes = lru_cache(maxsize=4 * _COMPARED)(lambda place: np.unique(_hashes(texts[place])))
    kept_in: dict[int, list[int]] = {}
    found: list[Similar] = []
    for place, bands in _shared_bands(signatures, _rows(threshold)):
        candidates = _most_alike(
            place, chain.from_iterable(kept_in.get(band, ()) for band in bands), signatures, threshold
        )
        alike = (first for first in candidates if _by_hashes(hashes(place), hashes(first)) >= threshold)
        for first in alike:
            similarity = _resemblance(texts[place], texts[first])
            if similarity >= threshold:
                found.append(Similar(place=place, first=first, similarity=similarity))
                break
        else:
            for band in bands:
                kept = kept_in.setdefault(band, [])
                if len(kept) < _PER_BAND:
                    kept.append(place)
    return found


def _resemblance(one: str, other: str) -> float:
    """The similarity of two texts."""
    pieces, others = ({text[at : at + PIECE] for at in range(max(1, len(text) - PIECE + 1))} for text in (one, other))
    return len(pieces & others) / len(pieces | others)


def _by_hashes(one: np.ndarray, other: np.ndarray) -> float:
    """The same from the different hashes of their pieces: fast, and wrong only where two pieces have one hash of 64 bits."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def _hashes(text: str) -> np.ndarray:
    """The hash of each piece: uint64 [pieces]."""
    return piece_hashes(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4"), PIECE)


def _signatures(texts: Sequence[str]) -> np.ndarray:
    """The MinHash signature of each text: uint32 [texts, 128]."""
    signatures = np.empty((len(texts), _HASHES), dtype=np.uint32)
    for place, text in enumerate(texts):
        signatures[place] = _signature(text)
    return signatures


def _signature(text: str) -> np.ndarray:
    """For each of 128 hash functions the least hash of a piece: uint32 [128].

    The functions are x ↦ a·x mod 2³² with odd a, of hashes that are mixed already: one multiplication each makes this fast.
    """
    hashes = (_hashes(text) >> np.uint64(32)).astype(np.uint32)
    factors = odd_numbers("minhash", _HASHES).astype(np.uint32)
    blocks = (hashes[start : start + _AT_ONCE, None] * factors for start in range(0, len(hashes), _AT_ONCE))
    least: np.ndarray = np.stack([block.min(axis=0) for block in blocks]).min(axis=0)
    return least


def _rows(threshold: float) -> int:
    """The most rows per band with which a pair at the threshold shares no band with a probability of at most 1 %.

    Two signatures agree in a row with the probability s of their texts' similarity, so they share none of b bands of r rows with
    the probability (1 - sʳ)ᵇ. More rows mean fewer pairs to compare.
    """
    allowed = (rows for rows in range(_HASHES, 0, -1) if (1 - threshold**rows) ** (_HASHES // rows) <= _MISSED)
    return next(allowed, 1)


def _shared_bands(signatures: np.ndarray, rows: int) -> Iterator[tuple[int, list[int]]]:
    """Each text that shares a band with another one, in order, with the numbers of those bands."""
    places, numbers = [], []
    total = 0
    for start in range(0, _HASHES - rows + 1, rows):
        band = signatures[:, start : start + rows].astype(np.uint64)
        hashes = (band * odd_numbers("band", rows)).sum(axis=1, dtype=np.uint64)
        _, number, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts[number] > 1)
        places.append(shared.astype(np.uint32))
        numbers.append(number[shared].astype(np.uint32) + np.uint32(total))
        total += len(counts)
    all_places = np.concatenate(places)
    order = np.argsort(all_places, kind="stable")
    pairs = zip(all_places[order].tolist(), np.concatenate(numbers)[order].tolist(), strict=True)
    for place, group in groupby(pairs, key=itemgetter(0)):
        yield place, [number for _, number in group]


def _most_alike(place: int, candidates: Iterable[int], signatures: np.ndarray, threshold: float) -> list[int]:
    """Those of the candidates whose signatures promise a similarity near the threshold, the most promising first."""
    places = np.array(sorted(set(candidates)), dtype=np.int64)
    if not len(places):
        return []
    estimates = (signatures[places] == signatures[place]).mean(axis=1)
    order = np.argsort(-estimates, kind="stable")[:_COMPARED]
    return [int(places[each]) for each in order if estimates[each] >= threshold - _ROOM]
