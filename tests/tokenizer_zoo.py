"""Tokenizers of every construction that matters for encoding, trained in a moment; with and without their trap doors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from weft.data.sentencepiece_convert import as_tokenizer_json
from weft.data.sentencepiece_file import Piece, PieceKind, SentencePieceModel

CONTROL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "[SEP]")
PLAIN = ("<think>", "</think>", "<tool_call>")
"""Added, but not special."""

# The control strings occur in the corpus, so that pieces and merges that spell them exist: that is the trap.
CORPUS = [
    "What is the capital of France? The capital of France is Paris.",
    "user assistant system: Hello, how are you? I'm fine, thanks (12 %).",
    "Line one\nline two\n\n\tindented  twice",
    "<|im_start|>user hello<|im_end|> <s> text </s> [SEP] <think> hm </think> <tool_call> <unk>",
    *("a</s>", "b</s>", "a<|im_end|>", "b<|im_end|>"),
    "问：法国的首都是哪里？答：巴黎。 é",
] * 20


def byte_level() -> Tokenizer:
    """As GPT-2, Qwen2, Llama 3: special tokens are the first entries of the vocabulary."""
    return _bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel(), special=CONTROL)


def byte_level_added_later() -> Tokenizer:
    """Special tokens come after the vocabulary, whose merges spell some of them."""
    tokenizer = _bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel(), size=600)
    return _add(tokenizer)


def byte_level_prefix() -> Tokenizer:
    """As RoBERTa: a space goes before every text."""
    return _bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel(), special=CONTROL)


def byte_level_ignore_merges() -> Tokenizer:
    """As Llama 3: a whole pre-token is looked up in the vocabulary before any merge."""
    split = pre_tokenizers.Split(Regex(r" ?\S+|\s+"), "isolated")
    steps = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return _add(_bpe(steps, decoders.ByteLevel(), size=600, ignore_merges=True))


def legacy_prepend() -> Tokenizer:
    """As Llama 2: a normaliser prepends ``▁`` and writes every space so; bytes for unknown characters."""
    tokenizer = _metaspace_bpe()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def metaspace_first() -> Tokenizer:
    """As newer Llama 2 conversions: ``▁`` goes before the first text alone."""
    tokenizer = _metaspace_bpe()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    return tokenizer


def unigram() -> Tokenizer:
    """As SentencePiece Unigram: ``</s>`` is a piece with a score, and ``▁`` goes before every text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=400,
        special_tokens=list(CONTROL),
        unk_token="<unk>",
        show_progress=False,
        initial_alphabet=list("<>|/[]_"),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _add(tokenizer)


def wordpiece() -> Tokenizer:
    """As BERT without punctuation splitting: control strings are words of the vocabulary, text is lower-cased."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=list(CONTROL), show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _add(tokenizer)


def normalised_specials() -> Tokenizer:
    """Special tokens are looked for in the normalised text, and swallow the whitespace around them."""
    tokenizer = _bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_special_tokens([AddedToken(token, normalized=True, rstrip=True) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(token, normalized=True, lstrip=True) for token in PLAIN])
    return tokenizer


def sentencepiece_unigram() -> Tokenizer:
    """As T5 and many of one's own making: a unigram model of SentencePiece, which strips and collapses spaces."""
    return _sentencepiece("unigram", remove_extra_whitespaces=True, byte_fallback=False)


def sentencepiece_bpe() -> Tokenizer:
    """As Llama 2's own ``tokenizer.model``: BPE with bytes, and text as it stands."""
    return _sentencepiece("bpe", remove_extra_whitespaces=False, byte_fallback=True)


ZOO: dict[str, Callable[[], Tokenizer]] = {
    make.__name__: make
    for make in (
        byte_level,
        byte_level_added_later,
        byte_level_prefix,
        byte_level_ignore_merges,
        legacy_prepend,
        metaspace_first,
        unigram,
        wordpiece,
        normalised_specials,
        sentencepiece_unigram,
        sentencepiece_bpe,
    )
}


def write(tokenizer: Tokenizer, directory: Path, **files: object) -> Path:
    """``tokenizer`` as a directory; ``files`` are further JSON files, or text for ``chat_template``, by their stems."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    files = {"tokenizer_config": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, **files}
    for stem, content in files.items():
        if isinstance(content, str):
            (directory / f"{stem}.jinja").write_text(content, encoding="utf-8")
        else:
            (directory / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")
    return directory


def _sentencepiece(
    kind: Literal["unigram", "bpe"], *, remove_extra_whitespaces: bool, byte_fallback: bool
) -> Tokenizer:
    """A model of the corpus' words and characters; control strings are spelled by pieces of their own, too."""
    words = sorted({word for line in CORPUS for word in line.split()})
    spelled = {"▁", *(word[:end] for word in words for end in range(1, len(word) + 1)), *(f"▁{word}" for word in words)}
    spelled.update("\n\té中文", map(chr, range(33, 127)))
    normal = sorted(spelled - set(CONTROL) - set(PLAIN), key=lambda text: (-len(text), text))
    pieces = [
        Piece(text=text, score=0.0, kind=PieceKind.UNKNOWN if text == "<unk>" else PieceKind.CONTROL)
        for text in CONTROL
    ]
    if byte_fallback:
        pieces += [Piece(text=f"<0x{value:02X}>", score=0.0, kind=PieceKind.BYTE) for value in range(256)]
    pieces += [Piece(text=text, score=-float(place), kind=PieceKind.NORMAL) for place, text in enumerate(normal, 1)]
    pieces += [Piece(text=text, score=0.0, kind=PieceKind.USER_DEFINED) for text in PLAIN]
    model = SentencePieceModel(
        kind=kind,
        pieces=tuple(pieces),
        named={"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        byte_fallback=byte_fallback,
        charsmap=b"",
        dummy_prefix=True,
        remove_extra_whitespaces=remove_extra_whitespaces,
    )
    return Tokenizer.from_str(json.dumps(as_tokenizer_json(model)))


def _bpe(
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    decoder: decoders.Decoder,
    special: tuple[str, ...] = (),
    size: int = 500,
    ignore_merges: bool = False,
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _metaspace_bpe() -> Tokenizer:
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=False)
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=[*CONTROL, *bytes_], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = description["added_tokens"][
        : len(CONTROL)
    ]  # bytes are vocabulary, not control tokens
    description["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(description))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _add(tokenizer)


def _add(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN])
    return tokenizer
