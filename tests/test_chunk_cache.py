"""Ids by the chunk: the same as those of whole texts, or encoded whole and said why."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from chatml_by_hand import Chatml
from weft.data import chunk_cache
from weft.data.chunk_cache import ChunkCache
from weft.data.encoding import Encoder, Parts, Run
from weft.data.flat_ids import FlatIds
from weft.data.render import Renderer
from weft.data.store import SourceFile, open_store
from weft.data.tokenizer import load_tokenizer
from weft.errors import ModelError

CONTROL = {"<s>": 0, "</s>": 1, "<|im_end|>": 2}

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LINES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def split(*patterns: str) -> pre_tokenizers.PreTokenizer:
    """Patterns, and then bytes."""
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


CUTTING: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "GPT-2": byte_level,
    "Qwen2": lambda: split(_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + _LINES),
    "Llama 3": lambda: split(_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + _LINES),
    "o200k": lambda: split(
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "DeepSeek-V3": lambda: split(
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "digits": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]),
    "groups of digits": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), byte_level()]),
}
NORMALIZERS: dict[str, Callable[[], normalizers.Normalizer | None]] = {
    "as it is": lambda: None,
    "NFC": normalizers.NFC,
    "NFD": normalizers.NFD,
    "NFKC": normalizers.NFKC,
    "NFKC, lower case": lambda: normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
}
PLAIN = [
    *(
        AddedToken(token, special=False, normalized=False)
        for token in ("<think>", "</think>", "  ", "    ", "\n\n", "\t", " ")
    ),
    *(AddedToken(token, special=False, normalized=True) for token in (" the", "é", "\n ")),
]
CORPUS = [
    "What is the capital of France? The capital of France is Paris. It's so, isn't it?",
    "def f(x):\n    return [x for x in range(1000)]\n\n\n\tindented  twice   and more\r\n",
    "问：法国的首都是哪里？答：巴黎。 é e\u0301 naïve ﬁne 한글 ไทย",
    "out of the box, in order to get out of the way of the thing, and 1 000 000 of the 12 345",
    *("of the", "in order to", "Paris is"),
] * 20

WORDS = (
    *(
        "the",
        "of",
        "the",
        "Paris",
        "It's",
        "isn't",
        "12",
        "1000",
        "1 000",
        "3.14",
        "x",
        "return",
        "def f(x):",
        "HTTPServer",
        "iPhone",
    ),
    *(
        "é",
        "e\u0301",
        "\u0301",
        "\u0301a",
        "naïve",
        "ﬁne",
        "İ",
        "ß",
        "ǅ",
        "中文",
        "。",
        "한글",
        "\u1112\u1161",
        "ไทย",
        "नी",
        "عربى",
    ),
    *(
        "\U0001f600",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f1eb\U0001f1f7",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\u00ad",
    ),
    *(
        "´",
        "a´",
        "´b",
        "ﷺ",
        "…",
        "½",
        "²",
        "\x00",
        "\x1f",
        "\x7f",
        "\u180e",
        "\u2060",
        "!?",
        "--",
        "://",
        "(",
        ")",
        "'",
        "'s",
        "’s",
        "$1",
    ),
    *("<think>", "</think>", "<s>", "<|im_end|>", "_", "a_b", "\\n", "%", "x" * 99, "ab" * 300),
)
MARKS = ("\U0010ffee2\U0010ffee", "\U0010ffee", "\U0010ffed")
"""What control tokens are named by, where no text holds it."""
SPACES = (
    *(
        " ",
        " ",
        " ",
        " ",
        " ",
        "  ",
        "   ",
        "    ",
        "     ",
        "\n",
        "\n\n",
        "\n ",
        " \n",
        "\n    ",
        "\t",
        " \t",
        "\t ",
        "\r\n",
        "\r",
        "\x0b",
    ),
    *(
        "\x0c",
        "\x1c",
        "\x1d ",
        " \x1f",
        "\x85",
        "\u00a0",
        " \u00a0",
        "\u00a0 ",
        "\u1680",
        "\u2002",
        "\u2009 ",
        "\u2028",
        "\u2029 ",
    ),
    *("\u202f", "\u205f", "\u3000", " \u3000", "", "", ""),
)


def spec(
    cut: pre_tokenizers.PreTokenizer,
    normalizer: normalizers.Normalizer | None = None,
    added: Sequence[AddedToken] = (),
    **options: Any,
) -> dict[str, Any]:
    """A byte-level BPE, trained in a moment."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer, tokenizer.decoder = cut, decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=list(CONTROL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens(list(added))
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    return description


def encoder(*args: Any, **options: Any) -> Encoder:
    return Encoder(spec(*args, **options), CONTROL, ["</s>", "<|im_end|>"])


