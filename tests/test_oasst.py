"""Message trees: which conversations they hold, and what becomes of every message."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.data.conversations import read_conversations
from weft.data.oasst import DELETED, LANGUAGE, NO_ANSWER, NO_LANGUAGE, SPOILT, WORSE, Trees, read_trees
from weft.data.reading import Reading
from weft.errors import DataError, Problems
from weft.types import Location, Record


def row(name: str, parent: str | None, **fields: Any) -> dict[str, Any]:
    """A message whose name begins with p (of the prompter) or a (of the assistant), with its name as text."""
    role = "prompter" if name.startswith("p") else "assistant"
    return {"message_id": name, "parent_id": parent, "role": role, "text": name, "lang": "en", **fields}


TREE = [
    row("p1", None, message_tree_id="p1", rank=None),
    row("a1", "p1", rank=1),
    row("a2", "p1", rank=0),
    row("p2", "a1"),
    row("a3", "p2", rank=0),
    row("p3", "a2", rank=1),
    row("p4", "a2", rank=0),
    row("a4", "p3"),
    row("a5", "p4", rank=0, message_tree_id="p1"),
    row("a6", "p4", rank=1),
    row("p5", "a5"),
]


def read(rows: list[Any], **choice: Any) -> Trees:
    records = [Record(data=data, location=Location(path="t.jsonl", line=line)) for line, data in enumerate(rows, 1)]
    return read_trees(records, Reading(format="oasst", **choice), source="t")


def paths(trees: Trees) -> list[str]:
    return [" ".join(message.content for message in talk.messages) for talk in trees.conversations]


def test_the_best_path_follows_the_lowest_rank_and_ends_with_an_answer() -> None:
    trees = read(TREE)
    assert paths(trees) == ["p1 a2 p4 a5"]
    assert [message.role for message in trees.conversations[0].messages] == ["user", "assistant"] * 2
    (talk,) = trees.conversations
    assert (talk.id, talk.source, talk.location.line) == ("a5", "t", 9)
    assert talk.meta == {"message_tree_id": "p1", "lang": "en"}
    assert trees.left_out == {WORSE: 6, NO_ANSWER: 1}
    assert trees.bad == ()


def test_all_paths_are_those_to_a_last_answer() -> None:
    trees = read(TREE, oasst_paths="all")
    assert paths(trees) == ["p1 a1 p2 a3", "p1 a2 p3 a4", "p1 a2 p4 a5", "p1 a2 p4 a6"]
    assert trees.left_out == {NO_ANSWER: 1}
    shorter = read([*TREE, row("p6", "a2")], oasst_paths="all")
    assert paths(shorter) == paths(trees), "a path that another one begins with is none of its own"
    assert shorter.left_out == {NO_ANSWER: 2}


def test_without_ranks_the_first_reply_is_taken_and_a_ranked_one_before_it() -> None:
    assert paths(read([row("p", None), row("a1", "p"), row("a2", "p")])) == ["p a1"]
    assert paths(read([row("p", None), row("a1", "p"), row("a2", "p", rank=3)])) == ["p a2"]


def test_deleted_messages_take_their_replies_with_them() -> None:
    rows = [{**each, "deleted": each["message_id"] in ("a2", "a3")} for each in TREE]
    trees = read(rows)
    assert paths(trees) == ["p1 a1"]
    assert trees.left_out == {DELETED: 8, NO_ANSWER: 1}
    assert read([{**TREE[0], "deleted": True}, *TREE[1:]]).left_out == {DELETED: 11}


def test_only_the_languages_that_are_asked_for() -> None:
    rows = [*TREE, row("p6", None, lang="de"), row("a7", "p6", lang="de"), row("p7", None), row("a8", "p7", lang=None)]
    assert paths(read(rows, oasst_lang=("de",))) == ["p6 a7"]
    assert read(rows, oasst_lang=("de",)).conversations[0].meta == {"message_tree_id": "p6", "lang": "de"}
    english = read(rows, oasst_lang=("en",))
    assert paths(english) == ["p1 a2 p4 a5"]
    assert english.left_out == {WORSE: 6, NO_ANSWER: 2, LANGUAGE: 2, NO_LANGUAGE: 1}
    assert paths(read(rows)) == ["p1 a2 p4 a5", "p6 a7", "p7 a8"]


def test_what_the_first_message_says_of_its_tree_is_kept() -> None:
    def kept(*answer: Any, **fields: Any) -> Any:
        (talk,) = read([row("p", None, **fields), row("a", "p", **dict(answer))]).conversations
        return talk.source, talk.meta

    assert kept(source="book", meta={"topic": "maths"}, user_id="u") == (
        "book",
        {"message_tree_id": "p", "lang": "en", "topic": "maths"},
    )
    assert kept(source={"url": "u"}, meta="note") == (
        "t",
        {"message_tree_id": "p", "lang": "en", "source": {"url": "u"}, "meta": "note"},
    )
    assert kept(source=None, meta={"message_tree_id": "m"}) == ("t", {"message_tree_id": "m", "lang": "en"})
    assert kept(message_tree_id="t1") == ("t", {"message_tree_id": "t1", "lang": "en"})
    assert kept(("message_tree_id", "t1"), message_tree_id="") == ("t", {"message_tree_id": "t1", "lang": "en"})
    assert kept(("source", "other"), ("meta", {"topic": "maths"})) == ("t", {"message_tree_id": "p", "lang": "en"})


@pytest.mark.parametrize(
    ("first", "answer", "reason"),
    [
        (
            {"message_tree_id": "t1"},
            {"message_tree_id": "t2"},
            "the messages of a tree name different trees: 't1' and 't2'",
        ),
        ({"meta": {"lang": "de"}}, {}, 'the field "lang" and the same field of "meta" disagree'),
        (
            {"message_tree_id": "t1", "meta": {"message_tree_id": "t2"}},
            {},
            'the field "message_tree_id" and the same field of "meta" disagree',
        ),
    ],
)
def test_a_tree_that_contradicts_itself_is_a_bad_row(first: Any, answer: Any, reason: str) -> None:
    trees = read([row("p", None, **first), row("a", "p", **answer)])
    ((_, error),) = trees.bad
    assert str(error).startswith(f"t.jsonl:2: {reason}")
    assert (trees.conversations, trees.left_out) == ((), {SPOILT: 1})


@pytest.mark.parametrize(
    ("changes", "line", "reason"),
    [
        ({"text": None}, 2, 'the field "text" must be text: found null'),
        ({"role": "narrator"}, 2, "a message of a tree has an unknown role: 'narrator'"),
        ({"role": 3}, 2, 'the field "role" must be text: found a number'),
        ({"rank": "first"}, 2, 'the field "rank" must be a number: found text'),
        ({"rank": True}, 2, 'the field "rank" must be a number: found true or false'),
        ({"deleted": "no"}, 2, 'the field "deleted" must be true or false: found text'),
        ({"lang": []}, 2, 'the field "lang" must be text: found a list'),
        ({"message_id": None}, 2, 'the field "message_id" must be text: found null'),
        ({"parent_id": 4}, 2, "must be text, or null for a first message: found a number"),
        ({"message_id": "p"}, 2, "two messages have the same message_id: 'p'"),
        ({"parent_id": "gone"}, 2, "no first message leads to a message: its parent_id is 'gone'"),
        ({"parent_id": "a"}, 2, "no first message leads to a message: its parent_id is 'a'"),
        ({"text": " "}, 2, "an assistant message is empty: message 2"),
        ({"role": "prompter", "text": "?", "message_id": "b"}, 3, "two messages of one role"),
    ],
)
def test_a_message_that_cannot_be_used_says_why(changes: dict[str, Any], line: int, reason: str) -> None:
    more = [row("x", "b")] if "b" in changes.values() else []
    trees = read([row("p", None), {**row("a", "p"), **changes}, *more])
    (record, error), *others = trees.bad
    assert reason in str(error)
    assert str(error).startswith(f"t.jsonl:{line}: ")
    assert (trees.conversations, others, record.location.line) == ((), [], line)


def test_the_messages_before_a_bad_one_are_counted() -> None:
    trees = read([row("p", None), row("a1", "p"), row("p2", "a1"), row("a2", "p2", text="")])
    assert (paths(trees), len(trees.bad), trees.left_out) == ([], 1, {SPOILT: 3})


def test_a_long_chain_is_read() -> None:
    names = [("a" if place % 2 else "p") + str(place) for place in range(20_000)]
    chain = [row(name, parent) for name, parent in zip(names, [None, *names[:-1]], strict=True)]
    assert [len(talk.messages) for talk in read(chain).conversations] == [20_000]


@st.composite
def forests(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 14))):
        parent = draw(st.none() | st.sampled_from([each["message_id"] for each in rows] + ["gone"]))
        name = ("a" if parent and parent.startswith("p") else "p") + str(number)
        deleted, lang = draw(st.sampled_from([False, False, None, True])), draw(st.sampled_from(["en", "de"]))
        rows.append(row(name, parent, rank=draw(st.none() | st.integers(0, 3)), deleted=deleted, lang=lang))
    return draw(st.permutations(rows))


@given(forests(), st.sampled_from(["best", "all"]), st.sampled_from([(), ("en",)]))
@settings(max_examples=200)
def test_every_message_is_on_a_path_or_left_out_or_bad(
    rows: list[dict[str, Any]], which: str, lang: tuple[str, ...]
) -> None:
    trees = read(rows, oasst_paths=which, oasst_lang=lang)
    used = {message.content for talk in trees.conversations for message in talk.messages}
    assert len(used) + sum(trees.left_out.values()) + len(trees.bad) == len(rows)
    parents = {each["message_id"]: each for each in rows}
    for talk in trees.conversations:
        names = [message.content for message in talk.messages]
        assert [parents[name]["parent_id"] for name in names] == [None, *names[:-1]]
        assert not any(parents[name]["deleted"] for name in names)
        assert not lang or {parents[name]["lang"] for name in names} == {"en"}
    assert len({talk.id for talk in trees.conversations}) == len(trees.conversations)
    if which == "best":
        roots = Counter(talk.messages[0].content for talk in trees.conversations)
        assert set(roots.values()) <= {1}


# --- in files ---


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_trees_are_found_in_files_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", *reversed(TREE), {"question": "q", "answer": "a"}, row("a9", "gone"))
    found = read_conversations(path, on_bad_row="drop")
    assert found.formats == {"qa": 1, "oasst": 1}
    assert found.files == {str(path): 3}
    assert found.left_out == {WORSE: 6, NO_ANSWER: 1}
    assert [str(bad.location) for bad in found.bad_rows] == [f"{path}:13"]
    assert found.mappings["oasst"] == {"message_id, parent_id → order": 1, "role → role": 1, "text → messages": 1}
    every = read_conversations(path, format=Reading(format="oasst", oasst_paths="all"), on_bad_row="drop")
    assert every.formats == {"oasst": 4}
    assert "not in the format oasst: expected message_id + parent_id" in str(every.bad_rows[0].error())


def test_a_sample_does_not_tear_trees_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", *TREE)
    with pytest.raises(DataError) as error:
        read_conversations(f"{path}#5", on_bad_row="drop")
    assert str(error.value) == (
        f"{path}#5: a sample takes single records, and would tear trees of messages apart\n"
        "  fix: leave out #5, or take the sample of what `weft prepare` makes of the trees"
    )


def test_a_single_message_is_no_record_of_another_format(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", *TREE)
    with pytest.raises(Problems, match="the record is not in the format messages"):
        read_conversations(path, format="messages", on_bad_row="drop")


def test_nothing_in_the_language_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", *TREE)
    with pytest.raises(
        DataError, match=r"no conversation is left: 11 messages are of another language than data\.oasst_lang"
    ):
        read_conversations(path, format=Reading(oasst_lang=("fr",)), on_bad_row="drop")


def test_where_no_language_is_named_no_other_one_is_advised(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row("p", None, lang=None), row("a", "p", lang=None))
    with pytest.raises(DataError) as caught:
        read_conversations(path, format=Reading(oasst_lang=("en",)), on_bad_row="drop")
    assert caught.value.what == f"no conversation is left: 2 messages are {NO_LANGUAGE}"
    assert caught.value.fix == "remove data.oasst_lang, or name another file"


def test_where_all_is_deleted_no_other_language_is_advised(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row("p", None, deleted=True), row("a", "p"))
    with pytest.raises(DataError, match=r"2 messages are deleted, .*\n  fix: name another file$"):
        read_conversations(path, on_bad_row="drop")


ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["a", "b", "c", "", " "])
    | st.just([])
    | st.just({})
    | st.just("assistant")
)
ODD_ROWS = st.fixed_dictionaries(
    {
        "message_id": st.sampled_from(["a", "b", "c", "d"]) | ODD,
        "parent_id": st.none() | st.sampled_from(["a", "b"]) | ODD,
        "role": st.sampled_from(["prompter", "assistant"]) | ODD,
        "text": st.sampled_from(["x", ""]) | ODD,
    },
    optional={"rank": ODD, "lang": ODD, "deleted": ODD, "message_tree_id": ODD},
)


@given(st.lists(ODD_ROWS, max_size=6), st.sampled_from(["best", "all"]), st.sampled_from([(), ("a",)]))
@settings(max_examples=400)
def test_wrong_types_are_bad_rows_and_nothing_else(
    rows: list[dict[str, Any]], which: str, lang: tuple[str, ...]
) -> None:
    trees = read(rows, oasst_paths=which, oasst_lang=lang)
    bad = {record.location.line for record, _ in trees.bad}
    parents = {each["message_id"]: each["parent_id"] for line, each in enumerate(rows, 1) if line not in bad}
    used: set[str] = set()
    for talk in trees.conversations:
        name = talk.id
        while name:
            used.add(name)
            name = parents[name] or None
    assert len(used) + sum(trees.left_out.values()) + len(trees.bad) == len(rows)
    assert all(error.reason and str(error.where).startswith("t.jsonl:") for _, error in trees.bad)
