"""A SentencePiece model as a ``tokenizer.json``: the same pieces under the same ids, and the same ids for a text.

Pieces of a BPE model carry scores, not merges: a merge is every way to put a piece together from two others, in the order of
the scores. Bytes, the dummy prefix and the whitespace rules become steps of the normaliser, as Llama 2's conversion has them:
``Prepend`` and ``Replace`` agree with SentencePiece where ``Metaspace`` does not, on text that begins with a space.

Known to differ, by the libraries and not by the conversion: two segmentations of a unigram model whose scores are closer than the
32-bit sums of SentencePiece can tell; characters that are made of several (a letter with two accents, half-width kana), which
SentencePiece normalises across and the other library one by one; a text that is nothing but one user-defined symbol, which
gets no space before it; symbols that begin with a space, unless BPE without a dummy prefix; and symbols that the rules of
normalisation would change, around which text begins anew, with a space of its own.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

from tokenizers.normalizers import Precompiled

from weft.data.closed_tokenizer import Spec
from weft.data.sentencepiece_file import PieceKind, SentencePieceModel

SPACE = "▁"


def as_tokenizer_json(model: SentencePieceModel) -> Spec:
    """The content of ``tokenizer.json``."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(_added_tokens(model)),
        "normalizer": {"type": "Sequence", "normalizers": list(_normalisers(model))},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": list(_decoders(model))},
        "model": _bpe(model) if model.kind == "bpe" else _unigram(model),
    }


def as_tokenizer_config(model: SentencePieceModel) -> Spec:
    """The content of ``tokenizer_config.json``."""
    return {"tokenizer_class": "PreTrainedTokenizerFast", **model.named, "clean_up_tokenization_spaces": False}


def as_files(spec: Spec, config: Spec, path: Path) -> dict[str, bytes]:
    """The files of a directory that holds the tokenizer, the original among them: converters of other tools look for it."""
    return {
        "tokenizer.json": json.dumps(spec, ensure_ascii=False).encode(),
        "tokenizer_config.json": (json.dumps(config, ensure_ascii=False, indent=2) + "\n").encode(),
        "tokenizer.model": path.read_bytes(),
    }


def _added_tokens(model: SentencePieceModel) -> Iterator[Spec]:
    in_normal_text = _found_in_normal_text(model)
    for index, piece in enumerate(model.pieces):
        if piece.kind is PieceKind.USER_DEFINED and " " in piece.text:
            continue  # symbols are looked for in text whose spaces are ▁ by then, so none holds it
        if piece.kind in (PieceKind.UNKNOWN, PieceKind.CONTROL, PieceKind.USER_DEFINED):
            yield {
                "id": index,
                "content": piece.text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": piece.text in in_normal_text,
                "special": piece.kind is not PieceKind.USER_DEFINED,
            }


def _found_in_normal_text(model: SentencePieceModel) -> frozenset[str]:
    """The user-defined symbols that are looked for after a text was normalised as a whole, as SentencePiece does.

    The other library normalises such symbols, too. One that this changes would be found where it never stood, or in place of
    the space before a text: it is looked for before, and the texts around it are normalised one by one.
    """
    normalise = Precompiled(model.charsmap).normalize_str if model.charsmap else str
    symbols = [piece.text for piece in model.pieces if piece.kind is PieceKind.USER_DEFINED and " " not in piece.text]
    return frozenset(
        text for text in symbols if normalise(text) == text and not (model.dummy_prefix and text.startswith(SPACE))
    )


def _normalisers(model: SentencePieceModel) -> Iterator[Spec]:
    if model.charsmap:
        yield {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode("ascii")}
    if (
        model.remove_extra_whitespaces
    ):  # of spaces alone: what else is whitespace has become a space by the rules, or stays
        yield _replace(r"\A +", "")
        yield _replace(r" +\z", "")
        yield _replace(" {2,}", " ")
    if model.dummy_prefix:
        yield {"type": "Prepend", "prepend": SPACE}
    yield {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    symbols = sorted(_found_in_normal_text(model))
    if model.dummy_prefix and symbols:  # the prefix is a text's: a symbol that is normalised by itself goes without
        yield _replace(rf"\A{SPACE}(?=(?:{'|'.join(map(re.escape, symbols))})\z)", "")


def _replace(pattern: str, content: str) -> Spec:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _decoders(model: SentencePieceModel) -> Iterator[Spec]:
    yield {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    if model.byte_fallback:
        yield {"type": "ByteFallback"}
    yield {"type": "Fuse"}
    if model.dummy_prefix:
        yield {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def _unigram(model: SentencePieceModel) -> Spec:
    unknown = next(index for index, piece in enumerate(model.pieces) if piece.kind is PieceKind.UNKNOWN)
    vocab = [[piece.text, piece.score] for piece in model.pieces]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": model.byte_fallback}


def _bpe(model: SentencePieceModel) -> Spec:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.named["unk_token"],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": False,
        "vocab": {piece.text: index for index, piece in enumerate(model.pieces)},
        "merges": _merges(model),
    }


def _merges(model: SentencePieceModel) -> list[list[str]]:
    spelled = {
        piece.text: index
        for index, piece in enumerate(model.pieces)
        if piece.kind in (PieceKind.NORMAL, PieceKind.USER_DEFINED)
    }
    merges: list[tuple[float, int, int, list[str]]] = []
    for text in spelled:
        score = model.pieces[spelled[text]].score
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in spelled and right in spelled:
                merges.append((-score, spelled[left], spelled[right], [left, right]))
    return [merge for *_, merge in sorted(merges, key=lambda entry: entry[:3])]
