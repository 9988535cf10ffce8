"""Raw records → canonical train, validation and test files, with a report in which every record is accounted for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from weft.config.schema import Config
from weft.data.benchmarks import read_benchmarks
from weft.data.conversations import ConversationFile, canonical, check_nesting, digest_of, read_conversations
from weft.data.files import StagedFiles, first_line_has, json_lines, sync_directory
from weft.data.formats import CANONICAL, CANONICAL_DOCUMENT, SETTING
from weft.data.last_report import REPORT_NAME, last_report
from weft.data.leaks import Leaks, find_leaks, questions_held_out
from weft.data.lengths import by_length
from weft.data.near_duplicates import NearDuplicates, without_near_duplicates
from weft.data.normalise import Normaliser
from weft.data.places import NOT_READ, Paths, named, reads, spelled
from weft.data.prepared import prepared_path
from weft.data.reading import reading_of
from weft.data.reread import as_they_stand
from weft.data.rows import BadRow, as_json
from weft.data.split import assign_splits
from weft.data.style import apply_style, end_style, is_styled, style_notes, suspend_style
from weft.data.style_record import original_path
from weft.data.system_prompt import with_system_prompt
from weft.errors import ConfigError, DataError
from weft.types import Material

REJECTS_NAME = "rejects.jsonl"
_REJECT_KEYS = frozenset({"location", "reason", "detail", "raw"})
_ID_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A record that says what an earlier one says; both are places."""

    location: str
    first: str


