"""SentencePiece models: read by hand, converted exactly, refused by name."""

from __future__ import annotations

import importlib.util
import json
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer

from small_sentencepiece import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    SPECIAL,
    UNUSED,
    USER_DEFINED,
    byte_model,
    message,
    model,
)
from tokenizer_zoo import CORPUS
from weft.data.charsmap import damage
from weft.data.sentencepiece_convert import as_tokenizer_json
from weft.data.sentencepiece_file import read_sentencepiece
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.errors import ModelError

WORDS = [*SPECIAL, ("▁he", -1.0, NORMAL), ("llo", -2.0, NORMAL), *((char, -9.0, NORMAL) for char in "▁helo\n")]
HAS_LIBRARY = importlib.util.find_spec("sentencepiece") is not None
needs_library = pytest.mark.skipif(not HAS_LIBRARY, reason="needs the sentencepiece library (pip install 'weft[dev]')")


def save(directory: Path, data: bytes, name: str = "spm.model") -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


def tokens(tokenizer: Tokenizer, text: str, **how: Any) -> list[str]:
    return [tokenizer.token(index) for index in tokenizer.encode(text, **how)]


# ---- by hand -----------------------------------------------------------------------------------------------------------


def test_a_unigram_model_by_hand(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save(tmp_path, model(WORDS)))
    assert tokenizer.named_ids == {"pad": 0, "unk": 1, "bos": 2, "eos": 3}
    assert tokenizer.control == {"<pad>", "<unk>", "<s>", "</s>"}
    assert (tokenizer.vocab_size, tokenizer.stop_ids, tokenizer.chat_template) == (12, {3}, None)
    assert tokenizer.encode("hello") == [4, 5]
    assert tokens(tokenizer, "  hello  lo ") == ["▁he", "llo", "▁", "l", "o"], (
        "spaces at the edges go, of two one stays"
    )
    assert tokens(tokenizer, "hello", continues=True) == ["h", "e", "llo"]
    assert tokenizer.encode("hex") == [4, 1]
    assert tokenizer.decode([4, 5, 6, 9]) == "hello l"


def test_a_bpe_model_by_hand(tmp_path: Path) -> None:
    pieces = [
        *SPECIAL,
        *((f"<0x{value:02X}>", 0.0, BYTE) for value in range(256)),
        *(("ab", -1.0, NORMAL), ("bc", 0.0, NORMAL), ("abc", -2.0, NORMAL), ("▁a", -3.0, NORMAL)),
        *((char, -9.0, NORMAL) for char in "▁abc"),
    ]
    path = save(tmp_path, model(pieces, trainer={3: BPE, 35: 1}, normaliser={4: 0}))
    tokenizer = load_tokenizer(path)
    assert tokens(tokenizer, "abc") == ["▁", "abc"], "bc has the better score, then a + bc is abc"
    assert tokens(tokenizer, "abab") == ["▁", "ab", "ab"]
    assert tokens(tokenizer, " a é") == ["▁", "▁a", "▁", "<0xC3>", "<0xA9>"], "the dummy prefix goes before spaces, too"
    assert tokenizer.decode(tokenizer.encode(" a é")) == " a é"
    assert as_tokenizer_json(read_sentencepiece(path))["model"]["merges"] == [
        ["b", "c"],
        ["a", "b"],
        ["ab", "c"],
        ["a", "bc"],
        ["▁", "a"],
    ]


def test_without_a_dummy_prefix(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save(tmp_path, model(WORDS, normaliser={3: 0})))
    assert tokens(tokenizer, "hello he") == ["h", "e", "llo", "▁he"]
    assert tokenizer.decode(tokenizer.encode("hello he")) == "hello he"


def test_user_defined_symbols_are_text_and_control_symbols_are_not(tmp_path: Path) -> None:
    pieces = [*WORDS, ("<u>", 0.0, USER_DEFINED), ("<c>", 0.0, CONTROL), *((char, -9.0, NORMAL) for char in "<>uc")]
    tokenizer = load_tokenizer(save(tmp_path, model(pieces)))
    assert tokenizer.control == {"<pad>", "<unk>", "<s>", "</s>", "<c>"}
    assert tokens(tokenizer, "he<u>he") == ["▁he", "<u>", "h", "e"], "a symbol is no beginning of a text"
    assert tokens(tokenizer, "<u> he") == ["▁", "<u>", "▁he"]
    assert tokens(tokenizer, "<u>he", continues=True) == ["<u>", "h", "e"]
    assert tokenizer.decode(tokenizer.encode("he<u>he <u>")) == "he<u>he <u>"
    assert tokens(tokenizer, "he<c>he") == ["▁he", "<", "c", ">", "h", "e"]
    assert tokens(tokenizer, "he<c>he", control=[(2, 5)]) == ["▁he", "<c>", "▁he"]


