"""What a path in a configuration means: a file, a directory, a pattern, a list of these, each perhaps with a sample's size."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from weft.data.hub import dataset_files, is_dataset
from weft.data.last_report import last_report
from weft.data.readers import DOCUMENTS, READERS, kind
from weft.data.style_record import kept_beside
from weft.data.unpack import unpacked_name
from weft.errors import DataError

Paths = str | Path | Sequence[str | Path]
"""One path, or several."""

NOT_READ = "not read (another kind of file, notes, what `weft style` keeps, or a folder)"
"""Introduces what was skipped."""

_SAMPLE = re.compile(r"(?P<path>.+)#(?P<count>\d[\d_]*)")
_NO_SIZE = re.compile(r"[-+]?[\d.,_]*[%kK]?")
"""What looks like the size of a sample, and is no part of a name."""
_PATTERN = re.compile(r"[*?\[]")
_LIST = re.compile(r"\[.*\*.*\]")
"""A list that YAML does not take for one: a name that begins with ``*`` means something else there."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The files behind one path."""

    name: str
    """The path as it was given."""
    files: tuple[Path, ...]
    """In the order in which they are read."""
    skipped: tuple[Path, ...] = ()
    """What lies there and is not read: folders, files of another kind, documents among files of records, and what `weft style`
    keeps beside its files.
    """
    sample: int | None = None
    """How many of their records are taken; None: all."""


def named(paths: Paths) -> tuple[str, ...]:
    """``paths`` as a tuple, as they were given."""
    return (str(paths),) if isinstance(paths, str | Path) else tuple(map(str, paths))


def spelled(paths: Paths) -> str:
    """``paths`` for people."""
    return ", ".join(named(paths))


@cache
def stem(path: str | Path) -> str:
    """The name of a file without its endings, also that of a packing."""
    return unpacked_name(Path(path)).stem


def find_parts(paths: Paths, *, seed: int = 0, fix: str | None = None) -> tuple[Part, ...]:
    """The files to read at ``paths``, in a deterministic order.

    - A file is read by the ending of its name.
    - Of a directory, the files of a supported kind are read in the order of their names. Documents (``.txt``, ``.md``) are read
      only where no other file is, nor records in folders: beside records they are notes. Folders in it are not read, nor what
      the datasets library wrote about its tables; hidden files are as if absent.
    - A pattern (``data/*.jsonl``, ``data/**/part-?.csv``) means all files that match, in the order of their paths.
    - Neither reads what `weft style` keeps beside its files: its record, and the originals of files that are read themselves.
    - ``path#500`` means a sample of 500 records of all that is at ``path``; ``seed`` says which.
    - ``org/name[:config][@split]`` is a dataset of the Hugging Face hub where there is no such path (and, without configuration
      and split, no directory ``org``); ``directory:config@split`` is one that lies here (see :mod:`weft.data.hub`).

    A file whose very name holds ``#``, ``*``, ``?`` or ``[`` is found under it.

    Raises:
        DataError: nothing is there (with ``fix``, or else the nearest name), or nothing of a supported kind, or a file is named
            twice.
    """
    parts = tuple(_part(path, seed, fix) for path in named(paths))
    seen: dict[Path, tuple[Path, str]] = {}
    for file, name in ((file, part.name) for part in parts for file in part.files):
        if (before := seen.get(file.resolve())) is not None:
            raise _twice(file, name, *before)
        seen[file.resolve()] = file, name
    return parts


def _twice(file: Path, name: str, other: Path, by: str) -> DataError:
    """For a file that is ``other`` as well, which was named before."""
    if file != other and name == by:
        what = f"it is the same file as {other}, by a link, and {name} means both"
        return DataError(what, where=str(file), fix="remove the link, or name the files without it")
    return DataError(
        f"the file is named twice, by {by} and by {name}",
        where=str(file),
        fix="name it once; to train on it more often, raise its weight under datasets",
    )


