"""A run that was stopped anywhere ends as one that was not: the same weights, optimizer and log, to the bit (law 10)."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from small_run import Killed, Quiet, configure, make_project, result_of, write_records
from weft.errors import Interrupted, RunError, WeftError
from weft.training import train as module
from weft.training.interrupt import interruptible
from weft.training.log import read_metrics
from weft.training.train import train

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other

STEPS = 4
TUNINGS = {"lora": {"mode": "lora", "lora": {"r": 4, "dropout": 0.3}}, "full": {"mode": "full"}}


@pytest.fixture(params=TUNINGS)
def tuning(request) -> dict:
    return TUNINGS[request.param]


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path) -> Path:
    make_project(tmp_path, tiny_model_dir, dropout=0.2)
    return tmp_path


def interrupted_at(loaded, step: int) -> Interrupted:
    with pytest.raises(Interrupted) as caught:
        train(loaded, display=Quiet(interrupt_at=step))
    return caught.value


def test_a_stop_at_any_step_changes_nothing(project, tuning):
    expected = train(configure(project, "whole", tuning=tuning), display=Quiet())
    assert expected.summary["steps"] == STEPS
    for step in range(1, STEPS):
        loaded = configure(project, f"stopped-{step}", tuning=tuning)
        stopped = interrupted_at(loaded, step)
        assert f"step {step} of {STEPS}" in stopped.what
        assert "the same command" in stopped.fix
        resumed = Quiet()
        train(loaded, display=resumed)
        assert f"checkpoint-{step}" in resumed.notices()
        assert result_of(project / f"stopped-{step}") == result_of(project / "whole")


@pytest.mark.parametrize("how", ["bfd", "wrapped"])
def test_a_stop_changes_nothing_where_examples_are_packed(project, how):
    """Three epochs of a mixture that draws a remainder, of 2, 3 and 2 steps."""
    write_records(project / "more.jsonl", 9, subject="city")
    mixture = [
        {"path": str(project / f"{name}.jsonl"), "weight": weight} for name, weight in (("train", 1.0), ("more", 2.0))
    ]
    keys = {"max_seq_len": 204, "datasets": mixture, "packing": how, "batch_size": 2, "grad_accum": 1, "epochs": 3.0}
    train(configure(project, "whole", save_strategy="epoch", save_total_limit=None, **keys), display=Quiet())
    saved = (project / "whole").glob("checkpoint-*")
    assert sorted(path.name for path in saved) == ["checkpoint-2", "checkpoint-5", "checkpoint-7"]
    for step in (1, 4):  # neither ends an epoch
        loaded = configure(project, f"stopped-{step}", **keys)
        interrupted_at(loaded, step)
        train(loaded, display=Quiet())
        assert result_of(project / f"stopped-{step}") == result_of(project / "whole")


def test_another_packing_is_another_run(project):
    interrupted_at(configure(project, packing="bfd", max_seq_len=150), 1)
    with pytest.raises(RunError, match=r"train\.packing: bfd → none"):
        train(configure(project, packing="none", max_seq_len=150), display=Quiet())


def test_a_stop_at_every_step_changes_nothing(project, tuning):
    train(configure(project, "whole", tuning=tuning), display=Quiet())
    loaded = configure(project, "stopped", tuning=tuning)
    for step in range(1, STEPS):
        interrupted_at(loaded, step)
    train(loaded, display=Quiet())
    assert result_of(project / "stopped") == result_of(project / "whole")


def test_dropout_was_on(project, tiny_model_dir, tuning):
    train(configure(project, tuning=tuning), display=Quiet())
    plain = project / "plain"
    plain.mkdir()
    make_project(plain, tiny_model_dir, dropout=0.0)
    without = {**tuning, "lora": {"r": 4, "dropout": 0.0}}
    train(configure(plain, tuning=without), display=Quiet())
    first, plain_first = (read_metrics(directory / "run" / "metrics.jsonl")[0] for directory in (project, plain))
    assert first["targets"] == plain_first["targets"]
    assert first["loss"] != plain_first["loss"]


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_kill_at_any_step_changes_nothing(project, step):
    train(configure(project, "whole", save_strategy="steps", save_steps=2), display=Quiet())
    loaded = configure(project, "killed", save_strategy="steps", save_steps=2)
    with pytest.raises(Killed):
        train(loaded, display=Quiet(kill_at=step))
    train(loaded, display=Quiet())
    assert result_of(project / "killed") == result_of(project / "whole")


def test_a_kill_between_the_last_checkpoint_and_the_result(project, monkeypatch):
    train(configure(project, "whole"), display=Quiet())
    loaded = configure(project, "killed")

    def killed(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "publish", killed)
        with pytest.raises(Killed):
            train(loaded, display=Quiet())
    assert not (project / "killed" / "adapter_model.safetensors").exists()
    train(loaded, display=Quiet())
    assert result_of(project / "killed") == result_of(project / "whole")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint_before(project, monkeypatch, code):
    train(configure(project, "whole", save_strategy="steps", save_steps=1), display=Quiet())
    loaded = configure(project, "full", save_strategy="steps", save_steps=1)
    saves: list[Path] = []

    def third_fails(model, directory: Path, **keys) -> None:
        saves.append(directory)
        if len(saves) == 3:
            (directory / "adapter_model.safetensors").write_bytes(b"half")
            raise OSError(code, os.strerror(code))
        real(model, directory, **keys)

    real = module.save_model
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_model", third_fails)
        with pytest.raises(RunError, match=os.strerror(code)):
            train(loaded, display=Quiet())
    run = project / "full"
    assert sorted(path.name for path in run.glob("*checkpoint*")) == ["checkpoint-1", "checkpoint-2"]
    train(loaded, display=Quiet())
    assert result_of(run) == result_of(project / "whole")


def test_a_disk_that_is_full_when_the_result_is_published(project, monkeypatch):
    train(configure(project, "whole"), display=Quiet())
    loaded = configure(project, "full")

    def no_space(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    with monkeypatch.context() as patch:
        patch.setattr("weft.training.serving.shutil.copyfile", no_space)
        with pytest.raises(RunError, match="No space left on device") as caught:
            train(loaded, display=Quiet())
    assert "full" in caught.value.where
    train(loaded, display=Quiet())
    assert result_of(project / "full") == result_of(project / "whole")


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_a_machine_that_is_too_small_is_no_bug(project, monkeypatch, problem):
    def too_small(*args: object, **keys: object) -> None:
        raise problem

    monkeypatch.setattr(module, "fit", too_small)
    with pytest.raises(WeftError, match="not enough memory") as caught:
        train(configure(project), display=Quiet())
    assert "train.batch_size=1" in caught.value.fix


def test_a_damaged_checkpoint_is_skipped_by_name(project):
    train(configure(project, "whole", save_strategy="steps", save_steps=1), display=Quiet())
    loaded = configure(project, "damaged", save_strategy="steps", save_steps=1)
    interrupted_at(loaded, 3)
    damaged = project / "damaged" / "checkpoint-3" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    resumed = Quiet()
    train(loaded, display=resumed)
    assert "checkpoint-3 is damaged and skipped: optimizer.safetensors" in resumed.notices()
    assert "checkpoint-2" in resumed.notices()
    assert result_of(project / "damaged") == result_of(project / "whole")


def test_resuming_from_a_named_checkpoint(project):
    keys = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
    train(configure(project, "whole", **keys), display=Quiet())
    expected = result_of(project / "whole")
    chosen = project / "whole" / "checkpoint-2"
    elsewhere = configure(project, "elsewhere", resume_from_checkpoint=str(chosen), **keys)
    train(elsewhere, display=Quiet())
    assert result_of(project / "elsewhere")["weights"] == expected["weights"]
    again = Quiet()
    train(configure(project, "whole", resume_from_checkpoint=str(chosen), **keys), display=again)
    assert "checkpoint-4 is later" in again.notices()
    assert result_of(project / "whole") == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(project, number):
    before = signal.getsignal(number)
    with interruptible() as stop_requested:
        assert not stop_requested()
        os.kill(os.getpid(), number)
        assert stop_requested()
        with pytest.raises(Interrupted, match="at once"):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_changed_data_or_settings_are_refused_and_nothing_is_touched(project):
    loaded = configure(project)
    interrupted_at(loaded, 2)
    before = result_of_files(project / "run")
    with pytest.raises(RunError, match=r"train\.learning_rate: 0\.01 → 0\.02"):
        train(configure(project, learning_rate=0.02), display=Quiet())
    write_records(project / "train.jsonl", 7, subject="figure")
    with pytest.raises(RunError, match=r"data: \w+ → \w+"):
        train(loaded, display=Quiet())
    assert result_of_files(project / "run") == before


def result_of_files(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_what_does_not_change_weights_may_change(project):
    loaded = configure(project)
    interrupted_at(loaded, 2)
    train(configure(project, save_total_limit=1, save_strategy="no"), display=Quiet())
    assert [path.name for path in (project / "run").glob("checkpoint-*")] == ["checkpoint-4"]


def test_a_changed_machine_is_named(project, monkeypatch):
    loaded = configure(project)
    interrupted_at(loaded, 2)
    real = module.environment
    monkeypatch.setattr(module, "environment", lambda **facts: {**real(**facts), "threads": 96})
    resumed = Quiet()
    train(loaded, display=resumed)
    assert "threads: 1 → 96" in resumed.notices()
    assert "torch" not in resumed.notices()


def test_another_precision_in_one_process_is_refused_and_leaves_the_process_usable(project):
    train(configure(project, "plain", max_steps=1), display=Quiet())
    with pytest.raises(
        RunError, match=r"Accelerate refuses: AcceleratorState has already .*\n  fix: .*another precision"
    ):
        train(configure(project, "mixed", max_steps=1, bf16=True), display=Quiet())
    train(configure(project, "again", max_steps=1), display=Quiet())
    assert result_of(project / "plain") == result_of(project / "again")


def test_the_best_model_is_the_result_and_survives_rotation(project):
    keys = {"load_best_model_at_end": True, "greater_is_better": True, "save_total_limit": 1, "epochs": 4.0}
    result = train(configure(project, **keys), display=Quiet())
    run = project / "run"
    best = json.loads((run / "checkpoint-8" / "state.json").read_text())["progress"]["best_step"]
    assert best == 2  # the loss falls, and here that is worse
    assert sorted(path.name for path in run.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-8"]
    assert result.summary["weights_from"] == "checkpoint-2"
    weights = "adapter_model.safetensors"
    assert (run / weights).read_bytes() == (run / "checkpoint-2" / weights).read_bytes()
    assert (run / weights).read_bytes() != (run / "checkpoint-8" / weights).read_bytes()
