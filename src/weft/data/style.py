"""A style: one instruction that is part of every system message, put into the files that training reads, and out again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from weft.config.checks import no_system_message_is_added_where_none_is_kept
from weft.config.data_schema import StyleMode
from weft.config.schema import Config
from weft.data.conversations import canonical, read_conversations
from weft.data.files import StagedFiles, json_lines
from weft.data.places import exists, named, spelled
from weft.data.prepared import prepared_path
from weft.data.reading import reading_of
from weft.data.style_record import (
    Digests,
    StyleRecord,
    check_no_stray_original,
    holds,
    listed_files,
    original_path,
    put_back,
    read_record,
    readable_record,
    record_path,
    relative_name,
    restore,
    write_record,
)
from weft.data.system_prompt import under
from weft.disk import file_digest
from weft.errors import ConfigError, DataError
from weft.types import Document, Material


@dataclass(frozen=True, kw_only=True)
class StyleReport:
    """What a call did."""

    style: str | None
    """The style that the files hold now."""
    changed: bool
    """False where the files were so already."""
    files: tuple[str, ...]
    """The files that hold the style, or held it."""
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def apply_style(config: Config, style: str) -> StyleReport:
    """Make ``style`` part of every system message of the train, val and test files; it replaces an earlier style.

    It stands behind the text of the system message, before it, or in its place (``data.style_mode``), apart by a blank line;
    without such a message it becomes one. The files as they were are kept beside them; :func:`remove_style` brings them back.

    Raises:
        ConfigError: ``data.style`` asks for another one, the style is empty, or training keeps no system message.
        DataError: there is no file to style, or one was changed since an earlier style was applied.
    """
    if not style.strip():
        raise ConfigError("the style is empty", fix="give it words, or take the style out with `weft style --undo`")
    if config.data.style not in (None, style):
        raise ConfigError(
            "this is not the style that is configured", where="data.style", fix="change data.style, or remove it"
        )
    _check_kept(config, style)
    paths = _prepared_files(config)
    record = _record(config)
    present = read_record(record)
    names = tuple(map(str, paths))
    if present and _is(present, style, config) and holds(present, paths, record):
        return StyleReport(style=style, changed=False, files=names, notes=style_notes(config))
    restore(record)
    notes = _style_files(config, style, paths, record)
    return StyleReport(style=style, changed=True, files=names, notes=(*notes, *style_notes(config)))


def _check_kept(config: Config, style: str) -> None:
    """Raise where a configuration with this style would be refused, because training leaves system messages out."""
    asked = config.model_copy(update={"data": config.data.model_copy(update={"style": style})})
    for finding in no_system_message_is_added_where_none_is_kept(asked):
        raise ConfigError(finding.what, fix=finding.fix)


def is_styled(config: Config, style: str, unstyled: Mapping[Path, str]) -> bool:
    """Whether exactly the files of ``unstyled``, which have these SHA-256 without a style, hold ``style`` already."""
    present = readable_record(_record(config))
    if present is None or not _is(present, style, config) or not all(map(Path.is_file, unstyled)):
        return False
    kept = {original_path(path): digest for path, digest in unstyled.items()}
    same = all(original.is_file() and file_digest(original) == digest for original, digest in kept.items())
    return same and holds(present, list(unstyled), _record(config))


def _style_files(config: Config, style: str, paths: list[Path], record: Path) -> list[str]:
    digests: dict[str, Digests] = {}
    notes: list[str] = []
    with StagedFiles() as originals, StagedFiles() as styled:
        for path in paths:
            check_no_stray_original(path)
            found = read_conversations(
                path, format=reading_of(config.data, config.data.format, config.mode), on_bad_row=config.on_bad_row
            )
            rows = (canonical(_styled(config, each, style)) for each in found.conversations)
            digests[relative_name(path, record)] = Digests(
                unstyled=originals.write(original_path(path), [path.read_bytes()]),
                styled=styled.write(path, json_lines(rows)),
            )
            if found.bad_rows:
                notes.append(f"{path}: {len(found.bad_rows)} bad rows are left out of the styled file")
        originals.commit()
        begun = StyleRecord(style=style, complete=False, files=digests, mode=config.data.style_mode)
        write_record(record, begun)
        styled.commit()
        write_record(record, replace(begun, complete=True))
    return notes


def remove_style(config: Config) -> StyleReport:
    """Put the files back exactly as they were before :func:`apply_style`.

    Raises:
        ConfigError: ``data.style`` still asks for the style.
        DataError: a file was changed since, and the change would be lost.
    """
    if config.data.style is not None:
        raise ConfigError("the configuration still asks for a style", where="data.style", fix="remove data.style first")
    restored = restore(_record(config))
    return StyleReport(style=None, changed=bool(restored), files=tuple(map(str, restored)))


def style_notes(config: Config) -> tuple[str, ...]:
    """What a style leaves as it is."""
    others = ", ".join(spelled(each.path) for each in config.datasets)
    notes = (f"the files under `datasets` are not changed: {others}",) if others else ()
    return notes if config.mode == "sft" else (*notes, "documents have no system message, so they are not changed")


def suspend_style(config: Config) -> None:
    """Mark the style as incomplete, because files that hold it are about to be written anew."""
    present = readable_record(_record(config))
    if present:
        write_record(_record(config), replace(present, complete=False))


def end_style(config: Config, replaced: Iterable[Path]) -> tuple[str | None, list[Path]]:
    """Forget the style after files that held it were written anew or removed.

    Args:
        config: the configuration of the files.
        replaced: those files; their originals are removed. Other files that held the style are put back as they were.

    Returns:
        The style that the files held, and the files that stay as they are, with their original beside them, because one of
        the two was changed since.
    """
    record = _record(config)
    present = readable_record(record)
    gone = {path.resolve() for path in replaced}
    kept = []
    for path, digests in listed_files(present, record) if present else ():
        if path.resolve() not in gone and not put_back(path, digests):
            kept.append(path)
    for path in gone:
        original_path(path).unlink(missing_ok=True)
    record.unlink(missing_ok=True)
    return present.style if present else None, kept


def active_style(config: Config) -> str | None:
    """The style that the prepared files hold; where there are none here (on another machine), the one that is configured.

    Raises:
        DataError: the files hold another style than ``data.style`` asks for, or one that was applied only in part.
    """
    return _active(config)[0]


def _active(config: Config) -> tuple[str | None, StyleMode]:
    """See :func:`active_style`, and where it goes."""
    wanted = config.data.style
    present = read_record(_record(config)) if isinstance(config.data.train_path, str) else None
    if present and not present.complete:
        raise DataError(
            "applying or removing a style was interrupted",
            where=spelled(config.data.train_path),
            fix="run `weft style` again, with the style or with --undo",
        )
    if present and (wanted is None or _is(present, wanted, config)):
        return present.style, present.mode
    if wanted is None or not exists(config.data.train_path):
        return wanted, config.data.style_mode
    held = "no" if present is None else "another" if present.style != wanted else "this"
    elsewhere = f" as data.style_mode: {present.mode}" if held == "this" and present else ""
    raise DataError(
        f"the file holds {held} style{elsewhere}; data.style asks for {wanted!r:.60}"
        + (f" as {config.data.style_mode}" if elsewhere else ""),
        where=spelled(config.data.train_path),
        fix="run `weft style` with this configuration, which applies data.style",
    )


def effective_system_prompt(config: Config) -> str | None:
    """The system message, as training sees it, of conversations that have none of their own: ``data.system_prompt``, the style;
    none where no system message is kept.

    Raises:
        DataError: see :func:`active_style`.
    """
    if not config.data.include_system_prompt:
        return None
    style, mode = _active(config)
    return config.data.system_prompt if style is None else _join(config.data.system_prompt, style, mode)


def _styled(config: Config, conversation: Material, style: str) -> Material:
    if isinstance(conversation, Document):
        return conversation
    system, *turns = under(conversation.messages, config.data.system_prompt or "")
    content = _join(system.content, style, config.data.style_mode)
    return replace(conversation, messages=(replace(system, content=content), *turns))


def _join(system_prompt: str | None, style: str, mode: StyleMode) -> str:
    parts = {"append": (system_prompt, style), "prepend": (style, system_prompt), "replace": (style,)}[mode]
    return "\n\n".join(filter(None, parts))


def _is(present: StyleRecord, style: str, config: Config) -> bool:
    """Whether the record tells of this style, in the place that is configured."""
    return (present.style, present.mode) == (style, config.data.style_mode)


def _record(config: Config) -> Path:
    return record_path(Path(named(config.data.train_path)[0]))


def _data_paths(config: Config) -> tuple[Path, ...]:
    return prepared_path(config), Path(config.data.val_path), Path(config.data.test_path)


def _prepared_files(config: Config) -> list[Path]:
    paths = [path for path in _data_paths(config) if path.exists()]
    if not paths:
        raise DataError(
            "there are no prepared files yet", where=str(prepared_path(config)), fix="run `weft prepare` first"
        )
    for path in paths:
        if path.suffix.lower() != ".jsonl":
            fix = "run `weft prepare`, which writes such files"
            raise DataError("a style can only be put into .jsonl files", where=str(path), fix=fix)
    return paths
