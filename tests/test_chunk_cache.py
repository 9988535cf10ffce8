"""Ids by the chunk: the same as those of whole texts, or encoded whole and said why."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from byte_level_zoo import CONTROL, CUTTING, NORMALIZERS, PLAIN, a_run, a_text, byte_level, encoder, spec, split
from weft.data import chunk_cache
from weft.data.chunk_cache import ChunkCache
from weft.data.encoding import Encoder, Run
from weft.errors import ModelError

MARKS = ("\U0010ffee2\U0010ffee", "\U0010ffee", "\U0010ffed")
"""What control tokens are named by, where no text holds it."""


def differing(subject: Encoder, seed: int, batches: int, size: int = 12) -> list[str]:
    """The texts whose ids are others than those of whole texts."""
    random = Random(seed)
    wrong = []
    for _ in range(batches):
        runs = [a_run(random) for _ in range(random.randrange(size))]
        runs += [Run.of(a_text(random) + mark) for mark in MARKS if random.random() < 0.04]
        found, expected = subject.encode(runs), subject._encode_whole(runs)
        wrong += [run.text for run, ids, whole in zip(runs, found, expected, strict=True) if ids.tolist() != whole]
        assert all(ids.dtype == "int32" for ids in found)
    return wrong


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("cut", CUTTING)
def test_ids_by_the_chunk_are_those_of_whole_texts(cut: str, normalizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_cache, "_MOST_CHUNKS", 300)  # so that it forgets now and then
    subject = encoder(CUTTING[cut](), NORMALIZERS[normalizer](), PLAIN, ignore_merges=cut == "Llama 3")
    assert subject.whole_because is None
    assert differing(subject, seed=1, batches=25) == []
    assert subject.whole_because is None
    assert subject.disproved is None
    assert subject._chunks is not None
    assert subject._chunks.looked_up > subject._chunks.encoded > 300


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("cut", CUTTING)
def test_more_ids_by_the_chunk_are_those_of_whole_texts(cut: str, normalizer: str, seed: int) -> None:
    subject = encoder(CUTTING[cut](), NORMALIZERS[normalizer](), PLAIN if seed % 2 else ())
    assert differing(subject, seed=100 + seed, batches=400, size=40) == []


def test_a_text_has_the_same_ids_in_any_company() -> None:
    subject = encoder(byte_level())
    runs = [a_run(Random(seed)) for seed in range(60)]
    expected = [ids.tolist() for ids in subject.encode(runs)]
    random = Random(0)
    for _ in range(20):
        order = random.sample(range(len(runs)), random.randint(1, len(runs)))
        assert [ids.tolist() for ids in subject.encode([runs[place] for place in order])] == [
            expected[place] for place in order
        ]


WHOLE: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "BLOOM": (lambda: spec(split(r" ?[^(\s|[.,!?…。，、।۔،])]+")), "by the chunk, '… …' is cut otherwise"),
    "bytes without a pattern": (
        lambda: spec(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
        "it does not cut text at spaces",
    ),
    "a space before a text": (
        lambda: spec(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "it puts a space before a text",
    ),
    "Falcon": (
        lambda: spec(
            pre_tokenizers.Sequence([byte_level(), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
        ),
        "it is not byte-level, or puts a space before a text",
    ),
    "punctuation": (
        lambda: spec(pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), byte_level()])),
        "it cuts text in a way that is not known here",
    ),
    "a text as pattern": (
        lambda: spec(pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "isolated"), byte_level()])),
        "it cuts text in a way that is not known here",
    ),
    "looking back": (lambda: spec(split(r"(?<=a) \p{L}+|\s+|\S+")), "its pattern looks at what stands around a match"),
    "word boundaries": (
        lambda: spec(split(r"\b \p{L}+|\p{L}+|\s+|.")),
        "its pattern looks at what stands around a match",
    ),
    "line beginnings": (lambda: spec(split(r"^ +| ?\p{L}+|\s+|.")), "its pattern looks at what stands around a match"),
    "ends": (lambda: spec(split(r" ?\p{L}+$| ?\p{L}|\s+|.")), "its pattern looks at what stands around a match"),
    "idioms": (lambda: spec(split(r" of the| ?\p{L}+| ?\p{N}+|\s+")), "its pattern finds pieces with a space inside"),
    "idioms, otherwise": (lambda: spec(split(r"of\sthe| ?\p{L}+|\s+")), "its pattern finds pieces with a space inside"),
    "several words": (lambda: spec(split(r"\p{L}+(?: \p{L}+)*|\s+|.")), "by the chunk, 'a a' is cut otherwise"),
    "thousands": (
        lambda: spec(split(r"\p{N}+(?: \p{N}{3})*| ?\p{L}+|\s+|.")),
        "by the chunk, '12 1234567' is cut otherwise",
    ),
    "numbers alone": (lambda: spec(split(r"\p{N}+")), "by the chunk, 'a a' is cut otherwise"),
    "a token of two words": (
        lambda: spec(byte_level(), added=[AddedToken("of the")]),
        "its token 'of the' reaches over a space",
    ),
    "a token of two words once it is normalised": (
        lambda: spec(byte_level(), normalizers.NFKC(), [AddedToken("of\u00a0the", normalized=True)]),
        "its token 'of\\xa0the' reaches over a space",
    ),
    "a token that swallows spaces": (
        lambda: spec(byte_level(), added=[AddedToken("<mask>", lstrip=True)]),
        "its token '<mask>' looks at what stands beside it",
    ),
    "a token behind which spaces are swallowed": (
        lambda: spec(byte_level(), added=[AddedToken("<mask>", rstrip=True)]),
        "its token '<mask>' looks at what stands beside it",
    ),
    "a token that is a word by itself": (
        lambda: spec(byte_level(), added=[AddedToken("the", single_word=True)]),
        "its token 'the' looks at what stands beside it",
    ),
    "another normaliser": (
        lambda: spec(byte_level(), normalizers.Replace(Regex(" +"), " ")),
        "it normalises with Replace",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_where_chunks_will_not_do_it_is_said_why(name: str) -> None:
    make, reason = WHOLE[name]
    subject = Encoder(make(), CONTROL, ["</s>", "<|im_end|>"])
    assert subject.whole_because == reason
    assert subject.disproved is None
    assert differing(subject, seed=3, batches=4) == []


@pytest.mark.parametrize(
    ("kind", "reason"), [("WordPiece", "its model is WordPiece, not BPE"), ("Unigram", "its model is Unigram, not BPE")]
)
def test_other_models_are_encoded_whole(kind: str, reason: str) -> None:
    vocabulary = [*CONTROL, "<unk>", *"abcdefghijklmnopqrstuvwxyz<>/|_"]
    if kind == "WordPiece":
        vocab = {
            token: number for number, token in enumerate([*vocabulary, *(f"##{letter}" for letter in "abcs<>/|_imend")])
        }
        tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer = Tokenizer(models.Unigram([(token, -1.0) for token in vocabulary], unk_id=3))
    tokenizer.add_special_tokens(list(CONTROL))
    assert Encoder(json.loads(tokenizer.to_str()), CONTROL, ["</s>"]).whole_because == reason


@pytest.mark.parametrize("make", [lambda: spec(byte_level()), WHOLE["idioms"][0]], ids=["by the chunk", "whole"])
@pytest.mark.parametrize("known", ["of the box", " ".join(map(str, range(500)))], ids=["few known", "many known"])
def test_a_text_that_cannot_be_encoded_spoils_no_other(make: Callable[[], Any], known: str) -> None:
    subject = Encoder(make(), CONTROL, ["</s>"])
    expected = subject.encode([Run.of(known)])[0].tolist()
    with pytest.raises(UnicodeEncodeError):
        subject.encode([Run.of("a new word \ud83d")])
    assert subject.encode([Run.of(known)])[0].tolist() == expected
    assert subject.encode([Run.of("a new word")])[0].tolist() == subject._encode_whole([Run.of("a new word")])[0]


def test_words_of_scripts_without_spaces_have_the_ids_of_whole_texts() -> None:
    subject = encoder(byte_level())
    texts = ["数据" * length + " 模型" * 2 for length in range(1, 60)]
    found = subject.encode([Run.of(text) for text in texts])
    assert [ids.tolist() for ids in found] == subject._encode_whole([Run.of(text) for text in texts])


@pytest.mark.parametrize("moment", range(1, 9))
def test_what_was_interrupted_is_learnt_anew(moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, calls = encoder(byte_level()), count(1)
    runs = [Run.of("of the box"), Run.of("a new word")]
    expected = [ids.tolist() for ids in encoder(byte_level()).encode(runs)]
    subject.encode(runs[:1])

    def interrupted(then: Callable[..., Any]) -> Callable[..., Any]:
        def then_or_stop(*args: Any) -> Any:
            if next(calls) >= moment:  # and again, while that is put in order
                raise KeyboardInterrupt
            return then(*args)

        return then_or_stop

    with monkeypatch.context() as patched:
        for name in ("append", "concatenate"):
            patched.setattr(np, name, interrupted(getattr(np, name)))
        patched.setattr(ChunkCache, "_forget", interrupted(ChunkCache._forget))
        with pytest.raises(KeyboardInterrupt):
            subject.encode(runs)
    assert [ids.tolist() for ids in subject.encode(runs)] == expected


def test_threads_may_share_it() -> None:
    subject = encoder(byte_level())
    wrong: list[str] = []
    threads = [
        threading.Thread(target=lambda seed=seed: wrong.extend(differing(subject, seed, batches=20)))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_text_never_turns_into_a_control_token() -> None:
    subject = encoder(byte_level())
    forbidden = subject.encode([Run.of("the")])[0].tolist()
    subject._chunks = ChunkCache(subject._encode_words, {}, forbidden)
    with pytest.raises(ModelError, match="encoding the text 'the' gave the control tokens"):
        subject.encode([Run.of("the")])
