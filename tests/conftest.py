"""What every test may ask for: the real data beside the checkout, a tiny tokenizer and a tiny model made once, rows prepared."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from refusing import refused, sound_project  # noqa: F401 - fixtures

# A gate that draws other examples each time fails on whom it will: `make test` has the same ones, `make test-all` draws.
# Without a deadline: a loaded machine is no fault of the code. Hypothesis derandomizes by itself where it sees a CI.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None)
settings.load_profile("steady")

# No test may reach a hub. One thread: tiny models gain nothing from two, which crawl where the machine has other work.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|pad|>", "<|unk|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
PAD, UNK, BOS, EOS, IM_START, IM_END = range(6)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; the test skips, saying so, where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data, which is not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiny_tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer of 400 entries: pad, unk, bos, eos, im_start, im_end are 0 to 5."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    out = tmp_path_factory.mktemp("tiny-tokenizer")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [
        "What is the capital of France?",
        "The capital of France is Paris.",
        "user assistant system Hello, how are you?",
    ]
    tokenizer.train_from_iterator(text * 20, trainer)
    tokenizer.save(str(out / "tokenizer.json"))
    named = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIAL, strict=False))
    _write(
        out / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHATML, **named}
    )
    _write(out / "generation_config.json", {"bos_token_id": BOS, "eos_token_id": [IM_END, EOS], "pad_token_id": PAD})
    return out


@pytest.fixture(scope="session")
def tiny_model_dir(tiny_tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That tokenizer with a random Qwen2 of hidden size 64 and two layers."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    out = tmp_path_factory.mktemp("tiny-model")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    Qwen2ForCausalLM(config).save_pretrained(out)
    for file in tiny_tokenizer_dir.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return out


@pytest.fixture
def prepare_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Working in a new directory; runs ``weft prepare`` on rows."""
    from weft.cli import main

    monkeypatch.chdir(tmp_path)

    def run(rows: list[Any], *words: str) -> int:
        Path("raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return main(["prepare", "data.raw_path=raw.jsonl", *words])

    return run


@pytest.fixture
def hardly_any_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the uses of proofs not the first ones are tried, as they would be, but one of many."""
    monkeypatch.setattr("weft.data.shape_plan._TRIED_FIRST", 0)


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests take minutes come first: at the end the other processes would have nothing left to do."""
    long = {item.path for item in items if item.get_closest_marker("slow") or item.path.stem == "test_walkthroughs"}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A test that skips for want of ../shared while ../shared is there is a failure, not a skip."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if SHARED.is_dir() and any("shared" in str(report.longrepr) for report in skipped) and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
