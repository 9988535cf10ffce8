"""Whether a tokenizer's ids can be put together by the chunk (:mod:`weft.data.chunk_cache`), and texts to try it on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

Spec = Mapping[str, Any]
"""A ``tokenizer.json``, parsed."""

_BORDER = re.compile(r"(?<=\S)(?= \S)")
_NORMALIZERS = frozenset({"NFC", "NFD", "NFKC", "NFKD", "Lowercase"})
"""Those that change no white space, and nothing across it."""
_ATOMS = (
    *(
        "a",
        "Ab",
        "it's",
        "'s",
        "12",
        "1234567",
        "x1",
        "é",
        "e\u0301",
        "\u0301e",
        "中文",
        "한글",
        "ไทย",
        "İ",
        "ﬁ",
        "…",
        "!?",
        "_",
    ),
    *(
        "-",
        "(",
        ")",
        '"',
        ".",
        ",",
        "://",
        "\u200b",
        "\u200d",
        "\U0001f600",
        "\U0001f468\u200d\U0001f469",
        "'ll",
        "\ufeff",
        "$1",
    ),
)
_SPACES = (
    " ",
    "  ",
    "   ",
    "\n",
    " \n",
    "\n ",
    "\n\n  ",
    "\t",
    " \t ",
    "\u00a0",
    " \u00a0",
    "\u3000 ",
    "\r\n",
    "\x1c ",
    "\x85 ",
)


_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_WHITE_SPACE = re.compile(r"\\(?:s|h|x20|u0020|x\{0*20\})(?![^\[]*\])")
"""Other ways to write a space in a pattern, outside of classes of characters."""
_LOOKS_AROUND = re.compile(r"\(\?<|\\[bBAGKzZ]|\^|\$")
_REACHES_OVER = re.compile(r"\S\s")


def why_whole(spec: Spec, control: Collection[str]) -> str | None:
    """Why the texts of a tokenizer cannot be encoded by the chunk; None where they can, as far as can be read off it."""
    if spec["model"]["type"] != "BPE":
        return f"its model is {spec['model']['type']}, not BPE"
    normalizers = {step["type"] for step in _steps(spec.get("normalizer"), "normalizers")} - _NORMALIZERS
    if normalizers:
        return f"it normalises with {', '.join(sorted(normalizers))}"
    *splits, last = _steps(spec.get("pre_tokenizer"), "pretokenizers") or [{"type": "none"}]
    if last["type"] != "ByteLevel" or last.get("add_prefix_space"):
        return "it is not byte-level, or puts a space before a text"
    patterns = [step["pattern"].get("Regex") for step in splits if step["type"] == "Split"]
    if len(patterns) + sum(step["type"] == "Digits" for step in splits) < len(splits) or None in patterns:
        return "it cuts text in a way that is not known here"
    if not patterns and not last.get("use_regex", True):
        return "it does not cut text at spaces"
    for pattern in patterns:
        if reason := _why_unfit(pattern):
            return reason
    for token in spec["added_tokens"]:
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            return f"its token {token['content']!r} looks at what stands beside it"
        if token["content"] not in control and _REACHES_OVER.search(unicodedata.normalize("NFKD", token["content"])):
            return f"its token {token['content']!r} reaches over a space"
    return None


def _why_unfit(pattern: str) -> str | None:
    """Why pieces that a pattern finds may depend on what stands beside a chunk."""
    bare = _CLASS.sub("x", _WHITE_SPACE.sub(" ", pattern))
    if _LOOKS_AROUND.search(bare):
        return "its pattern looks at what stands around a match"
    if re.search(r"[^|(:] ", bare):
        return "its pattern finds pieces with a space inside"
    return None


def chunks_of(text: str) -> list[str]:
    """The chunks of a text, one after the other; of an empty one, itself."""
    return _BORDER.split(text)


def pieces_by_chunk(cut: Callable[[str], list[str]], text: str) -> bool:
    """Whether ``cut``, which a tokenizer does before it encodes, finds the same pieces in the chunks of a text as in the text."""
    return cut(text) == [piece for chunk in chunks_of(text) for piece in cut(chunk)]


def probes() -> list[str]:
    """Texts in which everything meets everything at a border, with every white space near one."""
    pairs = [f"{left} {right}" for left in _ATOMS for right in _ATOMS]
    spaced = [f"{space}{atom}" for space in _SPACES for atom in ("a", "1", "(", "中", "\u0301")]
    near = [text for some in spaced for text in (f"a{some} b", f"b a{some}")]
    edges = [f"{space}a b{space}" for space in _SPACES]
    return [*pairs, *near, *edges, " ".join(_ATOMS)]


def _steps(step: Any, children: str) -> list[Any]:
    if step is None:
        return []
    if step["type"] != "Sequence":
        return [step]
    return [inner for child in step[children] for inner in _steps(child, children)]
