"""``weft init-model``: the same bytes for the same seed, ids that every library agrees on, and sizes as promised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from weft.cli import main
from weft.data.texts import read_texts
from weft.errors import ModelError, RunError
from weft.models.init import SIZES, Shape, _random_model, init_model

CONTROL = ["<|pad|>", "<|unk|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
TEXT = "The warp is fixed on the loom, and the weft is woven through the warp.\nIn 1804 there were 11,000 looms.\n" * 9


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "loom.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def nano(text_file: Path) -> Path:
    out = text_file.parent / "models" / "nano"
    init_model("nano", read_texts(text_file, []), out, chat_template=TEMPLATE)
    return out


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> Tokenizer:
    return Tokenizer.from_file(str(nano / "tokenizer.json"))


def test_the_same_text_and_seed_give_the_same_bytes(text_file: Path, nano: Path, tmp_path: Path) -> None:
    init_model("nano", read_texts(text_file, []), tmp_path / "same", chat_template=TEMPLATE)
    init_model("nano", read_texts(text_file, []), tmp_path / "other", chat_template=TEMPLATE, seed=43)
    names = sorted(path.name for path in nano.iterdir())
    assert names == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    changed = {name for name in names if (tmp_path / "other" / name).read_bytes() != (nano / name).read_bytes()}
    assert changed == {"model.safetensors"}
    assert all((tmp_path / "same" / name).read_bytes() == (nano / name).read_bytes() for name in names)


def test_control_tokens_have_fixed_ids(nano: Path, tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in CONTROL] == [0, 1, 2, 3, 4, 5]
    config = json.loads((nano / "config.json").read_text())
    generation = json.loads((nano / "generation_config.json").read_text())
    assert (config["pad_token_id"], config["bos_token_id"], config["eos_token_id"]) == (0, 2, 3)
    assert (generation["pad_token_id"], generation["bos_token_id"], generation["eos_token_id"]) == (0, 2, [5, 3])


def test_transformers_loads_the_same_tokenizer_and_template(nano: Path, tokenizer: Tokenizer) -> None:
    theirs = AutoTokenizer.from_pretrained(nano, local_files_only=True)
    for text in (TEXT, " 2024's\n\n\tloom", "déjà vu e\u0301 你好 🧵", "<|im_start|>user\nweft<|im_end|>\n"):
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
    assert (theirs.pad_token, theirs.unk_token, theirs.bos_token, theirs.eos_token) == tuple(CONTROL[:4])
    chat = theirs.apply_chat_template([{"role": "user", "content": "weft"}], tokenize=False)
    assert chat == "<|im_start|>weft<|im_end|>"
    assert len(theirs) == tokenizer.get_vocab_size()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(text=st.text())
def test_every_text_decodes_to_itself(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.token_to_id("<|unk|>") not in ids or "<|unk|>" in text


def test_words_keep_their_space_and_digits_stand_alone(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("the weft 1804").tokens[-6:] == ["Ġweft", "Ġ", "1", "8", "0", "4"]


def test_weft_reads_its_own_tokenizer(nano: Path) -> None:
    from weft.data.tokenizer import load_tokenizer

    ours = load_tokenizer(nano)
    assert (ours.pad_id, ours.eos_id, ours.bos) == (0, 3, "<|bos|>")
    assert ours.stops == {"<|eos|>", "<|im_end|>"}
    assert ours.control == set(CONTROL)
    assert ours.chat_template == TEMPLATE


def test_the_model_loads_as_an_ordinary_one(nano: Path, tokenizer: Tokenizer) -> None:
    model = AutoModelForCausalLM.from_pretrained(nano, local_files_only=True)
    assert model.config.vocab_size == tokenizer.get_vocab_size()
    assert model.config.max_position_embeddings >= 2048
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@pytest.mark.parametrize(("size", "low", "high"), [("nano", 1e6, 3e6), ("micro", 7e6, 11e6), ("small", 32e6, 42e6)])
def test_sizes_hold_for_every_vocabulary(size: str, low: float, high: float) -> None:
    assert low <= _parameters(SIZES[size], 262) <= _parameters(SIZES[size], SIZES[size].vocab_size) <= high


def _parameters(shape: Shape, vocab_size: int) -> int:
    import torch

    with torch.device("meta"):
        ids = {"pad_id": 0, "bos_id": 2, "eos_id": 3, "stop_ids": [5, 3]}
        return _random_model(shape, vocab_size, seed=0, **ids).num_parameters()


def test_a_small_text_gives_a_small_vocabulary_and_says_so(
    text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init-model", "nano", "--text", str(text_file), "--out", str(tmp_path / "nano")]) == 0
    captured = capsys.readouterr()
    assert "too small for 4,096 tokens" in captured.out
    assert captured.err == ""
    assert (
        main(
            ["init-model", "nano", "--text", str(text_file), "--out", str(tmp_path / "b"), "--json", "--vocab-size=270"]
        )
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["size"], report["vocab_size"], report["vocab_limit"]) == ("nano", 270, 270)
    assert (tmp_path / "nano" / "chat_template.jinja").read_text().startswith("{% for message in messages %}")


def test_records_serve_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [{"q": "one loom, two looms", "turns": [{"content": TEXT}]}, {"q": TEXT}]
    (tmp_path / "a.jsonl").write_text(json.dumps(records[0]) + "\n{broken\n" + json.dumps(records[1]), encoding="utf-8")
    assert main(["init-model", "nano", "--text", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "nano")]) == 0
    assert capsys.readouterr().out.startswith(
        f"notice: {tmp_path}/a.jsonl:2: this row cannot be read and counts as the text that stands there: broken JSON\n"
        f"wrote {tmp_path}/nano: 1.8 million parameters, "
    )
    strings = ["one loom, two looms", TEXT, "{broken", TEXT]
    init_model("nano", strings, tmp_path / "same", chat_template="")
    learned = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("nano", "same")]
    assert learned[0] == learned[1]


def test_text_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "numbers.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "latin1.txt").write_bytes(b"one\ntwo\nna\xefve\n")
    for name, problem in [
        ("missing.txt", "missing.txt: there is no such file or directory"),
        ("nothing", "nothing: "),
        ("empty.txt", "empty.txt: the file holds no text"),
        ("numbers.jsonl", "there is no text to learn from"),
        ("latin1.txt", "latin1.txt:3: the text is not valid UTF-8"),
    ]:
        assert main(["init-model", "nano", "--text", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.replace(f"{tmp_path}/", "").startswith(f"weft: {problem}")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_never_overwritten(text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    init_model("nano", read_texts(text_file, []), tmp_path / "empty", chat_template=TEMPLATE)
    before = (tmp_path / "empty" / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="is there already"):
        init_model("nano", read_texts(text_file, []), tmp_path / "empty", chat_template=TEMPLATE, seed=1)
    with pytest.raises(RunError, match="is there already"):
        init_model("nano", read_texts(text_file, []), text_file, chat_template=TEMPLATE)
    with pytest.raises(RunError, match="cannot be written"):
        init_model("nano", read_texts(text_file, []), text_file / "below-a-file", chat_template=TEMPLATE)
    assert (tmp_path / "empty" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_interruption_leaves_nothing(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transformers.LlamaForCausalLM.save_pretrained", interrupt)
    with pytest.raises(KeyboardInterrupt):
        init_model("nano", read_texts(text_file, []), tmp_path / "out", chat_template=TEMPLATE)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.LlamaForCausalLM.save_pretrained", fill_up)
    with pytest.raises(RunError, match=r"cannot be written: .*No space left on device"):
        init_model("nano", read_texts(text_file, []), tmp_path / "out", chat_template=TEMPLATE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", ["-1", str(2**63), "x"])
def test_seeds_that_cannot_be(text_file: Path, tmp_path: Path, seed: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["init-model", "nano", "--text", str(text_file), "--out", str(tmp_path / "out"), "--seed", seed])


@pytest.mark.parametrize("vocab", [2**24 + 1, 10**20])
def test_vocabularies_that_no_library_can_learn(
    text_file: Path, tmp_path: Path, vocab: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["init-model", "nano", "--text", str(text_file), "--out", str(tmp_path / "out")]
    assert main([*words, f"--vocab-size={vocab}"]) == 2
    assert capsys.readouterr().err == (
        f"weft: --vocab-size: a vocabulary of {vocab:,} is larger than 16,777,216, the largest that can be learned\n"
        "  fix: set --vocab-size to 16777216 or less; 32000 is usual\n"
    )


def test_sizes_that_do_not_exist(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init-model", "huge", "--text", str(text_file), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "weft: there is no size 'huge'\n  fix: choose one of nano, micro, small\n"
    with pytest.raises(ModelError, match="does not hold 256 bytes"):
        init_model("nano", read_texts(text_file, []), tmp_path / "out", chat_template=TEMPLATE, vocab_size=261)