def exists(paths: Paths) -> bool:
    """Whether something is there to read at each of ``paths``; it may be of no use all the same. A dataset of the hub counts:
    whether there is one shows when it is read.

    Raises:
        DataError: a sample has no size.
    """
    return all(
        _lies_there(Path(path)) or bool(_matches(path)) or is_dataset(path) for path, _ in map(_split, named(paths))
    )


def as_list(paths: Paths) -> str | None:
    """How to write several paths as a list that were written as one text with commas between them, as the options of many
    trainers take them; None where ``paths`` is none such, or something is missing at one of its parts.
    """
    parts = [part.strip() for part in paths.split(",")] if isinstance(paths, str) else []
    means_several = len(parts) > 1 and all(parts) and exists(parts)
    return f"write several paths as a list: [{', '.join(parts)}]" if means_several else None


def reads(name: str, path: Path) -> bool:
    """Whether ``path`` is, or would be, among the files that are read at ``name``."""
    text = _split(name)[0]
    if not _lies_there(Path(text)):  # a pattern; or nothing, as reading will say
        return bool(_PATTERN.search(text)) and _fits(_absolute(path).parts, _absolute(text).parts)
    return Path(text).resolve() in (path.resolve(), path.resolve().parent)


def _split(path: str) -> tuple[str, int | None]:
    """The path without the size of a sample, and that size.

    Raises:
        DataError: what stands in the place of the size is none.
    """
    if _lies_there(Path(path)):
        return path, None
    if match := _SAMPLE.fullmatch(path):
        return match["path"], int(match["count"])
    before, mark, size = path.rpartition("#")
    if mark and _NO_SIZE.fullmatch(size) and (_lies_there(Path(before)) or _matches(before)):
        if not before:
            raise DataError("a sample of nothing is asked for", where=path, fix="write a path before #")
        what = f"a sample has a whole number of records, not {size!r}"
        raise DataError(what, where=path, fix="write it behind #, such as #500")
    return path, None


def _lies_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long
        return False


def _part(name: str, seed: int, fix: str | None) -> Part:
    text, sample = _split(name)
    if sample == 0:
        raise DataError("a sample of no records is asked for", where=name, fix="write a number after #, such as #500")
    try:
        path = Path(text)
        if path.is_dir():
            found = _in_directory(path, fix)
        elif path.exists():
            found = _file(path), ()
        elif _PATTERN.search(text):
            found = _matching(text)
        elif is_dataset(text):
            found = dataset_files(text, sample, seed), ()
        elif path.is_symlink():
            raise _leads_nowhere(path)
        else:
            raise DataError("there is no such file or directory", where=text, fix=as_list(text) or _nearest(path, fix))
    except OSError as error:
        what = f"the path cannot be read: {error.strerror}"
        raise DataError(what, where=text, fix="look at the permissions of the file and its directory") from None
    return Part(name=name, files=found[0], skipped=found[1], sample=sample)


def _leads_nowhere(link: Path) -> DataError:
    fix = f"it should lead to {link.readlink()}: mend it there, or here"
    return DataError("the link leads nowhere", where=str(link), fix=fix)


def _check_links(entries: Iterable[Path]) -> None:
    """Raise where a link to a file that would be read leads nowhere, as in a copy of a cache without what that holds."""
    for entry in entries:
        if kind(entry) and entry.is_symlink() and not entry.exists():
            raise _leads_nowhere(entry)


def _in_directory(path: Path, fix: str | None) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    visible = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    _check_names(visible)
    if report := last_report(path):
        raise DataError(
            "`weft prepare` wrote into this directory: its splits and its report are not to be read as one",
            where=str(path),
            fix=f"name the file that is meant, such as {path / Path(str(report['train_path'])).name}",
        )
    kept = kept_beside(visible)
    readable = [entry for entry in visible if _is_readable(entry) and entry not in kept]
    records = [entry for entry in readable if kind(entry) not in DOCUMENTS]
    _check_links(entry for entry in visible if not (records and kind(entry) in DOCUMENTS))
    files = tuple(records or readable)
    if not files:
        deeper = next(filter(_is_readable, path.rglob("*")), None)
        if deeper:
            fix = f"its folders hold some: write {_all_like(deeper, path)}"
        raise DataError(
            f"the directory holds no {endings()} file", where=str(path), fix=fix or "put your records into it"
        )
    if not records and (
        deeper := next(_records_in_folders(visible), None)
    ):  # as in a clone of a dataset: a card, and data/
        raise DataError(
            f"only {files[0].name} and the like lie here, and records in {deeper.parent.name}/",
            where=str(path),
            fix=f"to read the records, write {_all_like(deeper, path)}; to read what lies here, {path / files[0].name}",
        )
    return files, tuple(entry for entry in visible if entry not in files)


