"""Settings from outside the files: `key=value` words of the command line, and `WEFT_…` variables of the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from weft.config.keys import canonical, find_key
from weft.config.layers import Layer, disagree, flatten
from weft.config.nodes import Entry, ListNode, MapNode, Node, ScalarNode, compose, literal
from weft.config.suggest import TOP_LEVEL, nearest_variable, show_name
from weft.errors import ConfigError, WeftError

COMMAND_LINE = "command line"
PREFIX = "WEFT_"


def command_line_layer(overrides: Sequence[str], problems: list[WeftError]) -> Layer:
    """The layer of words such as ``train.epochs=5``. A word may repeat an earlier one, the last wins."""
    layer: Layer = {}
    for word in overrides:
        name, equals, value = word.partition("=")
        if not equals:
            fix = "write overrides as key=value, such as train.epochs=5"
            problems.append(ConfigError(f"{show_name(word)} is not a setting", where=COMMAND_LINE, fix=fix))
            continue
        for key, setting in _flatten_one(name.strip(), value, COMMAND_LINE, problems).items():
            earlier = layer.get(key)
            problem = disagree(key, earlier, setting) if earlier and earlier.spelled != setting.spelled else None
            if problem is not None:
                problems.append(problem)
            layer[key] = setting
    return layer


def environment_layer(environ: Mapping[str, str], problems: list[WeftError]) -> Layer:
    """The layer of variables such as ``WEFT_TRAIN__EPOCHS=5`` and ``WEFT_DATASETS__0__WEIGHT=0.8``, in any case.

    A variable that is no key is an error if it has two underscores in a row or is nearly a key; another one, such as a
    ``WEFT_CI`` of somebody's scripts, is none of our business.
    """
    layer: Layer = {}
    for variable in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        name = _key_name(variable[len(PREFIX) :])
        place = f"environment {variable}"
        if name in TOP_LEVEL or "." in name or "[" in name:
            for key, setting in _flatten_one(name, environ[variable], place, problems).items():
                problem = disagree(key, layer[key], setting) if key in layer else None
                if problem is not None:
                    problems.append(problem)
                layer[key] = setting
        elif (meant := nearest_variable(name)) is not None:
            fix = f"did you mean {PREFIX}{meant.upper().replace('.', '__')}?"
            problems.append(ConfigError("the variable is not a configuration key", where=place, fix=fix))
    return layer


def _key_name(variable: str) -> str:
    dotted = variable.lower().replace("__", ".")
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", dotted)


def _flatten_one(name: str, text: str, place: str, problems: list[WeftError]) -> Layer:
    if name == "include":
        fix = "write include: into a configuration file"
        problems.append(ConfigError("include has a meaning in files only", where=place, fix=fix))
        return {}
    try:
        entry = Entry(key=name, node=_value(name, text, place), place=place)
    except ConfigError as problem:
        problems.append(problem)
        return {}
    return flatten(MapNode(entries=(entry,), place=place), problems)


def _value(name: str, text: str, place: str) -> Node:
    """The text as YAML; as the literal text where it is not valid YAML, or where the key holds text and it is neither quoted
    nor a list that the key accepts as well.
    """
    key = find_key(canonical(name))
    ignored: list[WeftError] = []
    try:
        node = compose(text, lambda line: place, ignored) or literal("", place)
    except ConfigError:
        return literal(text, place)
    quoted = isinstance(node, ScalarNode) and not node.plain
    is_list = isinstance(node, ListNode) and key is not None and key.accepts("list")
    if ignored or (key is not None and key.accepts("text") and not quoted and not is_list):
        return literal(text, place)
    return node
