"""The words for a value of the wrong type or out of range: "must be …, not …", and how to mend it."""

from __future__ import annotations

import re

from weft.config.keys import Key
from weft.config.layers import Setting
from weft.config.nodes import ListNode, MapNode, Node, ScalarNode
from weft.config.scalars import dump, resolve
from weft.errors import ConfigError

_BOOLEAN_WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+")


def wrong_value(key: Key, name: str, setting: Setting) -> ConfigError:
    """The problem of a setting whose value its key does not accept."""
    spelled = name if setting.spelled == name else f"{setting.spelled} ({name})"
    what = f"{spelled} must be {key.expects}, not {show(setting.node)}"
    return ConfigError(what, where=setting.place, fix=_fix(key, setting.node) or _any_value(key))


def show(node: Node) -> str:
    """A value as messages print it: strings quoted, everything escaped and shortened."""
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return _shorten("[" + ", ".join(show(item) for item in node.items[:10]) + "]")
    if node.value is None:
        return "empty" if node.text == "" else "null"
    text = _shorten(node.text)
    return repr(text) if isinstance(node.value, str) else text


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _any_value(key: Key) -> str:
    """What always mends it."""
    if key.required:
        return "give such a value"
    default = "" if key.default is None else f" to use the default, {dump(key.default)}"
    return f"give such a value, or remove it{default}"


def _fix(key: Key, node: Node) -> str | None:
    """How to mend the usual slips."""
    if isinstance(node, MapNode):
        return None
    if isinstance(node, ListNode):
        return None if key.accepts("list") else "write a single value"
    if node.value is None:
        return "give a value" if key.default is None else f"remove it to use the default, {dump(key.default)}"
    if key.accepts("list") and node.text:
        return f"write a list: [{_shorten(node.text)}]"
    if isinstance(node.value, str):
        return _fix_text(key, node)
    if node.value is False and not key.accepts("bool"):
        return next((f"write {off}" for off in ("no", "none") if off in key.choices), None)
    if isinstance(node.value, float) and node.value.is_integer() and key.accepts("int"):
        return f"write {node.value:.0f}"
    return None


def _fix_text(key: Key, node: ScalarNode) -> str | None:
    """How to mend text where something else, or another word, is expected."""
    word = node.text.strip().lower()
    if key.accepts("bool") and word in _BOOLEAN_WORDS:
        return f"write {_BOOLEAN_WORDS[word]}: YAML 1.2 knows no other words for it"
    if not node.plain and node.text and not isinstance(resolve(node.text), str):
        return "remove the quotes"
    if key.accepts("int") or key.accepts("float"):
        number = word.replace("_", "").replace(",", "" if _THOUSANDS.fullmatch(word) else ".")  # 1_000 and 1,000; 0,5
        if number != word and isinstance(resolve(number), int | float):
            return f"write {number}"
    return _nearest_choice(key, word)


def _nearest_choice(key: Key, word: str) -> str | None:
    if not key.choices:
        return None
    from rapidfuzz import fuzz, process  # only an error needs it

    found = process.extractOne(word, key.choices, scorer=fuzz.ratio, score_cutoff=60)
    return f"did you mean {found[0]}?" if found else None
