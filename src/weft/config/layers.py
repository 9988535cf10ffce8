"""A layer: what one source (a file, the environment, the command line) sets, as a flat table by canonical key.

Flat tables make the rules of the language one-liners: a deep merge is an update, an alias is another spelling of the same
row, and a dotted name on the command line is the same thing as a nested one in a file.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.config.keys import ALIASES, INDEX, KEYS, SECTIONS, canonical, find_key, generic
from weft.config.nodes import ListNode, MapNode, Node, ScalarNode, same
from weft.config.suggest import unknown_key
from weft.errors import ConfigError, WeftError


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One value, the place of its key, and the name by which it was set there."""

    node: Node
    place: str
    spelled: str


Layer = dict[str, Setting]
"""Canonical name → setting. A list of sections is its own row (the whole list) and a row per entry and key."""


def merge(lower: Layer, upper: Layer) -> Layer:
    """Both layers, where ``upper`` wins: mappings are merged key by key, lists are replaced whole. Associative."""
    replaced = tuple(f"{name}[" for name in upper if name in KEYS and KEYS[name].accepts("sections"))
    kept = {name: setting for name, setting in lower.items() if not (replaced and name.startswith(replaced))}
    return kept | upper


def flatten(root: MapNode, problems: list[WeftError]) -> Layer:
    """The layer that a mapping sets; unknown keys and keys set twice go to ``problems``."""
    layer: Layer = {}
    for entry in root.entries:
        _set(layer, entry.key, entry.node, entry.place, problems)
    return layer


def disagree(name: str, first: Setting, second: Setting) -> ConfigError | None:
    """The problem of a key that one layer sets to two values; None where the values are the same."""
    entries = KEYS[name].accepts("sections") if name in KEYS else False
    if same(first.node, second.node) and (first.spelled == second.spelled or not entries):
        return None  # under another name of the list, the keys of its entries have other names too
    if first.spelled == second.spelled:
        what = f"{second.spelled} is set twice, to different values; first at {first.place}"
    else:
        what = (
            f"{second.spelled} and {first.spelled} (at {first.place}) are two names of {name}, but their values differ"
        )
    return ConfigError(what, where=second.place, fix="keep one of the two")


def _set(layer: Layer, spelled: str, node: Node, place: str, problems: list[WeftError]) -> None:
    if "[]" in spelled:  # the schema's way to write a key of any entry
        problems.append(unknown_key(spelled, place))
        return
    name = canonical(spelled)
    key = find_key(name)
    setting = Setting(node=node, place=place, spelled=spelled)
    if key is not None and key.accepts("map"):
        _set_children(layer, spelled, node, place, problems)
    elif key is not None:
        if name in layer:
            problem = disagree(name, layer[name], setting)
            if problem is not None:
                problems.append(problem)
            return
        layer[name] = setting
        if key.accepts("sections"):
            _set_items(layer, spelled, node, place, problems)
    elif generic(name) in SECTIONS:
        _set_children(layer, spelled, node, place, problems)
    else:
        problems.append(unknown_key(spelled, place))


def _set_children(layer: Layer, parent: str, node: Node, place: str, problems: list[WeftError]) -> None:
    if isinstance(node, MapNode):
        for entry in node.entries:
            _set(layer, f"{parent}.{entry.key}", entry.node, entry.place, problems)
    elif not (isinstance(node, ScalarNode) and node.value is None):  # a header whose keys are all commented out
        what = f"{parent} holds keys of its own, so it cannot be set to a value"
        problems.append(ConfigError(what, where=place, fix=f"write {_example(parent)}"))


def _set_items(layer: Layer, name: str, node: Node, place: str, problems: list[WeftError]) -> None:
    if isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            _set_children(layer, f"{name}[{index}]", item, item.place, problems)
    elif not (isinstance(node, ScalarNode) and node.value is None):
        what = f"{name} must be a list, with one entry for each"
        problems.append(ConfigError(what, where=place, fix=f"write {_example(f'{name}[0]')}"))


def _example(parent: str) -> str:
    """A line of YAML that shows how a key under ``parent`` is written."""
    prefix = generic(parent) + "."
    child = next(
        (
            name[len(prefix) :]
            for name in (*KEYS, *ALIASES)
            if name.startswith(prefix) and "." not in name[len(prefix) :]
        ),
        "*",
    )
    last = INDEX.sub("", parent.rpartition(".")[2])
    if child == "*":
        return f"{last}: {{some_name: …}}"
    return f"{last}: [{{{child}: …}}]" if parent.endswith("]") else f"{last}: {{{child}: …}}"
