"""The examples of a run, each source encoded once and kept under a key of everything that its examples depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from weft.config.data_schema import RecordFormat
from weft.data.cache_upkeep import forget
from weft.data.common_fields import notices_of, refuse_slips
from weft.data.content import check_unchanged, code_digest, content
from weft.data.conversation_reader import ConversationReader
from weft.data.conversations import ConversationFile, read_conversations
from weft.data.in_parallel import cores
from weft.data.places import Part, Paths
from weft.data.readers import kind
from weft.data.reading import Reading
from weft.data.render import Renderer
from weft.data.split import Portion
from weft.data.store_account import NoExamplesError, SourceAccount, merged, nothing_is_left
from weft.data.store_build import Source, Work
from weft.data.store_entry import Entry, build_entry, find_entry
from weft.disk import value_digest
from weft.types import Example, Location

__all__ = [
    "ExampleStore",
    "NoExamplesError",
    "Progress",
    "SourceFile",
    "StoreReport",
    "open_stores",
    "read_source",
]

Progress = Callable[[int, int], None]
"""Called with the number of rows that are encoded, and of all; 0 where that is not known."""

_SHARED_FROM = 2**23
"""Bytes of a source from which it pays to start helpers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """Files of records: a path, a pattern, a sample of them, or several (see :func:`weft.data.places.find_parts`).

    ``name`` is unique among the sources of a store; ``weight`` is for whoever mixes them; ``seed`` says which records a sample
    takes.
    """

    path: Paths
    name: str
    format: RecordFormat | Reading = "auto"
    weight: float | None = None
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
        alone=False,
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

    def __init__(self, files: Sequence[SourceFile], entries: Sequence[Entry]):
        counts = [entry.numbers.examples for entry in entries]
        self._ends = np.cumsum(counts)
        self._files = [entry.examples for entry in entries]
        self._factors = [np.float32(file.loss_weight) for file in files]
        self.lengths = _joined((each.lengths for each in self._files if each), np.int32)
        self.targets = _joined((each.targets for each in self._files if each), np.float64) * np.repeat(
            self._factors, counts
        )
        borders = [0, *self._ends.tolist()]
        self.source_slices = {
            file.name: range(start, end) for file, (start, end) in zip(files, pairwise(borders), strict=True)
        }
        self.report = _report(files, entries)
        self.fingerprint = entries[0].fingerprint
        if len(entries) > 1:
            self.fingerprint = value_digest([entry.fingerprint for entry in entries])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Example:
        """One example. Its arrays are read-only views of mapped memory, but for weights that its source scales."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        source = int(np.searchsorted(self._ends, index, side="right"))
        examples, factor = self._files[source], self._factors[source]
        assert examples is not None, "a source with examples has a file of them"
        example = examples[index - (int(self._ends[source - 1]) if source else 0)]
        return example if factor == 1 else replace(example, loss_weights=example.loss_weights * factor)


def open_stores(
    sets: Mapping[str, Sequence[SourceFile]],
    renderer: Renderer,
    cache_dir: Path,
    *,
    on_bad_row: Literal["error", "drop"],
    system_prompt: str | None,
    progress: Progress | None = None,
    jobs: int | Literal["auto"] = 1,
    dispensable: Collection[str] = (),
) -> tuple[dict[str, ExampleStore], dict[str, NoExamplesError]]:
    """The examples of several sets by name, from the cache where the same ones were encoded before; and why there is no store
    of a ``dispensable`` set without examples.

    They are opened together because what one of them shows, that a shortcut was none, holds for those before it, too.

    Args:
        sets: where the records of each come from.
        renderer: makes examples of conversations.
        cache_dir: where encoded examples are kept.
        on_bad_row: ``error`` raises when all records are seen; ``drop`` leaves bad ones out and reports them. What
            becomes of examples that are too long is for the renderer to say; it is reported.
        system_prompt: the system message of conversations that have none.
        progress: told how far the encoding of all sets is.
        jobs: how many processes encode; ``auto``: one for each core, where there is enough for them to do.
        dispensable: names of sets that may be without examples.

    Raises:
        DataError: a file cannot be read, or the cache cannot be written, or no record has a field that the configuration names.
        NoExamplesError: no example is left of a set that is not dispensable.
        Problems: records cannot be used and ``on_bad_row`` is ``error``.
    """
    groups = {
        name: [_Source(file, renderer, on_bad_row, system_prompt) for file in files] for name, files in sets.items()
    }
    found = _entries([*chain.from_iterable(groups.values())], renderer, cache_dir, progress, jobs)
    files = chain.from_iterable(sets.values())
    refuse_slips([(file.path, entry.common) for file, entry in zip(files, found, strict=True)])
    opened = iter(found)
    stores, lacking = {}, {}
    for name, sources in groups.items():
        entries = list(islice(opened, len(sources)))
        if any(entry.numbers.examples for entry in entries):
            stores[name] = ExampleStore(sets[name], entries)
            continue
        problem = nothing_is_left([entry.account for entry in entries if entry.account], _paths_of(sources))
        if name not in dispensable or not isinstance(problem, NoExamplesError):
            raise problem
        lacking[name] = problem
    return stores, lacking


def _entries(
    sources: Sequence[_Source],
    renderer: Renderer,
    cache_dir: Path,
    progress: Progress | None,
    jobs: int | Literal["auto"],
) -> list[Entry]:
    """The entry of each source, of which none relies on a shortcut that another one showed to be none."""
    watched = _watched(progress, sources)
    entries: list[Entry] = []
    done = 0
    for source in sources:
        known = renderer.disproved
        entries.append(source.entry(cache_dir, jobs, partial(watched, done)))
        done += entries[-1].numbers.records
        if renderer.disproved != known:  # on which other entries may rely, whatever run made them
            forget(cache_dir, renderer.fingerprint, but=cache_dir / source.key)
            entries[:-1] = [
                earlier.entry(cache_dir, jobs, partial(watched, done), doubt=renderer.disproved)
                for earlier in sources[: len(entries) - 1]
            ]
    return entries


class _Source:
    """A source, and the key of its examples."""

    def __init__(
        self, file: SourceFile, renderer: Renderer, on_bad_row: Literal["error", "drop"], system_prompt: str | None
    ) -> None:
        self._file, self._renderer, self._on_bad_row = file, renderer, on_bad_row
        self._reader = ConversationReader(
            file.path, format=file.format, system_prompt=system_prompt, source=file.name, seed=file.seed
        )
        self.paths = [Path(path) for path in self._reader.files]
        self._contents = [content(path) for path in self.paths]
        portion = file.portion and asdict(file.portion)
        how = read_as(file, self._reader.parts)
        choices = [portion, renderer.fingerprint, on_bad_row, system_prompt]
        self.key = value_digest([code_digest(), self._contents, how, *choices])

    def entry(
        self, cache_dir: Path, jobs: int | Literal["auto"], progress: Callable[[int], None], *, doubt: str | None = None
    ) -> Entry:
        """Its examples, from the cache where they are there and there is no ``doubt`` about them."""
        place = cache_dir / self.key
        if doubt:
            damage: str | None = f"everything was encoded again, because {doubt}"
        else:
            found, damage = find_entry(place, self._reader.files)
            if found:
                return found
        portion = self._file.portion
        source = Source(
            reader=self._reader,
            portion=portion,
            reports_bad_rows=not (portion and portion.held_out),
        )
        entry = build_entry(
            place,
            Work(source=source, renderer=self._renderer, on_bad_row=self._on_bad_row),
            partial(check_unchanged, list(zip(self.paths, self._contents, strict=True))),
            replaces_damaged=damage is not None,
            progress=progress,
            jobs=self._jobs() if jobs == "auto" else jobs,
        )
        return replace(entry, notes={**entry.notes, damage: 1}) if damage else entry

    def count_rows(self) -> int | None:
        """How many rows there are, where that is quickly told: of lines that are all read."""
        are_lines = all(path.suffix.lower() in (".jsonl", ".ndjson") for path in self.paths)
        if not are_lines or self._file.portion or any(part.sample is not None for part in self._reader.parts):
            return None
        return sum(map(_count_lines, self.paths))

    def _jobs(self) -> int:
        enough = sum(path.stat().st_size for path in self.paths) >= _SHARED_FROM
        return cores() if enough else 1


def _paths_of(sources: Sequence[_Source]) -> str:
    return ", ".join(str(path) for source in sources for path in source.paths)


def _watched(progress: Progress | None, sources: Sequence[_Source]) -> Callable[[int, int], None]:
    """Takes the rows of the sources that are done, and those of the one that is being read."""
    if progress is None:
        return lambda before, rows: None
    counts = [source.count_rows() for source in sources]
    total = 0 if None in counts else sum(filter(None, counts))
    return lambda before, rows: progress(before + rows, max(total, before + rows) if total else 0)


def _report(files: Sequence[SourceFile], entries: Sequence[Entry]) -> StoreReport:
    numbers = [entry.numbers for entry in entries]
    notes: Counter[str] = Counter()
    for entry in entries:
        notes.update(entry.notes)
    return StoreReport(
        records=sum(each.records for each in numbers),
        examples=sum(each.examples for each in numbers),
        tokens=sum(each.tokens for each in numbers),
        trained_tokens=sum(each.trained_tokens for each in numbers),
        longest=max(each.longest for each in numbers),
        turns=sum(each.turns for each in numbers),
        closed_turns=sum(each.closed_turns for each in numbers),
        sources={file.name: each for file, each in zip(files, numbers, strict=True)},
        dropped=merged(entry.dropped for entry in entries),
        shortened=merged(entry.shortened for entry in entries),
        notes=dict(notes),
        cached=all(entry.cached for entry in entries),
        notices=tuple(
            notice
            for file, entry in zip(files, entries, strict=True)
            if not (file.portion and file.portion.held_out)  # of such a source it is said of training
            for notice in (*entry.notices, *notices_of(file.name, entry.common))
        ),
    )


def _joined(parts: Iterable[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts])


def read_as(file: SourceFile, parts: Sequence[Part]) -> list[Any]:
    """What beside their bytes decides which records files hold: the kinds of the files, and which samples are taken."""
    samples = [[part.name, part.sample, file.seed, len(part.files)] for part in parts if part.sample is not None]
    return [file.format, [[kind(path), path.suffix.lower()] for part in parts for path in part.files], samples]


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(partial(file.read, 2**20), b""))