def test_names_are_those_of_the_file(tmp_path: Path) -> None:
    """`bos_piece` and the like are fields of the training's settings; a name without a control piece has no token."""
    pieces = [("[U]", 0.0, 2), ("[B]", 0.0, CONTROL), ("[E]", 0.0, CONTROL), ("<s>", -1.0, NORMAL), ("▁", -2.0, NORMAL)]
    path = save(tmp_path, model(pieces, trainer={45: b"[U]", 46: b"[B]", 47: b"[E]"}))
    assert load_tokenizer(path).named_ids == {"unk": 0, "bos": 1, "eos": 2}
    with pytest.raises(ModelError, match="names no token that ends an answer"):
        load_tokenizer(save(tmp_path, model(pieces, trainer={47: b"none"})))


def test_its_directory_is_read_as_the_file_is(tmp_path: Path) -> None:
    """What a run keeps: the conversion, and the model itself."""
    tokenizer = load_tokenizer(byte_model(tmp_path / "spm.model"))
    for name, content in tokenizer.made.items():
        (tmp_path / name).write_bytes(content)
    assert sorted(tokenizer.made) == ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"]
    assert (tmp_path / "tokenizer.model").read_bytes() == (tmp_path / "spm.model").read_bytes()
    again = load_tokenizer(tmp_path)
    text = "What is number 7?\n é"
    assert again.encode(text) == tokenizer.encode(text)
    assert again.named_ids == tokenizer.named_ids
    assert again.made == {}


def test_transformers_reads_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = load_tokenizer(byte_model(tmp_path / "spm.model"), control=("<|im_start|>", "<|im_end|>"))
    for name, content in tokenizer.made.items():
        (tmp_path / name).write_bytes(content)
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "<|im_start|>What is  number 7?\n<|im_end|>"
    assert tokenizer.new_ids == (len(theirs) - 2, len(theirs) - 1)
    assert theirs(text)["input_ids"] == tokenizer.encode(text, [(0, 12), (31, 41)])
    assert (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id) == (0, 2, 3)


# ---- against the library -----------------------------------------------------------------------------------------------

TEXTS = [
    *CORPUS[:3],
    *(
        "",
        " ",
        "  two  spaces ",
        "\n\nlines\n\tand a tab",
        " leading",
        "trailing ",
        "a\u00a0b\u3000c",
        "ﬁ ½ ① Ａ ａ",
        "e\u0301",
    ),
    *("中文，测试。", "😀 👍🏽", "x\u200by", "▁a ▁▁b", "12.5 % of 1,000", "aaaaaaaa", "\x00", "Ǆ \ufeff İ", "한국어"),
]
KINDS = {
    "unigram": {"model_type": "unigram"},
    "bpe": {"model_type": "bpe"},
    "unigram with bytes": {"model_type": "unigram", "byte_fallback": True},
    "as Llama 2": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
    },
    "without dummy prefix": {"model_type": "unigram", "add_dummy_prefix": False},
    "case folded": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc_cf"},
    "as it stands, spaces stripped": {"model_type": "bpe", "normalization_rule_name": "identity"},
    "own names": {"model_type": "bpe", "bos_piece": "[B]", "eos_piece": "[E]", "pad_piece": "[P]", "unk_piece": "[U]"},
    "without pad": {"model_type": "unigram", "pad_id": -1, "unk_id": 0, "bos_id": 1, "eos_id": 2},
}


