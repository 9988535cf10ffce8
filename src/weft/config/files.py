"""Configuration files: reading one, and the files that it includes."""

from __future__ import annotations

import os
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from weft.config.layers import Layer, flatten, merge
from weft.config.nodes import Entry, ListNode, MapNode, ScalarNode, compose
from weft.errors import ConfigError, WeftError

MAX_BYTES = 1_000_000
"""A configuration is written by hand; a longer file is something else, given by mistake."""


class FileReader:
    """Reads a file with its includes into one layer; ``files`` lists them, the most basic first."""

    def __init__(self, problems: list[WeftError]):
        self.files: list[str] = []
        self._problems = problems
        self._layers: dict[Path, Layer] = {}
        self._open: list[Path] = []

    def read(self, path: Path) -> Layer:
        """The layer of a file over the layers of its includes, later includes over earlier ones.

        Raises:
            ConfigError: a file cannot be read, is not UTF-8 or not YAML, or includes itself.
        """
        if not _is_file(path):
            raise _missing(path)
        identity = path.resolve()
        if identity in self._layers:  # two files may include the same third
            return self._layers[identity]
        self._open.append(identity)
        layer: Layer = {}
        root, include = _split_include(_read_mapping(path, self._problems))
        for entry in include:
            for included in self._included(path, entry):
                layer = merge(layer, self.read(included))
        self._open.pop()
        layer = self._layers[identity] = merge(layer, flatten(root, self._problems))
        self.files.append(_display(path))
        return layer

    def _included(self, path: Path, entry: Entry) -> list[Path]:
        nodes = entry.node.items if isinstance(entry.node, ListNode) else (entry.node,)
        found = []
        for node in nodes:
            if isinstance(node, ScalarNode) and node.value is None:
                continue
            if not isinstance(node, ScalarNode):
                fix = "write include: base.yaml, or include: [base.yaml, more.yaml]"
                raise ConfigError("include must be a path or a list of paths", where=entry.place, fix=fix)
            found.append(self._find(path, node.text, entry.place))
        return found

    def _find(self, including: Path, name: str, place: str) -> Path:
        name = os.path.expanduser(name)  # noqa: PTH111 - pathlib's raises where there is no such user
        candidates = [including.parent / name, Path(name)]
        found = next((candidate for candidate in candidates if _is_file(candidate)), None)
        if found is None:
            tried = dict.fromkeys(_display(candidate) for candidate in candidates)
            places = f": neither {' nor '.join(tried)}" if len(tried) > 1 else ""
            fix = "write it relative to this file or to the directory that you start weft in"
            raise ConfigError(f"there is no file {name!r} to include{places}", where=place, fix=fix)
        if found.resolve() in self._open:
            cycle = [*self._open[self._open.index(found.resolve()) :], found]
            chain = " → ".join(_display(step) for step in cycle)
            raise ConfigError(f"the file includes itself: {chain}", where=place, fix="remove one of these includes")
        return found


def _split_include(root: MapNode) -> tuple[MapNode, list[Entry]]:
    include = [entry for entry in root.entries if entry.key == "include"]
    rest = tuple(entry for entry in root.entries if entry.key != "include")
    return MapNode(entries=rest, place=root.place), include


def _read_mapping(path: Path, problems: list[WeftError]) -> MapNode:
    shown = _display(path)
    root = compose(_read_text(path), lambda line: f"{shown}:{line}", problems)
    if root is None or (isinstance(root, ScalarNode) and root.value is None):
        return MapNode(entries=(), place=shown)
    if not isinstance(root, MapNode):
        kind = "a list" if isinstance(root, ListNode) else "a single value"
        fix = "write sections with keys, such as train: {epochs: 3}"
        raise ConfigError(
            f"a configuration is a mapping of keys to values, but the file holds {kind}", where=root.place, fix=fix
        )
    return root


def _read_text(path: Path) -> str:
    shown = _display(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        fix = "check its permissions, or give another file"
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=shown, fix=fix) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"the file is longer than {MAX_BYTES:,} bytes", where=shown, fix="give a configuration file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"the file is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        raise ConfigError(what, where=f"{shown}:{line}", fix="save it as UTF-8") from None


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # such as a name that is too long
        return path.is_file()
    return False


def _missing(path: Path) -> ConfigError:
    is_directory = False
    meant: list[str] = []
    with suppress(OSError):
        is_directory = path.is_dir()
        folder = path if is_directory else path.parent
        names = sorted(file.name for file in folder.glob("*.y*ml"))
        near = names[:3] if is_directory else get_close_matches(path.name, names, n=3, cutoff=0.5)
        meant = [str(Path(_display(folder), name)) for name in near]
    what = "this is a directory, not a configuration file" if is_directory else "there is no such configuration file"
    fix = f"did you mean {' or '.join(meant)}?" if meant else "give the path of a YAML file"
    return ConfigError(what, where=_display(path), fix=fix)


def _display(path: Path) -> str:
    """The path as messages name it: relative to the working directory where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd())) if path.is_absolute() else str(path)
    except (ValueError, RuntimeError):  # elsewhere, or a loop of links
        return str(path)