def _is_readable(entry: Path) -> bool:
    return kind(entry) is not None and entry.is_file() and not _is_about_tables(entry)


def _is_about_tables(file: Path) -> bool:
    """Whether ``save_to_disk`` of the datasets library wrote it beside its tables, to say what they are."""
    of_one = ("state.json", "dataset_info.json")
    return file.name == "dataset_dict.json" or (
        file.name in of_one and all((file.parent / name).is_file() for name in of_one)
    )


def _records_in_folders(entries: Iterable[Path]) -> Iterator[Path]:
    for folder in filter(Path.is_dir, entries):
        yield from (
            entry for entry in sorted(folder.iterdir()) if kind(entry) not in (None, *DOCUMENTS) and entry.is_file()
        )


def _all_like(file: Path, directory: Path) -> Path:
    return directory / "**" / f"*{file.suffix}"


def _file(path: Path) -> tuple[Path, ...]:
    if not path.is_file():  # a pipe waits for ever, and a device may never end
        what = "this is neither a file nor a directory"
        raise DataError(what, where=str(path), fix="write the records into a file, and name that")
    if kind(path) is None:
        ending = f"that end in '{path.suffix}'" if path.suffix else "without an ending"
        raise DataError(f"files {ending} cannot be read", where=str(path), fix=f"convert it to one of {endings()}")
    return (path,)


def _matching(pattern: str) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    matches = _matches(pattern)
    _check_names(matches)
    _check_links(matches)
    kept = kept_beside(matches)
    files = tuple(path for path in matches if kind(path) and path.is_file() and path not in kept)
    if not files:
        what = (
            f"{len(matches)} paths match the pattern, but none is a {endings()} file with records"
            if matches
            else "no file matches the pattern"
        )
        fix = as_list(pattern) or f"patterns are matched from {Path.cwd()}; * stays within a folder, ** does not"
        if _LIST.fullmatch(pattern):
            fix = "to name a list, put each name in it that begins with * into quotes: ['*.jsonl', more.csv]"
        raise DataError(what, where=pattern, fix=fix)
    return files, tuple(path for path in matches if path not in files)


def _matches(pattern: str) -> list[Path]:
    if not _PATTERN.search(pattern):
        return []
    return sorted({Path(match) for match in glob.glob(pattern, recursive=True)})  # noqa: PTH207 - pathlib's wants a root


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - pathlib's keeps "..", and resolving would follow links


def _fits(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern, folder by folder, would match a file of these names if it were there."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_fits(names[start:], pattern[1:]) for start in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


def _check_names(entries: Iterable[Path]) -> None:
    """Raise where a name is bytes that are no UTF-8: reports and locations could not hold it."""
    for entry in entries:
        try:
            str(entry).encode()
        except UnicodeEncodeError:
            raise DataError("the file's name is not valid UTF-8", where=str(entry), fix="rename the file") from None


def endings() -> str:
    """The endings of files that can be read, for people."""
    return ", ".join(READERS)


def _nearest(path: Path, fix: str | None) -> str:
    if not path.parent.is_dir():
        return fix or f"the directory {path.parent} does not exist either"
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.8)
    if near:
        return f"did you mean {path.parent / near[0]}?" + (f" Otherwise {fix}" if fix else "")
    on_the_hub = f"; or, for a dataset of the hub, write {path}@train" if is_dataset(f"{path}@train") else ""
    directory = "the working directory" if path.parent == Path() else path.parent
    return (fix or f"look into {directory}") + ("" if kind(path) else on_the_hub)
