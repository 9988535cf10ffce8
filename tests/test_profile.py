"""`weft train --profile N`: what it measures, what it writes, and what it leaves alone."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from small_run import make_project
from weft.cli import main
from weft.objectives import causal
from weft.objectives.stages import STAGES, StageClock, stage
from weft.training import loop, peak
from weft.training.profile_table import Profile, profile_text
from weft.training.run_dir import locked

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of four steps of two micro-batches, and a machine whose peak is known."""
    make_project(tmp_path, tiny_model_dir)
    (tmp_path / "run.yaml").write_text(
        "model: {name: ./model}\n"
        "data: {train_path: train.jsonl, val_path: val.jsonl, cache_dir: cache}\n"
        "train: {output_dir: run, epochs: 2, batch_size: 2, grad_accum: 2}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("weft.training.profile.peak_flops_per_second", lambda device, dtype: (2e9, 1024))
    return tmp_path


@pytest.fixture
def weft(project: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*words: str) -> tuple[int, str, str]:
        code = main(["train", "run.yaml", *words])
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return call


def read_profile(project: Path) -> dict[str, Any]:
    return json.loads((project / "run/profile/profile.json").read_text())


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and "profile" not in path.parts}


def test_a_new_run_is_profiled_and_can_be_trained_afterwards(project, weft):
    code, out, err = weft("--profile", "2")
    assert (code, err) == (0, "")
    assert "lora, 32,768 trained" in out
    for name in ("data", "body forward", "body backward", "head + loss", "optimizer", "other", "step"):
        assert f"\n{name}  " in out
    assert "mean of 2 steps" in out
    assert "trace of a short step: run/profile/trace.json" in out
    assert {path.name for path in (project / "run").iterdir()} == {".weft.lock", "profile"}
    assert {path.name for path in (project / "run/profile").iterdir()} == {"profile.json", "trace.json"}
    assert weft()[0] == 0
    assert (project / "run/adapter_model.safetensors").is_file()


def test_the_numbers_add_up(project, weft):
    weft("--profile", "3")
    profile = read_profile(project)
    parts, step = profile["parts"], profile["step"]
    assert list(parts) == ["data", "body_forward", "backward", "head_loss", "optimizer", "other"]
    assert all(part["seconds"] > 0 for part in parts.values())
    assert sum(part["seconds"] for part in parts.values()) == pytest.approx(step["seconds"])
    assert sum(part["share"] for part in parts.values()) == pytest.approx(1)
    assert step["seconds"] == pytest.approx(sum(profile["step_seconds"]) / 3)
    assert profile["steps"] == len(profile["step_seconds"]) == 3
    assert {name for name, part in parts.items() if part["flops"]} == {"body_forward", "backward", "head_loss"}
    forward = parts["body_forward"]
    assert forward["flops_per_second"] == pytest.approx(forward["flops"] / forward["seconds"])
    assert forward["share_of_peak"] == pytest.approx(forward["flops_per_second"] / 2e9)
    assert profile["tokens_per_second"] == pytest.approx(profile["tokens_per_step"] / step["seconds"])
    assert profile["not_counted"] == []


def test_it_takes_the_steps_of_the_run(project, weft):
    """All four of them: 7 records each epoch, all of whose tokens and targets go through the model."""
    weft("--profile", "4", "tuning.mode=full")
    profile = read_profile(project)
    assert weft("tuning.mode=full", "--json")[0] == 0
    last = json.loads((project / "run/metrics.jsonl").read_text().splitlines()[-2])
    assert last["step"] == 4
    assert profile["tokens_per_step"] * 4 == last["tokens"]
    assert profile["targets_per_step"] * 4 == last["targets"]
    head = 2 * 64 * 400 * last["targets"] / 4
    assert profile["parts"]["head_loss"]["flops"] == 3 * head


def test_checkpointing_runs_the_forward_pass_once_more(project, weft):
    flops = []
    for on in ("false", "true"):
        weft("--profile", "1", "tuning.mode=full", f"train.gradient_checkpointing={on}")
        profile = read_profile(project)
        flops.append({name: part["flops"] for name, part in profile["parts"].items()})
    usual, checkpointed = flops
    assert checkpointed["body_forward"] == usual["body_forward"]
    not_run_again = 2 * 2 * 64 * 128 * profile["tokens_per_step"]  # the end of each layer, whose output nothing needs
    assert checkpointed["backward"] == usual["backward"] + usual["body_forward"] - not_run_again


