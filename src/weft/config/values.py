"""From settings to a :class:`~weft.config.schema.Config`: types, ranges, and values that are not acted on yet.

pydantic judges every value, in strict mode; what it says is not shown (:mod:`weft.config.wording`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from weft.config.keys import INDEX, KEYS, Key, Shape, find_key
from weft.config.layers import Layer, Setting
from weft.config.nodes import ListNode, MapNode, Node, ScalarNode, literal
from weft.config.scalars import dump
from weft.config.schema import Config
from weft.config.wording import wrong_value
from weft.errors import ConfigError, WeftError

SPELLINGS: Mapping[tuple[str, bool], str] = {
    ("train.packing", False): "none",
    ("train.packing", True): "bfd",
}
"""Values that other tools write as true or false → the word that means it here."""


def build(layer: Layer, problems: list[WeftError]) -> tuple[Config, frozenset[str]]:
    """The configuration, and the names of keys whose settings are broken and were left out; each is in ``problems``."""
    layer = _existing_entries(layer, problems)
    try:
        config, broken = Config.model_validate(_tree(layer)), frozenset[str]()
    except ValidationError as error:
        broken = frozenset(_name(part["loc"]) for part in error.errors(include_url=False))
        problems.extend(filter(None, (_complaint(name, layer) for name in sorted(broken))))
        config = Config.model_validate(_tree(_without(broken, layer)))
    problems.extend(_pending(layer, broken))
    return config, broken


def _without(broken: frozenset[str], layer: Layer) -> Layer:
    """The layer without broken settings; a required one that is broken or missing gets a stand-in."""
    sound = {name: setting for name, setting in layer.items() if name not in broken}
    for name in broken:
        if _key(name).required:
            sound[name] = Setting(node=literal("stand-in", ""), place="", spelled=name)
    return sound


def _existing_entries(layer: Layer, problems: list[WeftError]) -> Layer:
    """The layer without settings like ``datasets[3].weight`` for entries that the list does not have."""
    kept = {}
    for name, setting in layer.items():
        match = re.match(r"(\w+)\[(\d+)\]", name)
        count = _entries(layer, match[1]) if match else 0
        if match is None or int(match[2]) < count:
            kept[name] = setting
            continue
        held = f"{match[1]} has {count} {'entry' if count == 1 else 'entries'}"
        what = f"{setting.spelled} sets an entry that does not exist: {held}, counted from 0"
        fix = f"add the entry to {match[1]}: in the configuration file"
        problems.append(ConfigError(what, where=setting.place, fix=fix))
    return kept


def _entries(layer: Layer, name: str) -> int:
    node = layer[name].node if name in layer else None
    return len(node.items) if isinstance(node, ListNode) else 0


def _tree(layer: Layer) -> dict[str, Any]:
    """The settings as the nested values that the schema is validated from."""
    tree: dict[str, Any] = {}
    for name in (name for name, key in KEYS.items() if key.accepts("sections") and name in layer):
        tree[name] = [{} for _ in range(_entries(layer, name))]
    for name, setting in layer.items():
        key = _key(name)
        if not key.accepts("sections"):
            parent, last = _parent(tree, name)
            parent[last] = plain_value(key, setting.node)
    return tree


def _parent(tree: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The mapping in the tree that holds the name's value, made if need be, and the name's part in it."""
    free = next((known[:-1] for known in KEYS if known.endswith(".*") and name.startswith(known[:-1])), None)
    *path, last = [*free.split(".")[:-1], name.removeprefix(free)] if free else name.split(".")
    for part in path:
        match = re.fullmatch(r"(\w+)\[(\d+)\]", part)
        tree = tree[match[1]][int(match[2])] if match else tree.setdefault(part, {})
    return tree, last


def plain_value(key: Key, node: Node) -> Any:
    """The node's value as the key means it: text where it holds text (``run_name: 2024``), YAML's value otherwise."""
    if isinstance(node, ScalarNode) and isinstance(node.value, bool) and (key.name, node.value) in SPELLINGS:
        return SPELLINGS[key.name, node.value]
    return _plain(key.shapes, node)


def _plain(shapes: Iterable[Shape], node: Node) -> Any:
    kinds = {shape.kind: shape for shape in shapes}
    if isinstance(node, ScalarNode):
        return node.text if "text" in kinds and node.value is not None else node.value
    item = kinds["list"].item if "list" in kinds else ()
    if isinstance(node, ListNode):
        return [_plain(item, child) for child in node.items]
    return {entry.key: _plain((), entry.node) for entry in node.entries}


def _key(name: str) -> Key:
    key = find_key(name)
    assert key is not None, f"{name} is no key, though the schema or a layer knows it"
    return key


def _name(location: tuple[int | str, ...]) -> str:
    """The key that pydantic's location lies in: ``("datasets", 0, "weight")`` → ``datasets[0].weight``."""
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
        key = find_key(name)
        if key is not None and not key.accepts("sections") and not key.accepts("map"):
            break
    return name


def _complaint(name: str, layer: Layer) -> ConfigError | None:
    """The problem of a broken or missing key; None for what is missing in an entry that is no mapping at all."""
    if name in layer:
        return wrong_value(_key(name), name, layer[name])
    entry = INDEX.search(name)
    assert entry is not None, f"{name} is required, but stands in no list"
    whole = layer[name[: entry.start()]].node
    assert isinstance(whole, ListNode)
    item = whole.items[int(entry[1])]
    if not isinstance(item, MapNode):
        return None
    spelled = layer[name[: entry.start()]].spelled
    missing = _spelled_in(spelled, name[entry.end() + 1 :], _key(name))
    entry_name = f"{spelled}{entry[0]}"
    what = f"{entry_name} has no {missing}, which every entry needs"
    return ConfigError(what, where=item.place, fix=f"add {missing}: to this entry")


def _spelled_in(spelled: str, child: str, key: Key) -> str:
    """The name of an entry's key where the list is written by the name ``spelled``."""
    prefix = f"{spelled}[]."
    return next((alias.removeprefix(prefix) for alias in key.aliases if alias.startswith(prefix)), child)


def _pending(layer: Layer, broken: frozenset[str]) -> Iterable[ConfigError]:
    """An error for every setting that the language has but this version does not act on."""
    for name, setting in layer.items():
        key = _key(name)
        if not key.pending or name in broken:
            continue
        value = plain_value(key, setting.node)
        if value == key.default or (key.pending != "any" and value not in key.pending):
            continue
        acted_on = [choice for choice in key.choices if choice not in key.pending]
        fix = f"set it to {' or '.join(acted_on)}" if acted_on and key.pending != "any" else "remove it"
        what = f"{setting.spelled}: {dump(value)} is part of the configuration language but not acted on yet"
        yield ConfigError(what, where=setting.place, fix=fix)
