"""What records say, whatever is to read them: the part of ``weft check`` that is kept while they stay the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from weft.config.schema import Config
from weft.data.benchmarks import benchmark_parts, read_benchmarks
from weft.data.common_fields import refuse_slips
from weft.data.content import check_unchanged, content
from weft.data.conversations import ConversationFile, digest_of
from weft.data.groups import asked, said
from weft.data.kept import Kept
from weft.data.leaks import Leak, Leaks, find_leaks, questions_held_out
from weft.data.places import Part, find_parts
from weft.data.reading import reading_of
from weft.data.store import SourceFile, read_as, read_source
from weft.data.style import effective_system_prompt
from weft.types import Location, Material

_NAME = "records.json"


@dataclass(frozen=True, kw_only=True)
class SourceRecords:
    """What the files of one source hold; see :class:`weft.data.conversations.ConversationFile`."""

    conversations: int
    bad: Mapping[str, Sequence[Location]]
    """Rows that cannot be used, by reason."""
    formats: Mapping[str, int]
    mappings: Mapping[str, Mapping[str, int]]
    files: Mapping[str, int]
    left_out: Mapping[str, int]
    skipped: Sequence[str]
    notices: Sequence[str]
    repeated: int
    """Conversations that say the same as an earlier one of the set."""
    leaked: int
    """Conversations that say the same as one of the training set; 0 for the training set itself."""
    asked: int
    """Further conversations that ask what one of the training set asks, and answer otherwise."""

    @classmethod
    def of(cls, found: ConversationFile, counts: Mapping[str, int]) -> Self:
        """What was found in a source, with the last three ``counts``."""
        bad: dict[str, list[Location]] = {}
        for row in found.bad_rows:
            bad.setdefault(row.reason, []).append(row.location)
        return cls(
            conversations=len(found.conversations),
            bad=bad,
            formats=dict(found.formats),
            mappings={format: dict(counts) for format, counts in found.mappings.items()},
            files=dict(found.files),
            left_out=dict(found.left_out),
            skipped=tuple(map(str, found.skipped)),
            notices=found.notices,
            **counts,
        )

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """The same from what :func:`dataclasses.asdict` made of it."""
        bad = {reason: [Location(**place) for place in places] for reason, places in kept["bad"].items()}
        return cls(**{**kept, "bad": bad})


@dataclass(frozen=True, kw_only=True)
class CheckedRecords:
    """What the records of all sets say."""

    sets: Mapping[str, Sequence[SourceRecords]]
    held_out: Sequence[Leaks]
    """What training tells of the sets that are held out."""
    benchmarks: Sequence[Leaks]
    """The same for ``data.benchmarks``."""
    notices: Sequence[str]
    """Rows of benchmarks that hold no question."""

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """The same from what :func:`dataclasses.asdict` made of it."""

        def leaks(found: Sequence[Mapping[str, Any]]) -> tuple[Leaks, ...]:
            return tuple(Leaks(**{**one, "first": tuple(Leak(**each) for each in one["first"])}) for one in found)

        return cls(
            sets={name: list(map(SourceRecords.from_json, sources)) for name, sources in kept["sets"].items()},
            held_out=leaks(kept["held_out"]),
            benchmarks=leaks(kept["benchmarks"]),
            notices=kept["notices"],
        )


def check_records(config: Config, sets: Mapping[str, Sequence[SourceFile]], *, jobs: int = 1) -> CheckedRecords:
    """Read all records, and say what they hold, what is said twice, and what training tells of what is held out.

    Args:
        config: says how they are read, and names benchmarks.
        sets: where the records of each set come from; that of training is the first, ``train``.
        jobs: processes that look for quotations of benchmarks; the result does not depend on it.

    Raises:
        DataError: a file is missing, unreadable, or holds no records, or none has a field that the configuration names.
        Problems: records cannot be used, and ``on_bad_row`` is ``error``.
    """
    parts = {name: [find_parts(file.path, seed=file.seed) for file in files] for name, files in sets.items()}
    benchmarks = benchmark_parts(config)
    contents = {
        path: content(path)
        for group in [*(group for groups in parts.values() for group in groups), *benchmarks.values()]
        for part in group
        for path in part.files
    }
    kept = Kept(
        Path(config.data.cache_dir),
        _NAME,
        [
            [
                [name, [_read_as(*each) for each in zip(files, parts[name], strict=True)]]
                for name, files in sets.items()
            ],
            [[name, _places(group), config.seed] for name, group in benchmarks.items()],
            [reading_of(config.data, "auto"), config.on_bad_row, effective_system_prompt(config)],
            [[str(path), digest] for path, digest in contents.items()],
        ],
    )
    if found := kept.read():
        return CheckedRecords.from_json(found)
    checked = _checked(config, sets, jobs)
    check_unchanged(contents.items())
    kept.write(asdict(checked))
    return checked


def _read_as(file: SourceFile, parts: Sequence[Part]) -> list[Any]:
    return [file.name, read_as(file, parts), _places(parts), file.portion and asdict(file.portion)]


def _places(parts: Sequence[Part]) -> list[Any]:
    """The names of files, which the findings hold."""
    return [[part.name, part.sample, *map(str, (*part.files, *part.skipped))] for part in parts]


def _checked(config: Config, sets: Mapping[str, Sequence[SourceFile]], jobs: int) -> CheckedRecords:
    benchmarks, unread = read_benchmarks(config)
    system_prompt = effective_system_prompt(config)
    found = {
        name: [read_source(file, on_bad_row=config.on_bad_row, system_prompt=system_prompt) for file in files]
        for name, files in sets.items()
    }
    read = [(file, part) for name, files in sets.items() for file, part in zip(files, found[name], strict=True)]
    refuse_slips([(file.path, part.common) for file, part in read])
    talks = {name: [talk for part in parts for talk in part.conversations] for name, parts in found.items()}
    heard = {name: _Heard.of(each) for name, each in talks.items()}
    checked = {}
    for name, parts in found.items():
        counts = heard[name].counted(None if name == "train" else heard["train"], parts)
        checked[name] = [SourceRecords.of(part, each) for part, each in zip(parts, counts, strict=True)]
    return CheckedRecords(
        sets=checked,
        held_out=find_leaks(questions_held_out(talks), talks["train"], quotations=False),
        benchmarks=find_leaks(benchmarks, talks["train"], jobs=jobs),
        notices=unread,
    )


@dataclass(frozen=True, slots=True)
class _Heard:
    """What each conversation of a set is, says and asks, as digests."""

    whole: tuple[str, ...]
    """With its system message and its tools, as `weft prepare` tells repetitions."""
    said: tuple[str, ...]
    asked: tuple[str, ...]

    @classmethod
    def of(cls, talks: Sequence[Material]) -> _Heard:
        return cls(tuple(map(digest_of, talks)), tuple(map(said, talks)), tuple(map(asked, talks)))

    def counted(self, trained: _Heard | None, parts: Sequence[ConversationFile]) -> Iterator[Counter[str]]:
        """By source: what repeats an earlier conversation, what one of ``trained`` says, and what one of them asks only."""
        said, asked = (set(trained.said), set(trained.asked)) if trained else (set(), set())
        seen: set[str] = set()
        heard = iter(zip(self.whole, self.said, self.asked, strict=True))
        for part in parts:
            counts = Counter(repeated=0, leaked=0, asked=0)
            for _, (whole, says, asks) in zip(part.conversations, heard, strict=False):
                counts.update(repeated=whole in seen, leaked=says in said, asked=asks in asked and says not in said)
                seen.add(whole)
            yield counts
