"""``"train"`` and ``"weight"`` of a message: what its tokens count, and that nothing else changes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatml_by_hand import PLACE
from conftest import IM_END, IM_START
from template_families import FAMILIES, ONE_TURN_ONLY, from_source, source
from tokenizer_zoo import ZOO, write
from weft.data.control import ControlTokens
from weft.data.conversations import canonical
from weft.data.derive import derive
from weft.data.formats import RowError, parse_record
from weft.data.groups import asked, said
from weft.data.jinja import JinjaTemplate
from weft.data.printer import Printer
from weft.data.rendering import NothingTrained
from weft.data.shape_plan import Planner
from weft.data.template import load_template
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.data.turns import Chat
from weft.errors import TemplateError
from weft.types import Conversation, Example, Location, Record
from weighed import renderer_of, weighed

# ---- reading ------------------------------------------------------------------------------------------------------------


def read(**fields: Any) -> float | None:
    """The weight of an answer with these fields."""
    data = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", **fields}]}
    return parse_record(Record(data=data, location=Location(path="x.jsonl", line=7)), "auto").messages[1].weight


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({}, None),
        ({"train": None, "weight": None}, None),
        ({"train": False}, 0.0),
        ({"train": True}, 1.0),
        ({"training": False}, 0.0),
        ({"weight": 0}, 0.0),
        ({"weight": 1}, 1.0),
        ({"weight": 0.5}, 0.5),
        ({"weight": 3}, 3.0),
        ({"train": True, "weight": 0.5}, 0.5),
        ({"train": False, "weight": 0}, 0.0),
        ({"train": True, "training": True}, 1.0),
        ({"train": False, "train_detail": []}, 0.0),
    ],
)
def test_what_a_message_says(fields: dict[str, Any], weight: float | None) -> None:
    assert read(**fields) == weight


RANGE = 'a message\'s "weight" must be 0 or a number from 0.000001 to 1000000: message 2 has '


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"train": "no"}, 'a message\'s "train" must be true or false: message 2 has text'),
        ({"train": 0}, 'a message\'s "train" must be true or false: message 2 has a number'),
        ({"training": [True]}, 'a message\'s "training" must be true or false: message 2 has a list'),
        ({"weight": True}, RANGE + "true or false"),
        ({"weight": "0.5"}, RANGE + "text"),
        ({"weight": {}}, RANGE + "an object"),
        ({"weight": -0.5}, RANGE + "-0.5"),
        ({"weight": 1e-9}, RANGE + "1e-09"),
        ({"weight": 1e7}, RANGE + "one that is too large"),
        ({"weight": 10**400}, RANGE + "one that is too large"),
        ({"weight": float("inf")}, RANGE + "one that is too large"),
        ({"weight": float("nan")}, RANGE + "another one"),
        ({"train": False, "weight": 0.5}, '"train" and "weight" of a message contradict each other: message 2'),
        ({"train": True, "weight": 0}, '"train" and "weight" of a message contradict each other: message 2'),
        ({"train": True, "training": False}, '"train" and "training" of a message contradict each other: message 2'),
        (
            {"train_detail": [{"begin_offset": 0}]},
            'choosing parts of a message is not supported: message 2 has "train_',
        ),
    ],
)
def test_what_means_nothing_is_a_rejected_row(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(RowError) as refused:
        read(**fields)
    assert str(refused.value).startswith(f"x.jsonl:7: {problem}")
    assert "\n  fix: " in str(refused.value)


def test_turns_of_sharegpt_say_it_too() -> None:
    turns = [
        {"from": "human", "value": "Q", "train": True},
        {"from": "function_call", "value": '{"name": "f"}', "weight": 0.25},
        {"from": "observation", "value": "4"},
        {"from": "gpt", "value": "A", "train": False},
    ]
    talk = parse_record(Record(data={"conversations": turns}, location=PLACE), "auto")
    assert [message.weight for message in talk.messages] == [1.0, 0.25, None, 0.0]
    assert talk.meta == {}
    stored = canonical(talk)["messages"]
    assert [message.get("weight") for message in stored] == [1, 0.25, None, 0]


def test_a_question_is_the_same_whatever_it_counts() -> None:
    """Else splits would part it, and leaks would go unseen."""
    plain = weighed("ua", None, None)
    assert asked(weighed("ua", 1.0, 0.5)) == asked(plain)
    assert said(weighed("ua", 1.0, 0.5)) == said(plain)


# ---- ids and weights by hand ---------------------------------------------------------------------------------------------


@pytest.fixture
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


def pieces(tokenizer: Tokenizer, talk: Conversation) -> list[tuple[list[int], list[int], list[int]]]:
    """The ids of each message in ChatML: its header, its content with the token that ends it, the line end behind it."""
    return [
        (
            [IM_START, *tokenizer.encode(f"{message.role}\n")],
            [*tokenizer.encode(message.content), IM_END],
            tokenizer.encode("\n"),
        )
        for message in talk.messages
    ]


def by_hand(tokenizer: Tokenizer, talk: Conversation, weights: list[float], beside: float = 0.0) -> tuple[list, list]:
    """Ids and weights of a conversation whose messages count this much, up to the last token that counts."""
    ids: list[int] = []
    counts: list[float] = []
    for (header, body, end), weight in zip(pieces(tokenizer, talk), weights, strict=True):
        ids += [*header, *body, *end]
        counts += [beside] * len(header) + [weight] * len(body) + [beside] * len(end)
    ids, counts = ids[: -len(end)], counts[: -len(end)]  # an example ends where its last answer ends
    counts[0] = 0.0
    while not counts[-1]:
        ids.pop()
        counts.pop()
    return ids, counts


@pytest.mark.parametrize(
    ("roles", "given", "train_on", "counts"),
    [
        ("uaua", (None, None, None, None), "assistant", [0, 1, 0, 1]),
        ("uaua", (None, 0.0, None, None), "assistant", [0, 0, 0, 1]),
        ("uaua", (None, None, None, 0.0), "assistant", [0, 1, 0, 0]),
        ("uaua", (None, 0.5, None, 2.0), "assistant", [0, 0.5, 0, 2]),
        ("suaua", (None, None, 0.25, None, 1.0), "assistant", [0, 0, 0.25, 0, 1]),
        ("uaua", (1.0, None, None, None), "assistant", [1, 1, 0, 1]),  # as Axolotl's users expect of "train": true
        ("suaua", (0.5, None, 0.0, 1.0, 0.0), "assistant", [0.5, 0, 0, 1, 0]),
        ("uaua", (None, None, None, 0.5), "last_turn", [0, 0, 0, 0.5]),
        ("uaua", (1.0, 1.0, 1.0, None), "last_turn", [0, 0, 0, 1]),  # the last turn, and nothing beside it
        ("uaua", (None, None, None, None), "all", [1, 1, 1, 1]),
        ("uaua", (None, 0.5, 0.0, 2.0), "all", [1, 0.5, 0, 2]),
        ("uaua", (0.0, None, None, 0.0), "all", [0, 1, 1, 0]),
    ],
)
def test_weights_by_hand(
    tokenizer: Tokenizer, roles: str, given: tuple[float | None, ...], train_on: str, counts: list[float]
) -> None:
    talk = weighed(roles, *given)
    (example,) = renderer_of(tokenizer, train_on=train_on).render(talk)
    ids, weights = by_hand(tokenizer, talk, counts, beside=float(train_on == "all"))
    assert example.ids.tolist() == ids
    assert example.loss_weights.tolist() == weights
    assert example.loss_weights.dtype == np.float32


@pytest.mark.parametrize(("roles", "given"), [("ua", (None, 0.0)), ("uaua", (0.0, 0.0, None, 0.0))])
def test_a_record_that_trains_nothing_is_refused_and_counted(
    tokenizer: Tokenizer, roles: str, given: tuple[float | None, ...]
) -> None:
    (rendering,) = renderer_of(tokenizer).render_batch([weighed(roles, *given)])
    assert isinstance(rendering.error, NothingTrained)
    assert str(rendering.error).startswith("records.jsonl:3: nothing in it is trained")
    assert rendering.examples == ()


def test_a_question_is_weighed_without_a_stop_where_the_template_writes_none() -> None:
    (example,) = from_source(source("mistral"), FAMILIES["mistral"]).examples(weighed("uaua", 0.5, None, None, None))
    context, *_ = example.segments
    assert [context.text[start:end] for start, end, _ in context.weights] == ["Hello 0"]
    assert example.notes == ("prompt-trained",)


def test_messages_that_make_one_turn_count_apart() -> None:
    """A template that prints them as one turn is cut where the first would have ended."""
    template = from_source(source("glued"), FAMILIES["glued"])
    (example,) = template.examples(weighed("uaa", None, 0.0, 1.0))
    turn = example.segments[-1]
    assert (turn.text, turn.weights) == ("One 1\nOne 2<|im_end|>", ((0, 5, 0.0),))
    assert example.notes == ("weighted",)
    (example,) = template.examples(weighed("uaa", None, 0.5, None))
    assert example.segments[-1].weights == ((0, 5, 0.5),)
    (example,) = template.examples(weighed("uaa", None, None, 0.5))
    assert example.segments[-1].weights == ((5, 21, 0.5),)


REWRITES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}[…] {% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Prints an answer otherwise once something follows, so that each answer makes an example of its own."""


