"""Whatever a person gives by mistake: one message with place and fix, exit code 2, nothing on standard output, nothing lost.

Every case goes through the command line as a whole, in this process; none of them needs torch.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from weft.cli import main

RECORD = json.dumps({"input": "What is the capital of France?", "target": "Paris."})
GOOD = "".join(json.dumps({"input": f"Hello {number}", "target": "user"}) + "\n" for number in range(4))
TRAIN, VAL, RAW = "data/processed/train.jsonl", "data/processed/val.jsonl", "data/raw/a.jsonl"

MESSAGES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def project(tiny_tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a configuration, records that were prepared by hand, and a model's tokenizer."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_tokenizer_dir, "model")
    write("c.yaml", "model: {name: ./model}\n")
    write(TRAIN, GOOD)
    write(VAL, GOOD)
    return tmp_path


@pytest.fixture
def refused(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused in the proper way, and return the message."""

    def run(*words: str) -> str:
        before = snapshot(project)
        code = main(words)
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert "\n  fix: " in err
        assert err.startswith("weft: ")
        assert "Traceback" not in err
        assert "bug in weft" not in err
        assert snapshot(project) == before, "a refused command changes nothing"
        return err

    return run


def write(path: str, content: str | bytes) -> None:
    """A file with its directory."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


def snapshot(directory: Path) -> dict[str, str]:
    """What every file holds, but for the cache of encoded examples, which is anybody's to delete."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and "cache" not in path.parts
    }


def test_the_project_of_these_tests_is_sound(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


# --- records ---

BAD_ROWS = {
    "{broken": "broken JSON",
    RECORD[:30]: "broken JSON",
    "[1, 2]": "must be an object",
    '"text"': "must be an object",
    "null": "must be an object",
    "[" * 50_000: "nested too deeply",
    '{"input": NaN, "target": "a"}': "not finite",
    '{"input": "\\ud800", "target": "a"}': "surrogate",
    "{}": "no known format",
    '{"text_in": "a"}': "no known format",
    '{"\\u001b[2J": "a"}': "'\\x1b[2J'",
    '{"messages": []}': "there are no messages",
    '{"messages": "hi"}': "messages",
    '{"messages": [{"role": "user", "content": "a"}]}': "no assistant message",
    '{"messages": [{"role": "robot", "content": "a"}]}': "unknown role",
    '{"messages": [{"role": "user", "content": 5}, {"role": "assistant", "content": "a"}]}': "must be text",
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}': "message is empty",
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " \\n"}]}': "message is empty",
    '{"input": "a", "target": ""}': "message is empty",
    '{"instruction": "a", "output": ""}': "message is empty",
}


@pytest.mark.parametrize(("row", "said"), BAD_ROWS.items())
@pytest.mark.parametrize("line", [1, 3, 5])
def test_a_row_that_cannot_be_used(refused: Callable[..., str], row: str, said: str, line: int) -> None:
    rows = GOOD.splitlines()
    rows.insert(line - 1, row)
    write(TRAIN, "\n".join(rows))
    message = refused("check", "c.yaml")
    assert f"{TRAIN}:{line}: " in message
    assert said in message
    shutil.rmtree("data/processed")
    write(RAW, "\n".join(rows))
    assert f"{RAW}:{line}: " in refused("prepare", "c.yaml")
    assert main(["prepare", "c.yaml", "on_bad_row=drop"]) == 0
    (reject,) = map(json.loads, Path("data/processed/rejects.jsonl").read_text().splitlines())
    assert reject["location"] == f"{RAW}:{line}"


