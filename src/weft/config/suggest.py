"""Errors for keys that do not exist: the key that was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weft.config import foreign
from weft.config.keys import ALIASES, INDEX, KEYS, SECTIONS, canonical, find_key, generic
from weft.errors import ConfigError

TOP_LEVEL = frozenset(re.split(r"[.\[]", name)[0] for name in (*KEYS, *ALIASES)) | {"include"}
"""The first parts of all names."""

_NAMES = tuple(name for name in (*KEYS, *ALIASES, *SECTIONS, "include") if not name.endswith(("*", "[]")))

_NUMBER = r"_(\d+)_"


def unknown_key(name: str, place: str) -> ConfigError:
    """The error for a name that is no key, no alias and no section."""
    tidy = _of_its_list(name.strip().removeprefix("--").replace("-", "_").lower())
    for candidate in _lookups(tidy):
        if candidate in foreign.ELSEWHERE:
            what = f"{show_name(name)} is not a configuration key"
            return ConfigError(what, where=place, fix=foreign.ELSEWHERE[candidate])
        if candidate in foreign.NEEDLESS:
            what = f"{show_name(name)} is not a configuration key: {foreign.NEEDLESS[candidate]}"
            return ConfigError(what, where=place, fix="remove it")
        if candidate in foreign.LATER:
            what = f"{show_name(name)} belongs to a later version of weft: {foreign.LATER[candidate]}"
            return ConfigError(what, where=place, fix="remove it; docs/config.md lists what this version acts on")
    meant = nearest(tidy)
    fix = f"did you mean {meant}?" if meant else "docs/config.md lists all keys"
    return ConfigError(f"{show_name(name)} is not a configuration key", where=place, fix=fix)


def nearest(name: str) -> str | None:
    """The key or section that a lower-case name probably means: by other tools' names, then by likeness."""
    index = INDEX.search(name)
    name = generic(name)
    parent, _, last = name.rpartition(".")
    meant = (
        _known(name)
        or _translated(name)
        or _closest(last, {known: _last(known) for known in _NAMES}, 1.0)
        or _closest(last, {known: _last(known) for known in _NAMES if known.rpartition(".")[0] == parent}, 0.6)
        or _closest(name, {known: known for known in _NAMES}, 0.75)
        or _closest(last, {known: _last(known) for known in _NAMES}, 0.8)
    )
    if meant is None:
        return None
    meant = canonical(meant)
    return meant.replace("[]", index[0] if index else "[0]", 1)


def nearest_variable(name: str) -> str | None:
    """The key that an environment variable without a double underscore was meant for (``seeds``, ``moed``, ``train_epochs``,
    ``epochs``, ``mix_by``, ``datasets_0_weight``, ``num_train_epochs``).
    """
    single = [known for known in KEYS if not known.endswith("*") and "[" not in known]
    whole = {known: _with_underscores(known) for known in (*KEYS, *ALIASES) if not known.endswith("*")}
    meant = (
        _closest(name, {known: known for known in TOP_LEVEL}, 0.8)
        or next((known for known in sorted(TOP_LEVEL) if sorted(known) == sorted(name)), None)
        or _closest(re.sub(_NUMBER, "_0_", name), whole, 0.9)
        or next((known for known in single if _last(known) == name), None)
        or ("_" in name and next((known for known in whole if whole[known].endswith(f"_{name}")), None))
        or ("_" in name and foreign.NAMES.get(name))
    )
    number = re.search(_NUMBER, name)
    return canonical(meant).replace("[]", f".{number[1] if number else 0}") if meant else None


def _with_underscores(name: str) -> str:
    return name.replace("[].", "_0_").replace(".", "_")


def show_name(name: str) -> str:
    """A name as messages print it: escaped and shortened where it is not a plain dotted name."""
    shown = name if len(name) <= 80 else name[:77] + "…"
    return shown if re.fullmatch(r"[\w.\[\]-]+…?", shown) else repr(shown)


def _lookups(name: str) -> Iterator[str]:
    """What to look up for a name: itself, its last part, and the names that it stands under."""
    name = generic(name)
    yield name
    yield _last(name)
    yield from (name[: dot.start()] for dot in re.finditer(r"\.", name))


def _of_its_list(name: str) -> str:
    """The name of an entry's key with the one name of the list: ``data.hf_datasets[0].x`` → ``datasets[0].x``."""
    name_of_list, bracket, rest = name.partition("[")
    return f"{canonical(foreign.NAMES.get(name_of_list, name_of_list))}[{rest}" if bracket else name


def _translated(name: str) -> str | None:
    """The key that means what another tool calls so; under ``datasets[]`` an entry's own key, where it has one."""
    meant = foreign.NAMES.get(name) or foreign.NAMES.get(_last(name))
    own = f"datasets[].{_last(meant)}" if meant and name.startswith("datasets[].") else None
    return own if own in KEYS else meant


def _known(name: str) -> str | None:
    return name if find_key(canonical(name)) is not None or name in SECTIONS else None


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _closest(word: str, candidates: dict[str, str], cutoff: float) -> str | None:
    """The candidate whose text is the most like the word, from 0 (nothing in common) to 1 (equal)."""
    from rapidfuzz import fuzz, process  # only an error needs it

    found = process.extractOne(word, candidates, scorer=fuzz.ratio, score_cutoff=100 * cutoff)
    return found[2] if found else None
