"""The ids and blocks that a document becomes, and that no row loses or doubles a token of it."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import processors

import tokenizer_zoo as zoo
from chatml_by_hand import Chatml
from conftest import BOS, EOS, IM_END, IM_START, SPECIAL
from store_files import open_store
from weft.config.schema import Config
from weft.data.conversations import read_conversations
from weft.data.documents import CUT, DocumentForm, block_spans, document_form, end_of_text
from weft.data.long_text import runs_of
from weft.data.packing import examples_of, pack
from weft.data.reading import Reading
from weft.data.render import Renderer
from weft.data.store import SourceFile
from weft.data.template import ChatTemplate, load_template
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.types import Document, Location

PLACE = Location(path="docs.jsonl", line=7)
TEXT = "The capital of France is Paris."
QA = {"question": "Who?", "answer": "You."}


def document(text: str) -> Document:
    return Document(text=text, location=PLACE)


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


@pytest.fixture(scope="module")
def own(tiny_tokenizer_dir: Path) -> RustTokenizer:
    return RustTokenizer.from_file(str(tiny_tokenizer_dir / "tokenizer.json"))


def renderer_of(tokenizer: Tokenizer, size: int, *, factor: float | None = None, opening: str = "") -> Renderer:
    form = DocumentForm(opening=opening, closing="<|eos|>", block_size=size, pack_factor=factor)
    return Renderer(tokenizer, Chatml(), max(size, 64), documents=form)  # type: ignore[arg-type]


# --- ids ---


def test_ids_by_hand(tokenizer: Tokenizer) -> None:
    h, i, newline = (tokenizer._own.token_to_id(token) for token in ("H", "i", "Ċ"))
    (example,) = renderer_of(tokenizer, 8).render(document("Hi\n"))
    assert example.ids.tolist() == [h, i, newline, EOS]
    assert example.loss_weights.tolist() == [0, 1, 1, 1]
    assert (example.ids.dtype, example.loss_weights.dtype) == (np.int32, np.float32)
    (example,) = renderer_of(tokenizer, 8, opening="<|bos|>").render(document("Hi\n"))
    assert example.ids.tolist() == [BOS, h, i, newline, EOS]
    assert example.loss_weights.tolist() == [0, 1, 1, 1, 1]


@given(st.text(min_size=1).filter(lambda text: not any(token in text for token in SPECIAL)))
def test_a_document_has_the_model_s_own_ids(tokenizer: Tokenizer, own: RustTokenizer, text: str) -> None:
    (example,) = renderer_of(tokenizer, 10**6).render(document(text))
    assert example.ids.tolist() == [*own.encode(text).ids, EOS]


@given(st.lists(st.sampled_from([*SPECIAL, "a", " ", "\n"]), min_size=1).map("".join))
def test_a_document_s_text_never_becomes_a_control_token(tokenizer: Tokenizer, text: str) -> None:
    examples = renderer_of(tokenizer, 8).render(document(text))
    ids = [index for example in examples for index in example.ids[1 - (example is examples[0]) :].tolist()]
    assert [index for index in ids if index in tokenizer.control_ids] == [EOS]
    assert tokenizer.decode(ids[:-1], skip_control=False) == text


def _rewritten(source: Path, to: Path, *, bos: bool = False, **files: dict[str, Any]) -> Tokenizer:
    """The tiny tokenizer with other settings; with ``bos`` its own encoding begins with one."""
    to.mkdir()
    own = RustTokenizer.from_file(str(source / "tokenizer.json"))
    if bos:
        own.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", BOS)])
    own.save(str(to / "tokenizer.json"))
    for name in ("tokenizer_config", "generation_config"):
        given = json.loads((source / f"{name}.json").read_text())
        (to / f"{name}.json").write_text(json.dumps({**given, **files.get(name, {})}))
    return load_tokenizer(to)


def test_a_document_begins_as_the_model_s_tokenizer_begins_a_text(tiny_tokenizer_dir: Path, tmp_path: Path) -> None:
    with_bos = _rewritten(tiny_tokenizer_dir, tmp_path / "bos", bos=True)
    assert load_tokenizer(tiny_tokenizer_dir).opening == ""
    assert with_bos.opening == "<|bos|>"
    form = document_form(Config(mode="cpt"), with_bos, None)
    assert form
    own = RustTokenizer.from_file(str(tmp_path / "bos" / "tokenizer.json"))
    assert form.ids([TEXT], with_bos)[0].tolist() == [*own.encode(TEXT).ids, EOS]
    assert form.ids([TEXT], with_bos)[0][0] == BOS


def test_a_document_ends_with_what_ends_a_text_and_no_turn(tiny_tokenizer_dir: Path, tmp_path: Path) -> None:
    def end(number: int, eos: str, stops: list[int], template: bool = True) -> str:
        files = {"tokenizer_config": {"eos_token": eos}, "generation_config": {"eos_token_id": stops}}
        tokenizer = _rewritten(tiny_tokenizer_dir, tmp_path / str(number), **files)
        return end_of_text(tokenizer, load_template(None, tokenizer) if template else None)

    assert end(1, "<|eos|>", [IM_END, EOS]) == "<|eos|>"  # a base model
    assert end(2, "<|im_end|>", [IM_END, EOS]) == "<|eos|>"  # a chat model whose EOS ends turns
    assert end(3, "<|im_end|>", [IM_END]) == "<|im_end|>"  # one that knows no other
    assert end(4, "<|im_end|>", [IM_END, EOS], template=False) == "<|im_end|>"


def test_sft_knows_no_documents(tokenizer: Tokenizer) -> None:
    assert document_form(Config(), tokenizer, None) is None


# --- blocks ---


@pytest.mark.parametrize(
    ("length", "size", "spans"),
    [
        (2, 8, [(0, 2)]),
        (8, 8, [(0, 8)]),
        (9, 8, [(0, 8), (7, 9)]),
        (15, 8, [(0, 8), (7, 15)]),
        (16, 8, [(0, 8), (7, 15), (14, 16)]),
    ],
)
def test_blocks_by_hand(length: int, size: int, spans: list[tuple[int, int]]) -> None:
    assert list(block_spans(length, size)) == spans


@given(st.integers(2, 500), st.integers(2, 40))
def test_blocks_lose_no_token_and_train_each_once(length: int, size: int) -> None:
    form = DocumentForm(opening="", closing="<|eos|>", block_size=size)
    blocks = form.blocks(np.arange(length, dtype=np.int32), PLACE)
    trained = [index for block in blocks for index in block.ids[block.loss_weights > 0].tolist()]
    assert trained == list(range(1, length))
    assert [len(block.ids) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    assert 2 <= len(blocks[-1].ids) <= size
    assert all(after.ids[0] == before.ids[-1] for before, after in pairwise(blocks))
    assert all(block.loss_weights.tolist() == [0, *[1] * (len(block.ids) - 1)] for block in blocks)


@settings(max_examples=60)
@given(
    st.lists(st.text("abc de\n", min_size=1, max_size=120).filter(str.strip), min_size=1, max_size=8),
    st.integers(8, 24),
    st.sampled_from(["none", "bfd", "wrapped"]),
    st.integers(0, 5),
)
def test_rows_train_every_token_of_every_document_once(
    tokenizer: Tokenizer, own: RustTokenizer, texts: list[str], size: int, how: Any, seed: int
) -> None:
    found = renderer_of(tokenizer, size).render_batch([document(text) for text in texts])
    blocks = [example for rendering in found for example in rendering.examples]
    order = np.random.default_rng(seed).permutation(len(blocks))
    rows = pack(order, np.array([len(block.ids) for block in blocks]), how=how, capacity=size, seed=seed)
    held = [examples_of(row, blocks) for row in rows]
    trained = Counter(
        pair
        for part in chain.from_iterable(held)
        for pair, weight in zip(pairwise(part.ids.tolist()), part.loss_weights[1:], strict=True)
        if weight == 1
    )
    assert trained == Counter(chain.from_iterable(pairwise([*own.encode(text).ids, EOS]) for text in texts))
    sizes = sorted(sum(len(part.ids) for part in row) for row in held)
    assert sizes[-1] <= size
    if how == "wrapped":
        assert all(filled >= size - 1 for filled in sizes[1:])


def test_a_document_gives_at_most_pack_factor_blocks(tokenizer: Tokenizer, own: RustTokenizer) -> None:
    text = "abcdefgh" * 5
    whole = own.encode(text).ids
    for factor, tokens, blocks in ((1, 8, 1), (2, 15, 2), (2.5, 18, 3)):
        found = renderer_of(tokenizer, 8, factor=factor).render_batch([document(text)])[0]
        assert found.shortened == (CUT,)
        kept = [found.examples[0].ids[0], *(index for one in found.examples for index in one.ids[1:])]
        assert kept == whole[:tokens]  # without an end: the document goes on
        assert len(found.examples) == blocks
    found = renderer_of(tokenizer, 8, factor=99).render_batch([document(text)])[0]
    assert found.shortened == ()
    assert found.examples[-1].ids[-1] == EOS


def test_half_a_character_is_refused_by_name(tokenizer: Tokenizer) -> None:
    good, bad = renderer_of(tokenizer, 8).render_batch([document("Hi"), document("a\ud83d")])
    assert good.error is None
    assert bad.error
    assert (bad.error.where, bad.examples) == (PLACE, ())
    assert "half a surrogate pair" in bad.error.what


# --- the store ---


def test_documents_and_conversations_in_one_store(tmp_path: Path, tokenizer: Tokenizer) -> None:
    docs, talks = tmp_path / "docs.jsonl", tmp_path / "talks.jsonl"
    docs.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a" * 30, "Hi", "b" * 20)))
    talks.write_text(json.dumps(QA) + "\n" + json.dumps({**QA, "question": "What?"}))
    renderer = renderer_of(tokenizer, 16, factor=1)
    reading = Reading(mode="cpt_mixed")
    files = [SourceFile(path=path, name=path.stem, format=reading) for path in (docs, talks)]
    for cached in (False, True):
        store = open_store(files, renderer, tmp_path / "cache", on_bad_row="error", system_prompt=None)
        report = store.report
        assert report.cached == cached
        assert (report.documents, report.blocks, report.block_tokens) == (3, 3, 16 + 3 + 16)
        assert (report.turns, report.closed_turns) == (2, 2)
        assert {how: [place.line for place in places] for how, places in report.shortened.items()} == {CUT: [1, 3]}
        assert [source.documents for source in report.sources.values()] == [3, 0]
    sft = Renderer(tokenizer, Chatml(), 64)  # type: ignore[arg-type]
    alone = read_conversations(talks, on_bad_row="error").talks
    for index, talk in enumerate(alone, 3):  # a conversation keeps its mask
        (expected,) = sft.render(talk)
        assert store[index].ids.tolist() == expected.ids.tolist()
        assert store[index].loss_weights.tolist() == expected.loss_weights.tolist()
    assert IM_START in store[3].ids


def test_another_block_size_is_another_entry_of_the_cache(tokenizer: Tokenizer) -> None:
    made = {renderer_of(tokenizer, size, factor=factor).fingerprint for size in (16, 17) for factor in (None, 2)}
    assert len(made) == 4
    assert len({renderer_of(tokenizer, 16, opening=opening).fingerprint for opening in ("", "<|bos|>")}) == 2


# --- long texts ---


@pytest.fixture(
    scope="module", params=[zoo.byte_level, zoo.byte_level_prefix, zoo.byte_level_ignore_merges, zoo.legacy_prepend]
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(zoo.write(request.param(), tmp_path_factory.mktemp("zoo")))


WORDS = st.sampled_from(
    ["the", "capital", "é", "12,5", "  ", "\n", "\n\n", "</s>", "<think>", "法国。", "I'm", "-", "\u0301"]
)


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=120), st.sampled_from([" ", " ", "", "\n"]))
def test_a_long_text_in_pieces_has_the_ids_of_the_whole(pair: Tokenizer, words: list[str], between: str) -> None:
    text = between.join(words)
    runs = runs_of(text, pair, size=64)
    assert "".join(run.text for run in runs) == text
    assert list(chain.from_iterable(pair.encode_batch(runs))) == pair.encode(text)


def test_long_texts_are_cut_where_they_can_be(tokenizer: Tokenizer, tmp_path: Path) -> None:
    runs = runs_of("The capital of France.\nIs it Paris? " * 50, tokenizer, size=100)
    assert max(len(run.text) for run in runs) <= 100
    assert min(len(run.text) for run in runs[:-1]) > 80
    assert len(runs_of("x" * 500, tokenizer, size=100)) == 1
    spanning = load_tokenizer(zoo.write(zoo.metaspace_first(), tmp_path / "spanning"))  # merges of its join words
    assert len(runs_of("The capital of France. " * 50, spanning, size=100)) == 1


@pytest.fixture
def template(tokenizer: Tokenizer) -> ChatTemplate:
    return load_template(None, tokenizer)


def test_the_tokens_that_close_turns(template: ChatTemplate) -> None:
    assert template.closing_strings == {"<|im_end|>"}
    assert template.stop_strings == {"<|im_end|>", "<|eos|>"}