def test_what_several_examples_print_counts_in_one_of_them(tokenizer: Tokenizer) -> None:
    template = from_source(REWRITES, FAMILIES["chatml"])
    talk = weighed("uauaua", 2.0, 0.5, 0.25, 0.0, None, None)

    def counts(train_on: str) -> list[list[tuple[str, float]]]:
        """What counts neither 0 nor 1 in each example, as text."""
        renderer = renderer_of(tokenizer, template=template, train_on=train_on)
        return [
            [
                (tokenizer.decode(example.ids[start:end].tolist()), float(example.loss_weights[start]))
                for start, end in equal_stretches(example.loss_weights)
                if example.loss_weights[start] not in (0, 1)
            ]
            for example in renderer.render(talk)
        ]

    assert counts("assistant") == [[("Hello 0", 2.0), ("One 1", 0.5)], [("Hello 2", 0.25)], []]
    assert counts("last_turn") == [[]]
    assert counts("all") == counts("assistant")
    # where nothing else of an example counts, it is none
    alone = renderer_of(tokenizer, template=template).render(weighed("uaua", None, 0.0, None, None))
    assert [tokenizer.decode(example.ids.tolist())[-5:] for example in alone] == ["One 3"]


def equal_stretches(weights: np.ndarray) -> list[tuple[int, int]]:
    borders = [0, *(np.flatnonzero(np.diff(weights)) + 1).tolist(), len(weights)]
    return list(itertools.pairwise(borders))


