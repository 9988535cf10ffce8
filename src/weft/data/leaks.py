"""Questions of held-out records and benchmarks that training records ask too, or quote.

A question is *asked* where a training record has the same one, or one of its user messages is it, but for case and spacing. It is
*quoted* where it shares a run of words with anything that a training record says, by the rule of Brown et al. (2020,
arXiv:2005.14165, appendix C): words in lower case without punctuation; runs as long as the 5th percentile of the set's questions,
but at least 8 and at most 13; runs that occur in more than 10 training records say nothing and do not count.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np

from weft.data.comparing import all_said, comparable, piece_hashes
from weft.data.in_parallel import in_parallel
from weft.types import Conversation, Document, Location, Material, Message

_FEWEST_WORDS, _MOST_WORDS, _PERCENTILE = 8, 13, 5
_COMMON = 10
_AT_ONCE = 512  # texts
_SHOWN = 20
_ONE_WORD_EACH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Kana and Chinese characters, which are written without spaces."""
_WORD = re.compile(rf"[{_ONE_WORD_EACH}]|[^\W_{_ONE_WORD_EACH}]+")
_WITHOUT_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Burmese and Khmer, too: where their marks part the letters, a run still has a length that tells something."""


class Question(NamedTuple):
    """What a held-out record asks: its user messages, one per line."""

    text: str
    location: Location


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A held-out question and the first training record that asks or quotes it; both are places."""

    kind: Literal["asked", "quoted"]
    question: str
    training: str


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """What training tells of one held-out set."""

    name: str
    questions: int
    asked: int
    """Questions that a training record asks."""
    quoted: int | None
    """Further questions of which a training record says ``words`` words in a row; None where these were not looked for."""
    words: int | None
    """Words in a run; None as above."""
    first: tuple[Leak, ...]
    """The first 20 of both, asked ones before quoted ones."""


def find_leaks(
    sets: Mapping[str, Sequence[Question]], training: Sequence[Material], *, quotations: bool = True, jobs: int = 1
) -> tuple[Leaks, ...]:
    """What training tells of each set.

    Args:
        sets: the questions of each held-out set, by its name.
        training: the training records.
        quotations: look for these, too, which takes some 0.1 ms per training record.
        jobs: processes that look for quotations; the result does not depend on it.
    """
    if not sets:
        return ()
    asking = _first_asking({comparable(each.text) for questions in sets.values() for each in questions}, training)
    if not quotations:
        return tuple(_leaks(name, questions, asking, training) for name, questions in sets.items())
    words = [[words_of(each.text) for each in questions] for questions in sets.values()]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(chain(*chain(*words))), 1)}
    runs = [_Runs(questions, numbers) for questions in words]
    quoting = _first_quoting(runs, numbers, [all_said(each) for each in training], jobs)
    found = zip(sets.items(), runs, quoting, strict=True)
    return tuple(
        _leaks(name, questions, asking, training, each.words, quotes) for (name, questions), each, quotes in found
    )


def question_of(messages: Iterable[Message], location: Location) -> Question:
    """What the user says in these messages."""
    return Question("\n".join(message.content for message in messages if message.role == "user"), location)