def a_text(random: Random) -> str:
    parts = [random.choice(SPACES)]
    for _ in range(random.randrange(12)):
        parts += [random.choice(WORDS), random.choice(SPACES)]
    return "".join(parts)


def a_run(random: Random) -> Run:
    """Text with control tokens here and there."""
    text, control = a_text(random), []
    for token in random.choices(list(CONTROL), k=random.choice((0, 0, 1, 3))):
        control.append((len(text), len(text) + len(token)))
        text += token + random.choice(("", a_text(random)))
    return Run.of(text, control, continues=random.random() < 0.5)


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


def test_a_text_that_cannot_be_encoded_spoils_no_other() -> None:
    subject = encoder(byte_level())
    expected = subject.encode([Run.of("of the box")])[0].tolist()
    with pytest.raises(UnicodeEncodeError):
        subject.encode([Run.of("a new word \ud83d")])
    assert subject.encode([Run.of("of the box")])[0].tolist() == expected
    assert subject.encode([Run.of("a new word")])[0].tolist() == subject._encode_whole([Run.of("a new word")])[0]


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
    subject._chunks = ChunkCache(subject._encode_texts, {}, forbidden)
    with pytest.raises(ModelError, match="encoding the text 'the' gave the control tokens"):
        subject.encode([Run.of("the")])


# ---- a cache that is wrong after all -----------------------------------------------------------------------------------


def test_a_sample_that_differs_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = encoder(byte_level())
    runs = [Run.of("of the box"), Run.of("Paris")]
    expected = [ids.tolist() for ids in subject.encode(runs)]
    right = ChunkCache.encode

    def without_their_last_ids(self: ChunkCache, runs: Sequence[Sequence[str]]) -> FlatIds:
        return FlatIds.of([ids[:-1].tolist() for ids in right(self, runs).each()])

    monkeypatch.setattr(ChunkCache, "encode", without_their_last_ids)
    assert [ids.tolist() for ids in subject.encode(runs)] == expected
    assert subject.disproved == subject.whole_because
    assert subject.disproved in {f"by the chunk, {run.text!r} has other ids" for run in runs}
    assert subject._chunks is None


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_store_encodes_again_what_a_wrong_cache_made(
    jobs: int, tiny_tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "records.jsonl"
    rows = [{"prompt": f"What is {number}?", "response": f"It is wrong {number}."} for number in range(2000)]
    records.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def build(cache: str) -> Any:
        renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), Chatml(), 256)  # type: ignore[arg-type]
        file = SourceFile(path=records, name="records")
        return open_store([file], renderer, tmp_path / cache, on_bad_row="error", system_prompt=None, jobs=jobs)

    expected = build("right")
    right = ChunkCache.encode

    def wrong_at_last(self: ChunkCache, texts: Sequence[Sequence[str]]) -> FlatIds:
        ids = right(self, texts)
        if any("777" in str(part) for text in texts for part in text):  # long after the first blocks are made
            ids = FlatIds.of([each[::-1].tolist() for each in ids.each()])
        return ids

    monkeypatch.setattr(ChunkCache, "encode", wrong_at_last)
    store = build("wrong")
    assert store.fingerprint == expected.fingerprint
    (note,) = (note for note in store.report.notes if note != "noted")
    assert note.startswith("everything was encoded again, because by the chunk, ")
    assert store.report.notes["noted"] == 2000
    (entry,) = (tmp_path / "wrong").iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["examples.arrow", "report.json"]


def test_entries_that_relied_on_a_wrong_cache_are_made_again(
    tiny_tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": f"the {name}?", "response": "It is."}) + "\n")
    files = [SourceFile(path=tmp_path / f"{name}.jsonl", name=name) for name in ("first", "second")]

    def build(cache: str) -> Any:
        renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), Chatml(), 256)  # type: ignore[arg-type]
        return open_store(files, renderer, tmp_path / cache, on_bad_row="error", system_prompt=None)

    expected = build("right")
    right = Encoder._agrees_in_a_sample

    def later(self: Encoder, runs: Sequence[Parts], continues: Sequence[bool], ids: FlatIds) -> bool:
        """The first source is wrong, which shows with the second."""
        text = "".join(part for parts in runs for part in parts)
        if "first" in text:
            ids.ids[:] = 7
            return True
        if "second" in text:
            self.encode_whole("it is wrong")
        return self.disproved is None and right(self, runs, continues, ids)

    monkeypatch.setattr(Encoder, "_agrees_in_a_sample", later)
    store = build("wrong")
    assert store.fingerprint == expected.fingerprint
    assert store.report.notes == {"everything was encoded again, because it is wrong": 2, "noted": 2}
    assert len(list((tmp_path / "wrong").iterdir())) == 2
    assert build("wrong").fingerprint == expected.fingerprint
