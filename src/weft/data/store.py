"""The examples of a run, encoded once and kept under a key of everything that they depend on.

An entry of the cache is a directory: ``examples.arrow`` and ``report.json``, which says what the examples were made from and
what was left out. It is written aside and renamed, so that it is complete or absent, whoever else builds the same one; it
is verified by size and SHA-256 whenever it is opened, and one that is damaged is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from weft.config.schema import RecordFormat
from weft.data.conversations import ConversationFile, read_conversations
from weft.data.example_file import ExampleFile
from weft.data.files import sync_directory, writing
from weft.data.places import Part, Paths, find_parts
from weft.data.readers import kind
from weft.data.reading import Reading
from weft.data.render import Renderer
from weft.data.split import Portion
from weft.data.store_build import Account, NoExamplesError, Progress, SourceAccount, write_examples
from weft.disk import file_digest, sync
from weft.errors import DataError
from weft.types import Example, Location

__all__ = ["ExampleStore", "NoExamplesError", "Progress", "SourceFile", "StoreReport", "open_store", "read_source"]

_EXAMPLES, _REPORT = "examples.arrow", "report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """Files of records: a path, a pattern, a sample of them, or several (see :func:`weft.data.places.find_parts`).

    ``name`` is unique among the sources of a store; ``weight`` is for whoever mixes them; ``seed`` says which records a sample
    takes.
    """

    path: Paths
    name: str
    format: RecordFormat | Reading = "auto"
    weight: float = 1.0
    seed: int = 0
    loss_weight: float = 1.0
    """What its loss weights are multiplied with."""
    portion: Portion | None = None
    """Which of its conversations; None for all."""


def read_source(
    file: SourceFile, *, on_bad_row: Literal["error", "drop"], system_prompt: str | None
) -> ConversationFile:
    """The conversations of a source; raises as :func:`weft.data.conversations.read_conversations`."""
    return read_conversations(
        file.path,
        format=file.format,
        on_bad_row=on_bad_row,
        system_prompt=system_prompt,
        source=file.name,
        seed=file.seed,
        portion=file.portion,
    )


@dataclass(frozen=True, kw_only=True)
class StoreReport:
    """What became of the records."""

    records: int
    """Read, usable or not."""
    examples: int
    tokens: int
    trained_tokens: int
    longest: int
    """Tokens of the longest example."""
    turns: int
    """Trained runs of tokens."""
    closed_turns: int
    """Those of them that end with a stop token, as an answer should."""
    sources: dict[str, SourceAccount]
    """What became of the records of each source."""
    dropped: dict[str, list[Location]]
    """What was left out, by reason."""
    shortened: dict[str, list[Location]]
    """What was made to fit into the longest length, by how (:mod:`weft.data.overlong`)."""
    notes: dict[str, int]
    """What the template's derivation noted, and how often; also that a damaged entry of the cache was replaced."""
    cached: bool
    """Whether the examples were there already."""
    notices: tuple[str, ...] = ()
    """Samples that could not be as large as was asked for."""

    @property
    def documents(self) -> int:
        """Of all sources."""
        return sum(source.documents for source in self.sources.values())

    @property
    def blocks(self) -> int:
        """Examples that are blocks of documents."""
        return sum(source.blocks for source in self.sources.values())

    @property
    def block_tokens(self) -> int:
        """Tokens of the blocks, each of which but a document's first begins with the last token of the one before."""
        return sum(source.block_tokens for source in self.sources.values())


class ExampleStore:
    """Examples by number, in the order of their sources.

    Attributes:
        lengths: int32 [n], tokens of each example.
        targets: float64 [n], the sum of each example's loss weights, those of its source included.
        source_slices: which examples come from which source.
        report: what became of the records.
        fingerprint: SHA-256 of all ids and weights in order, as they were encoded.
    """

    def __init__(
        self,
        examples: ExampleFile,
        source_slices: dict[str, range],
        report: StoreReport,
        fingerprint: str,
        loss_weights: Sequence[float],
    ):
        self._examples = examples
        counts = [len(source) for source in source_slices.values()]
        self._factors = np.repeat(np.array(loss_weights, np.float32), counts)
        self.lengths, self.targets = examples.lengths, examples.targets * self._factors
        self.source_slices, self.report, self.fingerprint = source_slices, report, fingerprint

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        """One example. Its arrays are read-only views of mapped memory, but for weights that its source scales."""
        example, factor = self._examples[index], self._factors[index]
        return example if factor == 1 else replace(example, loss_weights=example.loss_weights * factor)


