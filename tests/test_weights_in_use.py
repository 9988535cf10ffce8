"""What messages count, where examples are made shorter, prepared, kept in the store and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import IM_END
from store_files import open_store
from weft.cli import main
from weft.config.load import load_config
from weft.data.check import check
from weft.data.overlong import ANSWER_CUT, SPLIT, TURNS_LEFT_OFF
from weft.data.rendering import Rendering
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.types import Conversation
from weighed import renderer_of, weighed


@pytest.fixture
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


def fitted(tokenizer: Tokenizer, talk: Conversation, limit: int, policy: str) -> Rendering:
    return renderer_of(tokenizer, limit, overlong=policy).render_batch([talk])[0]


def test_truncation_ends_with_an_answer_that_counts(tokenizer: Tokenizer) -> None:
    talk = weighed("uauaua", None, 0.5, None, 0.0, None, None)
    (first,) = renderer_of(tokenizer).render(weighed("ua", None, 0.5))
    (whole,) = renderer_of(tokenizer).render(talk)
    for limit in (len(first.ids), len(whole.ids) - 1):  # the answer between them is context, and no place to end
        found = fitted(tokenizer, talk, limit, "truncate")
        assert found.shortened == (TURNS_LEFT_OFF,)
        assert found.examples[0].ids.tolist() == first.ids.tolist()
        assert found.examples[0].loss_weights.tolist() == first.loss_weights.tolist()
    found = fitted(tokenizer, talk, len(first.ids) - 2, "truncate")
    assert found.shortened == (ANSWER_CUT,)
    assert found.examples[0].ids.tolist() == [*first.ids.tolist()[:-3], IM_END]
    assert found.examples[0].loss_weights.tolist() == [*first.loss_weights.tolist()[:-3], 0.5]
    late = weighed("uaua", None, 0.0, None, None)
    assert fitted(tokenizer, late, len(first.ids), "truncate").examples == ()
    asking = weighed("uaua", 0.5, 0.0, None, None)  # only a question counts of what fits
    (example,) = fitted(tokenizer, asking, len(first.ids), "truncate").examples
    assert example.ids.tolist() == first.ids.tolist()[: len(example.ids)]
    assert example.ids[-1] == IM_END
    assert set(example.loss_weights.tolist()) == {0.0, 0.5}


def test_parts_that_train_nothing_are_left_out(tokenizer: Tokenizer) -> None:
    talk = weighed("uauaua", None, None, None, 0.0, None, 0.5)
    (one,) = renderer_of(tokenizer).render(weighed("ua", None, None))
    found = fitted(tokenizer, talk, len(one.ids), "split_turns")
    assert (found.shortened, found.overlong, found.error) == ((SPLIT,), (), None)
    assert [float(example.loss_weights.max()) for example in found.examples] == [1.0, 0.5]


@pytest.fixture
def project(tmp_path: Path, tiny_tokenizer_dir: Path) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Hello 0", "train": True},
                {"role": "assistant", "content": "One 1"},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "Hello 0"},
                {"role": "assistant", "content": "One 1", "weight": 0.5},
                {"role": "user", "content": "Hello 2"},
                {"role": "assistant", "content": "One 3", "train": False},
            ]
        },
    ]
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "c.yaml").write_text(
        f"model: {{name: {tiny_tokenizer_dir}}}\n"
        "data:\n"
        f"  raw_path: {tmp_path}/raw.jsonl\n"
        f"  train_path: {tmp_path}/out/train.jsonl\n"
        f"  val_path: {tmp_path}/out/val.jsonl\n"
        f"  cache_dir: {tmp_path}/cache\n"
        "  split: {train_ratio: 1, val_ratio: 0, test_ratio: 0}\n"
    )
    return tmp_path


def test_preparing_keeps_what_messages_count(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(project / "c.yaml")]) == 0
    lines = (project / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert [[one.get("weight") for one in json.loads(line)["messages"]] for line in lines] == [
        [1, None],
        [None, 0.5, None, 0],
    ]
    report = check(load_config(project / "c.yaml", ()).config)
    encoded = report.sets[0].encoded
    assert encoded is not None
    assert encoded.notes == {"prompt-trained": 1, "weighted": 1}
    # the question and the two answers; the third answer is context, and none that lacks its stop
    assert (encoded.turns, encoded.closed_turns) == (3, 3)


def test_the_store_keeps_weights_and_sources_multiply_them(
    project: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    from weft.data.store import SourceFile

    renderer = renderer_of(tokenizer)
    file = SourceFile(path=project / "raw.jsonl", name="raw", loss_weight=3.0)
    store = open_store([file], renderer, project / "cache", on_bad_row="error", system_prompt=None)
    talks = (weighed("ua", 1.0, None), weighed("ua", None, 0.5))
    for number, talk in enumerate(talks):
        (example,) = renderer.render(talk)
        assert store[number].ids.tolist() == example.ids.tolist()
        assert store[number].loss_weights.tolist() == (example.loss_weights * 3).tolist()
        assert store.targets[number] == pytest.approx(3 * float(example.loss_weights.sum()))


def test_wrong_weights_are_rejected_rows_with_file_and_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "weight": -1}]}
    with (project / "raw.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(bad))
    assert main(["prepare", str(project / "c.yaml")]) == 2
    said = capsys.readouterr().err
    assert f'{project}/raw.jsonl:3: a message\'s "weight" must be 0 or a number from 0.000001 to 1000000' in said
    assert main(["prepare", str(project / "c.yaml"), "on_bad_row=drop"]) == 0
    assert len((project / "out" / "rejects.jsonl").read_text(encoding="utf-8").splitlines()) == 1


# ---- weft show ------------------------------------------------------------------------------------------------------------

LEGEND = "⟦trained⟧ ⟦×0.5 counts half⟧ context  │ encoded apart, ↵ line end, ⇥ tab, · space\n\n"
SHOWN = """<|im_start|>user↵
⟦×3 Hello 0<|im_end|>⟧↵
<|im_start|>assistant↵
│⟦×3 One 1<|im_end|>⟧
"""
SHOWN_TOO = """<|im_start|>user↵
Hello 0<|im_end|>↵
<|im_start|>assistant↵
│⟦One 1<|im_end|>⟧
"""


def test_show_tells_weights_and_borders_without_colour(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["show", str(project / "c.yaml"), "-n", "2", "data.val_split_ratio=0"]
    sets = f"datasets=[{{path: {project}/raw.jsonl, loss_weight: %s}}]"
    assert main([*words, sets % 3]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(LEGEND)
    first, second = shown.removeprefix(LEGEND).split("\n\n")
    assert first.partition("\n")[2] + "\n" == SHOWN
    assert second.partition("\n")[2] == SHOWN_TOO.replace("⟦", "⟦×1.5 ")
    assert main([*words, sets % 2]) == 0  # half of twice is once
    assert capsys.readouterr().out.endswith(SHOWN_TOO)
    assert main([*words, "data.train_path=" + str(project / "raw.jsonl"), "--json"]) == 0
    examples = json.loads(capsys.readouterr().out)["examples"]
    assert [sorted(set(example["loss_weights"])) for example in examples] == [[0.0, 1.0], [0.0, 0.5]]
    for example in examples:
        (border,) = example["borders"][1:]
        assert example["borders"][0] == 0
        assert example["loss_weights"][border - 1] == 0 < example["loss_weights"][border]
    assert [[one["weights"] for one in example["segments"]] for example in examples] == [
        [[[17, 34, 1.0]], []],
        [[], [[0, 15, 0.5]], [], [[0, 15, 0.0]]],
    ]


def test_show_tells_context_that_was_encoded_apart(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"messages": [{"role": role, "content": role, "train": role == "x"} for role in ("user", "assistant") * 2]}
    row["messages"][-1]["train"] = True
    (project / "raw.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert main(["show", str(project / "c.yaml"), f"data.train_path={project}/raw.jsonl"]) == 0
    assert "│assistant<|im_end|>│↵\n<|im_start|>user" in capsys.readouterr().out


def test_show_in_colour_spells_out_what_colours_cannot_tell(tokenizer: Tokenizer) -> None:
    from weft.commands.show import _painted
    from weft.data.show import stretches

    renderer = renderer_of(tokenizer)
    (rendering,) = renderer.render_batch([weighed("uaua", None, 0.5, None, None)])
    parts = list(_painted(stretches(tokenizer, rendering.examples[0], rendering.borders[0])))
    assert [(part.plain, part.style) for part in parts] == [
        ("<|im_start|>", "cyan"),
        ("user↵\nHello 0", "dim"),
        ("<|im_end|>", "cyan"),
        ("↵\n", "dim"),
        ("<|im_start|>", "cyan"),
        ("assistant↵\n", "dim"),
        ("│", "dim"),
        ("×0.5 ", "yellow"),
        ("One 1", "bold yellow"),
        ("<|im_end|>", "bold black on yellow"),
        ("│", "dim"),
        ("↵\n", "dim"),
        ("<|im_start|>", "cyan"),
        ("user↵\nHello 2", "dim"),
        ("<|im_end|>", "cyan"),
        ("↵\n", "dim"),
        ("<|im_start|>", "cyan"),
        ("assistant↵\n", "dim"),
        ("│", "dim"),
        ("One 3", "bold green"),
        ("<|im_end|>", "bold black on green"),
    ]
