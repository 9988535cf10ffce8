"""A tokenizer learned from text: a SentencePiece model, or a byte-level BPE. Neither loses a character of any text.

The SentencePiece model is unigram (Kudo 2018, arXiv:1804.10959), as its library trains it, with the choices of Llama 2's
tokenizer: text is not normalised, digits stand alone, and what is not among the pieces is spelled in bytes. The library leaves
out lines of more than some kilobytes, so longer ones are cut before. Its sums depend on the number of threads, which is fixed.
"""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weft.data.tokenizer import load_tokenizer
from weft.errors import DataError, ModelError
from weft.models.files import refuse_occupied, written_aside
from weft.models.new_tokenizer import (
    CONTROL_TOKENS,
    SMALLEST_VOCABULARY,
    refuse_too_large,
    save_tokenizer,
    train_tokenizer,
)

Kind = Literal["sentencepiece", "bpe"]
SPECIAL = ("pad", "unk", "bos", "eos")
DEFAULT_IDS = dict(zip(SPECIAL, range(4), strict=True))

_LONGEST_LINE = 1000  # characters; the library takes 4192 bytes
_THREADS = 16


@dataclass(frozen=True, kw_only=True)
class NewTokenizer:
    """What :func:`learn_tokenizer` made."""

    directory: Path
    kind: Kind
    vocab_size: int
    ids: Mapping[str, int]
    lines: int
    characters: int


def learn_tokenizer(
    text: Iterable[str],
    out: Path,
    *,
    kind: Kind,
    vocab_size: int,
    ids: Mapping[str, int] = DEFAULT_IDS,
    progress: Callable[[int], None] = lambda characters: None,
) -> NewTokenizer:
    """Learn ``vocab_size`` entries from ``text``; the same text gives the same files, byte for byte.

    Args:
        text: lines.
        out: the directory to make; it appears whole or not at all.
        kind: ``sentencepiece`` also writes ``tokenizer.model``.
        vocab_size: special tokens and bytes included.
        ids: of ``pad``, ``unk``, ``bos`` and ``eos``: the first ids, each once; -1 for a ``pad`` or ``bos`` that is not wanted.
        progress: told how many characters were read.

    Raises:
        ModelError: the ids cannot be, the vocabulary holds less than it must, more than can be learned or more than the text
            fills, or the library that writes SentencePiece models is missing.
        DataError: there is no text.
        RunError: ``out`` is there already, or cannot be written.
    """
    _check_ids(ids)
    _check_size(vocab_size, kind)
    refuse_occupied(out)
    read = _Reading(text, progress)
    with written_aside(out) as aside:
        if kind == "sentencepiece":
            _learn_sentencepiece(read, aside, vocab_size, ids)
        else:
            _learn_bpe(read, aside, vocab_size, ids)
        tokenizer = load_tokenizer(aside)
    return NewTokenizer(
        directory=out,
        kind=kind,
        vocab_size=tokenizer.vocab_size,
        ids=tokenizer.named_ids,
        lines=read.lines,
        characters=read.characters,
    )


class _Reading:
    """Lines for a library that is written in another language: what reading raises is kept, and raised by :meth:`check`."""

    def __init__(self, text: Iterable[str], progress: Callable[[int], None]):
        self._text, self._progress = text, progress
        self.lines = self.characters = 0
        self._problem: BaseException | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for line in self._text:
                self.lines += 1
                self.characters += len(line)
                if self.lines % 1000 == 0:
                    self._progress(self.characters)
                yield line
        except BaseException as problem:
            self._problem = problem

    def check(self) -> None:
        """Raise what reading raised, or that there was nothing to read."""
        if self._problem is not None:
            raise self._problem
        if not self.characters:
            raise DataError("there is no text to learn from", fix="name files with text in them")


def _learn_bpe(read: _Reading, directory: Path, vocab_size: int, ids: Mapping[str, int]) -> None:
    tokens = dict(zip(SPECIAL, CONTROL_TOKENS, strict=False))
    wanted = sorted((name for name in SPECIAL if ids[name] >= 0), key=lambda name: ids[name])
    control = [*(tokens[name] for name in wanted), *CONTROL_TOKENS[len(SPECIAL) :]]
    tokenizer = train_tokenizer((f"{line}\n" for line in read), vocab_size, control=control)
    read.check()
    if tokenizer.get_vocab_size() < vocab_size:
        raise _too_little_text(vocab_size, tokenizer.get_vocab_size())
    save_tokenizer(tokenizer, directory, control=control)


def _learn_sentencepiece(read: _Reading, directory: Path, vocab_size: int, ids: Mapping[str, int]) -> None:
    if importlib.util.find_spec("sentencepiece") is None:
        raise ModelError(
            "the sentencepiece library is not installed, which trains such models",
            where="--type sentencepiece",
            fix="pip install 'weft[sentencepiece]', or use --type bpe",
        )
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_cut(read),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            character_coverage=0.9995,
            pad_piece="<pad>",
            num_threads=_THREADS,
            minloglevel=2,  # its errors are raised
            **{f"{name}_id": ids[name] for name in SPECIAL},
        )
    except RuntimeError as problem:
        read.check()
        raise _as_user_error(problem, vocab_size) from problem
    read.check()
    (directory / "tokenizer.model").write_bytes(model.getvalue())
    for name, content in load_tokenizer(directory / "tokenizer.model").made.items():
        (directory / name).write_bytes(content)


def _cut(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from (line[start : start + _LONGEST_LINE] for start in range(0, len(line), _LONGEST_LINE))


def _as_user_error(problem: RuntimeError, vocab_size: int) -> ModelError:
    """What the library's trainer means."""
    if most := re.search(r"too high.*<= (\d+)", str(problem)):
        return _too_little_text(vocab_size, int(most[1]))
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(problem)):
        return ModelError(
            f"a vocabulary of {vocab_size:,} is too small: special tokens, bytes and the characters of this text are {least[1]}",
            where="--vocab",
            fix=f"set --vocab to {least[1]} or more",
        )
    return ModelError(
        f"the sentencepiece library cannot learn from this text: {' '.join(str(problem).split())}",
        where="--type sentencepiece",
        fix="give it more text, or use --type bpe",
    )


def _too_little_text(vocab_size: int, filled: int) -> ModelError:
    return ModelError(
        f"the text is too small for a vocabulary of {vocab_size:,}: it fills {filled:,}",
        where="--vocab",
        fix=f"set --vocab to {filled} or less, or give it more text",
    )


def _check_size(vocab_size: int, kind: Kind) -> None:
    least = SMALLEST_VOCABULARY if kind == "bpe" else len(SPECIAL) + 256
    if vocab_size < least:
        raise ModelError(
            f"a vocabulary of {vocab_size:,} does not hold the special tokens and 256 bytes",
            where="--vocab",
            fix=f"set --vocab to {least} or more; 32000 is usual",
        )
    refuse_too_large(vocab_size, option="--vocab")


def _check_ids(ids: Mapping[str, int]) -> None:
    wanted = sorted(index for index in ids.values() if index != -1)
    shown = ", ".join(f"{name} {index}" for name, index in ids.items())
    for name in ("unk", "eos"):
        if ids[name] == -1:
            raise ModelError(f"there must be a token for {name}", where="--ids", fix=f"give {name} an id of 0 or more")
    if wanted != list(range(len(wanted))):
        raise ModelError(
            f"the ids are not the first ones, each once: {shown}",
            where="--ids",
            fix=f"give the {len(wanted)} tokens the ids 0 to {len(wanted) - 1}, and -1 to one that is not wanted",
        )
