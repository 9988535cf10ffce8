"""Whatever a person gives by mistake: one message with place and fix, exit code 2, nothing on standard output, nothing lost.

Every case goes through the command line as a whole, in this process; none of them needs torch.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from refusing import write
from weft.cli import main
from weft.data.limits import time_limit

MESSAGES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_NOBODY = 65534  # the number of the user without rights


def test_the_project_of_these_tests_is_sound(sound_project: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "c.yaml"]) == 0, capsys.readouterr().err


# --- configurations ---


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("train: [1,\n", "c.yaml:2", "not valid YAML"),
        ("seed: 1\na: b: c\n", "c.yaml:2", "not valid YAML"),
        ("train:\n\tepochs: 1\n", "c.yaml:2", "YAML forbids tabs"),
        ("seed: 1\nseed: 2\n", "c.yaml:2", "set twice"),
        ("seed: !!python/object/apply:os.getcwd []\n", "c.yaml:1", "not allowed"),
        ("a: &a [*a]\n", "c.yaml:1", "stands inside what it names"),
        ("seed: *b\n", "c.yaml:1", "names no anchor"),
        ("seed: 1\n---\nseed: 2\n", "c.yaml:2", "second one starts here"),
        ("- a\n", "c.yaml:1", "holds a list"),
        ("[a]: 1\n", "c.yaml:1", "a key must be a name"),
        (b"seed: 1\n# caf\xe9\n", "c.yaml:2", "not UTF-8"),
        (b"\x00\x01", "c.yaml:1", "U+0000"),
        ('data: {style: "a\\0b"}\n', "c.yaml:1", "NUL"),
        ("[" * 3000, "c.yaml:1", "nested more than"),
        ("include: nope.yaml\n", "c.yaml:1", "there is no file 'nope.yaml' to include"),
        ("include: data\n", "c.yaml:1", "there is no file 'data' to include"),
        ("include: c.yaml\n", "c.yaml:1", "includes itself"),
        ("train: {epoch: 5}\n", "c.yaml:1", "did you mean train.epochs?"),
        ("lora_r: 8\n", "c.yaml:1", "did you mean tuning.lora.r?"),
        ("per_device_train_batch_size: 8\n", "c.yaml:1", "did you mean train.batch_size?"),
        ("cutoff_len: 8\n", "c.yaml:1", "did you mean model.max_seq_len?"),
        ("datasets: [{path: a.jsonl, wieght: 2}]\n", "c.yaml:1", "did you mean datasets[0].weight?"),
        ("datasets: [{weight: 2}]\n", "c.yaml:1", "has no path"),
        ("train: {learning_rate: fast}\n", "c.yaml:1", "must be a number above 0, not 'fast'"),
        ("train: {learning_rate: .nan}\n", "c.yaml:1", "must be a number above 0"),
        ("train: {learning_rate: -2e-4}\n", "c.yaml:1", "must be a number above 0"),
        ("train: {max_steps: true}\n", "c.yaml:1", "must be a whole number"),
        ("train: {max_steps: 1.5}\n", "c.yaml:1", "must be a whole number"),
        ("train: {fp16: on}\n", "c.yaml:1", "write true"),
        ("train: 5\n", "c.yaml:1", "holds keys of its own"),
        ("seed: -1\n", "c.yaml:1", "must be a whole number from 0"),
        ("tuning: {lora: {target_modules: q_proj}}\n", "c.yaml:1", "write a list: [q_proj]"),
        ("tuning: {lora: {target_modules: []}}\n", "c.yaml:1", "a list of names, not []"),
        ("data: {train_path: ''}\n", "c.yaml:1", "data.train_path must be text or a list of names, not ''"),
        ("run_name: ../../home\n", "c.yaml:1", "names files"),
        ("eval: {sets: {val: a.jsonl}}\n", "c.yaml:1", "is data.val_path already"),
        ("data: {split: {train_ratio: 0.9}}\n", "c.yaml:1", "0.9 + 0.1 + 0.2 = 1.2"),
        ("data: {split: {train_ratio: 1.5, val_ratio: 0, test_ratio: 0}}\n", "c.yaml:1", "a number from 0 to 1"),
        ("data: {split: {train_ratio: 1.2, val_ratio: -0.2}}\n", "c.yaml:1", "not -0.2"),
        ("mode: sft\ntask_mode: cpt\n", "c.yaml:2", "two names of mode, but their values differ"),
        ("train: {max_steps: 3, steps: 4}\n", "c.yaml:1", "two names of train.max_steps"),
        ("train: {load_best_model_at_end: true, evaluation_strategy: no}\n", "c.yaml:1", "makes none"),
        ("train: {bf16: true, fp16: true}\n", "c.yaml:1", "cannot both be true"),
    ],
)
def test_configurations(refused: Callable[..., str], text: str | bytes, place: str, said: str) -> None:
    write("c.yaml", text)
    message = refused("check", "c.yaml")
    assert f"{place}: " in message
    assert said in message


@pytest.mark.parametrize(
    "setting",
    [
        "objective=diffusion",
        "model.trust_remote_code=true",
        "tuning.mode=qlora",
        "tuning.backend=bnb",
        "tuning.backend=unsloth",
        "train.dataloader_num_workers=2",
    ],
)
def test_what_is_not_acted_on_yet_says_so(refused: Callable[..., str], setting: str) -> None:
    assert "not acted on yet" in refused("check", "c.yaml", setting)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("train.epochs=", "train.epochs must be a number above 0, not empty"),
        ("train.epochs==5", "not '=5'"),
        ("=5", "is not a configuration key"),
        ("train.epochs", "overrides are written key=value"),
        ("train.learning_rate=0,1", "write 0.1"),
        ("datasets[3].weight=1", "sets an entry that does not exist"),
        ("datasets[x].weight=1", "is not a configuration key"),
        ("include=b.yaml", "include has a meaning in files only"),
        ("seed=\udcff", "not valid UTF-8"),
    ],
)
def test_overrides(refused: Callable[..., str], word: str, said: str) -> None:
    message = refused("check", "c.yaml", word)
    assert "command line: " in message
    assert said in message


@pytest.mark.parametrize(
    ("variable", "value"), [("WEFT_TRAIN__EPOCH", "5"), ("WEFT_TRAIN__EPOCHS", "x"), ("WEFT_TRAIN_EPOCHS", "5")]
)
def test_environment(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    assert f"environment {variable}: " in refused("check", "c.yaml")


@pytest.mark.parametrize("command", ["prepare", "style", "render", "check", "show", "chat", "infer", "eval", "merge"])
def test_every_command_reads_its_configuration_first(refused: Callable[..., str], command: str) -> None:
    assert "nope.yaml: there is no such configuration file" in refused(command, "nope.yaml")
    assert "did you mean train.epochs?" in refused(command, "c.yaml", "train.epoch=5")


@pytest.mark.parametrize("name", ["some.jsonl", "some.csv", "some.txt", "some.jsonl.gz", "some.parquet"])
def test_records_in_the_place_of_a_configuration(refused: Callable[..., str], name: str) -> None:
    Path(name).write_bytes(b"\x00")
    message = refused("check", name)
    assert message.startswith(
        f"weft: {name}: this is a file of records, and no configuration\n  fix: write data.train_path="
    )


# --- templates ---


@pytest.mark.parametrize(
    ("template", "place", "said"),
    [
        ("", "t.jinja: ", "does not print"),
        ("hello", "t.jinja: ", "does not print"),
        ("\n{% for m in messages %}{{ m.content }", "t.jinja:2: ", "not valid Jinja"),
        ("{% if %}", "t.jinja:1: ", "not valid Jinja"),
        ("{{ 'a' | nofilter }}", "t.jinja:1: ", "No filter named"),
        ("{{ raise_exception('not this one') }}", "t.jinja:1: ", "not this one"),
        ("\n\n{{ 1 / 0 }}", "t.jinja:3: ", "division by zero"),
        ("{{ x.y.z }}", "t.jinja:1: ", "undefined"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "t.jinja: ", "assistant message"),
        (MESSAGES.replace("m.content", "m.content[:3]"), "t.jinja: ", "does not print"),
        ("{% include '/etc/passwd' %}", "t.jinja:1: ", "no loader"),
        ("{{ ''.__class__.__mro__ }}", "t.jinja:1: ", "SecurityError"),
        ("{{ cycler.__init__.__globals__ }}", "t.jinja:1: ", "SecurityError"),
        ("{% set _ = messages.append(1) %}", "t.jinja:1: ", "SecurityError"),
        ("{{ 'x' * 10**9 }}", "t.jinja:1: ", "was stopped"),
        ("{{ '%1000000000d' % 1 }}", "t.jinja:1: ", "was stopped"),
        ("{{ range(10**9) | list }}", "t.jinja:1: ", "Range too big"),
        ("{{ ([[1] * 10000] * 1000) | sum(start=[]) }}", "t.jinja:1: ", "was stopped"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "t.jinja:1: ", "RecursionError"),
        (b"\ncaf\xe9", "t.jinja:2: ", "not UTF-8"),
        ("{{ 'word ' * 10**6 }}" + MESSAGES, "t.jinja: ", "it prints 5,000,0"),
    ],
)
def test_templates(refused: Callable[..., str], template: str | bytes, place: str, said: str) -> None:
    write("t.jinja", template)
    message = refused("check", "c.yaml", "data.template_path=t.jinja")
    assert place in message
    assert said in message


@pytest.mark.parametrize("policy", ["error", "drop"])
@pytest.mark.parametrize("command", ["check", "show"])
def test_no_record_is_left_out_for_a_template_that_takes_too_long(
    refused: Callable[..., str], command: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = (
        "\n{% if messages[0].content == 'Hello 0' %}"
        + "{% for i in range(9**5) %}" * 3
        + "{% endfor %}" * 3
        + "{% endif %}"
    )
    write("t.jinja", MESSAGES + loop)
    monkeypatch.setattr("weft.data.jinja.time_limit", lambda: time_limit(0.5))
    message = refused(command, "c.yaml", "data.template_path=t.jinja", f"on_bad_row={policy}")
    assert message.startswith(
        "weft: t.jinja:5: the chat template was stopped: it ran for more than 0.5 seconds, until data/"
    )
    assert "train.jsonl:1\n" in message


@pytest.mark.parametrize(
    ("name", "said"), [("nope.jinja", "no such chat template"), ("data", "directory"), ("''", "must be text")]
)
def test_names_of_templates(refused: Callable[..., str], name: str, said: str) -> None:
    assert said in refused("check", "c.yaml", f"data.template_path={name}")


@contextmanager
def as_anybody() -> Iterator[None]:
    """Without the right of root, whom nothing is forbidden."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files are not forbidden in this way")
