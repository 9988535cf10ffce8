"""Laws of the configuration language, over random configurations, layers and bytes."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from weft.config.checks import check
from weft.config.keys import KEYS, Key, Shape
from weft.config.layers import Layer, flatten, merge
from weft.config.load import load_config
from weft.config.nodes import MapNode, compose
from weft.config.scalars import dump
from weft.config.schema import Config
from weft.errors import WeftError

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
"""Everything but what is refused: NUL and halves of surrogate pairs."""
PATHS = TEXT.filter(bool)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in ("train", "val", "test"))


def values(shapes: tuple[Shape, ...]) -> st.SearchStrategy[Any]:
    """Anything that one of the shapes accepts."""
    return st.one_of([_of_shape(shape) for shape in shapes])


def _of_shape(shape: Shape) -> st.SearchStrategy[Any]:
    bounds = {
        name: getattr(bound, name)
        for bound in shape.bounds
        for name in ("ge", "gt", "le", "lt", "min_length")
        if hasattr(bound, name)
    }
    low, high = bounds.get("ge", bounds.get("gt", 0)), bounds.get("le", bounds.get("lt", 10**6))
    match shape.kind:
        case "null":
            return st.none()
        case "choice":
            return st.sampled_from(shape.choices)
        case "bool":
            return st.booleans()
        case "int":
            return st.integers(low, high)
        case "float":
            return st.floats(low, high, exclude_min="gt" in bounds, exclude_max="lt" in bounds)
        case "text":
            return TEXT.filter(lambda text: len(text) >= bounds.get("min_length", 0))
        case "list":
            return st.lists(values(shape.item), min_size=bounds.get("min_length", 0), max_size=3)
        case _:
            raise AssertionError(shape.kind)


def acted_on(key: Key) -> st.SearchStrategy[Any]:
    if key.pending == "any":
        return st.just(key.default)
    return values(key.shapes).filter(lambda value: value not in key.pending)


LEAVES = {
    name: key for name, key in KEYS.items() if "[" not in name and "*" not in name and key.shapes[0].kind != "map"
}
FLAT = {name: acted_on(key) for name, key in LEAVES.items() if name != "datasets"}


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """The nested values of a random configuration that breaks no rule between keys."""
    tree: dict[str, Any] = {}
    for name, value in draw(st.fixed_dictionaries({}, optional=FLAT)).items():
        *path, last = name.split(".")
        section = tree
        for part in path:
            section = section.setdefault(part, {})
        section[last] = value
    entry = st.fixed_dictionaries({"path": PATHS, "name": NAMES, "weight": st.floats(0.1, 10)})
    tree["datasets"] = draw(st.lists(entry, max_size=3, unique_by=lambda item: item["name"]))
    tree.setdefault("eval", {})["sets"] = draw(st.dictionaries(NAMES, PATHS, max_size=3))
    tree.setdefault("data", {}).pop("split", None)
    for name in ("style", "system_prompt"):
        if (tree["data"].get(name) or "").isspace():
            del tree["data"][name]
    for name in ("format", "filter"):  # which say what is wrong with each other, or with the mode
        tree["data"].pop(name, None)
    if tree.get("mode", "sft") == "sft":
        tree.pop("block_size", None), tree.pop("pack_factor", None)
    if size := tree.get("block_size"):
        tree.setdefault("model", {})["max_seq_len"] = size
    tree["data"].pop("dataset_config_name", None)
    tree["data"].pop("include_system_prompt", None)
    tree["data"].pop("filter", None)
    tree.get("train", {}).pop("fp16", None)
    tree.setdefault("train", {})["evaluation_strategy"] = "epoch"
    tree["run_name"] = draw(NAMES)
    assert not list(check(Config.model_validate(tree), {}, frozenset()))
    return tree


def load_text(text: str | bytes, *overrides: str) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.yaml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, overrides, {}).config


@quick
@given(trees())
def test_a_dumped_configuration_reads_back(tree: dict[str, Any]) -> None:
    config = Config.model_validate(tree)
    block = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.allow_unicode = False, False
    yaml.width = sys.maxsize  # ruamel 0.19.1 folds "aaa# b" without the backslash that YAML asks for: a writer's fault
    yaml.dump(config.model_dump(), block)
    for text in (
        json.dumps(config.model_dump()).replace("\x7f", "\\u007f"),
        dump(config.model_dump()),
        block.getvalue(),
    ):
        assert load_text(text) == config


@quick
@given(trees())
def test_overrides_mean_what_the_file_means(tree: dict[str, Any]) -> None:
    words = [f"{section}={dump(value)}" for section, value in tree.items()]
    assert load_text("", *words) == load_text(dump(tree))


@quick
@given(st.sampled_from(sorted(FLAT)).flatmap(lambda name: st.tuples(st.just(name), FLAT[name])))
def test_one_override_means_one_line(setting: tuple[str, Any]) -> None:
    name, value = setting
    by_override = outcome_of(lambda: load_text("", f"{name}={dump(value)}"))
    by_file = outcome_of(lambda: load_text(f"{name}: {dump(value)}"))
    if isinstance(by_file, list):  # a rule between keys: the same message, from another place
        assert [line.partition(": ")[2] for line in by_override] == [line.partition(": ")[2] for line in by_file]
    else:
        assert by_override == by_file


LAYERS = st.lists(
    st.sampled_from(
        [
            "seed: {}",
            "train: {{epochs: {}}}",
            "train.steps: {}",
            "datasets: [{{path: a{}}}]",
            "datasets: [{{path: a}}, {{path: b, weight: {}}}]",
            "datasets[0].weight: {}",
            "datasets[1].name: n{}",
            "eval: {{sets: {{x: {}}}}}",
            "eval.sets.y: {}",
        ]
    ),
    max_size=4,
    unique=True,
).flatmap(lambda lines: st.integers(1, 9).map(lambda number: "\n".join(lines).format(*[number] * len(lines))))


def layer(text: str) -> Layer:
    root = compose(text, lambda line: f"{text}:{line}", [])
    return flatten(root, []) if isinstance(root, MapNode) else {}


@settings(quick, max_examples=300)
@given(LAYERS, LAYERS, LAYERS)
def test_merging_layers_is_associative(a: str, b: str, c: str) -> None:
    low, middle, high = layer(a), layer(b), layer(c)
    assert merge(merge(low, middle), high) == merge(low, merge(middle, high))
    assert merge(low, {}) == low == merge({}, low)
    assert merge(low, low) == low


FRAGMENTS = [
    *[f"{name}: " for name in (*LEAVES, "include", "datasets[0].weight", "<<")],
    *["train:\n  ", "datasets:\n- path: ", "\n"],
    *[ "- ", "? ", ": ", ", ", "[", "]", "{", "}", "'", '"', "&a ", "*a", "!!str ", "!x "],
    *["%YAML 1.1\n", "%TAG ! x\n", "---\n", "...\n", "|\n", ">-\n", "# "],
    *["\t", "\0", "0o7", "1e999", ".nan", "9" * 5000, "\u2028"],
    *["\ufeff", "\x85", '"\\ud800"', '"\\UFFFFFFFF"'],
]  # fmt: skip


def outcome_of(load: Callable[[], Config]) -> Config | list[str]:
    """The configuration, or the messages of its problems; any other exception passes."""
    try:
        return load()
    except WeftError as error:
        return str(error).encode().decode().splitlines()


@settings(quick, max_examples=400)
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(lambda f: "".join(f).encode())
    )
)
def test_no_bytes_end_in_a_traceback(data: bytes) -> None:
    outcome_of(lambda: load_text(data))


@settings(quick, max_examples=200)
@given(
    st.lists(st.one_of(st.text(max_size=30), st.tuples(st.sampled_from(sorted(KEYS)), TEXT).map("=".join)), max_size=4)
)
def test_no_words_end_in_a_traceback(words: list[str]) -> None:
    outcome_of(lambda: load_config(None, words, {f"WEFT_{word}": word for word in words}).config)
