"""Complete or absent: every failure at every call to the file system, and every kind of damage."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from weft.errors import RunError
from weft.training import checkpoint as module
from weft.training.checkpoint import (
    ASIDE,
    MANIFEST,
    checkpoints,
    find_damage,
    newest_sound,
    replace_file,
    rotate,
    write_checkpoint,
)


class Killed(BaseException):
    """Stands for SIGKILL: no `except` of the code under test catches it."""


def fill(directory: Path, content: str = "weights") -> None:
    (directory / "model.safetensors").write_text(content)
    (directory / "state.json").write_text("{}")


def never(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path, 1, fill)
    return tmp_path


def fail_at(monkeypatch: pytest.MonkeyPatch, nth: int, failure: BaseException) -> list[str]:
    """Let the nth call that changes the disk raise ``failure`` (0: none does); returns the names of the calls."""
    calls: list[str] = []

    def wrap(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def counted(*args, **kwargs):
            calls.append(name)
            if len(calls) == nth:
                raise failure
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in [
        (os, "fsync"),
        (os, "replace"),
        (shutil, "rmtree"),
        (Path, "mkdir"),
        (Path, "write_text"),
        (module, "file_digest"),
    ]:
        wrap(owner, name)
    return calls


def calls_of_a_save(tmp_path: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        calls = fail_at(patch, 0, Killed())
        write_checkpoint(tmp_path, 2, fill)
    shutil.rmtree(tmp_path / "checkpoint-2")
    return len(calls)


def test_a_save_writes_aside_flushes_and_renames(run):
    with pytest.MonkeyPatch.context() as patch:
        calls = fail_at(patch, 0, Killed())
        write_checkpoint(run, 2, fill)
    steps = [call for call in calls if call in {"fsync", "replace"}]
    assert steps == ["fsync"] * 4 + ["replace", "fsync"]  # two files, manifest, directory; rename; parent
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint-1", "checkpoint-2"]


@pytest.mark.parametrize("again", [False, True], ids=["new", "replaces one of the same step"])
def test_a_kill_at_any_call_leaves_a_sound_checkpoint(run, monkeypatch, again):
    for nth in range(1, calls_of_a_save(run) + 4 * again + 1):
        if again and not (run / "checkpoint-2").exists():
            write_checkpoint(run, 2, fill)
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, nth, Killed())
            with suppress(Killed):
                write_checkpoint(run, 2, lambda directory: fill(directory, "newer"))
        assert all(find_damage(path) is None for _, path in checkpoints(run)), nth
        assert newest_sound(run, never).name in {"checkpoint-1", "checkpoint-2"}
        if not again:
            shutil.rmtree(run / "checkpoint-2", ignore_errors=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_at_any_call_is_an_error_that_keeps_the_previous_checkpoint(run, code):
    for nth in range(1, calls_of_a_save(run) + 1):
        with pytest.MonkeyPatch.context() as patch:
            calls = fail_at(patch, nth, OSError(code, os.strerror(code)))
            with pytest.raises(RunError, match=os.strerror(code)) as caught:
                write_checkpoint(run, 2, fill)
        assert "checkpoint-2" in str(caught.value.where), calls
        assert "resumes" in caught.value.fix
        assert find_damage(run / "checkpoint-1") is None
        for _, path in checkpoints(run):  # only the very last flush fails after the rename
            assert find_damage(path) is None
        shutil.rmtree(run / "checkpoint-2", ignore_errors=True)


def test_what_a_kill_left_aside_does_not_disturb_the_next_save(run):
    (run / f"{ASIDE}checkpoint-2").mkdir()
    (run / f"{ASIDE}checkpoint-2" / "half").write_text("…")
    write_checkpoint(run, 2, fill)
    assert find_damage(run / "checkpoint-2") is None


def test_every_damage_is_found(run):
    checkpoint = run / "checkpoint-1"
    sound = {path.name: path.read_bytes() for path in checkpoint.iterdir()}

    def damage(name: str, content: bytes | None) -> str | None:
        if content is None:
            (checkpoint / name).unlink()
        else:
            (checkpoint / name).write_bytes(content)
        found = find_damage(checkpoint)
        for restored, original in sound.items():
            (checkpoint / restored).write_bytes(original)
        (checkpoint / "extra.safetensors").unlink(missing_ok=True)
        return found

    assert "model.safetensors is not what was written" in damage("model.safetensors", b"weightS")
    assert "model.safetensors is not what was written" in damage("model.safetensors", b"weight")
    assert "state.json" in damage("state.json", None)
    assert "extra.safetensors" in damage("extra.safetensors", b"")
    assert MANIFEST in damage(MANIFEST, None)
    for broken in (b"", b"[]", b'{"files": 3}', b'{"files": {"state.json": {}}}', b"[" * 100_000, b"\xff\xfe"):
        assert MANIFEST in damage(MANIFEST, broken), broken[:20]
    assert find_damage(checkpoint) is None


def test_any_flipped_byte_of_any_file_is_found_or_harmless(run):
    checkpoint = run / "checkpoint-1"
    listed = json.loads((checkpoint / MANIFEST).read_text())
    for path in sorted(checkpoint.iterdir()):
        original = path.read_bytes()
        for position in range(len(original)):
            path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
            if find_damage(checkpoint) is None:
                assert path.name == MANIFEST  # where a sum is right, whatever else is flipped says the same
                assert json.loads(path.read_bytes())["files"] == listed["files"]
        path.write_bytes(original)


def test_a_damaged_checkpoint_is_skipped_by_name(run):
    write_checkpoint(run, 2, fill)
    (run / "checkpoint-2" / "state.json").write_text("{ }")
    warnings: list[str] = []
    assert newest_sound(run, warnings.append) == run / "checkpoint-1"
    assert len(warnings) == 1
    assert "checkpoint-2" in warnings[0]
    assert "state.json" in warnings[0]


def test_only_damaged_checkpoints_are_an_error_and_none_is_none(run, tmp_path_factory):
    (run / "checkpoint-1" / MANIFEST).unlink()
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        newest_sound(run, lambda message: None)
    assert newest_sound(tmp_path_factory.mktemp("empty"), never) is None


def test_steps_are_numbers_not_words(tmp_path):
    for step in (9, 10, 100):
        write_checkpoint(tmp_path, step, fill)
    (tmp_path / "checkpoint-final").mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    assert [step for step, _ in checkpoints(tmp_path)] == [100, 10, 9]


def test_rotation_keeps_the_newest_and_the_best(tmp_path):
    for step in (1, 2, 3, 4, 9):
        write_checkpoint(tmp_path, step, fill)
    rotate(tmp_path, newest=4, keep=None, best_step=None)
    assert [step for step, _ in checkpoints(tmp_path)] == [9, 4, 3, 2, 1]
    rotate(tmp_path, newest=4, keep=2, best_step=1)
    assert [step for step, _ in checkpoints(tmp_path)] == [9, 4, 3, 1]  # 9 is not of this run's past
    rotate(tmp_path, newest=4, keep=1, best_step=None)
    assert [step for step, _ in checkpoints(tmp_path)] == [9, 4]


def test_rotation_goes_on_where_the_disk_refuses(tmp_path, monkeypatch):
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, step, fill)
    fail_at(monkeypatch, 1, OSError(errno.EIO, "Input/output error"))
    rotate(tmp_path, newest=3, keep=1, best_step=None)
    assert [step for step, _ in checkpoints(tmp_path)] == [3, 2]


def test_a_removal_that_is_killed_leaves_no_half_checkpoint(tmp_path):
    for nth in (1, 2):
        write_checkpoint(tmp_path, 1, fill)
        write_checkpoint(tmp_path, 2, fill)
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, nth, Killed())
            with pytest.raises(Killed):
                rotate(tmp_path, newest=2, keep=1, best_step=None)
        assert all(find_damage(path) is None for _, path in checkpoints(tmp_path))
        assert newest_sound(tmp_path, never) == tmp_path / "checkpoint-2"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    replace_file(path, b"old")
    for nth in (1, 2, 3):
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, nth, Killed())
            with pytest.raises(Killed):
                replace_file(path, b"new")
        assert path.read_bytes() in {b"old", b"new"}
