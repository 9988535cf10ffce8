"""`weft train` from the command line: what it prints, what it leaves, and how it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from small_run import make_project, result_of, write_records
from weft.cli import main
from weft.training.log import read_metrics

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration; the test runs in it."""
    make_project(tmp_path, tiny_model_dir)
    (tmp_path / "run.yaml").write_text(
        "model: {name: ./model}\n"
        "data: {train_path: train.jsonl, val_path: val.jsonl, cache_dir: cache}\n"
        "train: {output_dir: run, epochs: 2, batch_size: 2, grad_accum: 2, logging_steps: 1, learning_rate: 1e-2}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weft(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["train", "run.yaml", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_text_for_people(project, capsys):
    code, out, _ = weft(capsys, "tuning.lora.r=4")
    assert code == 0
    assert "./model, 108,096 parameters" in out
    assert "lora, 8,192 trained" in out
    assert "4 examples a step = 2 × 2 micro-batches × 1 processes" in out
    assert "attention  segments (packed rows equal each document alone)" in out
    assert "step 4/4  epoch 2.00  loss" in out
    assert "trained: 4 steps, 2.00 epochs" in out
    assert out.rstrip().endswith("next: weft chat run.yaml tuning.lora.r=4, or weft eval run.yaml tuning.lora.r=4")


def test_json_for_programs(project, capsys):
    code, out, _ = weft(capsys, "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["event"] for event in events] == [
        "header",
        *["train", "train", "eval", "checkpoint"] * 2,
        "summary",
        "next",
    ]
    assert events[0]["steps"] == 4
    assert events[0]["effective_batch"] == 4
    assert events[-2] == {"event": "summary", **json.loads((project / "run" / "train_summary.json").read_text())}


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_the_run_directory_is_what_serving_needs(project, capsys, mode, tiny_tokenizer_dir):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    code, _, _ = weft(capsys, f"tuning.mode={mode}", "train.report_to=tensorboard")
    assert code == 0
    for directory in (project / "run", project / "run" / "checkpoint-4"):
        names = {path.name for path in directory.iterdir()}
        model = (
            {"adapter_model.safetensors", "adapter_config.json"}
            if mode == "lora"
            else {"model.safetensors", "config.json"}
        )
        assert (
            model | {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"}
            <= names
        )
        for name in ("tokenizer.json", "tokenizer_config.json"):
            assert (directory / name).read_bytes() == (tiny_tokenizer_dir / name).read_bytes()
        tokenizer = AutoTokenizer.from_pretrained(directory)
        asked = [{"role": "user", "content": "Hello"}]
        assert tokenizer.apply_chat_template(asked, tokenize=False) == "<|im_start|>user\nHello<|im_end|>\n"
        assert set(json.loads((directory / "generation_config.json").read_text())["eos_token_id"]) == {3, 5}
        base = AutoModelForCausalLM.from_pretrained(project / "model" if mode == "lora" else directory)
        loaded = PeftModel.from_pretrained(base, directory) if mode == "lora" else base
        assert loaded(torch.tensor([[7, 8]])).logits.shape == (1, 2, 400)
    run = project / "run"
    assert not {"optimizer.safetensors", "state.json", "MANIFEST.json"} & {path.name for path in run.iterdir()}
    assert list((run / "runs").glob("events.*"))
    settings = json.loads((run / "training_config.json").read_text())
    assert settings["base_model"] == "./model"
    assert settings["config"]["tuning"]["mode"] == mode
    assert settings["identity"]["rows per step"] == 4
    assert settings["environment"]["torch"] == torch.__version__
    summary = json.loads((run / "train_summary.json").read_text())
    losses = [line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line]
    assert summary["loss"] == {"first": losses[0], "last": losses[-1], "best": min(losses)}
    assert summary["tokens"] == read_metrics(run / "metrics.jsonl")[-2]["tokens"]
    assert "trained: 4 steps" in (run / "training.log").read_text()


def test_a_template_of_its_own_is_what_the_run_keeps(project, capsys):
    template = project / "own.jinja"
    template.write_text(
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% if m['role'] == 'assistant' %}<|eos|>{% endif %}\n"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert weft(capsys, "data.template_path=own.jinja")[0] == 0
    assert (project / "run" / "chat_template.jinja").read_bytes() == template.read_bytes()


def test_a_finished_run_says_so(project, capsys):
    weft(capsys)
    before = {path: path.read_bytes() for path in (project / "run").rglob("*") if path.is_file()}
    code, out, _ = weft(capsys)
    assert code == 0
    assert "finished: there is nothing to train" in out
    assert {path: path.read_bytes() for path in (project / "run").rglob("*") if path.is_file()} == before
    (project / "run" / "train_summary.json").write_text("{")
    assert weft(capsys)[0] == 0


def test_another_configuration_is_refused_and_fresh_moves_the_old_run_aside(project, capsys):
    weft(capsys)
    code, _, err = weft(capsys, "tuning.lora.r=2")
    assert code == 2
    assert "tuning.lora.r: 16 → 2" in err
    assert "--fresh" in err
    code, _, _ = weft(capsys, "tuning.lora.r=2", "--fresh")
    assert code == 0
    rank = {
        name: json.loads((project / name / "adapter_config.json").read_text())["r"] for name in ("run", "run.old-1")
    }
    assert rank == {"run": 2, "run.old-1": 16}


def test_fresh_does_not_move_the_checkpoint_that_it_was_told_to_resume_from(project, capsys):
    weft(capsys)
    code, _, err = weft(capsys, "train.resume_from_checkpoint=run/checkpoint-2", "--fresh")
    assert code == 2
    assert "run: it cannot be moved aside, because run/checkpoint-2 lies in it and is needed" in err
    assert (project / "run/checkpoint-2/MANIFEST.json").is_file()
    assert not (project / "run.old-1").exists()


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong must be said before weights load (law 11)."""

    def load(*args: object, **keys: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("weft.training.train.load_model", load)


@pytest.mark.usefixtures("no_weights")
class TestBeforeWeightsLoad:
    @pytest.mark.parametrize("key", ["train.load_best_model_at_end=true", "train.early_stopping_patience=2"])
    def test_a_validation_set_that_is_needed(self, project, capsys, key):
        (project / "val.jsonl").unlink()
        code, _, err = weft(capsys, key)
        assert code == 2
        assert "val.jsonl is missing" in err
        assert "data.val_path (run.yaml:2)" in err
        assert key.partition("=")[0] in err

    def test_tensorboard_that_is_not_installed(self, project, capsys, monkeypatch):
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest)
        )
        code, _, err = weft(capsys, "train.report_to=tensorboard")
        assert code == 2
        assert "pip install 'weft[tensorboard]'" in err

    def test_an_output_directory_that_cannot_be_written(self, project, capsys):
        code, _, err = weft(capsys, "train.output_dir=run.yaml/run")
        assert code == 2
        assert "run.yaml/run: the run directory cannot be written" in err

    def test_an_output_directory_of_someone_else(self, project, capsys):
        code, _, err = weft(capsys, "train.output_dir=.")
        assert code == 2
        assert "no run of weft wrote" in err

    def test_several_processes(self, project, capsys, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        code, _, err = weft(capsys)
        assert code == 2
        assert "several processes" in err

    def test_examples_that_are_all_too_long(self, project, capsys):
        code, _, err = weft(capsys, "model.max_seq_len=8")
        assert code == 2
        assert "max_seq_len" in err
        assert not (project / "run").exists()

    def test_missing_records(self, project, capsys):
        (project / "train.jsonl").unlink()
        code, _, err = weft(capsys)
        assert code == 2
        assert "train.jsonl" in err
        assert "weft prepare" in err

    def test_a_model_without_weights(self, project, capsys):
        (project / "model" / "model.safetensors").unlink()
        code, _, err = weft(capsys)
        assert code == 2
        assert "model.safetensors is missing" in err

    def test_a_checkpoint_that_is_not_there(self, project, capsys):
        code, _, err = weft(capsys, "train.resume_from_checkpoint=run/checkpoint-9")
        assert code == 2
        assert "train.resume_from_checkpoint: run/checkpoint-9" in err


def test_without_a_validation_set_nothing_is_evaluated_and_it_says_so(project, capsys):
    (project / "val.jsonl").unlink()
    code, out, _ = weft(capsys)
    assert code == 0
    assert "there is no validation set (val.jsonl)" in out
    assert "validation loss" not in out


def test_dropped_records_are_counted_with_their_places(project, capsys):
    long = json.dumps({"prompt": "long", "response": "very " * 300})
    with (project / "train.jsonl").open("a") as file:
        file.write(long + "\n")
    code, out, _ = weft(capsys, "model.max_seq_len=200")
    assert code == 0
    assert "1 training records left out" in out
    assert "train.jsonl:8" in out


def test_several_data_sets_with_weights(project, capsys):
    write_records(project / "more.jsonl", 4, subject="letter")
    with (project / "run.yaml").open("a") as file:
        file.write("datasets: [{path: train.jsonl}, {path: more.jsonl, weight: 0.5}]\n")
    code, out, _ = weft(capsys, "--json")
    header = json.loads(out.splitlines()[0])
    assert code == 0
    assert (header["examples"], header["steps"]) == (11, 6)


def test_ctrl_c_saves_says_how_to_resume_and_exits_130(project, capsys):
    long = "train.epochs=20"
    assert weft(capsys, "train.output_dir=whole", long)[0] == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "weft", "train", "run.yaml", long, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for line in process.stdout:
        if json.loads(line)["event"] == "train":
            process.send_signal(signal.SIGINT)
            break
    rest, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Ctrl-C again stops at once" in error
    assert "training stopped after step" in error
    assert "run the same command to resume" in error
    events = [json.loads(line) for line in rest.splitlines()]
    stopped = json.loads((Path(events[-1]["path"]) / "state.json").read_text())["progress"]["step"]
    assert 1 <= stopped < 40
    code, out, _ = weft(capsys, long)
    assert code == 0
    assert f"resuming from run/checkpoint-{stopped}" in out
    assert "threads" not in out.partition("model ")[0]
    assert result_of(project / "run") == result_of(project / "whole")


def test_a_whole_run_loads_no_library_that_it_does_not_use(project):
    code = (
        "import sys; from weft.cli import main; code = main(['train', 'run.yaml', 'tuning.mode=full']);"
        "print(code, *sorted({'peft', 'pandas', 'datasets', 'torch.nn.attention.varlen'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.splitlines()[-1] == "0"