@pytest.mark.parametrize(
    ("place", "name", "part", "calls"),
    [
        (loop, "collate", "data", 2),
        (causal, "head_loss", "head_loss", 2),
        (Accelerator, "backward", "backward", 2),
        (loop, "_clip", "optimizer", 1),
        (loop, "derive_seed", "other", 2),
    ],
)
def test_time_is_counted_where_it_goes(project, weft, monkeypatch, place, name, part, calls):
    """Every call of a function moves the clock on by 1,000 seconds."""
    original, now, waited = getattr(place, name), time.perf_counter, []

    def slowly(*args: Any, **keys: Any) -> Any:
        waited.append(1000.0)
        return original(*args, **keys)

    monkeypatch.setattr(place, name, slowly)
    monkeypatch.setattr(time, "perf_counter", lambda: now() + sum(waited))
    weft("--profile", "2")
    seconds = {name: part["seconds"] for name, part in read_profile(project)["parts"].items()}
    assert seconds.pop(part) == pytest.approx(calls * 1000, abs=100)
    assert max(seconds.values()) < 100


def test_the_trace_is_what_viewers_open(project, weft):
    weft("--profile", "2", "train.batch_size=1", "train.grad_accum=4")
    trace = json.loads((project / "run/profile/trace.json").read_text())
    ranges = [event["name"] for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]
    assert {name for name in ranges if name.startswith("weft.")} == {f"weft.{name}" for name in STAGES}
    assert ranges.count("weft.optimizer") == 1
    assert ranges.count("weft.backward") == 2  # of four micro-batches
    assert any(event["name"] == "aten::mm" and event["dur"] > 0 for event in trace["traceEvents"])


def test_a_finished_run_stays_as_it_is(project, weft):
    assert weft()[0] == 0
    before = files(project / "run")
    assert weft("--profile", "1", "tuning.mode=full", "train.learning_rate=1")[0] == 0
    assert files(project / "run") == before
    assert "nothing to train" in weft()[1]
    assert files(project / "run") == before


def test_no_more_steps_than_the_run_has(project, weft):
    code, out, _ = weft("--profile", "5")
    assert code == 0
    assert "the run has 4 steps, so no more than these are measured" in out
    assert read_profile(project)["steps"] == 4


def test_json_for_programs(project, weft):
    code, out, _ = weft("--profile", "1", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["event"] for event in events] == ["header", "profile"]
    assert events[1] == {"event": "profile", **read_profile(project)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--profile", "0"], "'0' is not a number of steps, 1 or more"),
        (["--profile", "-3"], "'-3' is not a number of steps"),
        (["--profile", "many"], "'many' is not a number of steps"),
        (["--profile"], "expected one argument"),
        (["--profile", "2", "--fresh"], "not allowed with argument --profile"),
    ],
)
def test_what_cannot_be_meant(project, weft, capfd, words, message):
    with pytest.raises(SystemExit) as left:
        weft(*words)
    assert left.value.code == 2
    assert message in capfd.readouterr().err
    assert not (project / "run").exists()


def test_a_directory_that_is_in_use_or_somebody_elses(project, weft):
    with locked(project / "run"):
        code, _, err = weft("--profile", "1")
    assert code == 2
    assert "another weft process trains in this directory" in err
    (project / "run/thesis.txt").touch()
    code, _, err = weft("--profile", "1")
    assert code == 2
    assert "no run of weft wrote: thesis.txt" in err


def test_ctrl_c_leaves_no_half_profile(project, weft, monkeypatch):
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_clip", interrupted)
    code, _, err = weft("--profile", "1")
    assert code == 130
    assert err == "weft: interrupted\n"
    assert not (project / "run/profile").exists()


def test_a_profile_that_could_not_be_written_is_refused_before_weights_load(project, weft, monkeypatch):
    monkeypatch.setattr("weft.training.train.load_model", None)
    (project / "run").mkdir()
    (project / "run/profile").write_text("in the way")
    code, _, err = weft("--profile", "1")
    assert code == 2
    assert "run/profile: nothing can be written into it: profile is a file" in err


def test_a_disk_that_is_full_in_the_end(project, weft, monkeypatch):
    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("weft.training.profile.replace_file", full)
    code, _, err = weft("--profile", "1")
    assert code == 2
    assert "run/profile/profile.json: the run directory could not be written: No space left on device" in err
    assert "make room" in err


