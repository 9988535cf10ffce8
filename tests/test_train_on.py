"""Which tokens are trained, and how much they count: one weight per token, whatever decides on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatml_by_hand import conversation
from conftest import IM_END, IM_START
from store_files import open_store
from template_families import FAMILIES, ONE_TURN_ONLY, chat, shown, template
from weft.cli import main
from weft.config.load import load_config
from weft.data.inputs import held_out_files, training_files
from weft.data.render import Renderer
from weft.data.store import ExampleStore, SourceFile
from weft.data.template import load_template
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.errors import ConfigError, Problems


@pytest.fixture
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


def renderer_of(tokenizer: Tokenizer, limit: int = 512, **choices: str) -> Renderer:
    return Renderer(tokenizer, load_template(None, tokenizer), limit, **choices)  # type: ignore[arg-type]


# data.train_on


def test_weights_by_hand(tokenizer: Tokenizer) -> None:
    encode = tokenizer.encode

    def asked(question: str) -> list[int]:
        middle = [IM_END, *encode("\n"), IM_START]
        return [IM_START, *encode(f"user\n{question}"), *middle, *encode("assistant\n")]

    turns = [asked("Hello"), [*encode("One"), IM_END], [*encode("\n"), *asked("And?")], [*encode("Two"), IM_END]]
    lengths = [len(turn) for turn in turns]
    for train_on, per_turn in (("assistant", [0, 1, 0, 1]), ("last_turn", [0, 0, 0, 1]), ("all", [1, 1, 1, 1])):
        (example,) = renderer_of(tokenizer, train_on=train_on).render(conversation("Hello", "One", "And?", "Two"))
        assert example.ids.tolist() == [index for turn in turns for index in turn]
        weights = np.repeat(np.array(per_turn, np.float32), lengths)
        weights[0] = 0  # nothing before it could predict it
        assert example.loss_weights.tolist() == weights.tolist()
        assert example.loss_weights.dtype == np.float32


def last_alone(text: str) -> str:
    """An example as :func:`shown` shows it, with its last trained run only."""
    start = text.rfind("⟦")
    return text[:start].replace("⟦", "").replace("⟧", "") + text[start:]


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - ONE_TURN_ONLY))
@pytest.mark.parametrize("contents", [("Q", "A"), ("Q", "A", "R", "B"), ("Q", "A <|im_end|>", "R", " B\n", "S", "C c")])
def test_the_last_turn_is_that_of_the_last_example(family: str, contents: tuple[str, ...]) -> None:
    talk = chat("ua" * (len(contents) // 2), *contents)
    *_, last = shown(template(family).examples(talk))
    assert shown(template(family).examples(talk, last_turn=True)) == [last_alone(last)]


def test_two_answers_that_are_one_turn_are_both_its_last(tokenizer: Tokenizer) -> None:
    talk = chat("uauaa", "Q", "A", "R", "B", "C")
    *_, last = shown(template("glued").examples(talk))
    assert shown(template("glued").examples(talk, last_turn=True)) == [last_alone(last)]
    assert "B" in last_alone(last).rpartition("⟦")[2]


def test_a_conversation_that_is_split_keeps_what_leads_to_its_last_turn(tokenizer: Tokenizer) -> None:
    talk = conversation("Hello", "One", "And?", "Two", "More?", "Three")
    (whole,) = renderer_of(tokenizer, train_on="last_turn").render(talk)
    (last_two,) = renderer_of(tokenizer, train_on="last_turn").render(conversation("And?", "Two", "More?", "Three"))
    found = renderer_of(tokenizer, len(whole.ids) - 1, train_on="last_turn", overlong="split_turns").render(talk)
    assert [example.ids.tolist() for example in found] == [last_two.ids.tolist()]
    assert [example.loss_weights.tolist() for example in found] == [last_two.loss_weights.tolist()]


def test_all_is_truncated_where_an_answer_ends(tokenizer: Tokenizer) -> None:
    (first,) = renderer_of(tokenizer, train_on="all").render(conversation("Hello", "One"))
    talk = conversation("Hello", "One", "And?", "x" * 300)
    (example,) = renderer_of(tokenizer, len(first.ids) + 9, train_on="all", overlong="truncate").render(talk)
    assert example.ids.tolist() == first.ids.tolist()
    assert example.loss_weights.tolist() == [0.0] + [1.0] * (len(first.ids) - 1)


def test_each_choice_is_another_entry_of_the_cache(tokenizer: Tokenizer) -> None:
    choices = [
        *({"train_on": train_on} for train_on in ("assistant", "last_turn", "all")),
        *({"overlong": policy} for policy in ("truncate", "error", "split_turns")),
    ]
    assert len({renderer_of(tokenizer, **choice).fingerprint for choice in choices}) == len(choices)
    default = renderer_of(tokenizer, train_on="assistant", overlong="drop")
    assert renderer_of(tokenizer).fingerprint == default.fingerprint


@pytest.fixture
def project(tmp_path: Path, tiny_tokenizer_dir: Path) -> Path:
    for name, count in (("a", 3), ("b", 20)):
        rows = [{"prompt": f"{name} {number}?", "response": f"Yes {number}"} for number in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "c.yaml").write_text(
        f"model: {{name: {tiny_tokenizer_dir}}}\n"
        f"datasets: [{{path: {tmp_path}/a.jsonl, loss_weight: 0.5}}, {{path: {tmp_path}/b.jsonl}}]\n"
        f"data: {{val_path: {tmp_path}/val.jsonl, cache_dir: {tmp_path}/cache, val_split_ratio: 0.1}}\n"
    )
    return tmp_path


def test_show_shows_what_is_trained(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(project / "c.yaml"), "data.train_on=all"]) == 0
    assert "⟦×0.5 user" in capsys.readouterr().out  # from its second token on, and as its set weighs it
    assert main(["check", str(project / "c.yaml"), "data.train_on=all"]) == 0
    # all but the first token of the three examples' tokens; every text ends with an answer's end
    assert "100.0% of the trained turns end with a stop token" in capsys.readouterr().out


# datasets[].loss_weight


@given(st.sampled_from([1.0, 0.5, 0.25, 3.0]), st.sampled_from([1.0, 0.1, 7.0]))
def test_a_source_scales_its_weights_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_dir: Path, first: float, second: float
) -> None:
    folder = tmp_path_factory.getbasetemp() / "loss-weights"
    folder.mkdir(exist_ok=True)
    (folder / "a.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": "c", "response": "d e"}')
    (folder / "b.jsonl").write_text('{"prompt": "f", "response": "g"}')
    renderer = renderer_of(load_tokenizer(tiny_tokenizer_dir))

    def opened(*loss_weights: float) -> ExampleStore:
        files = [
            SourceFile(path=folder / f"{name}.jsonl", name=name, loss_weight=weight)
            for name, weight in zip("ab", loss_weights, strict=True)
        ]
        return open_store(files, renderer, folder / "cache", on_bad_row="error", system_prompt=None)

    plain = opened(1.0, 1.0)
    scaled = opened(first, second)
    assert scaled.report.cached
    assert scaled.fingerprint == plain.fingerprint
    for number, factor in enumerate((first, first, second)):
        assert scaled[number].ids.tolist() == plain[number].ids.tolist()
        expected = [float(np.float32(factor)) if weight else 0.0 for weight in plain[number].loss_weights]
        assert scaled[number].loss_weights.tolist() == expected
        assert scaled[number].loss_weights.dtype == np.float32
        assert scaled.targets[number] == pytest.approx(sum(expected), rel=1e-12)


def test_weights_are_for_training_and_not_for_validation(project: Path) -> None:
    config = load_config(project / "c.yaml", ()).config
    assert [file.loss_weight for file in training_files(config)] == [0.5, 1.0]
    assert [file.loss_weight for file in held_out_files(config, "val")] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("datasets[0].loss_weight=0", "datasets[0].loss_weight"),
        ("datasets[0].loss_weight=-1", "datasets[0].loss_weight"),
        ("data.train_on=user", "data.train_on"),
        ("data.overlong=cut", "data.overlong"),
        ("data.val_split_ratio=1", "data.val_split_ratio"),
    ],
)
def test_what_means_nothing_is_refused_by_name(project: Path, override: str, said: str) -> None:
    with pytest.raises((ConfigError, Problems)) as refused:
        load_config(project / "c.yaml", [override])
    assert said in str(refused.value)