def train_library_s(path: Path, kind: str, **settings: Any) -> None:
    from sentencepiece import SentencePieceTrainer

    ids = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}
    SentencePieceTrainer.train(
        sentence_iterator=iter([line.replace("<", "(") for line in CORPUS]),
        model_prefix=str(path.with_suffix("")),
        vocab_size=420 if "byte_fallback" in KINDS[kind] else 160,
        hard_vocab_limit=False,
        minloglevel=3,
        **{**ids, **KINDS[kind], **settings},
    )


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_and_ids_are_the_library_s(tmp_path: Path, kind: str) -> None:
    from sentencepiece import SentencePieceProcessor

    train_library_s(tmp_path / "spm.model", kind)
    library = SentencePieceProcessor(model_file=str(tmp_path / "spm.model"))
    tokenizer = load_tokenizer(tmp_path / "spm.model")
    assert tokenizer.vocab_size == len(library)
    assert [tokenizer.token(index) for index in range(len(library))] == library.id_to_piece(list(range(len(library))))
    named = {name: getattr(library, f"{name}_id")() for name in ("pad", "unk", "bos", "eos")}
    assert {name: tokenizer.named_ids.get(name, -1) for name in named} == named
    assert [tokenizer.encode(text) for text in TEXTS] == library.encode(TEXTS)
    assert not tokenizer.notices


@needs_library
@pytest.mark.parametrize("kind", KINDS)
@given(
    parts=st.lists(
        st.sampled_from(["<u>", "<sep>", "&", "foo bar", "<", "u", ">", "Foo", " ", "  ", "a", "The", "\n", "1", "日"])
    )
)
def test_user_defined_symbols_are_the_library_s(
    tmp_path_factory: pytest.TempPathFactory, kind: str, parts: list[str]
) -> None:
    library, tokenizer = _with_symbols(tmp_path_factory, kind)
    text = "".join(parts)
    assume(text.strip() not in SYMBOLS)  # known to differ: a text that is nothing but one
    assert tokenizer.encode(text) == library.encode(text)
    assert not tokenizer.notices


SYMBOLS = ["<u>", "<sep>", "&", "foo bar"]
_TRAINED: dict[str, tuple[Any, Tokenizer]] = {}


def _with_symbols(tmp_path_factory: pytest.TempPathFactory, kind: str) -> tuple[Any, Tokenizer]:
    from sentencepiece import SentencePieceProcessor

    if kind not in _TRAINED:
        path = tmp_path_factory.mktemp("symbols") / "spm.model"
        train_library_s(path, kind, user_defined_symbols=SYMBOLS)
        _TRAINED[kind] = SentencePieceProcessor(model_file=str(path)), load_tokenizer(path)
    return _TRAINED[kind]


