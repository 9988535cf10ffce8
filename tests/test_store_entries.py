"""One entry of the cache for each source: what builds one again, and that the others stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from store_files import Open, opener, qa, write
from weft.data.render import Renderer
from weft.data.store import SourceFile
from weft.data.template import ChatTemplate, load_template
from weft.data.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


@pytest.fixture
def opened(tmp_path: Path, tokenizer: Tokenizer) -> Open:
    return opener(tmp_path, Renderer(tokenizer, load_template(None, tokenizer), 128))


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / f"{name}.jsonl", [qa(number, name) for number in range(30)]) for name in "abc"]


def stamps(cache: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(cache)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.glob("*/*")}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The places of conversations that are encoded."""
    seen: list[str] = []
    render = Renderer.render_batch

    def seeing(self: Renderer, conversations: Any) -> Any:
        seen.extend(sorted({Path(each.location.path).stem for each in conversations}))
        return render(self, conversations)

    monkeypatch.setattr(Renderer, "render_batch", seeing)
    return seen


def test_one_changed_byte_builds_one_source_again(
    opened: Open, three: list[Path], tmp_path: Path, built: list[str]
) -> None:
    before = opened(*three)
    kept = stamps(tmp_path / "cache-1")
    assert built == ["a", "b", "c"]
    three[1].write_bytes(three[1].read_bytes().replace(b"What is 7 ", b"What is 8 "))
    after = opened(*three)
    assert built == ["a", "b", "c", "b"]
    assert not after.report.cached
    assert after.fingerprint != before.fingerprint
    now = stamps(tmp_path / "cache-1")
    assert {name: stamp for name, stamp in now.items() if name in kept} == kept
    assert len(now) == len(kept) + 2
    changed = [i for i in range(90) if after[i].ids.tolist() != before[i].ids.tolist()]
    assert changed == [37]


def test_weights_build_nothing_again(opened: Open, three: list[Path], built: list[str]) -> None:
    files = [SourceFile(path=path, name=path.stem) for path in three]
    before = opened(*files)
    heavier = [replace(file, weight=5.0, loss_weight=0.5) for file in files]
    after = opened(*heavier)
    assert built == ["a", "b", "c"]
    assert after.report.cached
    assert after.fingerprint == before.fingerprint
    assert (after.targets == before.targets / 2).all()
    assert (after[40].loss_weights == before[40].loss_weights / 2).all()
    renamed = [replace(file, name=f"the {file.name}") for file in reversed(files)]
    assert opened(*renamed).report.cached
    assert built == ["a", "b", "c"]


def test_a_change_of_what_decides_on_ids_builds_all_again(
    opened: Open, three: list[Path], built: list[str], tokenizer: Tokenizer, tiny_tokenizer_dir: Path, tmp_path: Path
) -> None:
    template = load_template(None, tokenizer)
    changed_template = ChatTemplate(
        template.source + " ", "t", tokenizer.control, tokenizer.stops, tokenizer.bos, tokenizer.eos
    )
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for file in tiny_tokenizer_dir.iterdir():
        (folder / file.name).write_bytes(file.read_bytes() + b" ")
    choices = [
        Renderer(tokenizer, template, 128),
        Renderer(tokenizer, changed_template, 128),
        Renderer(load_tokenizer(folder), template, 128),
        Renderer(tokenizer, template, 127),
        Renderer(tokenizer, template, 128, overlong="truncate"),
        Renderer(tokenizer, template, 128, train_on="all"),
    ]
    for choice in choices:
        built.clear()
        assert not opened(*three, renderer=choice).report.cached
        assert built == ["a", "b", "c"]
        assert opened(*three, renderer=choice).report.cached
        assert built == ["a", "b", "c"]


def test_one_damaged_entry_is_replaced_and_the_others_stay(
    opened: Open, three: list[Path], tmp_path: Path, built: list[str]
) -> None:
    before = opened(*three)
    cache = tmp_path / "cache-1"
    entry = sorted(cache.iterdir())[1]
    raw = bytearray((entry / "examples.arrow").read_bytes())
    raw[len(raw) // 2] ^= 1
    (entry / "examples.arrow").write_bytes(raw)
    kept = {name: stamp for name, stamp in stamps(cache).items() if not name.startswith(entry.name)}
    built.clear()
    after = opened(*three)
    assert len(built) == 1
    assert after.fingerprint == before.fingerprint
    assert sum("damaged" in note for note in after.report.notes) == 1
    assert {name: stamp for name, stamp in stamps(cache).items() if name in kept} == kept
    assert opened(*three).report.cached
