"""A tokenizer's description, rewritten: closed to control tokens that a text spells, and without the space before a text.

What that is for is told in :mod:`weft.data.encoding`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from weft.errors import ModelError

Spec = dict[str, Any]
"""A ``tokenizer.json``, parsed."""

REPLACE = "use a model with another tokenizer"
"""What to do about one that cannot be rewritten so."""


def without_prefix(spec: Spec) -> Spec | None:
    """The tokenizer without the space that it puts before a text; None where it puts none.

    Raises:
        ModelError: text still gets a prefix, by a way that is not known here.
    """
    changed: Spec = {
        **spec,
        "normalizer": _rewrite(spec.get("normalizer"), "normalizers", _keep_whitespace),
        "pre_tokenizer": _rewrite(spec.get("pre_tokenizer"), "pretokenizers", _no_space_before),
    }
    tokenizer = RustTokenizer.from_str(json.dumps(_skeleton(changed)))
    text = tokenizer.normalizer.normalize_str("a") if tokenizer.normalizer else "a"
    if tokenizer.pre_tokenizer:
        text = "".join(piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    if len(text) != 1:
        raise ModelError(
            f"the tokenizer puts text before a text (it reads 'a' as {text!r}) and cannot be told not to",
            fix=f"{REPLACE}: prompts and answers could not be encoded apart with this one",
        )
    return None if changed == spec else changed


def _keep_whitespace(step: Spec) -> Spec | None:
    """A step of the normaliser, unless it is about the edges of a text, which a text that goes on does not have."""
    pattern = step["pattern"].get("Regex", "") if step["type"] == "Replace" else ""
    strips = pattern.startswith(r"\A") != pattern.endswith(r"\z") and not step["content"]
    return None if step["type"] in ("Prepend", "Strip") or strips else step


def _no_space_before(step: Spec) -> Spec | None:
    if step["type"] == "Metaspace":
        old = {"add_prefix_space": False} if "add_prefix_space" in step else {}
        return {**step, **old, "prepend_scheme": "never"}
    return {**step, "add_prefix_space": False} if step["type"] == "ByteLevel" else step


def _rewrite(step: Spec | None, children: str, change: Callable[[Spec], Spec | None]) -> Spec | None:
    """``change`` applied to a step, or to every step of a sequence; steps that become None are left out."""
    if step is None or step["type"] != "Sequence":
        return step and change(step)
    inner = [_rewrite(child, children, change) for child in step[children]]
    return {**step, children: [child for child in inner if child is not None]}


def _skeleton(spec: Spec) -> Spec:
    """The tokenizer's normaliser and pre-tokenizer alone, which load in no time."""
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    steps = {"normalizer": spec["normalizer"], "pre_tokenizer": spec["pre_tokenizer"], "model": model}
    return {"version": "1.0", "added_tokens": [], "post_processor": None, "decoder": None, **steps}


def closed(spec: Spec, control: Mapping[str, int], mark: str) -> Spec:
    """The tokenizer with every control token under a name that holds ``mark``."""
    names = {token: closed_name(index, mark) for token, index in control.items()}
    return {
        **spec,
        "added_tokens": [_renamed(token, names) for token in spec["added_tokens"]],
        "model": _closed_model(spec["model"], names),
        "post_processor": None,  # adds tokens that no template printed
        "truncation": None,
        "padding": None,
    }


def _renamed(token: Spec, names: Mapping[str, str]) -> Spec:
    """An added token, closed if it is a control token: found by its name alone, whatever stands around it.

    Some tokenizers look for control tokens in normalised text. These are found before: the text between them is normalised
    piece by piece, which gives other ids only where normalising makes or takes whitespace next to a token that swallows it.
    """
    if token["content"] not in names:
        return token
    return {**token, "content": names[token["content"]], "normalized": False, "single_word": False}


def _closed_model(model: Spec, names: Mapping[str, str]) -> Spec:
    closed = {**model}
    if isinstance(model["vocab"], list):  # Unigram: pieces with scores, in the order of their ids
        closed["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        closed["vocab"] = {names.get(piece, piece): index for piece, index in model["vocab"].items()}
    if model.get("merges"):
        closed["merges"] = [merge for merge in model["merges"] if not _touches(merge, names)]
    if model.get("unk_token") in names:
        closed["unk_token"] = names[model["unk_token"]]
    if "dropout" in model:
        closed["dropout"] = None  # the same text always has the same ids
    return closed


def _touches(merge: str | Sequence[str], names: Mapping[str, str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names


def unknown_token(spec: Spec) -> str | None:
    """The token that stands for characters outside the vocabulary, if the model has one."""
    model = spec["model"]
    if model.get("unk_id") is not None:
        return str(model["vocab"][model["unk_id"]][0])
    unknown: str | None = model.get("unk_token")
    return unknown


def closed_name(index: int, mark: str) -> str:
    """What a control token is called, by its id."""
    return f"{mark}{index}{mark}"
