"""Examples that are too long: what is kept is whole turns, ends as an answer ends, and nothing goes uncounted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatml_by_hand import PLACE, Chatml, conversation
from conftest import BOS, CHATML, IM_END, IM_START
from store_files import open_store
from tokenizer_zoo import ZOO, write
from weft.cli import main
from weft.config.load import load_config
from weft.data.check import check
from weft.data.encoded import Encoded
from weft.data.overlong import ANSWER_CUT, SPLIT, TURNS_LEFT_OFF, split, truncate
from weft.data.render import Renderer
from weft.data.rendering import Rendering
from weft.data.store import ExampleStore, SourceFile
from weft.data.template import ChatTemplate, load_template
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.errors import DataError, Problems
from weft.types import Conversation, Message, Setting


@pytest.fixture
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


def rendered(tokenizer: Tokenizer, talk: Conversation, limit: int, policy: str) -> Rendering:
    renderer = Renderer(tokenizer, Chatml(), limit, overlong=policy)  # type: ignore[arg-type]
    return renderer.render_batch([talk])[0]


def asked(tokenizer: Tokenizer, question: str) -> list[int]:
    """A question and the generation prompt."""
    user, header = tokenizer.encode(f"user\n{question}"), tokenizer.encode("assistant\n")
    return [IM_START, *user, IM_END, *tokenizer.encode("\n"), IM_START, *header]


def with_system(talk: Conversation, system: str) -> Conversation:
    return replace(talk, messages=(Message(role="system", content=system), *talk.messages))


# truncate


def test_truncation_at_every_length_by_hand(tokenizer: Tokenizer) -> None:
    encode = tokenizer.encode
    talk = conversation("Hello", "A first one", "And?", "A second one")
    prompt, answer = asked(tokenizer, "Hello"), encode("A first one")
    first = [*prompt, *answer, IM_END]
    whole = [*first, *encode("\n"), *asked(tokenizer, "And?"), *encode("A second one"), IM_END]
    assert len(answer) > 3
    seen: Counter[object] = Counter()
    for limit in range(1, len(whole) + 2):
        found = rendered(tokenizer, talk, limit, "truncate")
        if limit >= len(whole):
            expected, how = whole, ()
        elif limit >= len(first):
            expected, how = first, (TURNS_LEFT_OFF,)
        elif limit >= len(prompt) + 2:
            expected, how = [*first[: limit - 1], IM_END], (ANSWER_CUT,)
        else:
            assert (found.examples, found.shortened) == ((), ())
            assert [(problem.tokens, problem.limit) for problem in found.overlong] == [(len(whole), limit)]
            assert str(found.overlong[0]).startswith(f"records.jsonl:3: the example has {len(whole)} tokens")
            seen["left out"] += 1
            continue
        (example,) = found.examples
        assert example.ids.tolist() == expected
        weights = [0.0] * len(prompt) + [1.0] * (min(len(first), len(expected)) - len(prompt))
        if expected is whole:
            weights += [0.0] * (len(whole) - len(first) - len(encode("A second one")) - 1)
            weights += [1.0] * (len(whole) - len(weights))
        assert example.loss_weights.tolist() == weights
        assert (found.shortened, found.overlong) == (how, ())
        seen[how] += 1
    assert set(seen) == {"left out", (), (TURNS_LEFT_OFF,), (ANSWER_CUT,)}


def test_an_answer_is_cut_between_characters(tokenizer: Tokenizer) -> None:
    answer = "é中文😀ß 한"  # two to four bytes each, every byte a token of this tokenizer
    whole = rendered(tokenizer, conversation("Hello", answer), 512, "truncate").examples[0]
    start = len(asked(tokenizer, "Hello"))
    texts = []
    for limit in range(start + 1, len(whole.ids)):
        found = rendered(tokenizer, conversation("Hello", answer), limit, "truncate")
        for example in found.examples:
            assert example.ids[-1] == IM_END
            texts.append(tokenizer.decode(example.ids[start:-1].tolist()))
    assert set(texts) == {answer[:length] for length in range(1, len(answer))}


def test_an_answer_that_holds_the_replacement_character_is_cut_all_the_same(tokenizer: Tokenizer) -> None:
    found = rendered(tokenizer, conversation("Hello", "\ufffd" * 20), len(asked(tokenizer, "Hello")) + 13, "truncate")
    assert found.examples[0].ids.tolist()[-1] == IM_END
    assert len(found.examples[0].ids) == len(asked(tokenizer, "Hello")) + 13


def test_a_token_that_only_the_template_ends_answers_with_is_kept(tokenizer: Tokenizer) -> None:
    source = CHATML.replace("<|im_end|>", "<|bos|>")
    template = ChatTemplate(source, "mine", tokenizer.control, tokenizer.stops, tokenizer.bos, tokenizer.eos)
    talk = conversation("Hello", "A first one", "And?", "A second one")
    (whole,) = Renderer(tokenizer, template, 512).render(talk)
    lengths = set()
    for limit in range(1, len(whole.ids)):
        for example in Renderer(tokenizer, template, limit, overlong="truncate").render_batch([talk])[0].examples:
            assert (int(example.ids[-1]), example.loss_weights[-1]) == (BOS, 1)
            lengths.add(len(example.ids))
    first = whole.ids.tolist().index(BOS, whole.loss_weights.argmax()) + 1
    assert max(lengths) == first  # the whole first turn, and nothing of the next question
    assert min(lengths) < first


def test_turns_in_several_runs_and_runs_without_a_stop() -> None:
    def cut(ids: list[int], runs: list[tuple[int, int]], limit: int) -> tuple[list[int], list[tuple[int, int]]] | None:
        example = Encoded(ids=np.array(ids, np.int32), runs=runs, weights=np.ones(len(ids), np.float32))
        found = truncate(example, limit, {9}, lambda ids: "x" * len(ids))
        return found and (found[0].ids.tolist(), found[0].runs)

    two_parts = [0, 1, 2, 0, 3, 9, 0, 0, 4, 4, 9]  # the first turn is trained in two runs, as a tag may choose
    runs = [(1, 3), (4, 6), (8, 11)]
    assert cut(two_parts, runs, 10) == ([0, 1, 2, 0, 3, 9], [(1, 3), (4, 6)])
    assert cut(two_parts, runs, 5) == ([0, 1, 2, 9], [(1, 4)])  # what is between the runs is no place to stop
    assert cut(two_parts, runs, 3) == ([0, 1, 9], [(1, 3)])
    assert cut(two_parts, runs, 2) is None
    assert cut([0, 1, 1, 1], [(1, 4)], 3) == ([0, 1, 1], [(1, 3)])  # no end token to keep


# split_turns


def test_parts_by_hand(tokenizer: Tokenizer) -> None:
    encode = tokenizer.encode
    talk = with_system(conversation("Hello", "One", "And?", "Two", "More?", "Three"), "Be kind")
    system = [IM_START, *encode("system\nBe kind"), IM_END, *encode("\n")]
    first = [*system, *asked(tokenizer, "Hello"), *encode("One"), IM_END]
    both = [*first, *encode("\n"), *asked(tokenizer, "And?"), *encode("Two"), IM_END]
    last = [*system, *asked(tokenizer, "More?"), *encode("Three"), IM_END]
    found = rendered(tokenizer, talk, len(both), "split_turns")
    assert [example.ids.tolist() for example in found.examples] == [both, last]
    assert [int(example.loss_weights.sum()) for example in found.examples] == [
        len(encode("One")) + len(encode("Two")) + 2,
        len(encode("Three")) + 1,
    ]
    assert (found.shortened, found.overlong) == ((SPLIT,), ())
    assert all(example.location == PLACE for example in found.examples)
    second = [*system, *asked(tokenizer, "And?"), *encode("Two"), IM_END]
    one_by_one = rendered(tokenizer, talk, len(both) - 1, "split_turns")
    assert [example.ids.tolist() for example in one_by_one.examples] == [first, second, last]


def test_every_part_is_held_with_the_tools_of_the_whole() -> None:
    talk = conversation("A", "b", "C", "d")
    setting = Setting(tools=({"type": "function", "function": {"name": "f"}},))
    talk = replace(talk, messages=(replace(talk.messages[0], setting=setting), *talk.messages[1:]))
    parts = split(talk, lambda part: part, lambda part: len(part.messages) <= 2, only_last=False)
    assert [[message.content for message in part.messages] for part in parts] == [["A", "b"], ["C", "d"]]
    assert [[message.setting for message in part.messages] for part in parts] == 2 * [[setting, None]]


def test_an_exchange_that_is_too_long_alone_is_left_out_and_said(tokenizer: Tokenizer) -> None:
    talk = conversation("Hello", "One", "And?", "x" * 400, "More?", "Three")
    found = rendered(tokenizer, talk, 60, "split_turns")
    answers = [tokenizer.decode(one.ids[one.loss_weights > 0].tolist()) for one in found.examples]
    assert answers == ["One", "Three"]
    assert [problem.tokens for problem in found.overlong] == [len(asked(tokenizer, "And?")) + 401]
    assert found.shortened == (SPLIT,)
    single = rendered(tokenizer, conversation("Hello", "x" * 400), 60, "split_turns")
    assert (single.examples, single.shortened, len(single.overlong)) == ((), (), 1)


def test_a_part_that_the_template_does_not_print_leaves_the_whole_out(tokenizer: Tokenizer) -> None:
    talk = conversation("Hello", "One" * 9, "unprintable", "Two" * 9)
    found = rendered(tokenizer, talk, 50, "split_turns")
    assert (found.examples, found.shortened, found.error, len(found.overlong)) == ((), (), None, 1)


def test_a_question_at_the_end_is_no_part_of_its_own(tokenizer: Tokenizer) -> None:
    talk = conversation("Hello", "One", "And?", "Two", "Unanswered")
    limit = len(asked(tokenizer, "And?")) + 8
    found = rendered(tokenizer, talk, limit, "split_turns")
    assert [tokenizer.decode(one.ids[one.loss_weights > 0].tolist()) for one in found.examples] == ["One", "Two"]


# both, whatever the conversation, the template and the tokenizer


TALKS = st.lists(st.text("ab é中\n", min_size=1, max_size=25).filter(str.strip), min_size=2, max_size=8).map(
    lambda texts: conversation(*texts[: len(texts) // 2 * 2])
)


@settings(max_examples=60)
@given(TALKS, st.integers(8, 160), st.sampled_from(["truncate", "split_turns"]), st.booleans())
def test_what_is_kept_ends_as_an_answer_ends(
    tiny_tokenizer_dir: Path, talk: Conversation, limit: int, policy: str, system: bool
) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    template = load_template(None, tokenizer)
    talk = with_system(talk, "Be kind") if system else talk
    (whole,) = Renderer(tokenizer, template, 10**6).render(talk)
    found = Renderer(tokenizer, template, limit, overlong=policy).render_batch([talk])[0]  # type: ignore[arg-type]
    for example in found.examples:
        assert len(example.ids) <= limit
        assert example.ids[-1] == IM_END
        assert example.loss_weights[-1] == 1
        assert (example.loss_weights[:-1] > 0).any()
    ends = sum(int((one.ids[one.loss_weights > 0] == IM_END).sum()) for one in found.examples)
    turns = sum(message.role == "assistant" for message in talk.messages)
    if policy == "split_turns" and len(whole.ids) > limit:
        assert ends + len(found.overlong) == turns  # each answer is trained once, or is listed
    elif len(whole.ids) > limit:
        assert bool(found.examples) == bool(found.shortened) == (not found.overlong)
        assert ends <= turns
        for example in found.examples:
            assert example.ids[:-1].tolist() == whole.ids[: len(example.ids) - 1].tolist()
    else:
        assert [one.ids.tolist() for one in found.examples] == [whole.ids.tolist()]
        assert not found.shortened


@pytest.mark.parametrize("name", ZOO)
def test_every_construction_keeps_its_end_token(tmp_path: Path, name: str) -> None:
    source = CHATML.replace("<|im_end|>", "</s>")
    tokenizer = load_tokenizer(write(ZOO[name](), tmp_path, chat_template=source))
    template = load_template(None, tokenizer)
    talk = conversation("What is the capital?", "The capital of France is Paris, is it not?", "And then?", "Yes.")
    (whole,) = Renderer(tokenizer, template, 10**6).render(talk)
    kept = 0
    for limit in range(8, len(whole.ids)):
        for policy in ("truncate", "split_turns"):
            fitted = Renderer(tokenizer, template, limit, overlong=policy)  # type: ignore[arg-type]
            for example in fitted.render_batch([talk])[0].examples:
                assert len(example.ids) <= limit
                assert int(example.ids[-1]) in tokenizer.stop_ids
                kept += 1
    assert kept > 10


# In the store, the check and the eye


def talk_row(*contents: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]}


LONG = talk_row("Hello", "One", "And?", "x" * 300)


@pytest.fixture
def opened(tmp_path: Path, tokenizer: Tokenizer) -> Callable[..., ExampleStore]:
    rows = [talk_row("Hello", "Yes"), LONG, talk_row("Why?", "x" * 300)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps(rows[0]), encoding="utf-8")

    def open_with(policy: str, limit: int = 60, **options: Any) -> ExampleStore:
        files = [SourceFile(path=tmp_path / f"{name}.jsonl", name=name) for name in "ab"]
        renderer = Renderer(tokenizer, Chatml(), limit, overlong=policy)  # type: ignore[arg-type]
        keys = {"on_bad_row": "error", "system_prompt": None, **options}
        return open_store(files, renderer, tmp_path / "cache", **keys)

    return open_with


def test_each_source_is_accounted_for(opened: Callable[..., ExampleStore]) -> None:
    whole, part = "longer than model.max_seq_len, 60 tokens", "a part is longer than model.max_seq_len, 60 tokens"
    for policy, examples, shortened, left_out in (
        ("drop", 1, {}, {whole: [2, 3]}),
        ("truncate", 3, {TURNS_LEFT_OFF: [2], ANSWER_CUT: [3]}, {}),
        ("split_turns", 2, {SPLIT: [2]}, {part: [2], whole: [3]}),
    ):
        for cached in (False, True):
            report = opened(policy).report
            assert report.cached == cached
            a, b = report.sources["a"], report.sources["b"]
            assert (a.records, a.examples, a.too_long) == (3, examples, sum(map(len, left_out.values())))
            assert a.shortened == sum(map(len, shortened.values()))
            assert (b.records, b.examples, b.shortened, b.too_long) == (1, 1, 0, 0)
            assert (report.records, report.examples, report.tokens) == (4, examples + 1, a.tokens + b.tokens)
            assert {how: [place.line for place in places] for how, places in report.shortened.items()} == shortened
            dropped = {reason: [place.line for place in places] for reason, places in report.dropped.items()}
            assert dropped == left_out


def test_an_error_names_file_line_and_length(opened: Callable[..., ExampleStore], tmp_path: Path) -> None:
    for on_bad_row in ("error", "drop"):
        with pytest.raises(Problems) as refused:
            opened("error", on_bad_row=on_bad_row)
        first, second, summary = refused.value.problems
        assert str(first).startswith(f"{tmp_path}/a.jsonl:2: the example has 3")
        assert "tokens; 60 are allowed" in str(first)
        assert str(second).startswith(f"{tmp_path}/a.jsonl:3: the example has 3")
        assert str(summary).startswith(
            "2 examples are longer than model.max_seq_len, 60 tokens, which data.overlong: error"
        )
    assert opened("error", limit=512).report.examples == 4


def test_nothing_left_is_said_as_ever(opened: Callable[..., ExampleStore]) -> None:
    for policy in ("drop", "truncate", "split_turns"):
        with pytest.raises(DataError, match=r"every example is longer than model\.max_seq_len, 8 tokens"):
            opened(policy, limit=8)


@pytest.fixture
def project(tmp_path: Path, tiny_tokenizer_dir: Path) -> Path:
    (tmp_path / "train.jsonl").write_text(json.dumps(LONG) + "\n" + json.dumps(talk_row("Hello", "Yes")))
    (tmp_path / "c.yaml").write_text(
        f"model: {{name: {tiny_tokenizer_dir}, max_seq_len: 60}}\n"
        f"data: {{train_path: {tmp_path}/train.jsonl, val_path: {tmp_path}/val.jsonl, cache_dir: {tmp_path}/cache}}\n"
    )
    return tmp_path


def test_check_warns_of_what_was_shortened_with_its_place(project: Path) -> None:
    report = check(load_config(project / "c.yaml", ["data.overlong=truncate"]).config)
    (warning,) = report.warnings
    assert warning.what == f"1 of 2 train records are {TURNS_LEFT_OFF}, to fit into model.max_seq_len"
    assert [place.line for place in warning.where] == [1]


def test_show_shows_what_is_left(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(project / "c.yaml"), "data.overlong=truncate"]) == 0
    out = capsys.readouterr().out
    assert TURNS_LEFT_OFF in out
    assert "⟦One<|im_end|>⟧" in out
    assert "And?" not in out
    assert main(["show", str(project / "c.yaml"), "data.overlong=drop"]) == 0
    assert "left out of training" in capsys.readouterr().out
