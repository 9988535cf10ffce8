"""`weft train-tokenizer`: fixed ids, the same bytes for the same text, nothing lost, nothing overwritten."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.cli import main
from weft.data.texts import read_lines, read_texts
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.errors import DataError
from weft.training.tokenizer import learn_tokenizer

TEXT = "The warp is fixed on the loom, and the weft is woven through the warp.\nIn 1804 there were 11,000 looms.\n" * 9
KINDS = [
    pytest.param(
        "sentencepiece",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("sentencepiece") is None,
            reason="needs the sentencepiece library (pip install 'weft[dev]')",
        ),
    ),
    "bpe",
]
SIZE = {"sentencepiece": 294, "bpe": 290}

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("loom.txt").write_text(TEXT, encoding="utf-8")

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["train-tokenizer", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    out = tmp_path_factory.mktemp(request.param) / "out"
    learn_tokenizer(TEXT.splitlines(), out, kind=request.param, vocab_size=SIZE[request.param])
    return load_tokenizer(out)


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes(command: Command, kind: str) -> None:
    code, out, err = command("loom.txt", "--vocab", str(SIZE[kind]), "--type", kind, "--out", "made")
    assert (code, err) == (0, "")
    place = "made/tokenizer.model" if kind == "sentencepiece" else "made"
    assert out == (
        f"wrote made: {SIZE[kind]} tokens ({kind}) from 18 lines of 918 characters; pad 0, unk 1, bos 2, eos 3\n"
        f"next: weft init-model nano --tokenizer {place} --out models/nano, or model.tokenizer={place} with a model of this "
        "vocabulary\n"
    )
    tokenizer = load_tokenizer(Path("made"))
    assert tokenizer.vocab_size == SIZE[kind]
    assert tokenizer.named_ids == {"pad": 0, "unk": 1, "bos": 2, "eos": 3}
    if kind == "sentencepiece":
        alone = load_tokenizer(Path("made/tokenizer.model"))
        assert alone.encode(TEXT) == tokenizer.encode(TEXT)
        assert tokenizer.control == {"<pad>", "<unk>", "<s>", "</s>"}
    else:
        assert tokenizer.control_id("<|im_end|>") == 5
    command("loom.txt", "--vocab", str(SIZE[kind]), "--type", kind, "--out", "again")
    for path in Path("made").iterdir():
        assert path.read_bytes() == (Path("again") / path.name).read_bytes(), path.name


@settings(max_examples=200)
@given(text=st.text(alphabet=st.characters(exclude_characters="▁", exclude_categories=["Cs"])))
def test_every_text_decodes_to_itself(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text), skip_control=False) == text


@pytest.mark.parametrize("kind", KINDS)
def test_other_ids(command: Command, kind: str) -> None:
    words = ["loom.txt", "--vocab", str(SIZE[kind] - 2), "--type", kind]
    assert command(*words, "--out", "a", "--ids", "unk=0,bos=1,eos=2,pad=-1")[0] == 0
    assert load_tokenizer(Path("a")).named_ids == {"unk": 0, "bos": 1, "eos": 2}
    assert command(*words, "--out", "b", "--ids", "eos=0,unk=1,bos=-1,pad=2")[0] == 0
    assert load_tokenizer(Path("b")).named_ids == {"eos": 0, "unk": 1, "pad": 2}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("vocab", "what"),
    [
        ("9", "a vocabulary of 9 does not hold the special tokens and 256 bytes"),
        ("0", "a vocabulary of 0 does not hold"),
        ("-5", "a vocabulary of -5 does not hold"),
        ("32000", "the text is too small for a vocabulary of 32,000: it fills "),
    ],
)
def test_vocabularies_that_cannot_be(command: Command, kind: str, vocab: str, what: str) -> None:
    code, out, err = command("loom.txt", f"--vocab={vocab}", "--type", kind, "--out", "made")
    assert (code, out) == (2, "")
    assert err.startswith(f"weft: --vocab: {what}")
    assert "fix: set --vocab to" in err
    assert not Path("made").exists()
    if vocab == "32000":
        filled = err.split("set --vocab to ")[1].split(" ")[0]
        assert command("loom.txt", f"--vocab={filled}", "--type", kind, "--out", "made")[0] == 0, "the advice is right"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocab", [2**24 + 1, 2**31, 10**20])
def test_vocabularies_that_no_library_can_learn(command: Command, kind: str, vocab: int) -> None:
    code, out, err = command("loom.txt", f"--vocab={vocab}", "--type", kind, "--out", "made")
    assert (code, out) == (2, "")
    assert err == (
        f"weft: --vocab: a vocabulary of {vocab:,} is larger than 16,777,216, the largest that can be learned\n"
        "  fix: set --vocab to 16777216 or less; 32000 is usual\n"
    )
    assert not Path("made").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_vocabulary_is_asked_for(command: Command, kind: str) -> None:
    code, _, err = command("loom.txt", f"--vocab={2**24}", "--type", kind, "--out", "made")
    assert code == 2
    assert err.startswith("weft: --vocab: the text is too small for a vocabulary of 16,777,216: it fills ")


@pytest.mark.parametrize("kind", KINDS[:1])
def test_a_vocabulary_that_does_not_hold_the_characters(command: Command, kind: str) -> None:
    code, _, err = command("loom.txt", "--vocab=262", "--type", kind, "--out", "made")
    assert code == 2
    assert "is too small: special tokens, bytes and the characters of this text are" in err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("missing.txt", None, "missing.txt: there is no such file or directory"),
        ("empty.txt", b" \n\n", "empty.txt: the file holds no text"),
        (
            "latin1.txt",
            b"one\ntwo\nna\xefve\n",
            "latin1.txt:3: the text is not valid UTF-8: byte 3 of the line is 0xef",
        ),
        ("broken.jsonl", b'\n{"a": \n\x89PNG\n', "broken.jsonl:2: broken JSON"),
        ("numbers.jsonl", b'{"a": 1}\n', "there is no text to learn from"),
        ("cut.txt.gz", gzip.compress(TEXT.encode(), mtime=0)[:-20], "cut.txt.gz"),
        ("image.png", b"\x89PNG", "image.png: files that end in '.png' cannot be read"),
        ("loom.txt#5", None, "loom.txt#5: a tokenizer learns from whole files"),
    ],
)
def test_text_that_cannot_be_read(command: Command, kind: str, name: str, content: bytes | None, what: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    code, _, err = command(name, "--vocab=400", "--type", kind, "--out", "made")
    assert code == 2
    assert err.startswith(f"weft: {what}")
    assert not Path("made").exists()


@pytest.mark.parametrize(
    ("ids", "what"),
    [
        ("pad=0,unk=0,bos=2,eos=3", "--ids: the ids are not the first ones, each once: pad 0, unk 0, bos 2, eos 3"),
        ("pad=0,unk=1,bos=2,eos=9", "the ids are not the first ones"),
        ("pad=-2,unk=0,bos=1,eos=2", "the ids are not the first ones"),
        ("pad=0,unk=1,bos=2,eos=-1", "--ids: there must be a token for eos"),
    ],
)
def test_ids_that_cannot_be(command: Command, ids: str, what: str) -> None:
    code, _, err = command("loom.txt", "--vocab=290", "--type=bpe", "--out", "made", "--ids", ids)
    assert code == 2
    assert what in err


@pytest.mark.parametrize(
    ("ids", "what"),
    [
        ("pad=0,eso=1", "'eso' is none of pad, unk, bos, eos"),
        ("pad=x", "'x' is no id"),
        ("pad=0", "unk, bos, eos are missing"),
    ],
)
def test_ids_that_are_not_written_as_such(
    command: Command, capsys: pytest.CaptureFixture[str], ids: str, what: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command("loom.txt", "--out", "made", "--ids", ids)
    assert what in capsys.readouterr().err


def test_nothing_is_overwritten(command: Command) -> None:
    Path("made").mkdir()
    Path("made/mine").touch()
    code, _, err = command("loom.txt", "--vocab=290", "--type=bpe", "--out", "made")
    assert (code, [path.name for path in Path("made").iterdir()]) == (2, ["mine"])
    assert err == "weft: made: is there already\n  fix: choose another --out, or move it away\n"


def test_without_the_library_it_says_so(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = command("loom.txt", "--vocab=294", "--out", "made")
    assert code == 2
    assert err == (
        "weft: --type sentencepiece: the sentencepiece library is not installed, which trains such models\n"
        "  fix: pip install 'weft[sentencepiece]', or use --type bpe\n"
    )


def test_every_string_of_records_is_text(tmp_path: Path) -> None:
    Path(tmp_path / "a.jsonl").write_text(
        '{"q": "one\\n two", "n": 1, "turns": [{"content": "three"}, null]}\n["four"]\n'
    )
    (tmp_path / "b.csv").write_text("question,answer\nfive,six\n")
    Path(tmp_path / "c.txt.gz").write_bytes(gzip.compress("\ufeffseven \r\n\neight".encode()))
    notices: list[str] = []
    names = ["a.jsonl", "b.csv", "c.txt.gz"]
    assert list(read_texts([str(tmp_path / name) for name in names], notices)) == [
        *("one\n two", "three", "four"),
        *("question", "answer", "five", "six", "seven \r\n", "\n", "eight"),
    ]
    assert list(read_lines([str(tmp_path / name) for name in names], notices)) == [
        *("one", " two", "three", "four"),
        *("question", "answer", "five", "six", "seven ", "eight"),
    ]
    assert notices == []
    (tmp_path / "more").mkdir()
    list(read_lines(str(tmp_path), notices))
    assert notices == [f"{tmp_path}: not read: c.txt.gz, more"]


def test_rows_that_cannot_be_read_are_told(command: Command) -> None:
    Path("broken.jsonl").write_text(json.dumps({"a": TEXT}) + '\n{"a": \n{"b": NaN}\n')
    code, out, _ = command("broken.jsonl", "--vocab=290", "--type=bpe", "--out", "made")
    assert code == 0
    assert out.startswith(
        "notice: broken.jsonl:2: this row and 1 more cannot be read and count as the text that stands there: broken JSON\n"
    )


def test_a_problem_while_learning_is_raised_as_it_is(tmp_path: Path) -> None:
    """The trainers are written in other languages and would wrap or swallow it."""

    def text():
        yield "a line"
        raise DataError("half way")

    with pytest.raises(DataError, match="half way"):
        learn_tokenizer(text(), tmp_path / "out", kind="bpe", vocab_size=290)
    assert not (tmp_path / "out").exists()


def test_it_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "loom.txt").write_text(TEXT)
    script = (
        "import sys; from weft.cli import main; "
        "code = main(['train-tokenizer', 'loom.txt', '--vocab=290', '--type=bpe', '--out=made', '--json']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ids"] == {"pad": 0, "unk": 1, "bos": 2, "eos": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_made_for_it(command: Command, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    command("loom.txt", "--vocab", str(SIZE[kind]), "--type", kind, "--out", "made")
    place = "made/tokenizer.model" if kind == "sentencepiece" else "made"
    assert main(["init-model", "nano", "--tokenizer", place, "--out", "model"]) == 0
    assert f"{SIZE[kind]} tokens\n" in capsys.readouterr().out
    assert json.loads(Path("model/config.json").read_text())["vocab_size"] == SIZE[kind]
    assert json.loads(Path("model/generation_config.json").read_text())["eos_token_id"] == [3]
    assert load_tokenizer(Path("model")).encode(TEXT) == load_tokenizer(Path("made")).encode(TEXT)
    for words, what in [
        (["--tokenizer", "nope"], "nope: there is no such tokenizer"),
        (["--tokenizer", place, "--vocab-size", "9"], "--vocab-size: a tokenizer has the size that it has"),
        (["--tokenizer", "loom.txt"], "loom.txt: it is no SentencePiece model, or a damaged one"),
    ]:
        assert main(["init-model", "nano", *words, "--out", "other"]) == 2
        assert what in capsys.readouterr().err