def questions_held_out(splits: Mapping[str, Sequence[Material]]) -> dict[str, list[Question]]:
    """The questions of every split but ``train`` that holds any; documents ask nothing."""
    found = {
        name: [question_of(each.messages, each.location) for each in materials if isinstance(each, Conversation)]
        for name, materials in splits.items()
        if name != "train"
    }
    return {name: questions for name, questions in found.items() if questions}


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; each Chinese character and kana is a word."""
    text = text.casefold()
    is_marked = not text.isascii() and _marks().search(text)
    return (_marked_word() if is_marked else _WORD).findall(text)


@cache
def _marks() -> re.Pattern[str]:
    """Marks of letters, which are neither letters nor digits themselves: the vowels of Hindi and Tamil, the points of Hebrew and
    Arabic, accents that are characters of their own, and the joiners between letters.
    """
    apart = re.compile(f"[{_ONE_WORD_EACH}{_WITHOUT_SPACES}]")
    marks = (mark for mark in map(chr, range(0x300, 0x20000)) if unicodedata.category(mark)[0] == "M")
    return re.compile(f"[{''.join(mark for mark in marks if not apart.match(mark))}\u200c\u200d]+")


@cache
def _marked_word() -> re.Pattern[str]:
    """A word in a text that has some of these marks; slower."""
    letters = rf"[^\W_{_ONE_WORD_EACH}]"
    return re.compile(rf"[{_ONE_WORD_EACH}]|{letters}+(?:{_marks().pattern}{letters}*)*")


def _first_asking(questions: set[str], training: Sequence[Material]) -> dict[str, int]:
    """The first training record that asks each of the questions; those that none asks are missing."""
    first: dict[str, int] = {}
    for place, conversation in enumerate(training):
        if isinstance(conversation, Document):
            continue
        asked = [comparable(message.content) for message in conversation.messages if message.role == "user"]
        for question in {*asked, " ".join(asked)} & questions:
            first.setdefault(question, place)
    return first


def _leaks(
    name: str,
    questions: Sequence[Question],
    asking: Mapping[str, int],
    training: Sequence[Material],
    words: int | None = None,
    quoting: Mapping[int, int] | None = None,
) -> Leaks:
    keys = (comparable(each.text) for each in questions)
    asked = [(place, asking[key]) for place, key in enumerate(keys) if key in asking]
    known = {place for place, _ in asked}
    quoted = [pair for pair in sorted((quoting or {}).items()) if pair[0] not in known]

    def shown(kind: Literal["asked", "quoted"], pairs: Sequence[tuple[int, int]]) -> list[Leak]:
        return [
            Leak(kind=kind, question=str(questions[place].location), training=str(training[first].location))
            for place, first in pairs[:_SHOWN]
        ]

    return Leaks(
        name=name,
        questions=len(questions),
        asked=len(asked),
        quoted=None if quoting is None else len(quoted),
        words=words,
        first=tuple([*shown("asked", asked), *shown("quoted", quoted)][:_SHOWN]),
    )


class _Runs:
    """The runs of words of a set's questions.

    Attributes:
        words: how many words make a run.
        hashes: of the different runs, in order: uint64.
    """

    def __init__(self, questions: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> None:
        lengths = [len(words) for words in questions]
        shortest = np.percentile(lengths or [0], _PERCENTILE, method="lower")
        self.words = int(np.clip(shortest, _FEWEST_WORDS, _MOST_WORDS))
        codes, ends = _coded(questions, numbers)
        hashes, at = _known_runs(codes, self.words)
        self.hashes, self._runs = np.unique(hashes, return_inverse=True)
        self._questions = np.searchsorted(ends, at, side="right")

    def quoted(self, counts: np.ndarray, first: np.ndarray) -> dict[int, int]:
        """The questions of which a run is in some texts, but not in many, each with the first such text.

        Args:
            counts: in how many texts each run is: int64 [runs].
            first: the first of them: int64 [runs].
        """
        telling = np.flatnonzero((counts > 0)[self._runs] & (counts <= _COMMON)[self._runs])
        found: dict[int, int] = {}
        for question, text in zip(self._questions[telling].tolist(), first[self._runs[telling]].tolist(), strict=True):
            found[question] = min(found.get(question, text), text)
        return found


def _first_quoting(
    sets: Sequence[_Runs], numbers: Mapping[str, int], texts: Sequence[str], jobs: int
) -> list[dict[int, int]]:
    """For each set its questions that a text quotes, each with the first such text."""
    counts = [np.zeros(len(each.hashes), dtype=np.int64) for each in sets]
    first = [np.full(len(each.hashes), len(texts), dtype=np.int64) for each in sets]
    search = partial(_search, sets=[(each.words, each.hashes) for each in sets], numbers=numbers)
    before = 0
    for searched, found in in_parallel(search, texts, jobs):
        for number, (runs, places) in enumerate(found):
            np.add.at(counts[number], runs, 1)
            np.minimum.at(first[number], runs, places + before)
        before += searched
    return [each.quoted(*found) for each, *found in zip(sets, counts, first, strict=True)]


def _search(
    texts: Sequence[str], sets: Sequence[tuple[int, np.ndarray]], numbers: Mapping[str, int]
) -> tuple[int, list[tuple[np.ndarray, np.ndarray]]]:
    """How many texts there are, and for each set which of its runs are in which texts: two arrays, int64 [found]."""
    found: list[list[np.ndarray]] = [[np.empty((0, 2), dtype=np.int64)] for _ in sets]
    for start in range(0, len(texts), _AT_ONCE):
        codes, ends = _coded([words_of(text) for text in texts[start : start + _AT_ONCE]], numbers)
        for (words, hashes), pairs in zip(sets, found, strict=True):
            if len(hashes):
                runs, at = _known_runs(codes, words)
                nearest = np.minimum(np.searchsorted(hashes, runs), len(hashes) - 1)
                hit = np.flatnonzero(hashes[nearest] == runs)
                places = np.searchsorted(ends, at[hit], side="right") + start
                pairs.append(np.unique(np.stack([nearest[hit], places], axis=1), axis=0))
    joined = [np.concatenate(pairs) for pairs in found]
    return len(texts), [(pairs[:, 0], pairs[:, 1]) for pairs in joined]


def _coded(texts: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of all words, 0 for an unknown one and behind each text, and where each text ends: int64."""
    ends = np.cumsum([len(words) + 1 for words in texts], dtype=np.int64)
    coded = (numbers.get(word, 0) for words in texts for word in (*words, ""))
    return np.fromiter(coded, dtype=np.int64, count=int(ends[-1]) if len(ends) else 0), ends


def _known_runs(codes: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of all runs of ``words`` known words, uint64, and where they begin."""
    if len(codes) < words:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    known = np.concatenate([[0], np.cumsum(codes > 0)])
    at = np.flatnonzero(known[words:] - known[:-words] == words)
    return piece_hashes(codes, words)[at], at
