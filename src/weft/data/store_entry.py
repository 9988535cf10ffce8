"""The examples of one source in the cache: ``examples.arrow``, and ``report.json``, which says what became of the records.

An entry is written aside and renamed, so that it is complete or absent, whoever else builds the same one. It is verified by size
and SHA-256 whenever it is opened, and one that is damaged is built again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from weft.data.cache_upkeep import aside_of, held, remove_abandoned
from weft.data.common_fields import CommonField
from weft.data.conversation_reader import CannotShare
from weft.data.example_file import ExampleFile, ExampleWriter, numbered
from weft.data.files import sync_directory, writing
from weft.data.kept import sealed, unsealed
from weft.data.shortcut import ShortcutWrong
from weft.data.store_account import Account, SourceAccount, are_too_long, cannot_be_rendered
from weft.data.store_build import Done, Work
from weft.data.store_jobs import do_together
from weft.disk import shared_digest, sync
from weft.types import Location

_EXAMPLES, _REPORT = "examples.arrow", "report.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The examples of a source, and what became of its records."""

    examples: ExampleFile | None
    """None where there are none: such an entry is not kept."""
    numbers: SourceAccount
    dropped: Mapping[str, Sequence[Location]]
    shortened: Mapping[str, Sequence[Location]]
    notes: Mapping[str, int]
    notices: Sequence[str]
    common: Sequence[CommonField]
    fingerprint: str
    """SHA-256 of all ids and weights in order."""
    cached: bool
    """Whether it was there already."""
    account: Account | None = None
    """Where there are no examples: why."""


def find_entry(place: Path, files: Sequence[str]) -> tuple[Entry | None, str | None]:
    """The entry at ``place``, if there is one that is whole; and what is to be said of one that is damaged.

    Args:
        place: its directory.
        files: the paths of the source, whose names an entry leaves out, so that it serves the same content under others.
    """
    if not place.exists():
        return None, None
    try:
        return _open(place, files, verify=True), None
    except (_DamagedError, OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        return None, f"a damaged entry of the cache was replaced: {place}: {error}"


def build_entry(
    place: Path,
    work: Work,
    check: Callable[[], None],
    *,
    replaces_damaged: bool,
    progress: Callable[[int], None],
    jobs: int,
) -> Entry:
    """Encode a source into a new entry at ``place``.

    Args:
        place: the entry's directory.
        work: what to encode, and how.
        check: raises if what was encoded is not what the entry is named after.
        replaces_damaged: whether there is an entry that is to be replaced.
        progress: told how many rows are done.
        jobs: how many processes share the work.

    Raises:
        DataError: a file cannot be read, what the files hold makes no conversation, or the cache cannot be written.
        Problems: records cannot be used where all should be.
    """
    with _aside(place) as aside:
        account, fingerprint = _write_examples(aside / _EXAMPLES, work, progress=progress, jobs=jobs)
        notices, common = work.source.reader.tally.all_notices(), work.source.reader.common
        if not account.numbers.examples:
            check()
            return Entry(
                examples=None,
                numbers=account.numbers,
                dropped=account.dropped,
                shortened=account.shortened,
                notes=account.notes,
                notices=notices,
                common=common,
                fingerprint=fingerprint,
                cached=False,
                account=account,
            )
        files = work.source.reader.files
        with ThreadPoolExecutor(2) as beside:
            others = [beside.submit(check), beside.submit(sync, aside / _EXAMPLES)]
            _write_report(aside, account, fingerprint, files, notices, common, renderer=work.renderer.fingerprint)
            for other in others:
                other.result()
        entry = _open(aside, files, verify=False)
        _publish(aside, place, damaged=replaces_damaged)
        return entry


def _write_examples(path: Path, work: Work, *, progress: Callable[[int], None], jobs: int) -> tuple[Account, str]:
    """Encode the conversations of a source, in order, into the file ``path``; what became of its records, and the digest of the
    examples.

    Args:
        path: the file to write; others may stand beside it for a while.
        work: what to encode, and how.
        progress: told how many rows are done.
        jobs: how many processes share the work. What is written is the same.

    Raises:
        DataError: a file cannot be read, or what the files hold makes no conversation.
        Problems: rows cannot be used or conversations cannot be rendered, and ``on_bad_row`` is ``error``; or some are too long
            where none may be.
    """
    source = work.source
    done, fingerprint = _encoded(path, work, progress, jobs)
    accounts = [done.accounts[number] for number in sorted(done.accounts)]
    source.reader.tally = done.tally
    source.reader.refuse([row for account in accounts for row in account.bad_rows], work.on_bad_row)
    account = Account()
    for part in accounts:
        account.add(part, reports_bad_rows=source.reports_bad_rows)
    if account.errors and work.on_bad_row == "error":
        raise cannot_be_rendered(account.errors, account.numbers.records)
    if account.overlong and work.renderer.overlong == "error":
        raise are_too_long(account.overlong)
    return account, fingerprint


def _encoded(path: Path, work: Work, progress: Callable[[int], None], jobs: int) -> tuple[Done, str]:
    """The work, without helpers where they cannot help, and without a shortcut that turns out to be none; and the digest."""
    try:
        with ExampleWriter(path, work.source.reader.files) as writer:
            if jobs > 1:
                done = do_together(writer, path.parent, work, progress=progress, jobs=jobs)
            else:
                done = work.do(lambda _, columns: writer.write(columns), progress=progress)
        return done, writer.digest()
    except CannotShare:
        return _encoded(path, work, progress, 1)
    except ShortcutWrong as error:
        work.renderer.take_no_shortcuts(str(error))
        done, fingerprint = _encoded(path, work, progress, jobs)
        done.accounts[min(done.accounts)].notes[f"everything was encoded again, because {error}"] = 1
        return done, fingerprint


@contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """A directory to build an entry in, which is gone afterwards unless it was published."""
    with writing(place.parent):
        remove_abandoned(place.parent)
        aside = aside_of(place)
        try:
            aside.mkdir(parents=True)
            with held(aside):
                yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)


