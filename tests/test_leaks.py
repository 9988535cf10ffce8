"""What training knows of held-out questions and of benchmarks, with the places of both sides."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.cli import main
from weft.data import in_parallel
from weft.data import leaks as leaks_module
from weft.data.leaks import Leak, Leaks, Question, find_leaks, words_of
from weft.types import Conversation, Location, Message

TEN = "one two three four five six seven eight nine ten"


def talk(*texts: str, line: int = 1) -> Conversation:
    roles = ("user", "assistant") * len(texts)
    messages = tuple(Message(role=role, content=text) for role, text in zip(roles, texts, strict=False))  # type: ignore[arg-type]
    return Conversation(messages=messages, location=Location(path="train", line=line))


def leaks(questions: list[str], training: list[Conversation], **options: Any) -> Leaks:
    places = [Question(text, Location(path="held", line=line)) for line, text in enumerate(questions, 1)]
    (found,) = find_leaks({"held": places}, training, **options)
    return found


def test_the_same_question_is_asked_whatever_its_case_and_spacing() -> None:
    training = [
        talk("other", "a", line=1),
        talk("What is\n WEFT?", "a", line=2),
        talk("what is weft?", "b", "And wool?", "c", line=3),
    ]
    found = leaks(["what  is weft?", "and wool?", "What is weft?\nAnd wool?", "what is weft"], training)
    assert (found.questions, found.asked, found.quoted) == (4, 3, 0)
    assert [(leak.kind, leak.question, leak.training) for leak in found.first] == [
        ("asked", "held:1", "train:2"),
        ("asked", "held:2", "train:3"),
        ("asked", "held:3", "train:3"),
    ]


def test_a_quotation_is_a_run_of_words_anywhere_in_what_is_said() -> None:
    words = f"{TEN} eleven twelve"
    training = [
        talk("q", "one two three four five six seven, and no more", line=1),
        talk("q", f"He said: “{words.upper().replace(' ', ', ')}”!", line=2),
    ]
    found = leaks([f"Zero {words} thirteen?"], training)
    assert found == Leaks(name="held", questions=1, asked=0, quoted=0, words=13, first=())
    found = leaks([f"Zero {words} thirteen?", "A short one of eight words is this"], training)
    assert found == Leaks(
        name="held",
        questions=2,
        asked=0,
        quoted=1,
        words=8,
        first=(Leak(kind="quoted", question="held:1", training="train:2"),),
    )
    assert leaks([f"Zero {words} thirteen?", "short"], training, quotations=False).quoted is None


@pytest.mark.parametrize(("lengths", "words"), [([3] * 9, 8), ([8] * 9, 8), ([11] * 9, 11), ([40] * 9, 13), ([], 8)])
def test_a_run_is_as_long_as_a_short_question_within_bounds(lengths: list[int], words: int) -> None:
    assert leaks([" ".join("w" * length) for length in lengths], [talk("q", "a")]).words == words


def test_what_many_training_records_say_is_no_quotation() -> None:
    training = [talk(f"{number}", f"{TEN} {number}", line=number) for number in range(1, 12)]
    assert leaks([f"{TEN} or so", "short"], training[:10]).quoted == 1
    assert leaks([f"{TEN} or so", "short"], training).quoted == 0
    found = leaks([f"{TEN} or so", f"{TEN} 7 of 9", "short"], training)
    assert [(leak.question, leak.training) for leak in found.first] == [("held:2", "train:7")]


def test_a_question_that_is_asked_is_not_counted_as_quoted_too() -> None:
    found = leaks([TEN, f"And {TEN}"], [talk(TEN, "a")])
    assert (found.asked, found.quoted) == (1, 1)


def test_words() -> None:
    assert words_of("Don't stop_me: 3.5 €, ÉTÉ!") == ["don", "t", "stop", "me", "3", "5", "été"]
    assert words_of("什么是E=mc²？かな 한국어") == [*"什么是", "e", "mc²", *"かな", "한국어"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ज्वार कैसे काम करते हैं 7?", 6),
        ("தமிழ் மொழி", 2),
        ("שָׁלוֹם, עוֹלָם", 2),
        ("مُحَمَّدٌ رَسُولُ", 2),
        ("cafe\u0301 à la carte", 4),
        ("می\u200cخواهم بروم", 2),
        ("น้ำขึ้น", 3),  # no spaces: parted at marks, as ever
    ],
)
def test_marks_belong_to_the_words_that_they_stand_in(text: str, words: int) -> None:
    assert len(words_of(text)) == words


def test_five_words_of_hindi_in_common_are_no_quotation() -> None:
    assert leaks(["ज्वार कैसे काम करते हैं 7?"], [talk("ज्वार कैसे काम करते हैं 1?", "a")]).quoted == 0


def by_hand(questions: list[str], training: list[str], words: int) -> set[int]:
    """The quoted questions, by sets of tuples."""

    def runs(text: str) -> set[tuple[str, ...]]:
        split = re.findall(r"\w+", text.lower())
        return {tuple(split[start : start + words]) for start in range(len(split) - words + 1)}

    counts = Counter(run for text in training for run in runs(text))
    return {place for place, text in enumerate(questions) if any(0 < counts[run] <= 10 for run in runs(text))}


@given(st.integers(0, 10**6))
def test_quotations_are_those_found_by_hand(seed: int) -> None:
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choices("ab", k=rng.randint(0, 40)))

    questions, answers = [text() for _ in range(rng.randint(0, 12))], [text() for _ in range(rng.randint(0, 40))]
    training = [talk("?", answer) for answer in answers]
    found = leaks(questions, training)
    expected = by_hand(questions, [f"?\n{answer}" for answer in answers], found.words)
    asked = {place for place, each in enumerate(questions) if each == "?"}
    assert found.quoted == len(expected - asked)


def test_several_processes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices("abc", k=30)) for _ in range(500)]
    training = [talk(f"q {number}", text, line=number) for number, text in enumerate(texts)]
    questions = [" ".join(rng.choices("abc", k=12)) for _ in range(40)]
    alone = leaks(questions, training)
    assert alone.quoted
    monkeypatch.setattr(in_parallel, "_WORTH_A_PROCESS", 5_000)
    assert leaks(questions, training, jobs=2) == alone


# --- in prepare and check ---


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Working in a new directory; writes files of rows."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, rows: list[Any]) -> Path:
        path = Path(name)
        path.write_text(
            "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
        )
        return path

    return write


def qa(question: str, answer: str = "a") -> dict[str, str]:
    return {"prompt": question, "response": answer}


def report() -> dict[str, Any]:
    return json.loads(Path("data/processed/prepare_report.json").read_bytes())


@given(seed=st.integers(0, 10**6), near=st.booleans())
def test_no_question_is_in_two_splits_whatever_is_left_out(seed: int, near: bool, tmp_path_factory) -> None:
    from weft.config.schema import Config
    from weft.data.prepare import prepare

    rng = random.Random(seed)
    root = tmp_path_factory.mktemp("leaks")
    questions = [f"{letter} is {'long ' * 8}?" for letter in "abcdefghij"]
    dress = [str.upper, str.lower, lambda text: f" {text}\n", lambda text: text.replace(" ", "  ")]
    rows = [qa(rng.choice(dress)(rng.choice(questions)), f"{'same ' * 5}{rng.choice('xyz')}") for _ in range(60)]
    (root / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = {f"{name}_path": str(root / "out" / f"{name}.jsonl") for name in ("train", "val", "test")}
    data = {"raw_path": str(root / "raw.jsonl"), "near_duplicates": 0.8 if near else None, **paths}
    found = prepare(Config.model_validate({"data": data}))
    assert [one.asked for one in found.leaks] == [0] * len(found.leaks)
    assert found.records == 60 == found.kept + len(found.duplicates) + sum(found.rejected.values())
    places: dict[str, str] = {}
    for name in found.splits:
        for line in (root / "out" / f"{name}.jsonl").read_bytes().splitlines():
            (question,) = [each["content"] for each in json.loads(line)["messages"] if each["role"] == "user"]
            assert places.setdefault(" ".join(question.lower().split()), name) == name


def test_prepare_tells_what_splits_and_benchmarks_share_with_training(
    project: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    project("raw.jsonl", [qa("Say something.", f"{number} {TEN if number == 3 else 'x'}") for number in range(10)])
    project(
        "bench.jsonl",
        [{"question": f"Is it {TEN}?", "answer": 3}, {"question": "say  SOMETHING."}, {"question": "No?"}],
    )
    words = ["data.raw_path=raw.jsonl", "data.split.group_by=none", "data.benchmarks=bench.jsonl"]
    assert main(["prepare", *words]) == 0
    page = capsys.readouterr().out
    val, test, bench = report()["leaks"]
    assert (val["name"], val["questions"], val["asked"]) == ("val", 1, 1)
    assert (test["name"], test["questions"], test["asked"]) == ("test", 2, 2)
    quoted = int(TEN.encode() in Path("data/processed/train.jsonl").read_bytes())
    assert (bench["name"], bench["asked"], bench["quoted"], bench["words"]) == ("bench.jsonl", 1, quoted, 8)
    assert bench["first"][0]["question"] == "bench.jsonl:2"
    assert re.fullmatch(r"raw\.jsonl:\d+", bench["first"][0]["training"])
    assert "known to training: 2 of 2 questions of test are asked, 0 more quoted (8 words in a row)\n" in page
    assert f"            bench.jsonl:2 is asked by {bench['first'][0]['training']}\n" in page


def test_check_warns_of_benchmarks(
    project: Callable[..., Path], capsys: pytest.CaptureFixture[str], tiny_tokenizer_dir: Path
) -> None:
    project("train.jsonl", [qa("What is weft?", "Yarn."), qa("q", f"{TEN}!")])
    project("val.jsonl", [qa("what is WEFT?", "A tool."), qa("New?", "Yes.")])
    project("bench.jsonl", [{"input": "What is weft?"}, {"input": f"{TEN} or what"}, {"input": "Other"}])
    words = [
        *(f"data.{name}_path={name}.jsonl" for name in ("train", "val", "test")),
        f"model.name={tiny_tokenizer_dir}",
        "data.benchmarks=[bench.jsonl]",
    ]
    assert main(["check", "--strict", *words]) == 1
    page = capsys.readouterr().out
    assert (
        "known to training: 1 of 2 questions of val are asked\n"
        "            val.jsonl:1 is asked by train.jsonl:1\n"
        "known to training: 1 of 3 questions of bench.jsonl are asked, 1 more quoted (8 words in a row)\n"
        "            bench.jsonl:1 is asked by train.jsonl:1\n"
        "            bench.jsonl:2 is quoted by train.jsonl:2\n"
    ) in page
    assert "1 of 3 questions of bench.jsonl are asked in training: scores on it mislead" in page
    assert "1 of 3 questions of bench.jsonl are quoted in training: scores on it mislead" in page
    assert main(["check", "--json", *words]) == 0
    val, bench = json.loads(capsys.readouterr().out)["leaks"]
    assert (val["asked"], val["quoted"], bench["asked"], bench["quoted"]) == (1, None, 1, 1)
    assert (val["words"], bench["words"]) == (None, 8)


def test_nothing_is_cut_into_words_where_quotations_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    training = [talk(TEN, "a")]
    monkeypatch.setattr(leaks_module, "words_of", lambda text: pytest.fail("cut into words"))
    found = leaks([TEN, f"{TEN} and more"], training, quotations=False)
    assert (found.asked, found.quoted, found.words) == (1, None, None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("prepare", "data.jobs=3"), 3),
        (("prepare",), in_parallel.cores()),
        (("prepare", "data.jobs=3", "--jobs", "2"), 2),
        (("check", "data.jobs=3"), 3),
        (("check",), in_parallel.cores()),
    ],
)
def test_who_searches_follows_the_configuration(
    words: tuple[str, ...], expected: int, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project("raw.jsonl", [qa("What is weft?"), qa("q")])
    project("bench.jsonl", [qa("New?")])
    asked: list[int] = []

    def alone(work: Callable[[Any], Any], texts: Any, jobs: int) -> list[Any]:
        asked.append(jobs)
        return [work(texts)]

    monkeypatch.setattr(leaks_module, "in_parallel", alone)
    paths = {"prepare": ["data.raw_path=raw.jsonl"], "check": ["data.train_path=raw.jsonl"]}[words[0]]
    assert main([*words, *paths, "data.benchmarks=bench.jsonl"]) == 0
    assert asked == [expected]


def test_benchmarks_in_the_forms_that_they_have(project: Callable[..., Path]) -> None:
    question = "What do you call the thread that goes across?"
    project("raw.jsonl", [qa(question), qa("Other?"), qa("Another?"), qa("Yet another?")])
    asking = {"role": "user", "content": question}
    forms = [
        {"question": question, "answer": "#### 72"},
        {"question": question, "choices": ["a", "b"], "answer": 1, "subject": "weaving"},
        {"task_id": "x/1", "prompt": question, "canonical_solution": "y", "entry_point": "z", "test": ""},
        {"instruction": question, "input": "", "output": ["a", "b"]},
        {"messages": [asking]},
        {"messages": [{"role": "system", "content": "s"}, asking, {"role": "assistant", "content": "b"}]},
        {"conversations": [{"from": "human", "value": question}]},
        {"text": question, "code": "pass"},
    ]
    project("bench.jsonl", forms)
    project("lines.txt", ["First?", "", question])
    options = ["data.split={train_ratio: 1, val_ratio: 0, test_ratio: 0}", "data.benchmarks=[bench.jsonl, lines.txt]"]
    assert main(["prepare", "data.raw_path=raw.jsonl", *options]) == 0
    bench, lines = report()["leaks"]
    assert [leak["question"] for leak in bench["first"]] == [f"bench.jsonl:{line}" for line in range(1, 9)]
    assert (bench["asked"], bench["questions"]) == (8, 8)
    assert (lines["questions"], lines["first"]) == (
        2,
        [{"kind": "asked", "question": "lines.txt:3", "training": "raw.jsonl:1"}],
    )


@pytest.mark.parametrize("command", ["prepare", "check"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "bench.jsonl: there is no such file or directory\n  fix: correct data.benchmarks"),
        (b"", "bench.jsonl: the file holds no records"),
        (b"PAR1\0\0", "bench.jsonl: the file is a Parquet file\n  fix: end its name in .parquet"),
        (b'{"question": "q"}\n{broken\n', "bench.jsonl:2: broken JSON"),
        (
            b'{"ctx": "q", "endings": []}\n',
            "1 of 1 rows of the benchmark hold no question\n  fix: name files of questions",
        ),
        (
            b'{"question": "q"}\n[1, 2]\n',
            "1 of 2 rows of the benchmark hold no question\n  fix: mend them, or leave them out",
        ),
        (b'{"question": 5, "answer": "a"}\n', 'bench.jsonl:1: the field "question" must be text: found a number'),
    ],
)
def test_benchmarks_that_cannot_be_read(
    project: Callable[..., Path], capsys: pytest.CaptureFixture[str], command: str, content: bytes | None, message: str
) -> None:
    project("raw.jsonl", [qa("q"), qa("r"), qa("s")])
    if content is not None:
        Path("bench.jsonl").write_bytes(content)
    train = "out/train.jsonl" if command == "prepare" else "raw.jsonl"
    assert main([command, "data.raw_path=raw.jsonl", f"data.train_path={train}", "data.benchmarks=bench.jsonl"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not Path("out").exists()


def test_dropped_rows_of_a_benchmark_are_told(project: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    project("raw.jsonl", [qa("q"), qa("r"), qa("s")])
    project("bench.jsonl", [{"question": "q"}, "{broken", {"ctx": ""}])
    assert main(["prepare", "data.raw_path=raw.jsonl", "data.benchmarks=bench.jsonl", "on_bad_row=drop"]) == 0
    assert (
        "note: 2 rows of the benchmark bench.jsonl hold no question: broken JSON (bench.jsonl:2)\n"
        in capsys.readouterr().out
    )
    assert report()["leaks"][-1]["questions"] == 1
    assert report()["rejects_path"] is None
    assert main(["prepare", "data.raw_path=raw.jsonl", "data.benchmarks=''"]) == 2