def test_a_text_of_spaces_keeps_them_beside_a_symbol_of_spaces(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(byte_model(tmp_path / "spm.model", [("▁▁", 0.0, USER_DEFINED)]))
    for text in ("  ", " ", "   ", "is  be", "  is"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@needs_library
def test_symbols_that_normalising_changes_are_found_as_they_stand_alone(tmp_path: Path) -> None:
    """Else "1" would be read as "①". What follows one begins with a space, which the notice tells."""
    train_library_s(tmp_path / "spm.model", "bpe", user_defined_symbols=["①"])
    tokenizer = load_tokenizer(tmp_path / "spm.model")
    assert "①" not in tokens(tokenizer, "1 of 1")
    assert tokens(tokenizer, "a①b")[1:3] == ["①", "▁b"]
    (notice,) = tokenizer.notices
    assert "2 of 72 texts encode otherwise than with the sentencepiece library" in notice


@needs_library
def test_the_models_by_hand_are_models_for_the_library_too(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    path = byte_model(tmp_path / "spm.model")
    library, tokenizer = SentencePieceProcessor(model_file=str(path)), load_tokenizer(path)
    assert [tokenizer.encode(text) for text in TEXTS] == library.encode(TEXTS)


@needs_library
def test_a_conversion_that_differs_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library at hand every load is verified: some texts are a notice, most are an error."""
    from weft.data import sentencepiece_verify as verify

    path = byte_model(tmp_path / "spm.model")
    assert load_tokenizer(path).notices == ()
    monkeypatch.setattr(verify, "compare", lambda path, tokenizer, texts: [texts[0]])
    (notice,) = load_tokenizer(path).notices
    assert "1 of 71 texts encode otherwise than with the sentencepiece library" in notice
    monkeypatch.setattr(verify, "compare", lambda path, tokenizer, texts: texts)
    with pytest.raises(ModelError, match="it encodes 71 of 71 texts otherwise"):
        load_tokenizer(path)


# ---- what is refused ---------------------------------------------------------------------------------------------------

GOOD = model(WORDS)


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_a_truncated_model_is_damaged_whatever_its_length(tmp_path: Path, length: int) -> None:
    with pytest.raises(
        ModelError, match=r"spm\.model: it is (empty|no SentencePiece model, or a damaged one: )"
    ) as caught:
        load_tokenizer(save(tmp_path, GOOD[:length]))
    assert "again" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (pickle.dumps({"a": 1}), "it is no SentencePiece model but a pickle, which can run code and is never opened"),
        (b"PK\x03\x04rest", "but a zip archive"),
        (b"IQ== 0\nIg== 1\n", "but a tiktoken vocabulary"),
        (b'{"version": "1.0"}', "but JSON; the directory of a tokenizer.json is named"),
        (b"GGUF\x03\0\0\0", "but a GGUF model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "but a Git LFS pointer"),
        (b"hello there", "or a damaged one: "),
        (b"", "it is empty"),
        (GOOD[: GOOD.index(b"identity") - 4], "it has no normaliser"),
        (message({1: message({1: b"x"})}), "it has no settings of its training and no normaliser"),
        (message({2: message({3: 1}), 3: message({1: b"x"})}), "it has no pieces"),
        (model([*WORDS, ("llo", -3.0, NORMAL)]), "the pieces 5 and 12 are both 'llo'"),
        (model([*WORDS, ("", -3.0, NORMAL)]), "its piece 12 has no text"),
        (model([*WORDS, ("x", float("nan"), NORMAL)]), "its piece 12 has a score that is no number"),
        (model([*WORDS, ("x", 0.0, 9)]), "its piece 12 has no text, score or kind that could be one"),
        (model(WORDS).replace("▁he".encode(), b"\xff\xff\xff\xff\xff"), "its piece 4 has no text, score or kind"),
        (model(WORDS, normaliser={2: b"\1\2\3"}), "of its normaliser's table, its trie has another length"),
        (message({1: 7}), "its field 1 is a number"),
        (model(WORDS, trainer={3: b"x"}), "the setting 3 is no number"),
        (model(WORDS, trainer={3: 3}), "its pieces are words, and unigram and bpe can be converted"),
        (model(WORDS, trainer={3: 7}), "its pieces are of the kind 7"),
        (model(WORDS, trainer={24: 1}), "it puts the space behind a word"),
        (model(WORDS, normaliser={5: 0}), "it leaves spaces as they are"),
        (model([*WORDS, ("x", 0.0, UNUSED)]), "1 of its pieces are marked unused"),
        (model(WORDS[2:]), "it has 0 pieces for unknown characters"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, what: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_tokenizer(save(tmp_path, data))
    assert what in caught.value.what
    assert caught.value.where == str(tmp_path / "spm.model")
    assert caught.value.fix


@given(noise=st.binary(max_size=60), place=st.integers(0, len(GOOD)), length=st.integers(0, 30))
def test_noise_is_an_error_or_a_tokenizer(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, length: int
) -> None:
    path = save(tmp_path_factory.mktemp("noise"), GOOD[:place] + noise + GOOD[place + length :])
    with suppress(ModelError):  # and nothing else
        load_tokenizer(path).encode("hello é")


def test_a_table_that_points_outside_itself_is_damaged() -> None:
    """The library that runs it would stop the process: a trie of one block, whose units point to themselves or a leaf."""
    leaf = 1 << 31

    def table(first: int, texts: bytes = b"a\0") -> bytes:
        units = [first, *[leaf] * 255]
        return (1024).to_bytes(4, "little") + b"".join(unit.to_bytes(4, "little") for unit in units) + texts

    assert damage(table(leaf)) is None
    assert damage(table(256 << 10)) == "its trie points outside itself"
    assert damage(table(leaf | 99)) == "its trie points outside its texts"
    assert damage(table(leaf | 1, "é\0".encode())) == "its trie points outside its texts", "into a character"
    assert damage(table(leaf, b"\xff")) == "its texts are not UTF-8"
    assert damage(table(leaf)[:-9]) == "its trie has another length than it says"
    assert damage(b"") == "its trie has another length than it says"


def test_a_file_of_the_wrong_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.data.sentencepiece_file._MOST_BYTES", 100)
    with pytest.raises(ModelError, match=f"it has {len(GOOD)} bytes"):
        load_tokenizer(save(tmp_path, GOOD))


def test_every_piece_keeps_its_id(tmp_path: Path) -> None:
    path = byte_model(tmp_path / "spm.model")
    converted = RustTokenizer.from_str(json.dumps(as_tokenizer_json(read_sentencepiece(path))))
    pieces = read_sentencepiece(path).pieces
    assert [converted.token_to_id(one.text) for one in pieces] == list(range(len(pieces)))
