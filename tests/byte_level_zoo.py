"""Byte-level tokenizers that cut text in every way that is known, and texts that try where they cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from weft.data.encoding import Encoder, Run

CONTROL = {"<s>": 0, "</s>": 1, "<|im_end|>": 2}

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LINES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def split(*patterns: str) -> pre_tokenizers.PreTokenizer:
    """Patterns, and then bytes."""
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


CUTTING: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "GPT-2": byte_level,
    "Qwen2": lambda: split(_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + _LINES),
    "Llama 3": lambda: split(_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + _LINES),
    "o200k": lambda: split(
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "DeepSeek-V3": lambda: split(
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "digits": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]),
    "groups of digits": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), byte_level()]),
}
NORMALIZERS: dict[str, Callable[[], normalizers.Normalizer | None]] = {
    "as it is": lambda: None,
    "NFC": normalizers.NFC,
    "NFD": normalizers.NFD,
    "NFKC": normalizers.NFKC,
    "NFKC, lower case": lambda: normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
}
PLAIN = [
    *(
        AddedToken(token, special=False, normalized=False)
        for token in ("<think>", "</think>", "  ", "    ", "\n\n", "\t", " ")
    ),
    *(AddedToken(token, special=False, normalized=True) for token in (" the", "é", "\n ")),
]
CORPUS = [
    "What is the capital of France? The capital of France is Paris. It's so, isn't it?",
    "def f(x):\n    return [x for x in range(1000)]\n\n\n\tindented  twice   and more\r\n",
    "问：法国的首都是哪里？答：巴黎。 é e\u0301 naïve ﬁne 한글 ไทย",
    "out of the box, in order to get out of the way of the thing, and 1 000 000 of the 12 345",
    *("of the", "in order to", "Paris is"),
] * 20

WORDS = (
    "the", "of", "the", "Paris", "It's", "isn't", "12", "1000", "1 000", "3.14", "x", "return", "def f(x):",
    "HTTPServer", "iPhone", "é", "e\u0301", "\u0301", "\u0301a", "naïve", "ﬁne", "İ", "ß", "ǅ", "中文", "。", "한글",
    "\u1112\u1161", "ไทย", "नी", "عربى", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1eb\U0001f1f7", "\u200b", "\u200d", "\ufeff", "\u00ad", "´", "a´", "´b", "ﷺ", "…", "½", "²", "\x00",
    "\x1f", "\x7f", "\u180e", "\u2060", "!?", "--", "://", "(", ")", "'", "'s", "’s", "$1", "<think>", "</think>",
    "<s>", "<|im_end|>", "_", "a_b", "\\n", "%", "x" * 99, "ab" * 300,
)  # fmt: skip


SPACES = (
    " ", " ", " ", " ", " ", "  ", "   ", "    ", "     ", "\n", "\n\n", "\n ", " \n", "\n    ", "\t", " \t", "\t ",
    "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d ", " \x1f", "\x85", "\u00a0", " \u00a0", "\u00a0 ", "\u1680",
    "\u2002", "\u2009 ", "\u2028", "\u2029 ", "\u202f", "\u205f", "\u3000", " \u3000", "", "", "",
)  # fmt: skip


def spec(
    cut: pre_tokenizers.PreTokenizer,
    normalizer: normalizers.Normalizer | None = None,
    added: Sequence[AddedToken] = (),
    **options: Any,
) -> dict[str, Any]:
    """A byte-level BPE, trained in a moment."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer, tokenizer.decoder = cut, decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=list(CONTROL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens(list(added))
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    return description


def encoder(*args: Any, **options: Any) -> Encoder:
    return Encoder(spec(*args, **options), CONTROL, ["</s>", "<|im_end|>"])


def a_text(random: Random) -> str:
    parts = [random.choice(SPACES)]
    for _ in range(random.randrange(12)):
        parts += [random.choice(WORDS), random.choice(SPACES)]
    return "".join(parts)


def a_run(random: Random) -> Run:
    """Text with control tokens here and there."""
    text, control = a_text(random), []
    for token in random.choices(list(CONTROL), k=random.choice((0, 0, 1, 3))):
        control.append((len(text), len(text) + len(token)))
        text += token + random.choice(("", a_text(random)))
    return Run.of(text, control, continues=random.random() < 0.5)
