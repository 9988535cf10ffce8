"""Text into ids, with no way from a person's text to a control token (law 4).

The tokenizer that encodes is a *closed* copy of the model's own. In it every control token goes by a name that no text can
hold, built around a character that the text at hand does not contain: in the list of added tokens, in the vocabulary (BPE,
Unigram and WordPiece match ``</s>`` there too) and in the merges. A template's control tokens are written under that
name, at the places that the template says; the same characters anywhere else are spelled like other text. Ids do not
change, and text without control strings gets exactly the ids of the model's own tokenizer.

Many tokenizers put a space before text (SentencePiece's ``▁``, ``add_prefix_space``). In the middle of a text that space
would be one that nobody wrote, so a run that continues text is encoded by a second copy that adds none.

Tokens that were added without being special (``<think>``, runs of spaces) are no control tokens: they are matched wherever
they stand, as the model's own tokenizer does.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from weft.data.chunk_cache import ChunkCache, ControlToken, ForbiddenIds
from weft.data.chunk_proof import pieces_by_chunk, probes, why_whole
from weft.data.closed_tokenizer import REPLACE, Spec, closed, closed_name, unknown_token, without_prefix
from weft.data.flat_ids import FlatIds
from weft.data.word_ids import WordIds
from weft.errors import ModelError

_PRIVATE_USE = range(0x10FFEE, 0x100000, -1)
_DEFAULT_MARK = chr(_PRIVATE_USE[0])

Parts = Sequence[str | ControlToken]
"""Texts and control tokens, in order; no text stands beside another, for each is encoded by itself."""


class _HoldsMark(Exception):
    """A text holds the character that control tokens are named by."""


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text to encode at once.

    ``parts``: what it is made of. ``continues``: text goes before it.
    """

    parts: Parts
    continues: bool = False

    @classmethod
    def of(cls, text: str, control: Sequence[tuple[int, int]] = (), *, continues: bool = False) -> Run:
        """``control``: half-open character spans of ``text``, in order, that become control tokens."""
        parts: list[str] = []
        last = 0
        for start, end in control:
            if start > last:
                parts.append(text[last:start])
            parts.append(ControlToken(text[start:end]))
            last = end
        if last < len(text):
            parts.append(text[last:])
        return cls(parts=parts, continues=continues)

    @property
    def text(self) -> str:
        """As it reads."""
        return "".join(self.parts)