# ---- laws ---------------------------------------------------------------------------------------------------------------

CONTENT = st.lists(
    st.sampled_from(["A", "é", "語", " ", "\n", "<|im_end|>", "x y", "[INST]", "  "]), min_size=1, max_size=4
)
TEXT = CONTENT.map("".join).filter(str.strip)
GIVEN = st.sampled_from([None, None, 0.0, 0.5, 1.0])
many = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@st.composite
def conversations(draw: st.DrawFn, shapes: tuple[str, ...]) -> Conversation:
    roles = draw(st.sampled_from(shapes))
    contents = tuple(draw(TEXT) for _ in roles)
    return weighed(roles, *(draw(GIVEN) for _ in roles), contents=contents)


@pytest.mark.parametrize("last_turn", [False, True])
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - ONE_TURN_ONLY))
def test_the_plan_weighs_as_the_derivation_does(family: str, last_turn: bool) -> None:
    names = FAMILIES[family]
    printer = Printer(JinjaTemplate(source(family), family), bos=names.bos, eos=names.eos)
    control = ControlTokens(names.control, names.stops)
    planner = Planner(printer, control, last_turn=last_turn)

    @many
    @given(conversations(("ua", "uaua", "suaua", "uaa", "uaaua")))
    def check_one(talk: Conversation) -> None:
        try:
            derived = [one.rendered for one in derive(Chat(printer, control, talk.messages), last_turn=last_turn)]
        except TemplateError:
            return
        planned = planner.examples(talk.messages)
        assert [one.segments for one in planned] == [one.segments for one in derived]
        notes = [tuple(note for note in one.notes if note != "prompt-varies") for one in planned]
        assert notes == [one.notes for one in derived]

    check_one()


@pytest.mark.usefixtures("hardly_any_trial")
def test_weighed_answers_go_by_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    template = from_source(source("llama3"), FAMILIES["llama3"])
    template.examples(weighed("uaua", *[None] * 4))
    monkeypatch.setattr("weft.data.shape_plan.derive", None)
    (example,) = template.examples(weighed("uaua", None, 0.0, None, 0.5))
    assert [segment.weights for segment in example.segments] == [(), ((0, 15, 0.0),), (), ((0, 15, 0.5),)]


def plain(talk: Conversation) -> Conversation:
    return replace(talk, messages=tuple(replace(message, weight=None) for message in talk.messages))


@pytest.mark.parametrize("name", ZOO)
def test_no_weight_changes_an_id(tmp_path: Path, name: str) -> None:
    """Weighed or not, a text is cut and encoded alike; only what follows the last token that counts is left off."""
    text = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer = load_tokenizer(write(ZOO[name](), tmp_path, chat_template=text))
    template = load_template(None, tokenizer)
    seen = set()

    @many
    @given(conversations(("ua", "uaua", "suaua")), st.sampled_from(["assistant", "last_turn", "all"]))
    def check_one(talk: Conversation, train_on: str) -> None:
        renderer = renderer_of(tokenizer, 4096, template, train_on=train_on)
        (whole,) = renderer.render(plain(talk))
        (found,) = renderer.render_batch([talk])
        for example in found.examples:
            assert example.ids.tolist() == whole.ids.tolist()[: len(example.ids)]
            assert example.loss_weights[-1] > 0
            seen.add(len(example.ids) == len(whole.ids))
            if train_on == "assistant" and "\n" not in talk.messages[-2].content:
                check_trained(example, talk)
        assert found.examples or isinstance(found.error, NothingTrained)

    def check_trained(example: Example, talk: Conversation) -> None:
        """As many runs as neighbouring messages that count, each ended by the stop."""
        counted = [one.weight if one.weight is not None else float(one.role == "assistant") for one in talk.messages]
        runs = [(start, end) for start, end in equal_stretches(example.loss_weights) if example.loss_weights[start]]
        assert len(runs) == sum(weight > 0 for weight in counted)
        assert all(example.ids[end - 1] in tokenizer.stop_ids for _, end in runs)
        assert [float(example.loss_weights[start]) for start, _ in runs] == [weight for weight in counted if weight]

    check_one()
    assert seen == {True, False}