BAD_FILES: dict[str, tuple[bytes, str, str]] = {
    "ragged.csv": (b"input,target\na,b\nc\n", ":3", "the row does not fit the header: it has 1 values, the header 2"),
    "wide.tsv": (b"input\ttarget\na\tb\nc\td\te\n", ":3", "the row does not fit the header: it has 3 values"),
    "nul.csv": (b"input,target\na,b\nc,d\0\n", ":3", "the text holds a NUL byte"),
    "nul.jsonl": (GOOD.encode() + b"\0" * 100 + b"\n", ":5", "broken JSON"),
    "latin.csv": (b"input,target\na,b\ncaf\xe9,d\n", ":3", "the text is not valid UTF-8: byte 4 of the line is 0xe9"),
    "surrogate.json": (
        b'[{"input": "a", "target": "b"},\n{"input": "\\ud800", "target": "a"}]',
        ":2 (record 2)",
        "surrogate",
    ),
    "cut.json": (b'[{"input": "a", "target": "b"},\n{"input": "a", "tar', ":2 (record 2)", "broken JSON; the rest"),
    "cut.jsonl.gz": (gzip.compress(GOOD.encode())[:-9], "", "gzip: it ends early"),
    "empty.jsonl.gz": (b"", "", "gzip: the file is empty"),
    "empty.parquet": (b"", "", "the file is damaged, or no parquet file"),
    "notes.txt": (b"A document.", ":1", "document"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_of_any_kind_that_cannot_be_used(refused: Callable[..., str], name: str) -> None:
    content, place, said = BAD_FILES[name]
    write(name, content)
    Path(TRAIN).unlink()
    Path(VAL).unlink()
    for command, key in (("check", "train_path"), ("prepare", "raw_path")):
        message = refused(command, "c.yaml", f"data.{key}={name}")
        assert message.startswith(f"weft: {name}{place}: ")
        assert said in message


def test_a_table_with_nulls(refused: Callable[..., str]) -> None:
    rows = [{"input": "a", "target": "b"}, {"input": None, "target": "c"}, {"input": "d", "target": "e"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "a.parquet")
    message = refused("check", "c.yaml", "data.train_path=a.parquet")
    assert message.startswith("weft: a.parquet (record 2): a user message is empty")
    shutil.rmtree("data/processed")
    assert main(["prepare", "c.yaml", "data.raw_path=a.parquet", "on_bad_row=drop"]) == 0
    (reject,) = map(json.loads, Path("data/processed/rejects.jsonl").read_text().splitlines())
    assert (reject["location"], json.loads(reject["raw"])) == ("a.parquet (record 2)", rows[1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no records"),
        ("\n \n", "holds no records"),
        (b"\xef\xbb\xbf", "holds no records"),
        (GOOD.encode() + b'{"input": "caf\xe9", "target": "a"}\n', ":5: the text is not valid UTF-8"),
        (GOOD.encode("utf-16"), "is UTF-16"),
        (b"\x1f\x8b\x08" + b"\0" * 50, "is packed by gzip"),
        ("input,target\na,b\n", "broken JSON"),
    ],
)
@pytest.mark.parametrize(("command", "path"), [("check", TRAIN), ("check", VAL), ("show", TRAIN), ("eval", VAL)])
def test_files_of_records(
    refused: Callable[..., str], content: str | bytes, said: str, command: str, path: str
) -> None:
    write(path, content)
    message = refused(command, "c.yaml")
    assert message.startswith(f"weft: {path}")
    assert said in message


@pytest.mark.parametrize(("command", "path"), [("check", TRAIN), ("render", TRAIN), ("show", TRAIN), ("eval", VAL)])
def test_missing_files_of_records(refused: Callable[..., str], command: str, path: str) -> None:
    Path(path).unlink()
    message = refused(command, "c.yaml")
    assert message.startswith(f"weft: {path}: there is no such file")
    assert "weft prepare" in message


def test_names_of_files_that_are_not_utf8(refused: Callable[..., str]) -> None:
    shutil.rmtree("data/processed")
    write(RAW, GOOD)
    try:
        Path(os.fsdecode(b"data/raw/caf\xe9.jsonl")).write_text(GOOD)
    except OSError:
        pytest.skip("this file system has no such names")
    assert "the file's name is not valid UTF-8" in refused("prepare", "c.yaml")


@pytest.mark.parametrize("setting", ["train.load_best_model_at_end=true", "train.early_stopping_patience=2"])
def test_a_missing_validation_set_that_training_needs(refused: Callable[..., str], setting: str) -> None:
    Path(VAL).unlink()
    message = refused("check", "c.yaml", setting)
    assert f"the validation set {VAL} is missing; it is needed for {setting.partition('=')[0]}" in message


def test_every_example_is_too_long(refused: Callable[..., str]) -> None:
    message = refused("check", "c.yaml", "model.max_seq_len=8")
    assert "every example is longer than model.max_seq_len, 8 tokens" in message


@pytest.mark.parametrize("name", ["train.jsonl", "val.jsonl", "rejects.jsonl", "prepare_report.json"])
def test_preparing_replaces_nothing_of_others(refused: Callable[..., str], name: str) -> None:
    write(RAW, GOOD)
    for path in Path("data/processed").iterdir():
        path.unlink()
    write(f"data/processed/{name}", "my own notes\n")
    assert f"data/processed/{name}: the file exists and was not written by `weft prepare`" in refused(
        "prepare", "c.yaml"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.raw_path=nope"], "nope: there is no such file or directory"),
        (["data.raw_path=loop"], "loop: the link leads nowhere"),
        (["data.raw_path=empty"], "empty: the directory holds no"),
        (["data.raw_path=c.yaml"], "c.yaml: files that end in '.yaml' cannot be read"),
        (["data.train_path=data/raw/train.jsonl"], "would lie among the raw records"),
        (["data.train_path=out/train.csv"], "prepared files are .jsonl files"),
        (["data.train_path=c.yaml/train.jsonl"], "c.yaml/train.jsonl: the file cannot be written"),
        (["data.val_path=data/processed/train.jsonl"], "must be different files"),
    ],
)
def test_paths_of_preparing(refused: Callable[..., str], words: list[str], said: str) -> None:
    write(RAW, GOOD)
    shutil.rmtree("data/processed")
    Path("empty").mkdir()
    Path("loop").symlink_to("loop")
    assert said in refused("prepare", "c.yaml", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no style to apply"),
        (["--style", ""], "the style is empty"),
        (["--style", " \n"], "the style is empty"),
        (["--style", "Be kind", "data.style=Be rude"], "not the style that is configured"),
        (["--style", "Be kind", "data.train_path=nope.jsonl", "data.val_path=no.jsonl"], "no prepared files yet"),
    ],
)
def test_styles(refused: Callable[..., str], words: list[str], said: str) -> None:
    assert said in refused("style", "c.yaml", *words)


def test_an_edited_file_keeps_its_edits(refused: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["style", "c.yaml", "--style", "Be kind"]) == 0
    capsys.readouterr()
    write(TRAIN, Path(TRAIN).read_text().replace("Hello", "Goodbye"))
    for words in (["--undo"], ["--style", "Be brief"]):
        assert f"{TRAIN}: the file was changed after its style was applied" in refused("style", "c.yaml", *words)


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
        (b"caf\xe9", "t.jinja: ", "not UTF-8"),
    ],
)
def test_templates(refused: Callable[..., str], template: str | bytes, place: str, said: str) -> None:
    write("t.jinja", template)
    message = refused("check", "c.yaml", "data.template_path=t.jinja")
    assert place in message
    assert said in message


@pytest.mark.parametrize(
    ("name", "said"), [("nope.jinja", "no such chat template"), ("data", "directory"), ("''", "must be text")]
)
def test_names_of_templates(refused: Callable[..., str], name: str, said: str) -> None:
    assert said in refused("check", "c.yaml", f"data.template_path={name}")


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
        (lambda: write("model/tokenizer.json", "{}"), "not shaped as expected"),
        (lambda: write("model/tokenizer.json", b"\xff"), "model/tokenizer.json: it is not UTF-8"),
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
def test_unknown_options(project: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "c.yaml", "--no-such-option"])
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert "--no-such-option" in err
