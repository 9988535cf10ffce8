"""Whose directory it is, and what a run may do there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from weft.config.schema import Config
from weft.errors import RunError
from weft.training.checkpoint import write_checkpoint
from weft.training.identity import differences, identity, model_fingerprint
from weft.training.progress import Progress
from weft.training.run_dir import CONFIG, SUMMARY, Start, choose_start, locked
from weft.training.state import State, read_state

MINE = {"train.learning_rate": 1e-3, "data": "abc"}
OTHER = {"train.learning_rate": 2e-3, "data": "abc"}


def never(message: str) -> None:
    raise AssertionError(message)


def save(run: Path, step: int, identity: dict = MINE, finished: bool = False) -> Path:
    progress = Progress(step=step, finished=finished)
    state = State(progress=progress, identity=identity, environment={}, grad_scaler=None)
    return write_checkpoint(run, step, lambda into: into.joinpath("state.json").write_text(json.dumps(asdict(state))))


def say_whose(run: Path, identity: dict = MINE) -> None:
    (run / CONFIG).write_text(json.dumps({"identity": identity}))


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_new_directory_is_made_with_its_parents(tmp_path):
    run = tmp_path / "a" / "b"
    with locked(run):
        assert choose_start(run, MINE, warn=never) == Start()


def test_two_runs_at_once_are_refused(tmp_path):
    with locked(tmp_path), pytest.raises(RunError, match="another weft process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("fresh", [False, True])
def test_a_place_that_cannot_be_written(tmp_path, fresh):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written") as caught, locked(tmp_path / "file" / "run", fresh=fresh):
        pass
    assert "train.output_dir" in caught.value.fix


def test_a_foreign_directory_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / CONFIG).write_text("{}")  # a name that other programs use as well
    before = tree(tmp_path)
    with pytest.raises(RunError, match=r"thesis\.tex"), locked(tmp_path):
        pass
    assert tree(tmp_path) == before


def test_fresh_moves_everything_aside_and_deletes_nothing(tmp_path):
    run = tmp_path / "run"
    for number in (1, 2):
        run.mkdir(exist_ok=True)
        (run / "model.safetensors").write_text(f"weights {number}")
        with locked(run, fresh=True):
            assert choose_start(run, MINE, warn=never) == Start()
            with pytest.raises(RunError, match="another weft process"), locked(run):
                pass
    assert (tmp_path / "run.old-1" / "model.safetensors").read_text() == "weights 1"
    assert (tmp_path / "run.old-2" / "model.safetensors").read_text() == "weights 2"
    with locked(run, fresh=True):  # nothing there to move
        assert not (tmp_path / "run.old-3").exists()


@pytest.mark.parametrize("place", [".", "..", "data", "data/deeper/.."])
def test_fresh_does_not_move_what_the_new_run_needs(tmp_path, monkeypatch, place):
    (tmp_path / "here" / "data" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    Path("data/train.jsonl").write_text("{}")
    with (
        pytest.raises(RunError, match=r"cannot be moved aside, because .* is needed"),
        locked(Path(place), fresh=True, needed=[Path("data/train.jsonl")]),
    ):
        pass
    assert {path.name for path in tmp_path.rglob("*")} == {"here", "data", "deeper", "train.jsonl"}


def test_fresh_does_not_pull_the_directory_from_under_another_run(tmp_path):
    run = tmp_path / "run"
    with locked(run):
        say_whose(run)
        with pytest.raises(RunError, match="another weft process"), locked(run, fresh=True):
            pass
        assert (run / CONFIG).exists()


def test_a_run_that_died_before_its_first_checkpoint_is_replaced(tmp_path):
    say_whose(tmp_path, OTHER)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "runs").mkdir()
    (tmp_path / ".tmp-checkpoint-1").mkdir()
    (tmp_path / ".tmp-checkpoint-1" / "half").write_text("")
    (tmp_path / "predictions_val.jsonl").write_text("of the untuned model")
    with locked(tmp_path):
        assert choose_start(tmp_path, MINE, warn=never) == Start()
    assert tree(tmp_path).keys() == {".weft.lock", "predictions_val.jsonl"}


def test_the_same_run_resumes_and_a_finished_one_is_finished(tmp_path):
    say_whose(tmp_path)
    save(tmp_path, 2)
    newest = save(tmp_path, 4)
    assert choose_start(tmp_path, MINE, warn=never) == Start(checkpoint=newest)
    last = save(tmp_path, 6, finished=True)
    assert choose_start(tmp_path, MINE, warn=never) == Start(checkpoint=last)  # it died before the summary
    (tmp_path / SUMMARY).write_text("{}")
    assert choose_start(tmp_path, MINE, warn=never) == Start(checkpoint=last, finished=True)


def test_another_run_is_refused_with_the_difference(tmp_path):
    say_whose(tmp_path)
    save(tmp_path, 2)
    before = tree(tmp_path)
    with pytest.raises(RunError) as caught:
        choose_start(tmp_path, OTHER, warn=never)
    assert "train.learning_rate: 0.001 → 0.002" in str(caught.value)
    assert "data" not in caught.value.what.replace("settings or data", "")
    assert "--fresh" in caught.value.fix
    assert tree(tmp_path) == before


def test_finished_weights_are_kept_when_their_checkpoints_were_deleted(tmp_path):
    say_whose(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_text("weights")
    assert choose_start(tmp_path, MINE, warn=never) == Start(finished=True)
    with pytest.raises(RunError, match="other settings"):
        choose_start(tmp_path, OTHER, warn=never)
    assert (tmp_path / "adapter_model.safetensors").exists()


def test_resuming_from_a_named_checkpoint_renames_the_later_ones(tmp_path):
    say_whose(tmp_path)
    chosen, later = save(tmp_path, 2), save(tmp_path, 4)
    warnings: list[str] = []
    assert choose_start(tmp_path, MINE, resume_from=chosen, warn=warnings.append) == Start(checkpoint=chosen)
    assert not later.exists()
    assert read_state(tmp_path / "checkpoint-4.old-1").progress.step == 4
    assert "checkpoint-4" in warnings[0]


def test_a_named_checkpoint_must_be_whole_and_of_this_run(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    chosen = save(theirs, 2, OTHER)
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(RunError, match="other settings"):
        choose_start(run, MINE, resume_from=chosen, warn=never)
    (chosen / "state.json").write_text("{}")
    with pytest.raises(RunError, match=r"state\.json is not what was written"):
        choose_start(run, OTHER, resume_from=chosen, warn=never)
    with pytest.raises(RunError, match="no such directory"):
        choose_start(run, OTHER, resume_from=tmp_path / "nowhere", warn=never)


def test_a_state_of_another_version_is_an_error_not_a_traceback(tmp_path):
    write_checkpoint(tmp_path, 1, lambda into: into.joinpath("state.json").write_text('{"progress": {"steps": 3}}'))
    with pytest.raises(RunError, match="another version"):
        choose_start(tmp_path, MINE, warn=never)


def test_the_identity_holds_what_weights_depend_on():
    plain = identity(Config(), {})
    changed = Config(seed=7, train={"learning_rate": 1e-5, "logging_steps": 3, "output_dir": "x"}, gen={"top_p": 0.5})
    assert differences(plain, identity(changed, {})) == ["seed: 42 → 7", "train.learning_rate: 0.0002 → 1e-05"]
    assert {"tuning.lora.r", "model.max_seq_len", "data.system_prompt"} <= plain.keys()
    assert not any(key.startswith(("gen.", "eval.", "data.split")) for key in plain)
    mixture = identity(Config(datasets=[{"path": "a"}, {"path": "b", "weight": 2}]), {"data": "f"})
    assert "datasets[1].weight: (not set) → 2.0" in differences(plain, mixture)
    assert mixture["data"] == "f"
    assert json.loads(json.dumps(mixture)) == mixture


def test_a_model_is_recognised_by_its_content(tmp_path):
    def model(name: str, weights: bytes) -> str:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "config.json").write_text("{}")
        (directory / "model.safetensors").write_bytes(weights)
        return model_fingerprint(directory)

    small = bytes(range(256)) * 64
    assert model("a", small) == model("b", small)
    assert model("c", small[:-1] + b"\0") != model("a2", small)
    large = bytes(65 * 2**20)
    assert model("d", large) != model("e", large[:-1] + b"\1")
    assert model("f", large) == model("g", large)
