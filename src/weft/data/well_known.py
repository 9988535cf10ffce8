"""Well-known instruction sets, from the hub or a local copy, as files of prompts and responses (``weft datasets get``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from weft.data.conversation_reader import NothingLeft
from weft.data.conversations import ConversationFile, read_conversations
from weft.data.files import StagedFiles, check_directory, first_line_has, json_lines
from weft.data.readers import kind
from weft.data.reading import Reading
from weft.errors import DataError, Problems
from weft.types import Conversation


@dataclass(frozen=True, kw_only=True)
class WellKnown:
    """A set that people know by name."""

    hub: str
    """Its name on the Hugging Face hub."""
    file: str
    """What it becomes."""
    reading: Reading

    def lies_at(self, name: str, path: Path) -> bool:
        """Whether a file or folder is called like the set, ``name``, or like its repository on the hub."""
        names = (name, self.hub.rpartition("/")[2])
        return any(path.name.lower().startswith(known) for known in names)


WELL_KNOWN: Mapping[str, WellKnown] = {
    "dolly15k": WellKnown(
        hub="databricks/databricks-dolly-15k", file="dolly15k.jsonl", reading=Reading(format="dolly")
    ),
    "oasst1": WellKnown(
        hub="OpenAssistant/oasst1",
        file="oasst1_en.jsonl",
        reading=Reading(format="oasst", oasst_paths="best", oasst_lang=("en",)),
    ),
    "alpaca": WellKnown(hub="tatsu-lab/alpaca", file="alpaca.jsonl", reading=Reading(format="alpaca")),
}


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What came of one set."""

    name: str
    source: str
    path: Path
    records: int
    further_exchanges: int
    """Of conversations, those behind the first one, which a prompt and a response cannot hold."""
    left_out: Mapping[str, int]
    """Records, or messages of trees, that are not in the file, by reason."""
    bad_rows: Mapping[str, tuple[str, ...]]
    """The places of those that cannot be used, by reason."""


def get_datasets(names: Sequence[str], source: Path | None, out: Path) -> list[Fetched]:
    """Write the sets ``names`` into the directory ``out``: all of them, or none.

    Args:
        names: of :data:`WELL_KNOWN`.
        source: a local copy, as :func:`weft.data.places.find_parts` reads it; a directory may also hold one copy per set, which
            is called like it. None: the hub.
        out: the directory.

    Raises:
        DataError: a copy is missing or unreadable, the ``datasets`` library is, or a file in the way is not one of these.
        Problems: no record of a set can be used.
    """
    check_directory(out)
    for name in names:
        _check_replaceable(out / WELL_KNOWN[name].file)
    fetched = []
    with StagedFiles() as staged:
        for name in names:
            known = WELL_KNOWN[name]
            place = f"{known.hub}@train" if source is None else str(_copy_of(name, source, alone=len(names) == 1))
            found = _read(place, known, name)
            staged.write(out / known.file, json_lines(map(_first_exchange, found.talks)))
            fetched.append(_account(name, place, out / known.file, found))
        staged.commit()
    return fetched


def _read(place: str, known: WellKnown, name: str) -> ConversationFile:
    try:
        return read_conversations(place, format=known.reading, on_bad_row="drop", source=name)
    except Problems as none_left:
        first, *_ = none_left.problems
        raise DataError(
            f"no record of it can be used as {known.hub}; the first one: {first.what}",
            where=first.where,
            fix="give a copy of that set in its own fields as --source; other records need no `weft datasets get`: name them as "
            "data.raw_path",
        ) from None
    except NothingLeft as nothing:  # whose fix names settings, which the command does not take
        raise DataError(
            nothing.what,
            where=nothing.where,
            fix=f"give a copy with answers in {' or '.join(known.reading.oasst_lang)} (lang) as --source; other records need no "
            "`weft datasets get`: name them as data.raw_path",
        ) from None


def _copy_of(name: str, source: Path, *, alone: bool) -> Path:
    """Where the set lies: what is called like it in the directory ``source``, or ``source`` itself if it is for one set."""
    if source.is_dir():
        copies = sorted(path for path in source.iterdir() if WELL_KNOWN[name].lies_at(name, path))
        if len(copies) > 1:
            raise DataError(
                f"several copies of {name} lie there: {', '.join(path.name for path in copies)}",
                where=str(source),
                fix="name the one that is meant with --source",
            )
        if copies:
            return _records_in(copies[0])
    if alone:
        return _records_in(source)
    raise DataError(
        f"there is no copy of {name}",
        where=str(source),
        fix=f"put it there as {name}.jsonl, or as a folder of that name; or get the sets one by one",
    )


def _records_in(copy: Path) -> Path:
    """In a clone of a repository of the hub, its training split, which is what the hub gives, too: in the folder of the records
    lie other splits, and beside it a card, and perhaps other forms of the records. Without a card, the folder may be all that was
    fetched.
    """
    records = copy / "data"
    if not records.is_dir():
        return copy
    if not (copy / "README.md").is_file() and any(kind(entry) for entry in copy.iterdir() if entry.is_file()):
        return copy
    return Path(escape(str(records))) / "train*" if any(records.glob("train*")) else records


def _check_replaceable(path: Path) -> None:
    if path.is_file() and not first_line_has(path, {"prompt", "response"}, {"system"}):
        raise DataError(
            "another file stands in the place of this one", where=str(path), fix="move it, or set --out elsewhere"
        )


def _first_exchange(conversation: Conversation) -> dict[str, str]:
    opening, *rest = conversation.messages
    system = {"system": opening.content} if opening.role == "system" else {}
    question, answer = (rest if system else conversation.messages)[:2]
    return {"prompt": question.content, "response": answer.content, **system}


def _account(name: str, place: str, path: Path, found: ConversationFile) -> Fetched:
    answers = sum(message.role == "assistant" for talk in found.talks for message in talk.messages)
    bad_rows: dict[str, list[str]] = {}
    for row in found.bad_rows:
        bad_rows.setdefault(row.reason, []).append(str(row.location))
    return Fetched(
        name=name,
        source=place,
        path=path,
        records=len(found.conversations),
        further_exchanges=answers - len(found.conversations),
        left_out=dict(Counter(row.reason for row in found.bad_rows) + Counter(found.left_out)),
        bad_rows={reason: tuple(places) for reason, places in bad_rows.items()},
    )