@dataclass(frozen=True, kw_only=True)
class Split:
    """One file that was written."""

    path: str
    records: int


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What was read and what became of it: ``records = kept + sum of rejected + duplicates``, and ``kept = sum of splits``."""

    raw_path: str
    train_path: str
    seed: int
    ratios: Mapping[str, float]
    records: int
    kept: int
    rejected: Mapping[str, int]
    """How many rows were rejected, by reason: those that cannot be used, that ``data.filter`` leaves out, near duplicates."""
    rejects_path: str | None
    """The file that lists them and the duplicates, if there are any."""
    duplicates: tuple[Duplicate, ...]
    """The records that were left out because an earlier one says the same."""
    near_duplicates: NearDuplicates | None
    """Those of ``rejected`` that nearly repeat an earlier record; None where ``data.near_duplicates`` is not set."""
    leaks: tuple[Leaks, ...]
    """What training tells of the other splits and of ``data.benchmarks``."""
    splits: Mapping[str, Split]
    """The files that were written, by split."""
    files: Mapping[str, int]
    """How many records each file held."""
    formats: Mapping[str, int]
    """How many records came in which format."""
    mappings: Mapping[str, Mapping[str, int]]
    """What was read as what, by format, in how many records."""
    fields_beside: Mapping[str, int]
    """Fields that are kept in ``meta`` and not trained, with how many records have them."""
    normalised: Mapping[str, int]
    """In how many records a step of ``data.normalise`` changed something, by step."""
    system_prompt_added: int
    """How many records got ``data.system_prompt`` because they had no system message."""
    style: str | None
    """The one that was put in while preparing; what the files hold since is told by the record beside them."""
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _writable(normaliser: Normaliser) -> Callable[[Material], Material]:
    """Normalises, and refuses what training could not read from the prepared file."""

    def edit(conversation: Material) -> Material:
        normalised = normaliser(conversation)
        check_nesting(normalised)
        return normalised

    return edit


def prepare(config: Config, *, jobs: int = 1) -> PrepareReport:
    """Read ``data.raw_path``, normalise, filter, drop duplicates, split, and write the files that training reads.

    Records stay in the order in which they were read. The report, and the rejects if there are any,
    go into the directory of ``data.train_path``. Same input, same bytes.

    Args:
        config: says from where, to where, and how.
        jobs: how many processes may work where it pays; the result does not depend on it.

    Raises:
        ConfigError: the paths cannot be those of outputs, or there are no processes to work.
        DataError: the raw path is missing or empty, or an output cannot be written, or a file in its place was not written
            by weft.
        Problems: some rows cannot be used (``on_bad_row: error``), or none can.
    """
    if jobs < 1:
        what = f"the number of processes must be at least 1, not {jobs}"
        raise ConfigError(what, where="--jobs", fix="give 1 or more")
    outputs = _outputs(config)
    ratios = _ratios(config)
    _check_apart(config.data.raw_path, [*outputs.values(), _beside(config, REJECTS_NAME), _beside(config, REPORT_NAME)])
    _check_outputs({name: path for name, path in outputs.items() if ratios[name] > 0})
    _check_reports(config)
    benchmarks, unread = read_benchmarks(config)
    normaliser = Normaliser(config.data.normalise)
    reading = reading_of(config.data, config.data.format, config.mode)
    found = read_conversations(
        config.data.raw_path,
        format=reading,
        on_bad_row=config.on_bad_row,
        edit=_writable(normaliser),
        seed=config.seed,
        fix="set data.raw_path to your records, a file or a directory",
    )
    conversations = [with_system_prompt(each, config.data.system_prompt) for each in found.conversations]
    fitting, unfit = by_length(conversations, config.data.filter, config.model)
    kept, repeated = _without_duplicates(fitting)
    if not kept:
        raise _nothing_left(config, [*found.bad_rows, *unfit])
    similar: NearDuplicates | None = None
    if config.data.near_duplicates is not None:
        kept, alike, similar = without_near_duplicates(kept, config.data.near_duplicates, jobs=jobs)
        unfit += alike
    rejects = [*found.bad_rows, *unfit]
    splits: dict[str, list[Material]] = {name: [] for name in ratios}
    how = config.data.split
    names = assign_splits(kept, ratios, config.seed, group_by=how.group_by, by_source=how.by_source)
    for conversation, name in zip(kept, names, strict=True):
        splits[name].append(conversation)

    written = {name: Split(path=str(outputs[name]), records=len(rows)) for name, rows in splits.items() if rows}
    stale, left = _stale(outputs, written, prepared_path(config))
    report = PrepareReport(
        raw_path=spelled(config.data.raw_path),
        train_path=str(config.data.train_path),
        seed=config.seed,
        ratios=ratios,
        records=sum(found.files.values()),
        kept=len(kept),
        rejected=dict(Counter(row.reason for row in rejects).most_common()),
        rejects_path=str(_beside(config, REJECTS_NAME)) if rejects or repeated else None,
        duplicates=tuple(
            Duplicate(location=str(again.location), first=str(first.location)) for again, first in repeated
        ),
        near_duplicates=similar,
        leaks=find_leaks({**questions_held_out(splits), **benchmarks}, splits["train"], jobs=jobs),
        splits=written,
        files=found.files,
        formats=dict(found.formats),
        mappings={name: dict(counts) for name, counts in found.mappings.items()},
        fields_beside=dict(Counter(name for each in kept for name in each.meta)),
        normalised={step: count for step, count in normaliser.changed.items() if count},
        system_prompt_added=sum(new is not old for new, old in zip(conversations, found.conversations, strict=True)),
        style=config.data.style,
        notes=(*_notes(config, found, kept, ratios, written), *unread),
    )
    earlier_style, unrestored = None, list[Path]()
    usable = [*unfit, *(_repetition(again, first) for again, first in repeated)]
    left_out = [*found.bad_rows, *as_they_stand(usable, config.data.raw_path, reading, config.seed)]
    if not _write(config, report, splits, [*map(as_json, left_out)], stale):
        earlier_style, unrestored = end_style(config, [*(Path(split.path) for split in written.values()), *stale])
        if config.data.style:
            apply_style(config, config.data.style)
    changes = [f"removed {path}, which an earlier preparation wrote: its split is empty now" for path in stale]
    changes += [f"left {path} as it is: its split is empty, and this preparation did not write it" for path in left]
    changes += [f"left {path} with its style: it was changed after it was styled" for path in unrestored]
    if earlier_style and not config.data.style:
        changes.append(
            f"the files are without the style that they had: run `weft style` again for {earlier_style!r:.60}"
        )
    return replace(report, notes=(*report.notes, *changes))


def _ratios(config: Config) -> dict[str, float]:
    split = config.data.split
    return {"train": split.train_ratio, "val": split.val_ratio, "test": split.test_ratio}


def _outputs(config: Config) -> dict[str, Path]:
    data = config.data
    return {"train": prepared_path(config), "val": Path(data.val_path), "test": Path(data.test_path)}


def _beside(config: Config, name: str) -> Path:
    return prepared_path(config).parent / name


def _check_outputs(outputs: Mapping[str, Path]) -> None:
    """Raise where writing would destroy what weft did not write."""
    if len({path.resolve() for path in outputs.values()}) < len(outputs):
        raise ConfigError(
            "the train, val and test files must be different files", where="data.train_path", fix="rename one"
        )
    for name, path in outputs.items():
        where = f"data.{name}_path"
        if path.suffix.lower() != ".jsonl":
            raise ConfigError(
                f"prepared files are .jsonl files, not {path.name!r}", where=where, fix="end the name in .jsonl"
            )
        for present in filter(Path.exists, (path, original_path(path))):
            if not is_canonical(present):
                fix = f"move it away, or set {where} to another file (training reads your own file as it is, without preparing)"
                raise DataError("the file exists and was not written by `weft prepare`", where=str(present), fix=fix)


def _check_apart(raw: Paths, outputs: Sequence[Path]) -> None:
    """Raise where an output would replace raw records, or be read as raw records next time."""
    for path in outputs:
        if any(reads(name, path) for name in named(raw)):
            fix = "put prepared files into a directory of their own, such as data/processed/"
            raise ConfigError(f"{path} would lie among the raw records", where="data.train_path", fix=fix)


def _check_reports(config: Config) -> None:
    """Raise where the rejects or the report would replace a file of the same name that weft did not write."""
    rejects, report = _beside(config, REJECTS_NAME), _beside(config, REPORT_NAME)
    for path, ours in (
        (rejects, first_line_has(rejects, _REJECT_KEYS)),
        (report, last_report(report.parent) is not None),
    ):
        if path.exists() and not ours:
            fix = "move it away, or set data.train_path to a file in another directory"
            raise DataError("the file exists and was not written by `weft prepare`", where=str(path), fix=fix)


def is_canonical(path: Path) -> bool:
    """Whether a file looks as weft writes it, judged by its first line; an empty file does."""
    return first_line_has(path, CANONICAL, frozenset(SETTING)) or first_line_has(path, CANONICAL_DOCUMENT)


def _nothing_left(config: Config, rejects: Sequence[BadRow]) -> DataError:
    reasons = Counter(row.reason for row in rejects).most_common()
    return DataError(
        "no record is left: " + "; ".join(f"{count:,} × {reason}" for reason, count in reasons),
        where=spelled(config.data.raw_path),
        fix="widen data.filter",
    )


def _without_duplicates(conversations: Sequence[Material]) -> tuple[list[Material], list[tuple[Material, Material]]]:
    """The first conversation of each content, with an id, and each of the others beside it."""
    first: dict[str, Material] = {}
    repeated = []
    for conversation in conversations:
        digest = digest_of(conversation)
        if digest in first:
            repeated.append((conversation, first[digest]))
        else:
            first[digest] = conversation if conversation.id else replace(conversation, id=digest[:_ID_LENGTH])
    return list(first.values()), repeated


def _repetition(again: Material, first: Material) -> BadRow:
    """A duplicate as the file of rejects has it."""
    return BadRow(
        location=again.location,
        reason="the same as an earlier record",
        detail=str(first.location),
        raw=json.dumps(canonical(again), ensure_ascii=False),
    )


def _stale(
    outputs: Mapping[str, Path], written: Mapping[str, Split], train_path: Path
) -> tuple[list[Path], list[Path]]:
    """Files in the place of empty splits: those that the last preparation of this training file wrote, and others."""
    present = [path for name, path in outputs.items() if name not in written and path.exists()]
    last = last_report(train_path.parent) or {}
    try:
        splits = last["splits"] if last["train_path"] == str(train_path) else {}
        ours = {split["path"] for split in splits.values()}
    except (KeyError, TypeError, AttributeError):
        ours = set()
    return [path for path in present if str(path) in ours], [path for path in present if str(path) not in ours]


def _notes(
    config: Config,
    found: ConversationFile,
    kept: Sequence[Material],
    ratios: Mapping[str, float],
    written: Mapping[str, Split],
) -> tuple[str, ...]:
    notes = [f"left out of message trees: {count} × {reason}" for reason, count in found.left_out.items()]
    notes += found.notices
    if found.skipped:
        notes.append(f"{NOT_READ}: {', '.join(path.name for path in found.skipped)}")
    empty = [name for name, ratio in ratios.items() if ratio > 0 and name not in written]
    if empty:
        notes.append(
            f"too few records, or groups of them (data.split.group_by), for every split: none is left for "
            f"{' and '.join(empty)}"
        )
    shared = sum(count for count in Counter(each.id for each in kept).values() if count > 1)
    if shared:
        notes.append(f"{shared} records share their id with another one")
    notes += style_notes(config) if config.data.style else ()
    if config.datasets:
        notes.append("training reads `datasets`, not data.train_path, as long as the configuration lists any")
    return tuple(notes)


def _write(
    config: Config,
    report: PrepareReport,
    splits: Mapping[str, Sequence[Material]],
    left_out: Sequence[Mapping[str, str]],
    stale: Sequence[Path],
) -> bool:
    """Write everything; old files stay whole until the new ones are, and those that would not change are not touched.

    Returns:
        Whether the splits hold their style already.
    """
    with StagedFiles() as prepared, StagedFiles() as staged:
        digests = {
            Path(split.path): prepared.write(Path(split.path), json_lines(map(canonical, splits[name])))
            for name, split in report.splits.items()
        }
        if left_out:
            staged.write(_beside(config, REJECTS_NAME), json_lines(left_out))
        content = json.dumps(report.as_dict(), ensure_ascii=False, indent=2) + "\n"
        staged.write(_beside(config, REPORT_NAME), [content.encode()])
        style = config.data.style
        styled = style is not None and not stale and is_styled(config, style, digests)
        if not styled:
            suspend_style(config)
        for path in [*stale, *([] if left_out else [_beside(config, REJECTS_NAME)])]:
            path.unlink(missing_ok=True)
            sync_directory(path.parent)
        if not styled:
            prepared.commit()
        staged.commit()
    return styled