@pytest.mark.usefixtures("sound_project")
def test_a_template_that_may_not_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    write("t.jinja", MESSAGES)
    command = ["check", "c.yaml", "data.template_path=t.jinja"]
    assert main(command) == 0  # and has imported everything: Python's own files may be root's alone
    capsys.readouterr()
    for path in (Path(), *Path().rglob("*")):
        path.chmod(0 if path.name == "t.jinja" else 0o755)
    with as_anybody():
        assert main(command) == 2
    assert capsys.readouterr().err == "weft: t.jinja: the chat template cannot be read\n  fix: check its permissions\n"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device")
def test_a_template_that_never_ends(refused: Callable[..., str]) -> None:
    assert "/dev/zero: this is no file" in refused("check", "c.yaml", "data.template_path=/dev/zero")


# --- models ---


def _edited(name: str, **values: object) -> None:
    path = Path("model", name)
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda: Path("model/tokenizer.json").unlink(), "model: there is no tokenizer.json"),
        (lambda: write("model/tokenizer.json", ""), "model/tokenizer.json: it is not valid JSON"),
        (lambda: write("model/tokenizer.json", Path("model/tokenizer.json").read_bytes()[:999]), "tokenizer.json"),
        (lambda: write("model/tokenizer.json", "[]"), "model/tokenizer.json: it is not a JSON object"),
        (lambda: write("model/tokenizer.json", "{}"), 'model/tokenizer.json: it has no "model" with a "vocab"'),
        (
            lambda: write("model/tokenizer.json", '{"model": {"vocab": {}}, "added_tokens": [1]}'),
            "model/tokenizer.json: it does not load: ",
        ),
        (
            lambda: write("model/tokenizer.json", '{"model": {"type": "BPE", "vocab": {}}, "added_tokens": [1]}'),
            "not shaped as expected",
        ),
        (lambda: write("model/tokenizer.json", b"\xff"), "model/tokenizer.json:1: it is not UTF-8"),
        (lambda: write("model/tokenizer_config.json", "{"), "model/tokenizer_config.json: it is not valid JSON"),
        (lambda: write("model/generation_config.json", "[1]"), "model/generation_config.json: it is not a JSON object"),
        (lambda: _edited("generation_config.json", eos_token_id=10**9), "not in the vocabulary"),
        (lambda: _edited("generation_config.json", eos_token_id="x"), "not in the vocabulary"),
        (lambda: _edited("tokenizer_config.json", eos_token="<none>"), "not in the vocabulary"),
        (lambda: _edited("tokenizer_config.json", chat_template="{% if %}"), "not valid Jinja"),
        (lambda: shutil.rmtree("model"), "model.name: ./model: there is no such model directory"),
        (lambda: (shutil.rmtree("model"), write("model", "")), "but this is a file"),
    ],
)
def test_model_directories(refused: Callable[..., str], spoil: Callable[[], object], said: str) -> None:
    spoil()
    assert said in refused("check", "c.yaml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("org/name", "HF_HUB_OFFLINE forbids to fetch it"),
        ("gpt2", "HF_HUB_OFFLINE forbids to fetch it"),
        ("org/na me", "neither a directory nor a possible name"),
        ("a/b/c", "there is no such model directory"),
        ("~/no/such/model", "there is no such model directory"),
        ("''", "must be text"),
    ],
)
def test_names_of_models(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", os.devnull)
    assert said in refused("check", "c.yaml", f"model.name={name}")


# --- commands ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "did you mean `weft train`?"),
        (["check", "c.yaml", "c.yaml"], "only one configuration file can be given"),
        (["check", "data"], "data: this is a directory, not a configuration file"),
        (["show", "c.yaml", "-n", "0"], "the number of records must be at least 1"),
        (["render", "c.yaml", "-n", "-3"], "the number of records must be at least 1"),
        (["check", "c.yaml", "data.cache_dir=c.yaml"], "c.yaml: the file cannot be written"),
        (["infer", "c.yaml", "--prompt", " "], "--prompt: the question is empty"),
        (["infer", "c.yaml", "--input", "nope.txt"], "nope.txt: there is no such file"),
        (["infer", "c.yaml", "--input", "empty.txt"], "empty.txt: there is no question in it"),
        (["infer", "c.yaml", "--input", "binary.txt"], "binary.txt:2: the line is not valid UTF-8"),
        (["infer", "c.yaml", "--prompt", "a", "--output", "data"], "data: a directory stands"),
        (["infer", "c.yaml", "--prompt", "a", "--output", "c.yaml"], "c.yaml: the file exists and holds no answers"),
        (["eval", "c.yaml", "--set", "nope"], "there is no evaluation set 'nope'"),
        (["eval", "c.yaml", "--set", ""], "there is no evaluation set ''"),
        (["eval", "c.yaml", "train.output_dir=c.yaml"], "c.yaml: nothing can be written into it"),
    ],
)
def test_commands(refused: Callable[..., str], words: list[str], said: str) -> None:
    write("empty.txt", "\n")
    write("binary.txt", b"fine\n\xff\n")
    assert said in refused(*words)


@pytest.mark.parametrize("command", ["prepare", "style", "render", "check", "show", "train", "chat", "infer", "eval"])
def test_unknown_options(sound_project: None, capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "c.yaml", "--no-such-option"])
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert "--no-such-option" in err