class TestClock:
    def test_only_what_happens_while_it_runs(self, monkeypatch):
        """By a clock that moves on by a second whenever it is read."""
        monkeypatch.setattr(time, "perf_counter", count().__next__)
        clock = StageClock(torch.device("cpu"))
        with stage("data"):
            time.perf_counter()
        with clock.running():
            assert clock.stage is None
            for seconds in (5, 2):
                with stage("backward"):
                    assert clock.stage == "backward"
                    for _ in range(seconds):
                        time.perf_counter()
            time.perf_counter()
        with stage("backward"):
            time.perf_counter()
        assert clock.seconds.pop("backward") == (5 + 1) + (2 + 1)  # reading it at the end is a second too
        assert set(clock.seconds.values()) == {0.0}

    def test_an_error_ends_a_stage(self):
        clock = StageClock(torch.device("cpu"))
        with pytest.raises(ValueError, match="broken"), clock.running(), stage("data"):
            raise ValueError("broken")
        assert clock.stage is None
        with stage("data"):
            assert clock.stage is None


@pytest.mark.parametrize(
    ("seconds", "products", "best", "best_size"),
    [
        (0.3, {1024: [0.01, 0.2, 0.05, 0.2], 2048: [0.01, 0.5]}, 0.05, 1024),
        (2.0, {1024: [9.0, 1.0, 1.0], 2048: [9.0, 4.0], 4096: []}, 4.0, 2048),
    ],
)
def test_the_peak_is_that_of_the_fastest_product(monkeypatch, seconds, products, best, best_size):
    """Of each size those that ``seconds`` hold count, after one that does not; 4 times as long is too long for one."""
    monkeypatch.setattr(peak, "_seconds", lambda left, right, out: products[len(out)].pop(0))
    found = peak.peak_flops_per_second(torch.device("cpu"), torch.float32, seconds=seconds)
    assert found == (2 * best_size**3 / best, best_size)
    assert not any(products.values())


def test_a_product_is_timed(monkeypatch):
    """By a clock that moves on by a second whenever it is read."""
    monkeypatch.setattr(time, "perf_counter", count().__next__)
    monkeypatch.setattr(peak, "_SIZES", (64, 96))
    assert peak.peak_flops_per_second(torch.device("cpu"), torch.float32, seconds=1) == (2 * 96**3, 96)


def test_the_table():
    profile = Profile(
        device="cpu",
        dtype="float32",
        threads=2,
        step_seconds=(1.5, 2.5),
        part_seconds={"data": 0.1, "body_forward": 0.5, "backward": 0.75, "head_loss": 0.25, "optimizer": 0.2},
        part_flops={"body_forward": 30e9, "backward": 60e9, "head_loss": 20e9},
        not_counted=("Qwen3MoeExperts (1,024 parameters)",),
        tokens=3000.0,
        targets=1500.0,
        peak=100e9,
        peak_size=2048,
        trace=Path("out/profile/trace.json"),
    )
    assert profile_text(profile).splitlines() == [
        "               seconds   share  GFLOP/s  of peak",
        "────────────────────────────────────────────────",
        "data            0.1000    5.0%",
        "body forward    0.5000   25.0%     60.0      60%",
        "body backward   0.7500   37.5%     80.0      80%",
        "head + loss     0.2500   12.5%     80.0      80%",
        "optimizer       0.2000   10.0%",
        "other           0.2000   10.0%",
        "────────────────────────────────────────────────",
        "step            2.0000  100.0%     55.0      55%",
        "mean of 2 steps, from 1.5000 s to 2.5000 s; 3,000 tokens a step of which 1,500 trained; 1,500 tokens/s",
        "peak: 100.0 GFLOP/s, the best square float32 matrix product here (2,048 × 2,048, 2 threads)",
        "not counted in FLOP/s: Qwen3MoeExperts (1,024 parameters)",
        "trace of a short step: out/profile/trace.json (open it at https://ui.perfetto.dev or in chrome://tracing)",
    ]
    on_gpu = profile_text(replace(profile, device="cuda", not_counted=(), step_seconds=(2.0,)))
    assert "\none step; 3,000 tokens" in on_gpu
    assert "(2,048 × 2,048, cuda)" in on_gpu
    assert "every part waits for the cuda device" in on_gpu
    assert "not counted" not in on_gpu
