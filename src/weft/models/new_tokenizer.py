"""A byte-level BPE tokenizer learned from text, in the files that Hugging Face libraries read.

The pre-tokenizer is Qwen2's: contractions, words with their leading space, single digits, punctuation, newlines.
Bytes are the alphabet, so that every text has ids and decodes to itself; text is not normalised for the same reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from weft.errors import ModelError

PAD, UNK, BOS, EOS, IM_START, IM_END = CONTROL_TOKENS = (
    "<|pad|>",
    "<|unk|>",
    "<|bos|>",
    "<|eos|>",
    "<|im_start|>",
    "<|im_end|>",
)
"""The control tokens; each one's place is its id."""

SMALLEST_VOCABULARY = len(CONTROL_TOKENS) + 256
LARGEST_VOCABULARY = 2**24
"""Far above any that is in use. With much larger ones the libraries that learn them run out of memory, hang or overflow."""

_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def refuse_too_large(vocab_size: int, *, option: str) -> None:
    """Raise where no library can be asked for so large a vocabulary; ``option`` is what named it."""
    if vocab_size > LARGEST_VOCABULARY:
        raise ModelError(
            f"a vocabulary of {vocab_size:,} is larger than {LARGEST_VOCABULARY:,}, the largest that can be learned",
            where=option,
            fix=f"set {option} to {LARGEST_VOCABULARY} or less; 32000 is usual",
        )


def train_tokenizer(corpus: Iterable[str], vocab_size: int, *, control: Sequence[str] = CONTROL_TOKENS) -> Tokenizer:
    """Learn at most ``vocab_size`` entries from ``corpus``: control tokens, 256 bytes, then merges of pairs seen twice.

    The same corpus gives the same tokenizer. A small corpus gives fewer entries: there is nothing more to merge. The tokens of
    ``control`` are some of :data:`CONTROL_TOKENS`; each one's place is its id.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in control],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def save_tokenizer(
    tokenizer: Tokenizer,
    out: Path,
    *,
    control: Sequence[str] = CONTROL_TOKENS,
    chat_template: str | None = None,
    max_length: int | None = None,
) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and, if there is one, ``chat_template.jinja`` into ``out``."""
    tokenizer.save(str(out / "tokenizer.json"))
    named = {"pad_token": PAD, "unk_token": UNK, "bos_token": BOS, "eos_token": EOS}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: token for name, token in named.items() if token in control},
        "additional_special_tokens": [IM_START, IM_END],
        "clean_up_tokenization_spaces": False,
    }
    if max_length is not None:
        settings["model_max_length"] = max_length
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if chat_template is not None:
        (out / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