def open_store(
    files: Sequence[SourceFile],
    renderer: Renderer,
    cache_dir: Path,
    *,
    on_bad_row: Literal["error", "drop"],
    system_prompt: str | None,
    progress: Progress | None = None,
) -> ExampleStore:
    """The examples of all ``files``, from the cache where the same ones were encoded before.

    Args:
        files: where records come from.
        renderer: makes examples of conversations.
        cache_dir: where encoded examples are kept.
        on_bad_row: ``error`` raises when all records are seen; ``drop`` leaves bad ones out and reports them. What
            becomes of examples that are too long is for the renderer to say; it is reported.
        system_prompt: the system message of conversations that have none.
        progress: told how far the encoding is.

    Raises:
        DataError: a file cannot be read, or the cache cannot be written.
        NoExamplesError: no example is left.
        Problems: records cannot be used and ``on_bad_row`` is ``error``.
    """
    parts = [find_parts(file.path, seed=file.seed) for file in files]
    paths = [[path for part in group for path in part.files] for group in parts]
    places = _Places(
        names=[file.name for file in files],
        paths=[str(path) for group in paths for path in group],
        loss_weights=[file.loss_weight for file in files],
    )
    contents = [[_content(path) for path in group] for group in paths]
    read_as = [_read_as(file, group) for file, group in zip(files, parts, strict=True)]
    portions = [file.portion and asdict(file.portion) for file in files]
    key = _digest([_code_digest(), contents, read_as, portions, renderer.fingerprint, on_bad_row, system_prompt])
    entry, damage = cache_dir / key, None
    if entry.exists():
        try:
            return _open(entry, places, cached=True)
        except (_DamagedError, OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            damage = f"a damaged entry of the cache was replaced: {entry}: {error}"
    found = [read_source(file, on_bad_row=on_bad_row, system_prompt=system_prompt) for file in files]
    for path, content in zip(places.paths, (digest for group in contents for digest in group), strict=True):
        if _content(Path(path)) != content:
            raise DataError("the file changed while it was being read", where=path, fix="run this again")
    with writing(cache_dir):
        aside = cache_dir / f".{key}.{os.getpid()}.{secrets.token_hex(4)}"
        aside.mkdir(parents=True)
        try:
            examples = aside / _EXAMPLES
            account = write_examples(examples, found, renderer, on_bad_row=on_bad_row, progress=progress or _silent)
            _write_report(aside, account, places, [notice for each in found for notice in each.notices])
            store = _open(aside, places, cached=False)
            _publish(aside, entry, damaged=damage is not None)
        finally:
            shutil.rmtree(aside, ignore_errors=True)  # not there any more where it was published
    if damage:
        store.report.notes[damage] = 1
    return store


class _DamagedError(Exception):
    """An entry of the cache that is not what was written."""


@dataclass(frozen=True, kw_only=True)
class _Places:
    """What an entry leaves out, so that it serves the same content under other names and weights."""

    names: Sequence[str]
    """Of the sources."""
    paths: Sequence[str]
    """Of all files of all sources."""
    loss_weights: Sequence[float]
    """Of the sources."""

    def numbered(self, found: Mapping[str, Sequence[Location]]) -> dict[str, list[list[int | None]]]:
        """Locations by reason, with the numbers of files in place of their names; :meth:`found` is the inverse."""
        numbers = {path: number for number, path in enumerate(self.paths)}
        return {
            reason: [[numbers[place.path], place.line, place.record] for place in rows]
            for reason, rows in found.items()
        }

    def found(self, numbered: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, list[Location]]:
        """Locations by reason."""
        return {
            reason: [Location(path=self.paths[file], line=line, record=record) for file, line, record in rows]
            for reason, rows in numbered.items()
        }


def _open(entry: Path, places: _Places, *, cached: bool) -> ExampleStore:
    sealed = json.loads((entry / _REPORT).read_text(encoding="utf-8"))
    body = sealed["body"]
    if sealed["sha256"] != _digest(body):
        raise _DamagedError(f"{_REPORT} is not what was written")
    if (entry / _EXAMPLES).stat().st_size != body["bytes"] or file_digest(entry / _EXAMPLES) != body["sha256"]:
        raise _DamagedError(f"{_EXAMPLES} is not what was written")
    examples = ExampleFile(entry / _EXAMPLES, places.paths)
    sources = [SourceAccount(**source) for source in body["sources"]]
    ends = np.cumsum([0, *(source.examples for source in sources)]).tolist()
    report = StoreReport(
        records=sum(source.records for source in sources),
        examples=len(examples),
        tokens=sum(source.tokens for source in sources),
        trained_tokens=sum(source.trained_tokens for source in sources),
        longest=max(source.longest for source in sources),
        turns=body["turns"],
        closed_turns=body["closed_turns"],
        sources=dict(zip(places.names, sources, strict=True)),
        dropped=places.found(body["dropped"]),
        shortened=places.found(body["shortened"]),
        notes=body["notes"],
        cached=cached,
        notices=tuple(body["notices"]),
    )
    slices = dict(zip(places.names, map(range, ends, ends[1:]), strict=True))
    return ExampleStore(examples, slices, report, body["fingerprint"], places.loss_weights)


def _write_report(directory: Path, account: Account, places: _Places, notices: Sequence[str]) -> None:
    """Seal ``directory``: the account of its examples, their size and digest, and the digest of all that."""
    examples = directory / _EXAMPLES
    body = {
        "bytes": examples.stat().st_size,
        "sha256": file_digest(examples),
        "fingerprint": account.fingerprint,
        "sources": [asdict(source) for source in account.sources],
        "turns": account.turns,
        "closed_turns": account.closed_turns,
        "notes": account.notes,
        "notices": notices,
        "dropped": places.numbered(account.dropped),
        "shortened": places.numbered(account.shortened),
    }
    text = json.dumps({"sha256": _digest(body), "body": body}, ensure_ascii=False, indent=1)
    (directory / _REPORT).write_text(text, encoding="utf-8")


def _publish(aside: Path, entry: Path, *, damaged: bool) -> None:
    """Move a complete entry into place; where someone else was faster with the same one, theirs stays."""
    for name in (_EXAMPLES, _REPORT):
        sync(aside / name)
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


@cache
def _code_digest() -> str:
    """A digest of this package, so that no version of weft meets examples that another one made."""
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".jinja")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _read_as(file: SourceFile, parts: Sequence[Part]) -> list[Any]:
    """What beside their bytes decides which records files hold: the kinds of the files, and which samples are taken."""
    samples = [[part.name, part.sample, file.seed, len(part.files)] for part in parts if part.sample is not None]
    return [file.format, [[kind(path), path.suffix.lower()] for part in parts for path in part.files], samples]


def _content(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}", where=str(path), fix="check its permissions"
        ) from None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""
