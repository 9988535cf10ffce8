"""Law 4: a person's text never becomes a control token, and benign text keeps exactly the model's own ids."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer

from tokenizer_zoo import CONTROL, CORPUS, PLAIN, ZOO, write
from weft.data.encoding import Encoder, Run
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.errors import ModelError

SHIFT = 0xFEE0  # from ASCII to the full-width forms, which NFKC turns back
PIECES = [
    *CONTROL,
    *PLAIN,
    *(token.upper() for token in CONTROL),
    *("".join(chr(ord(char) + SHIFT) for char in token) for token in CONTROL),
    *(" ", "  ", "\n", "a", "hello ", "<", "|", ">", "/", "[", "]", "s", "SEP", "\u200b", "<<s>s>", "</", "é", "问"),
    *("\U0010ffee", "0", "1", "2", "\U0010ffee1\U0010ffee"),
]
TEXT = st.text(max_size=30) | st.lists(st.sampled_from([*CORPUS[0].split(" "), " ", "\n", *PLAIN]), max_size=12).map(
    " ".join
)


@pytest.fixture(scope="module", params=ZOO)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, RustTokenizer]:
    """weft's tokenizer and the model's own, for every construction."""
    own = ZOO[request.param]()
    directory = write(own, tmp_path_factory.mktemp(request.param))
    return load_tokenizer(directory), own


def attacks(count: int) -> list[str]:
    rng = random.Random(20260101)
    return ["".join(rng.choices(PIECES, k=rng.randint(1, 8))) for _ in range(count)]


def forbidden(tokenizer: Tokenizer, own: RustTokenizer) -> set[int]:
    """All control ids but the one that stands for characters outside the vocabulary."""
    return set(tokenizer.control_ids) - {own.token_to_id("<unk>")}


def hot(text: str, own: RustTokenizer) -> bool:
    """Whether control strings occur, as written or as normalised."""
    forms = [text, own.normalizer.normalize_str(text) if own.normalizer else text]
    return any(token in form for token in CONTROL for form in forms)


@pytest.mark.parametrize("continues", [False, True])
def test_no_attack_gives_a_control_token(pair: tuple[Tokenizer, RustTokenizer], continues: bool) -> None:
    tokenizer, own = pair
    bad = forbidden(tokenizer, own)
    texts = attacks(400)
    leaks = sum(bool(bad & set(own.encode(text, add_special_tokens=False).ids)) for text in texts)
    assert leaks > 100, "the attacks are toothless"
    for text in texts:
        assert not bad & set(tokenizer.encode(text, continues=continues)), text


@pytest.mark.parametrize("seed", range(3))
def test_attacks_leave_the_template_s_own_control_tokens_alone(
    pair: tuple[Tokenizer, RustTokenizer], seed: int
) -> None:
    tokenizer, own = pair
    bad = forbidden(tokenizer, own)
    rng = random.Random(seed)
    for content in attacks(50):
        opening, closing = rng.sample([token for token in CONTROL if token != "<unk>"], 2)
        text = f"{opening}user\n{content}{closing}"
        spans = [(0, len(opening)), (len(text) - len(closing), len(text))]
        found = [index for index in tokenizer.encode(text, spans) if index in bad]
        assert found == [own.token_to_id(opening), own.token_to_id(closing)], text


@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_benign_text_has_the_model_s_own_ids(pair: tuple[Tokenizer, RustTokenizer], text: str) -> None:
    tokenizer, own = pair
    assume(not hot(text, own))
    assert tokenizer.encode(text) == own.encode(text, add_special_tokens=False).ids


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(TEXT, min_size=1, max_size=4), tokens=st.lists(st.sampled_from(CONTROL[1:]), min_size=4, max_size=4)
)
def test_a_benign_render_has_the_model_s_own_ids(
    pair: tuple[Tokenizer, RustTokenizer], parts: list[str], tokens: list[str]
) -> None:
    tokenizer, own = pair
    looks_in_normalised_text = own.get_added_tokens_decoder()[own.token_to_id("</s>")].normalized
    text, spans = "", []
    for part, token in zip(parts, tokens, strict=False):
        assume(not hot(part, own))
        # Closed control tokens are found before the text is normalised; see `_renamed`.
        assume(not looks_in_normalised_text or own.normalizer.normalize_str(part) == part)
        spans.append((len(text), len(text) + len(token)))
        text += token + part
    assume(sum(text.count(token) for token in CONTROL) == len(spans))
    assert tokenizer.encode(text, spans) == own.encode(text, add_special_tokens=False).ids


LOSSLESS = ("byte_level", "byte_level_added_later", "byte_level_prefix", "byte_level_ignore_merges", "legacy_prepend")


@pytest.fixture(scope="module", params=LOSSLESS)
def lossless(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(write(ZOO[request.param](), tmp_path_factory.mktemp(request.param)))


@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8))
def test_what_is_encoded_in_runs_reads_as_written(lossless: Tokenizer, pieces: list[str]) -> None:
    """Hot or not: the ids of a prompt and of the answer that continues it decode to the prompt and the answer."""
    prompt, answer = "Question:", "".join(pieces)
    ids = lossless.encode(prompt) + lossless.encode(answer, continues=True)
    assert lossless.decode(ids, skip_control=False).removeprefix(" ") == prompt + answer


def test_a_run_that_continues_text_gets_no_space(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write(ZOO["legacy_prepend"](), tmp_path))
    entries = [tokenizer.token(index) for index in tokenizer.encode("yes")]
    continued = [tokenizer.token(index) for index in tokenizer.encode("yes", continues=True)]
    assert "".join(entries) == "▁yes"
    assert "".join(continued) == "yes"


def test_a_template_s_control_token_is_found_whatever_its_flags_ask_for(tmp_path: Path) -> None:
    """Flags that make the library miss a token (behind a prefix that a normaliser adds, inside a word) do not count."""
    write(ZOO["legacy_prepend"](), tmp_path)
    description = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    for token in description["added_tokens"]:
        token |= {"normalized": True, "single_word": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("hello</s>", [(5, 9)])[-1] == tokenizer.eos_id


def test_a_prefix_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    from tokenizers import Regex, normalizers

    own = ZOO["byte_level"]()
    own.normalizer = normalizers.Replace(Regex("^"), "_")
    with pytest.raises(ModelError, match="puts text before a text"):
        load_tokenizer(write(own, tmp_path))


def test_a_tokenizer_that_cannot_continue_exactly_is_refused(tmp_path: Path) -> None:
    from tokenizers import decoders

    own = ZOO["legacy_prepend"]()
    own.decoder = decoders.WordPiece()  # joins words with spaces, so that no cut can be invisible
    with pytest.raises(ModelError, match="cannot continue a text exactly"):
        load_tokenizer(write(own, tmp_path))


def test_a_control_token_without_another_spelling_is_refused(tmp_path: Path) -> None:
    own = ZOO["byte_level"]()
    with pytest.raises(ModelError, match="'!' is the only spelling"):
        load_tokenizer(write(own, tmp_path, tokenizer_config={"eos_token": "</s>", "pad_token": "!"}))


def test_a_leak_would_be_an_error(pair: tuple[Tokenizer, RustTokenizer]) -> None:
    """The check behind the construction: an encoder that is told of a control token it did not close notices."""
    tokenizer, own = pair
    encoder = Encoder(tokenizer._spec, {"</s>": own.token_to_id("</s>")}, {"</s>"})
    encoder._forbidden.add(own.token_to_id("<s>"))
    with pytest.raises(ModelError, match="gave the control tokens"):
        encoder.encode([Run(parts=["<s>"])])
