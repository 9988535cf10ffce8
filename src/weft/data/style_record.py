"""The record beside styled files, and the originals that it vouches for.

Beside the training file lies ``<name>.style.json`` with the style and the SHA-256 of every styled file with and without it; the
originals are kept as ``<name>.unstyled.jsonl``. Every step leaves a state from which the next call can go on: the originals
are on the disk before the record names them, the record says so before a file changes, and restoring is one rename per file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from weft.config.data_schema import StyleMode
from weft.data.files import StagedFiles, sync_directory, writing
from weft.disk import file_digest
from weft.errors import DataError

_ANEW = "run `weft prepare`, which makes the files anew"
_RECORD, _ORIGINAL = ".style.json", ".unstyled"
_LARGEST = 2**20
"""Bytes of a record among files that are to be read: a larger one of such a name is somebody's data."""


@dataclass(frozen=True, kw_only=True)
class Digests:
    """The SHA-256 of a file without and with its style."""

    unstyled: str
    styled: str


@dataclass(frozen=True, kw_only=True)
class StyleRecord:
    """Which style the files hold."""

    style: str
    complete: bool
    """False while files are being changed."""
    files: dict[str, Digests]
    """By their paths relative to the record."""
    mode: StyleMode = "append"


def record_path(train_path: Path) -> Path:
    """Where the record of a training file lies."""
    return train_path.parent / f"{train_path.stem}{_RECORD}"  # which "." has as well, that has no name


def original_path(path: Path) -> Path:
    """Where the original of a styled file is kept."""
    return path.with_name(f"{path.stem}{_ORIGINAL}{path.suffix}")


def relative_name(path: Path, record: Path) -> str:
    """A file's name in the record."""
    return Path(os.path.relpath(path, record.parent)).as_posix()


def read_record(record: Path) -> StyleRecord | None:
    """The record, or None where there is none.

    Raises:
        DataError: it is damaged.
    """
    if not record.exists():
        return None
    try:
        stored = json.loads(record.read_bytes())
        files = {str(name): Digests(**digests) for name, digests in stored["files"].items()}
        mode = stored.get("mode", "append")
        if mode not in get_args(StyleMode):
            raise ValueError(mode)
        return StyleRecord(style=str(stored["style"]), complete=bool(stored["complete"]), files=files, mode=mode)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError("the record of the style cannot be read", where=str(record), fix=_ANEW) from None


def readable_record(record: Path) -> StyleRecord | None:
    """The record; None also where it is damaged, for those who replace it anyway."""
    try:
        return read_record(record)
    except DataError:
        return None


def write_record(record: Path, content: StyleRecord) -> None:
    """Write the record, whole or not at all."""
    with StagedFiles() as staged:
        staged.write(record, [json.dumps(asdict(content), ensure_ascii=False, indent=2).encode() + b"\n"])
        staged.commit()


def holds(content: StyleRecord, files: Iterable[Path], record: Path) -> bool:
    """Whether the record tells of exactly these files, and they are as it tells."""
    named = {relative_name(path, record): path for path in files}
    return (
        content.complete
        and content.files.keys() == named.keys()
        and all(file_digest(path) == content.files[name].styled for name, path in named.items())
    )


def listed_files(content: StyleRecord, record: Path) -> list[tuple[Path, Digests]]:
    """The files that the record names."""
    # Without "..", which leads elsewhere from a folder that is a link.
    return [(Path(os.path.normpath(record.parent / name)), digests) for name, digests in content.files.items()]


def kept_beside(entries: Sequence[Path]) -> set[Path]:
    """Those of ``entries`` that `weft style` keeps beside its files, and that are nothing to train on: records of a style which
    some file there holds, and the originals of styled files that are ``entries`` too.
    """
    folders = {entry.parent for entry in entries if entry.name.endswith(_RECORD) or entry.stem.endswith(_ORIGINAL)}
    at = {_place(entry): entry for entry in entries} if folders else {}
    kept: set[Path] = set()
    for record in (record for folder in folders for record in folder.glob(f"*{_RECORD}")):
        styled = _styled_files(record)
        kept |= {_place(original_path(path)) for path in styled if _place(path) in at}
        kept |= {_place(record)} if styled else set()
    return {entry for place, entry in at.items() if place in kept}


def _place(path: Path) -> Path:
    """Equal for the same file of the same folder, however the folder is named."""
    return path.parent.resolve() / path.name


def _styled_files(record: Path) -> list[Path]:
    """The files that a record names and that lie there."""
    if not record.is_file() or record.stat().st_size > _LARGEST:
        return []
    content = readable_record(record)
    return [path for path, _ in listed_files(content, record) if path.is_file()] if content else []


def restore(record: Path) -> tuple[Path, ...]:
    """Put every file that the record names back as it was, and remove the record.

    Raises:
        DataError: a file or its original was changed since; then nothing is touched.
    """
    content = read_record(record)
    if content is None:
        return ()
    files = listed_files(content, record)
    for path, digests in files:
        _check_restorable(path, digests)
    write_record(record, replace(content, complete=False))
    for path, digests in files:
        put_back(path, digests)
    record.unlink()
    return tuple(path for path, _ in files)


def put_back(path: Path, digests: Digests) -> bool:
    """Put one file back as it was; False, and nothing touched, where it or its original was changed since."""
    try:
        _check_restorable(path, digests)
    except DataError:
        return False
    if original_path(path).exists():
        with writing(path):
            original_path(path).replace(path)
        sync_directory(path.parent)
    return True


def check_no_stray_original(path: Path) -> None:
    """Raise where an original is kept for a file of which no record tells: overwriting it could lose the last copy."""
    original = original_path(path)
    if original.exists() and file_digest(original) != file_digest(path):
        fix = f"move it back to {path} if that is the version you want, else delete it; or {_ANEW}"
        raise DataError("an original is kept here, but the record of its style is gone", where=str(original), fix=fix)


def _check_restorable(path: Path, digests: Digests) -> None:
    now = file_digest(path) if path.exists() else None
    original = original_path(path)
    if not original.exists():
        if now != digests.unstyled:
            raise DataError("the original that was kept here is gone", where=str(original), fix=_ANEW)
    elif file_digest(original) != digests.unstyled:
        raise DataError("the original that was kept here was changed", where=str(original), fix=_ANEW)
    elif now not in (None, digests.unstyled, digests.styled):
        raise DataError(
            "the file was changed after its style was applied; undoing would lose that", where=str(path), fix=_ANEW
        )
