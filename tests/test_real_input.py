"""`weft check` on the real records beside the checkout: the table in docs/data.md, number by number."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.config.load import load_config
from weft.data.texts import read_texts
from weft.models.init import SIZES
from weft.models.new_tokenizer import save_tokenizer, train_tokenizer
from weft.training.outlook import RunCheck, check_run

ROOT = Path(__file__).resolve().parents[1]
CHATML = (ROOT / "src/weft/data/templates/chatml.jinja").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tokenizer(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of `weft init-model small --text alpaca_en.json`, without its weights."""
    out = tmp_path_factory.mktemp("small")
    corpus = read_texts(shared_data / "alpaca_en.json", [])
    save_tokenizer(train_tokenizer(corpus, SIZES["small"].vocab_size), out, chat_template=CHATML, max_length=2048)
    return out


def checked(path: Path, tokenizer: Path, cache: Path, *overrides: str) -> RunCheck:
    words = [f"data.train_path={path}", f"model.name={tokenizer}", f"data.cache_dir={cache}", "model.max_seq_len=2048"]
    return check_run(load_config(None, [*words, "train.packing=bfd", *overrides], environ={}).config)


def row(name: str, report: RunCheck) -> str:
    one, packing = report.sets[0], report.packing
    found = one.encoded
    assert found is not None
    assert packing is not None
    cells = (
        f"`{name}`",
        ", ".join(one.formats),
        f"{one.records:,}",
        f"{sum(len(places) for places in one.dropped.values()):,}",
        f"{one.repeated:,}",
        f"{found.examples:,}",
        f"{found.tokens:,}",
        f"{found.trained_tokens / found.tokens:.1%}",
        f"{found.longest:,}",
        f"{found.closed_turns / found.turns:.0%}",
        f"{packing.rows:,}",
        f"{packing.fill:.1%}",
    )
    return "| " + " | ".join(cells) + " |"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["alpaca_en.json", "identity.json", "toolcall_en.json", "course/"])
def test_the_table_of_the_docs(name: str, tokenizer: Path, shared_data: Path, tmp_path: Path) -> None:
    template = ["data.template_path=qwen3"] if name.startswith("toolcall") else []
    report = checked(shared_data / name, tokenizer, tmp_path, *template)
    assert row(name, report) in (ROOT / "docs/data.md").read_text(encoding="utf-8").splitlines(), row(name, report)


@pytest.mark.shared
def test_alpaca_fills_its_rows(tokenizer: Path, shared_data: Path, tmp_path: Path) -> None:
    report = checked(shared_data / "alpaca_en.json", tokenizer, tmp_path)
    assert report.packing is not None
    assert (report.packing.how, report.packing.capacity) == ("bfd", 2048)
    assert report.packing.fill >= 0.98
    assert report.packing.cut_examples == 0
    assert report.sets[0].encoded is not None
    assert report.packing.fill == report.sets[0].encoded.tokens / (report.packing.rows * 2048)
