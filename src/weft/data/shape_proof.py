"""For which records a plan (:mod:`weft.data.shape_plan`) is proved to be what the derivation in full would give."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

from weft.data.jinja import to_json
from weft.data.pieces import shared_length
from weft.data.shape_pattern import WORD
from weft.data.watched import Watch, Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """For which values a template prints what it printed for stand-ins under watch."""

    absent: tuple[tuple[int, tuple[str, ...]], ...]
    """Texts that these values do not hold."""
    trimmed: tuple[int, ...]
    """Values without white space at their ends."""
    lengths: tuple[tuple[int, int], ...]
    """Values of these lengths."""
    plain: tuple[tuple[int, bool], ...]
    """Values that JSON writes as they are; and whether in ASCII."""
    quoted: tuple[tuple[int, int, bool], ...]
    """Values that JSON may write otherwise; the numbers of those that it writes, and whether in ASCII."""
    written: tuple[tuple[int, Written], ...]
    """How objects are written."""
    differing: tuple[tuple[int, int], ...] = ()
    """Values that are not equal."""
    without_space: tuple[int, ...] = ()
    """Values that are printed without the white space at their ends."""

    @classmethod
    def of(cls, watch: Watch) -> Proof:
        """What the template was told."""
        return cls(
            absent=tuple((number, tuple(sorted(texts))) for number, texts in sorted(watch.absent.items())),
            trimmed=tuple(sorted(watch.trimmed)),
            lengths=tuple(sorted(watch.lengths.items())),
            plain=tuple(sorted(watch.plain.items())),
            quoted=tuple(sorted((number, *how) for number, how in watch.quoted.items())),
            written=tuple(sorted(watch.written.items())),
            differing=tuple(sorted(watch.differing)),
        )

    def with_space(self, beside_space: Proof, contents: int) -> Proof:
        """For values with white space at their ends, too, where the template learns nothing else ``beside_space``.

        Args:
            beside_space: for values that have such space beside them.
            contents: how many values do, of those that had none.
        """
        known, unknown = (
            tuple(each for each in self.trimmed if (each < contents) is is_one) for is_one in (True, False)
        )
        if replace(beside_space, trimmed=()) != replace(self, trimmed=()):
            return self
        return replace(self, trimmed=unknown, without_space=known)

    def looked_for_in(self, values: Sequence[Any]) -> set[int]:
        """The numbers of texts that hold what they should not."""
        return {
            number
            for number, absent in self.absent
            if isinstance(values[number], str) and any(text in values[number] for text in absent)
        }

    def quoted_in(self, values: Sequence[Any], numbers: Collection[int]) -> set[int]:
        """Those of these ``numbers`` whose texts look otherwise as the JSON as which the template writes them."""
        return {
            number
            for number, in_ascii in self.plain
            if number in numbers and _as_json(values[number], in_ascii) != values[number]
        }

    def quote(self, texts: list[str]) -> None:
        """Put in their places what JSON writes for some of the texts."""
        for number, as_json, in_ascii in self.quoted:
            texts[as_json] = _as_json(texts[number], in_ascii)

    def covers(self, texts: Sequence[str]) -> bool:
        """Whether these are such values; objects as they are written."""
        for number, absent in self.absent:
            content = texts[number]
            for text in absent:
                if text in content:
                    return False
        for number in self.trimmed:
            if has_space_at_ends(texts[number]):
                return False
        for number, length in self.lengths:
            if len(texts[number]) != length:
                return False
        for one, other in self.differing:
            if texts[one] == texts[other]:
                return False
        for number, in_ascii in self.plain:  # noqa: SIM110 - this and the others run for every record: loops are faster
            if _as_json(texts[number], in_ascii) != texts[number]:
                return False
        return True


def _as_json(text: str, in_ascii: bool) -> str:
    return to_json(text, in_ascii)[1:-1]


def written(value: Any, how: Written) -> str:
    """An object as a template writes it."""
    text = to_json(value, *how.options, **dict(how.named))
    return text.replace("\n", "\n" + how.indent) if how.indent else text


def has_space_at_ends(content: str) -> bool:
    """Whether there is white space at an end of it."""
    return content[:1].isspace() or content[-1:].isspace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Partings:
    """Where texts part that the derivation compares: in the stand-in for a value, where a value might not."""

    others: tuple[tuple[int, str], ...]
    """Values, and what stands in the other text up to its next value, or its end: none of the two begins with the other."""
    pairs: tuple[tuple[int, int], ...]
    """Values in the same place: the same."""
    others_behind: tuple[tuple[int, str], ...] = ()
    pairs_behind: tuple[tuple[int, int], ...] = ()
    """The same for their ends, where texts are compared from there; read backwards."""

    @classmethod
    def of(cls, printed: Iterable[str], *, from_behind: bool) -> Partings:
        """The partings of all that was printed for stand-ins."""
        texts = [_Placed(text, [(*place.span(), int(place[1])) for place in WORD.finditer(text)]) for text in printed]
        others, pairs = _partings(texts)
        if not from_behind:
            return cls(others=others, pairs=pairs)
        others_behind, pairs_behind = _partings([text.backwards() for text in texts])
        return cls(others=others, pairs=pairs, others_behind=others_behind, pairs_behind=pairs_behind)

    def hold(self, texts: Sequence[str]) -> bool:
        """Whether the texts part in the same places with these values."""
        for number, other in self.others:
            if not _part(texts[number], other):
                return False
        for one, two in self.pairs:
            if not _part(texts[one], texts[two]):
                return False
        for number, other in self.others_behind:
            if not _part(texts[number][::-1], other):
                return False
        for one, two in self.pairs_behind:  # noqa: SIM110 - see above
            if not _part(texts[one][::-1], texts[two][::-1]):
                return False
        return True


def _part(one: str, other: str) -> bool:
    """Whether two texts part before one ends; and not behind white space, which no one finds the place of."""
    return not (one.startswith(other) or other.startswith(one) or (one[:1].isspace() and other.startswith(one[0])))


class _Placed(NamedTuple):
    text: str
    places: list[tuple[int, int, int]]
    """Its stand-ins: where each begins and ends, and its number."""

    def backwards(self) -> _Placed:
        length = len(self.text)
        return _Placed(
            self.text[::-1], [(length - end, length - start, number) for start, end, number in self.places[::-1]]
        )

    def place_at(self, position: int) -> tuple[int, int] | None:
        return next(((start, number) for start, end, number in self.places if start <= position < end), None)

    def words_at(self, position: int) -> str:
        """What it says there, up to the next value."""
        return self.text[position : next((start for start, _, _ in self.places if start >= position), None)]


def _partings(texts: Sequence[_Placed]) -> tuple[tuple[tuple[int, str], ...], tuple[tuple[int, int], ...]]:
    others: set[tuple[int, str]] = set()
    pairs: set[tuple[int, int]] = set()
    for one, two in combinations(texts, 2):
        at = shared_length(one.text, two.text)
        mine, yours = one.place_at(at), two.place_at(at)
        if mine and yours and mine[0] == yours[0]:
            pairs.add((mine[1], yours[1]))
            continue
        for found, other in ((mine, two), (yours, one)):
            if found and found[0] < len(other.text):
                others.add((found[1], other.words_at(found[0])))
    return tuple(sorted(others)), tuple(sorted(pairs))
