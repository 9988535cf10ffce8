"""Is a converted SentencePiece model the same tokenizer? Its pieces are compared, and with the library at hand its ids."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer as RustTokenizer

from weft.data.closed_tokenizer import Spec
from weft.data.sentencepiece_convert import SPACE
from weft.data.sentencepiece_file import PieceKind, SentencePieceModel
from weft.errors import ModelError

_TEXTS = (
    "The capital of France is Paris.",
    " Two  spaces, and a newline:\n\n\tthen a tab. ",
    "def f(x):\n    return x ** 2  # 12.5 %",
    "Größe, naïve, señor; ﬁne ½ ① Ａ",
    "中文，测试。 日本語 한국어 Привет мир عربى",
    "😀 👍🏽 ok…",
    "",
)
_SAMPLES, _PIECES_EACH, _SYMBOLS = 64, 12, 64


def verify(model: SentencePieceModel, spec: Spec, path: Path) -> tuple[str, ...]:
    """Compare the conversion ``spec`` with the model in ``path``, and return what is to be said about it.

    Raises:
        ModelError: a piece has another id, or most texts do.
    """
    try:
        tokenizer = RustTokenizer.from_str(json.dumps(spec, ensure_ascii=False))
    except Exception as problem:
        raise ModelError(
            f"its conversion does not load: {problem}", where=str(path), fix="copy or download the file again"
        ) from problem
    vocabulary = tokenizer.get_vocab()
    for index, piece in enumerate(model.pieces):
        if vocabulary.get(piece.text) != index:
            raise ModelError(
                f"its piece {index}, {piece.text!r}, has the id {vocabulary.get(piece.text)} after conversion",
                where=str(path),
                fix="use the tokenizer.json that Transformers makes of it",
            )
    if importlib.util.find_spec("sentencepiece") is None:
        return ()
    texts = [*_TEXTS, *_sample(model), *_around_symbols(model)]
    different = compare(path, tokenizer, texts)
    if 2 * len(different) > len(texts):
        raise ModelError(
            f"converted, it encodes {len(different)} of {len(texts)} texts otherwise than the sentencepiece library, "
            f"such as {different[0]!r}",
            where=str(path),
            fix="use the tokenizer.json that Transformers makes of it",
        )
    if not different:
        return ()
    return (
        f"{path}: {len(different)} of {len(texts)} texts encode otherwise than with the sentencepiece library, such as "
        f"{different[0]!r}; training and what it writes agree with each other",
    )


def compare(path: Path, tokenizer: RustTokenizer, texts: Sequence[str]) -> list[str]:
    """Those of ``texts`` that get other ids from ``tokenizer`` than from the ``sentencepiece`` library, which must be there."""
    from sentencepiece import SentencePieceProcessor

    try:
        library = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as problem:
        raise ModelError(
            f"the sentencepiece library refuses it: {problem}", where=str(path), fix="copy or download the file again"
        ) from problem
    theirs = library.encode(list(texts))
    ours = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    return [text for text, expected, ids in zip(texts, theirs, ours, strict=True) if expected != ids]


def _sample(model: SentencePieceModel) -> list[str]:
    """Texts that are made of the whole vocabulary, evenly spread."""
    normal = [piece.text for piece in model.pieces if piece.kind is PieceKind.NORMAL]
    count = _SAMPLES * _PIECES_EACH
    chosen = [normal[(place * len(normal) // count + 7919 * place) % len(normal)] for place in range(count)]
    return [
        "".join(chosen[start : start + _PIECES_EACH]).replace(SPACE, " ") for start in range(0, count, _PIECES_EACH)
    ]


def _around_symbols(model: SentencePieceModel) -> list[str]:
    symbols = [piece.text for piece in model.pieces if piece.kind is PieceKind.USER_DEFINED]
    return [f"{symbol}The {symbol}end{symbol} of it".replace(SPACE, " ") for symbol in symbols[:_SYMBOLS]]
