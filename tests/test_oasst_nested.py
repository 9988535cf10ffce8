"""Whole trees of messages: what flat messages of the same trees give, with the places that the nested form has."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.cli import main
from weft.data.conversation_reader import ConversationReader
from weft.data.conversations import ConversationFile, read_conversations
from weft.data.oasst import WORSE
from weft.data.reading import Reading
from weft.errors import DataError, Problems


def message(name: str, *replies: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A message whose name begins with p (of the prompter) or a (of the assistant), with its name as text."""
    role = "prompter" if name.startswith("p") else "assistant"
    return {"message_id": name, "role": role, "text": name, "lang": "en", **fields, "replies": list(replies)}


def tree(prompt: Any, **fields: Any) -> dict[str, Any]:
    return {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": prompt, **fields}


TREE = tree(message("p1", message("a1", rank=1), message("a2", message("p2", message("a3"), rank=0), rank=0)))


def flat(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a tree, each before its replies."""

    def rows(node: dict[str, Any], parent: str | None) -> list[dict[str, Any]]:
        own = {key: value for key, value in node.items() if key != "replies"} | {"parent_id": parent}
        return [own, *(row for reply in node["replies"] for row in rows(reply, node["message_id"]))]

    return rows({**whole["prompt"], "message_tree_id": whole["message_tree_id"]}, None)


def write(path: Path, rows: list[Any]) -> Path:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path, **choice: Any) -> ConversationFile:
    return read_conversations(str(path), format=Reading(format="oasst", **choice), on_bad_row="drop", source="t")


def paths(found: ConversationFile) -> list[str]:
    return [" ".join(message.content for message in talk.messages) for talk in found.talks]


@pytest.mark.parametrize("format", ["auto", "chat", "oasst"])
def test_a_whole_tree_is_read(tmp_path: Path, format: Any) -> None:
    path = write(tmp_path / "2023_oasst_ready.trees.jsonl.gz", [TREE])
    found = read_conversations(str(path), format=format, on_bad_row="error")
    assert paths(found) == ["p1 a2 p2 a3"]
    (talk,) = found.talks
    assert (talk.id, talk.meta, str(talk.location)) == (
        "a3",
        {"message_tree_id": "t", "lang": "en"},
        f"{path}:1 (record 5)",
    )
    assert found.formats == {"oasst": 1}
    assert found.mappings == {"oasst": dict.fromkeys(("prompt, replies → order", "role → role", "text → messages"), 1)}
    assert found.left_out == {WORSE: 1}
    assert found.files == {str(path): 1}


NAMES = st.sampled_from(["en", "de", None])


@st.composite
def nodes(draw: st.DrawFn, depth: int = 0, role: str = "prompter") -> dict[str, Any]:
    other = "assistant" if role == "prompter" else "prompter"
    replies = draw(st.lists(nodes(depth + 1, other), max_size=2)) if depth < 3 else []
    optional = {
        "rank": draw(st.none() | st.integers(0, 2)),
        "lang": draw(NAMES),
        "deleted": draw(st.sampled_from([False, False, False, None, True])),
        "review_result": draw(st.booleans()),
    }
    return {
        "role": draw(st.sampled_from([role] * 8 + ["user", "boss", 3])),
        "text": draw(st.sampled_from(["one", "two", "", None])),
        **{key: value for key, value in optional.items() if value is not None or draw(st.booleans())},
        "replies": replies,
    }


def named(node: dict[str, Any], prefix: str, names: list[str]) -> dict[str, Any]:
    """The tree with a name for every message, now and then one that another has."""
    names.append(f"{prefix}{len(names)}")
    own = names[1] if len(names) % 5 == 0 else names[-1]
    return {"message_id": own, **node, "replies": [named(reply, prefix, names) for reply in node["replies"]]}


@given(st.lists(nodes(), min_size=1, max_size=2), st.sampled_from(["best", "all"]), st.sampled_from([(), ("en",)]))
@settings(max_examples=200, deadline=None)
def test_both_forms_of_the_same_trees_give_equal_records(
    tmp_path_factory: pytest.TempPathFactory, roots: list[dict[str, Any]], choice: Any, lang: tuple[str, ...]
) -> None:
    folder = tmp_path_factory.mktemp("trees")
    whole = [tree(named(root, prefix, [])) for prefix, root in zip("xy", roots, strict=False)]
    found = []
    for name, rows in (("nested", whole), ("flat", [row for each in whole for row in flat(each)])):
        path = write(folder / f"{name}.jsonl", rows)
        try:
            result = read(path, oasst_paths=choice, oasst_lang=lang)
        except (DataError, Problems) as error:
            shown = str(error).replace(str(path), "")
            found.append(("nothing", sorted(line.partition(": ")[2] for line in shown.splitlines())))
            continue
        talks = [replace(talk, location=Anywhere) for talk in result.talks]
        bad = sorted((row.reason, row.detail, row.raw) for row in result.bad_rows)
        found.append((talks, bad, result.left_out))
    assert found[0] == found[1]


Anywhere: Any = None


def test_a_first_message_may_lack_its_parent(tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if value is not None} for row in flat(TREE)]
    assert "parent_id" not in rows[0]
    assert paths(read(write(tmp_path / "flat.jsonl", rows))) == ["p1 a2 p2 a3"]


def test_what_a_tree_says_of_itself_is_kept(tmp_path: Path) -> None:
    pair = message("p1", message("a1"))
    path = write(
        tmp_path / "t.jsonl",
        [
            tree(pair, source="book", meta={"topic": "maths"}),
            tree({**pair, "source": "book", "message_tree_id": "t"}, source=""),
            tree(pair | {"meta": {"topic": "maths"}}, message_tree_id=None),
        ],
    )
    assert [(talk.source, talk.meta) for talk in read(path).talks] == [
        ("book", {"message_tree_id": "t", "lang": "en", "topic": "maths"}),
        ("book", {"message_tree_id": "t", "lang": "en"}),
        ("t", {"message_tree_id": "p1", "lang": "en", "topic": "maths"}),
    ]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (tree(None), "a message of a tree must be an object: the prompt is null"),
        (tree({**message("p1"), "message_id": None}), 'a message of a tree has no "message_id": the prompt has null'),
        (tree({**message("p1"), "replies": {}}), "the replies to a message must be a list: 'p1' has an object"),
        (tree(message("p1", 3)), "a message of a tree must be an object: a reply to 'p1' is a number"),  # type: ignore[arg-type]
        (tree(message("p1", {"role": "assistant"})), "has no \"message_id\": a reply to 'p1' has null"),
        (
            tree(message("p1", message("a1", parent_id="p9"))),
            "names another parent than the message that holds it: 'a1' names 'p9'",
        ),
        (tree(message("p1", message_tree_id="x")), 'a tree and its prompt disagree: the field "message_tree_id"'),
        (tree(message("p1", source="x"), source="y"), 'a tree and its prompt disagree: the field "source"'),
    ],
)
def test_a_tree_that_is_none_is_one_bad_row(tmp_path: Path, broken: Any, reason: str) -> None:
    path = write(tmp_path / "t.jsonl", [TREE, broken])
    found = read(path)
    assert paths(found) == ["p1 a2 p2 a3"]
    (row,) = found.bad_rows
    assert str(row.location) == f"{path}:2"
    assert reason in f"{row.reason}: {row.detail}"
    assert json.loads(row.raw) == broken
    assert "message_tree_id" in str(row.fix)


def test_a_bad_message_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [TREE, tree(message("p1", message("a1"), message("a2", role="boss")))])
    (row,) = read(path).bad_rows
    assert str(row.location) == f"{path}:2 (record 3)"
    assert row.reason == "a message of a tree has an unknown role"
    assert json.loads(row.raw)["message_id"] == "a2"


def test_a_tree_may_be_deep_but_not_without_end(tmp_path: Path) -> None:
    def chain(length: int) -> dict[str, Any]:
        node = message("a")
        for number in range(length, 0, -1):
            node = message(f"{'pa'[number % 2 == 0]}{number}", node)
        return tree(node)

    path = write(tmp_path / "t.jsonl", [chain(39), chain(120)])
    found = read(path)
    assert [len(talk.messages) for talk in found.talks] == [40]
    (row,) = found.bad_rows
    assert str(row.location) == f"{path}:2"


def test_lists_of_trees_are_read_and_a_sample_takes_whole_trees(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([TREE, tree(message("p3", message("a5")))]))
    found = read(path)
    assert paths(found) == ["p1 a2 p2 a3", "p3 a5"]
    assert [talk.location.record for talk in found.talks] == [1, 2]
    sample = read_conversations(f"{write(tmp_path / 'u.jsonl', [TREE] * 3)}#2", on_bad_row="error")
    assert paths(sample) == ["p1 a2 p2 a3"] * 2


def test_a_tree_is_no_document_and_no_other_format(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [TREE])
    with pytest.raises(Problems, match="the record is of a conversation, and mode: cpt trains documents"):
        read_conversations(str(path), format=Reading(mode="cpt"), on_bad_row="error")
    with pytest.raises(Problems, match="not in the format alpaca") as error:
        read_conversations(str(path), format="alpaca", on_bad_row="error")
    assert "data.format: auto" in str(error.value)
    with pytest.raises(Problems, match="message_tree_id"):
        read_conversations(str(write(tmp_path / "u.jsonl", [{"a": 1}])), format="oasst", on_bad_row="error")


def test_the_well_known_set_may_be_given_as_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {"trees": [TREE], "messages": flat(TREE)}
    written = []
    for form, records in rows.items():
        path = write(tmp_path / f"2023-04-12_oasst_ready.{form}.jsonl.gz", records)
        assert main(["datasets", "get", "oasst1", "--source", str(path), "--out", form]) == 0
        written.append(Path(form, "oasst1_en.jsonl").read_bytes())
    assert written[0] == written[1] == b'{"prompt": "p1", "response": "a2"}\n'


def test_what_training_leaves_out_of_trees_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.jsonl", [TREE, tree(message("p7", message("a7", text=""))), tree(None)])
    assert main(["check", "data.train_path=t.jsonl", "on_bad_row=drop", "--rejects", "r.jsonl"]) == 0
    rejects = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [row["location"] for row in rejects] == ["t.jsonl:2 (record 2)", "t.jsonl:3"]
    assert [row["reason"] for row in rejects] == [
        "an assistant message is empty",
        "a message of a tree must be an object",
    ]


def test_several_readers_share_a_file_of_trees(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [TREE] * 3000)
    readers = [ConversationReader(str(path)) for _ in range(3)]
    together = [
        talk.location
        for reader, mine in zip(readers, (lambda n: True, lambda n: n % 2 == 0, lambda n: n % 2 == 1), strict=True)
        for block in reader.blocks(mine)
        for talk in block.conversations
    ]
    assert len(together) == 2 * 3000
    assert set(together[:3000]) == set(together[3000:])
    whole, first, second = (reader.tally for reader in readers)
    first.join(second)
    assert (first.kept, first.left_out) == (whole.kept, whole.left_out) == (3000, {WORSE: 3000})