class _DamagedError(Exception):
    """An entry of the cache that is not what was written."""


def _open(place: Path, files: Sequence[str], *, verify: bool) -> Entry:
    body = unsealed(place / _REPORT)
    examples = place / _EXAMPLES
    if verify and (examples.stat().st_size != body["bytes"] or shared_digest(examples) != body["digest"]):
        raise _DamagedError(f"{_EXAMPLES} is not what was written")
    return Entry(
        examples=ExampleFile(examples, files),
        numbers=SourceAccount(**body["numbers"]),
        dropped=_places(body["dropped"], files),
        shortened=_places(body["shortened"], files),
        notes=body["notes"],
        notices=body["notices"],
        common=[CommonField(*field) for field in body["common"]],
        fingerprint=body["fingerprint"],
        cached=verify,
    )


def _write_report(
    directory: Path,
    account: Account,
    fingerprint: str,
    files: Sequence[str],
    notices: Sequence[str],
    common: Sequence[CommonField],
    *,
    renderer: str,
) -> None:
    """Seal ``directory``: the account of its examples, their size and digest, and the digest of all that."""
    examples = directory / _EXAMPLES
    body = {
        "bytes": examples.stat().st_size,
        "digest": shared_digest(examples),
        "fingerprint": fingerprint,
        "renderer": renderer,
        "numbers": asdict(account.numbers),
        "notes": account.notes,
        "notices": notices,
        "common": common,
        "dropped": _numbered(account.dropped, files),
        "shortened": _numbered(account.shortened, files),
    }
    (directory / _REPORT).write_text(sealed(body), encoding="utf-8")


def _numbered(found: Mapping[str, Sequence[Location]], files: Sequence[str]) -> dict[str, list[list[int | None]]]:
    """Locations by reason, with the numbers of files in place of their names; :func:`_places` is the inverse."""
    numbers = numbered(files)
    return {
        reason: [[numbers[place.path], place.line, place.record] for place in places]
        for reason, places in found.items()
    }


def _places(numbered: Mapping[str, Sequence[Sequence[Any]]], files: Sequence[str]) -> dict[str, list[Location]]:
    return {
        reason: [Location(path=files[file], line=line, record=record) for file, line, record in places]
        for reason, places in numbered.items()
    }


def _publish(aside: Path, entry: Path, *, damaged: bool) -> None:
    """Move a complete entry, whose examples have reached the disk, into place; where someone else was faster with the same one,
    theirs stays.
    """
    sync(aside / _REPORT)
    sync_directory(aside)
    if damaged:
        away = aside.with_name(f"{aside.name}.damaged")
        with contextlib.suppress(FileNotFoundError):  # someone else found the damage as well
            entry.rename(away)  # away first, so that no half-deleted entry is ever found
        shutil.rmtree(away, ignore_errors=True)
    try:
        aside.rename(entry)
    except OSError:
        if not entry.is_dir():
            raise
    sync_directory(entry.parent)