class Encoder:
    """Encodes runs for one tokenizer.

    Args:
        spec: the tokenizer; every token of ``control`` is one of its added tokens.
        control: control tokens and their ids.
        stops: those among them that end an answer.

    Attributes:
        disproved: what a sample showed, where encoding by the chunk gave other ids. From then on texts are encoded whole, and
            what was encoded before should be encoded again.

    Raises:
        ModelError: the tokenizer cannot be closed, or cannot continue a text exactly.
    """

    def __init__(self, spec: Spec, control: Mapping[str, int], stops: Collection[str]):
        self._spec, self._control = spec, dict(control)
        self._continuing_spec = without_prefix(spec)
        self._tokenizers: dict[tuple[bool, str], RustTokenizer] = {}
        # Ids that no text may turn into. What stands for unknown characters may, unless it ends an answer as well.
        unknown = unknown_token(spec)
        self._unknown_id = control.get(unknown) if unknown else None
        self._forbidden = {index for token, index in control.items() if token != unknown or token in stops}
        self._verify()
        self.disproved: str | None = None
        self._sampled = 0

    def encode(self, runs: Sequence[Run]) -> list[np.ndarray]:
        """The ids of each run, int32; raises as :meth:`encode_flat`."""
        return self.encode_flat([run.parts for run in runs], [run.continues for run in runs]).each()

    def encode_flat(self, runs: Sequence[Parts], continues: Sequence[bool]) -> FlatIds:
        """The ids of the runs.

        Args:
            runs: as :attr:`Run.parts`.
            continues: as :attr:`Run.continues`, for each.

        Raises:
            ModelError: text became a control token all the same (it cannot, and is checked).
            UnicodeEncodeError: text holds half of a surrogate pair.
        """
        if not self.disproved and self._chunks is not None:
            try:
                ids = self._chunks.encode(runs)
            except ForbiddenIds as error:
                raise _text_became_control(error.text, error.ids, []) from None
            except _HoldsMark:
                pass
            else:
                if self._agrees_in_a_sample(runs, continues, ids):
                    return ids
        return FlatIds.of(self._encode_whole(list(map(Run, runs, continues))))

    def encode_whole(self, reason: str) -> None:
        """From now on, encode texts whole."""
        self._chunks, self.whole_because, self.disproved = None, reason, reason

    @cached_property
    def whole_because(self) -> str | None:
        """Why texts are encoded whole, in words; None where they are encoded by the chunk (:mod:`weft.data.chunk_cache`), with
        the same ids. It is found out when the first text is encoded: a run from the cache encodes none.
        """
        return self._why_whole()

    @cached_property
    def _chunks(self) -> ChunkCache | None:
        return None if self.whole_because else ChunkCache(self._encode_chunks, self._control, self._forbidden)

    @property
    def known_chunks(self) -> float:
        """The share of the chunks of text encoded so far whose ids were known."""
        chunks: ChunkCache | None = self.__dict__.get("_chunks")  # not made, if there was nothing to encode
        return 1 - chunks.encoded / chunks.looked_up if chunks and chunks.looked_up else 0.0

    def _agrees_in_a_sample(self, runs: Sequence[Parts], continues: Sequence[bool], ids: FlatIds) -> bool:
        """Encode one of the runs whole as well, each time another."""
        if not runs:
            return True
        self._sampled += 1
        place = self._sampled % len(runs)
        run = Run(runs[place], continues[place])
        if ids.run(place).tolist() == self._encode_whole([run])[0]:
            return True
        self.encode_whole(f"by the chunk, {run.text!r:.80} has other ids")
        return False

    def _encode_words(self, words: Sequence[str]) -> FlatIds:
        """The ids of words, of at least one, each by itself.

        Raises:
            _HoldsMark: one holds the character that control tokens are named by.
            UnicodeEncodeError: one holds half of a surrogate pair.
        """
        _require_no_mark(words)
        return self._word_ids.of_words(words)

    def _encode_chunks(self, chunks: Sequence[str]) -> FlatIds:
        """As :meth:`_encode_words`, where texts may be cut into chunks."""
        _require_no_mark(chunks)
        return self._word_ids.of_chunks(chunks)

    @cached_property
    def _word_ids(self) -> WordIds:
        return WordIds(self._tokenizer(False, _DEFAULT_MARK), self._spec)

    def _why_whole(self) -> str | None:
        """Why texts are encoded whole; None where encoding them by the chunk is the same."""
        if self._continuing_spec is not None:
            return "it puts a space before a text"
        if reason := why_whole(self._spec, self._control):
            return reason
        texts, cut = probes(), cache(self._cut)
        for text in texts:
            if not pieces_by_chunk(cut, text):
                return f"by the chunk, {text!r} is cut otherwise"
        by_chunk = ChunkCache(self._encode_words, {}, ()).encode([(text,) for text in texts])
        whole = self._tokenizer(False, _DEFAULT_MARK).encode_batch_fast(texts, add_special_tokens=False)
        for text, ids, expected in zip(texts, by_chunk.each(), whole, strict=True):
            if ids.tolist() != expected.ids:
                return f"by the chunk, {text!r} has other ids"
        return None

    def _cut(self, text: str) -> list[str]:
        """The pieces of a text that are encoded each by itself."""
        tokenizer = self._tokenizer(False, _DEFAULT_MARK)
        if tokenizer.normalizer:
            text = tokenizer.normalizer.normalize_str(text)
        return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]

    def _encode_whole(self, runs: Sequence[Run]) -> list[list[int]]:
        "".join(run.text for run in runs).encode()  # the library would say of no Unicode that it is no text
        groups: dict[tuple[bool, str], list[int]] = {}
        for place, run in enumerate(runs):
            groups.setdefault((run.continues, _mark_outside(run.text)), []).append(place)
        ids: list[list[int]] = [[] for _ in runs]
        for (continues, mark), places in groups.items():
            tokenizer = self._tokenizer(continues, mark)
            texts = [self._named(runs[place], mark) for place in places]
            for place, encoding in zip(
                places, tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True
            ):
                ids[place] = encoding.ids
        for run, result in zip(runs, ids, strict=True):
            self._check(run, result)
        return ids

    def places(self, run: Run) -> list[tuple[int, int]]:
        """Where in the run's text the characters of each of its ids stand: half-open spans, one per id."""
        mark = _mark_outside(run.text)
        borders, names = [0], [0]
        for part in run.parts:
            name = closed_name(self._control[part], mark) if type(part) is ControlToken else part
            borders.append(borders[-1] + len(part))
            names.append(names[-1] + len(name))
        tokenizer = self._tokenizer(run.continues, mark)
        found = tokenizer.encode(self._named(run, mark), add_special_tokens=False).offsets
        return [(_moved(start, names, borders), _moved(end, names, borders)) for start, end in found]

    def _named(self, run: Run, mark: str) -> str:
        """The run's text with its control tokens under the names that the closed tokenizer knows them by."""
        return "".join(
            closed_name(self._control[part], mark) if type(part) is ControlToken else part for part in run.parts
        )

    def _check(self, run: Run, ids: list[int]) -> None:
        expected = [self._control[part] for part in run.parts if type(part) is ControlToken]
        expected = [index for index in expected if index in self._forbidden]
        found = [index for index in ids if index in self._forbidden]
        if found != expected:
            raise _text_became_control(run.text, found, expected)

    def _tokenizer(self, continues: bool, mark: str) -> RustTokenizer:
        if self._continuing_spec is None:
            continues = False
        key = (continues, mark)
        if key not in self._tokenizers:
            spec = self._continuing_spec if continues else self._spec
            assert spec is not None
            tokenizer = RustTokenizer.from_str(json.dumps(closed(spec, self._control, mark), ensure_ascii=False))
            if (
                mark != _DEFAULT_MARK
            ):  # a text that holds our own mark: rare enough to build a tokenizer for it each time
                return tokenizer
            self._tokenizers[key] = tokenizer
        return self._tokenizers[key]

    def _verify(self) -> None:
        """Prove on this tokenizer what the rest relies on."""
        tokenizer = self._tokenizer(False, _DEFAULT_MARK)
        for token, index in self._control.items():
            loaded = tokenizer.token_to_id(closed_name(index, _DEFAULT_MARK))
            if loaded != index:
                raise ModelError(f"the control token {token!r} has the id {index} but loads as {loaded}", fix=REPLACE)
        spelled = self._encode_whole([Run(parts=[token]) for token in self._control])
        for token, ids in zip(self._control, spelled, strict=True):
            if not ids:
                raise ModelError(f"the control token {token!r} is the only spelling of that text", fix=REPLACE)
        if self._continuing_spec is not None:
            self._verify_continuation()

    def _verify_continuation(self) -> None:
        """A text that is cut after a sentence and encoded in two runs reads like the same text encoded whole."""
        whole, rest = self._tokenizer(False, _DEFAULT_MARK), self._tokenizer(True, _DEFAULT_MARK)
        for head in ("Question:", "Answer.", "问："):
            for tail in ("yes", " yes", "Yes, 12 %", "é", "中文", "(a b)", "\nyes"):
                uncut = whole.encode(head + tail, add_special_tokens=False).ids
                cut = [
                    *whole.encode(head, add_special_tokens=False).ids,
                    *rest.encode(tail, add_special_tokens=False).ids,
                ]
                joined = whole.decode(cut, skip_special_tokens=False)
                readable = self._unknown_id not in uncut  # else the vocabulary lacks these characters
                if readable and joined != whole.decode(uncut, skip_special_tokens=False):
                    raise ModelError(
                        f"the tokenizer cannot continue a text exactly: {head!r} and {tail!r} read {joined!r} together",
                        fix=f"{REPLACE}: prompts and answers could not be encoded apart with this one",
                    )


def _require_no_mark(words: Sequence[str]) -> None:
    if _DEFAULT_MARK.encode() in "".join(words).encode():
        raise _HoldsMark


def _text_became_control(text: str, found: Sequence[int], expected: Sequence[int]) -> ModelError:
    return ModelError(
        f"encoding the text {text!r:.80} gave the control tokens {found} where the template wrote {expected}",
        fix=f"{REPLACE}: with this one, text can turn into control tokens",
    )


def _moved(place: int, borders: Sequence[int], to: Sequence[int]) -> int:
    """A place among ``borders``, where they are moved ``to``."""
    before = bisect_right(borders, place) - 1
    return to[before] + place - borders[before]


def _mark_outside(text: str) -> str:
    """The first private-use character that ``text`` does not hold."""
    return next(chr(code) for code in _PRIVATE_USE if chr(code) not in text)
