"""Generation: batched = one by one = Transformers' own; stops, limits, sampling, streams."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from weft.data.render import Renderer
from weft.data.template import load_template
from weft.data.tokenizer import load_tokenizer
from weft.errors import ModelError, WeftError
from weft.inference.decode import Sampler, decode
from weft.inference.generate import Answerer
from weft.types import Completion, Conversation, Location, Message

EOS, IM_END = 3, 5
QUESTION = (Message(role="user", content="What is the capital of France?"),)


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> PreTrainedModel:
    """Random weights, scaled so that the likeliest token is likely and depends on the context."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.15)
    return model


@pytest.fixture(scope="module")
def answerer(model: PreTrainedModel, tiny_model_dir: Path) -> Answerer:
    tokenizer = load_tokenizer(tiny_model_dir)
    template = load_template(None, tokenizer)
    return Answerer(
        model=model,
        tokenizer=tokenizer,
        template=template,
        renderer=Renderer(tokenizer, template, 512),
        name="tiny",
        directory=tiny_model_dir,
        tuned=False,
    )


def _prompts(*lengths: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(6, 400, size=length).astype(np.int32) for length in lengths]


def _decode(
    model: PreTrainedModel, prompts: list[np.ndarray], limits: list[int], stop_ids: set[int]
) -> list[list[int]]:
    sampler = Sampler.seeded([0] * len(prompts), max(limits), temperature=0.0, top_p=1.0)
    out: list[list[int]] = [[] for _ in prompts]
    over: set[int] = set()
    for step in decode(model, prompts, limits=limits, stop_ids=stop_ids, sampler=sampler):
        for row, token, ended in step:
            assert row not in over
            out[row].append(token)
            over |= {row} if ended else set()
    assert over == set(range(len(prompts)))
    return out


def test_batched_is_one_by_one_is_transformers(model: PreTrainedModel) -> None:
    prompts, limits, stops = _prompts(3, 17, 9, 1, 30), [12, 12, 8, 12, 10], set(range(6, 40))
    batched = _decode(model, prompts, limits, stops)
    assert batched == [
        _decode(model, [prompt], [limit], stops)[0] for prompt, limit in zip(prompts, limits, strict=True)
    ]
    for prompt, limit, ours in zip(prompts, limits, batched, strict=True):
        ids = torch.from_numpy(prompt).long()[None]
        settings = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=sorted(stops), pad_token_id=0)
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        assert ours == theirs[0, len(prompt) :].tolist()
    assert len({len(ids) for ids in batched}) > 1, "some rows must end before others for this test to say anything"


def test_a_row_ends_with_its_stop_token_or_at_its_limit(model: PreTrainedModel) -> None:
    (free,) = _decode(model, _prompts(12), [15], set())
    assert len(free) == 15
    stop = free[7]
    (stopped,) = _decode(model, _prompts(12), [15], {stop})
    assert stopped == free[: free.index(stop) + 1]


def test_sampling_follows_the_distribution_and_the_nucleus() -> None:
    """Evenly spaced draws must hit each token as often as its probability says, within the nucleus only."""
    probabilities = torch.tensor([0.1, 0.5, 0.15, 0.25])
    draws = 1000
    uniform = ((torch.arange(draws) + 0.5) / draws)[None]

    def counts(**settings: float) -> list[int]:
        sampler = Sampler(uniform=uniform, **settings)
        tokens = [sampler.choose(probabilities.log()[None], torch.tensor([0]), step).item() for step in range(draws)]
        return np.bincount(tokens, minlength=4).tolist()

    assert counts(temperature=1.0, top_p=1.0) == pytest.approx([100, 500, 150, 250], abs=1)
    assert counts(temperature=1.0, top_p=0.75) == pytest.approx([0, 667, 0, 333], abs=1)  # 0.5 + 0.25 reach 0.75
    assert counts(temperature=1.0, top_p=0.76) == pytest.approx([0, 556, 167, 278], abs=1)
    for coldest in (1e-9, 1e-300):
        assert counts(temperature=1.0, top_p=coldest) == [0, 1000, 0, 0]
        assert counts(temperature=coldest, top_p=1.0) == [0, 1000, 0, 0]
    assert counts(temperature=1e300, top_p=1.0) == pytest.approx([250] * 4, abs=1)
    squared = probabilities**2 / (probabilities**2).sum()
    assert counts(temperature=0.5, top_p=1.0) == pytest.approx((1000 * squared).tolist(), abs=1)
    assert counts(temperature=0.0, top_p=1.0) == [0, 1000, 0, 0]


def test_sampled_answers_do_not_depend_on_their_batch(answerer: Answerer) -> None:
    questions = [
        [Message(role="user", content=text)] for text in ("a", "What is the capital?", "hello hello", "France")
    ]
    settings = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 0.95}
    alone = answerer.answer(questions, **settings, seed=3, batch_size=1)
    assert answerer.answer(questions, **settings, seed=3, batch_size=4) == alone
    assert answerer.answer(questions, **settings, seed=4, batch_size=4) != alone
    twice = answerer.answer([questions[0]] * 2, **settings, seed=3)
    assert twice[0] == alone[0] != twice[1]  # the same prompt again is another draw


def test_answers_come_in_the_order_of_the_questions_with_progress(answerer: Answerer) -> None:
    questions = [[Message(role="user", content="word " * count)] for count in (1, 9, 3, 7, 5)]
    seen: list[tuple[int, int]] = []
    batched = answerer.answer(questions, max_new_tokens=10, batch_size=2, progress=lambda *step: seen.append(step))
    assert batched == [answerer.answer([question], max_new_tokens=10)[0] for question in questions]
    assert seen == sorted(seen)
    assert seen[-1] == (5, sum(completion.tokens for completion in batched))


def test_stop_and_length(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answerer.stop_ids == {EOS, IM_END}
    for stop in (EOS, IM_END):
        said = [*_ids(answerer, "Paris."), stop]
        _script(monkeypatch, said)
        assert answerer.answer([QUESTION]) == [Completion(text="Paris.", finish="stop", tokens=len(said))]
    assert answerer.answer([QUESTION], max_new_tokens=len(said)) == [
        Completion(text="Paris.", finish="stop", tokens=len(said))
    ]
    cut = answerer.answer([QUESTION], max_new_tokens=len(said) - 1)
    assert cut == [Completion(text="Paris.", finish="length", tokens=len(said) - 1)]


def test_control_text_in_an_answer_is_kept_and_control_tokens_are_not(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may explain <|im_end|>; what it writes as ordinary text is no control token."""
    _script(monkeypatch, [4, *_ids(answerer, "say <|im_end|>"), 2, IM_END])
    assert answerer.answer([QUESTION])[0].text == "say <|im_end|>"


@pytest.mark.parametrize("text", ["plain words", "héllo wörld", "中文 👩\u200d💻 ok", "  two  spaces \n\nand lines"])
def test_a_stream_is_the_answer_in_whole_characters(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    _script(monkeypatch, [*_ids(answerer, text), IM_END])
    pieces, completion = _collect(answerer.stream(QUESTION))
    assert completion == answerer.answer([QUESTION])[0]
    assert "".join(pieces) == completion.text == text
    assert len(pieces) > 1
    assert all(piece and "\ufffd" not in piece for piece in pieces)


def test_half_a_character_at_the_limit_is_left_out(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _ids(answerer, "ab 中")
    assert len(_ids(answerer, "中")) == 3, "one token per byte, or this test says nothing"
    _script(monkeypatch, whole)
    pieces, completion = _collect(answerer.stream(QUESTION, max_new_tokens=len(whole) - 1))
    assert completion == answerer.answer([QUESTION], max_new_tokens=len(whole) - 1)[0]
    assert "".join(pieces).strip() == completion.text.strip() == "ab"


def test_a_stream_of_the_real_model_is_its_answer(answerer: Answerer) -> None:
    for settings in ({"temperature": 0.0}, {"temperature": 1.0, "seed": 5}):
        pieces, completion = _collect(answerer.stream(QUESTION, max_new_tokens=24, **settings))
        assert "".join(pieces) == completion.text
        assert [completion] == answerer.answer([QUESTION], max_new_tokens=24, **settings)


def test_the_prompt_is_the_head_of_the_training_example(answerer: Answerer) -> None:
    """Law 3, seen from inference: the same ids up to the first trained token."""
    conversation = Conversation(
        messages=(*QUESTION, Message(role="assistant", content="Paris.")), location=Location(path="here")
    )
    (example,) = answerer.renderer.render(conversation)
    prompt = answerer.prompt_ids(QUESTION)
    assert example.ids[: len(prompt)].tolist() == prompt.tolist()
    assert example.loss_weights.nonzero()[0][0] == len(prompt)


def test_the_context_limits_the_answer_and_refuses_a_prompt_that_fills_it(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answerer.context == 512
    size = len(answerer.prompt_ids(QUESTION))
    monkeypatch.setattr(answerer.model.config, "max_position_embeddings", size + 3)
    (completion,) = answerer.answer([QUESTION], max_new_tokens=50)
    assert completion.tokens <= 3
    monkeypatch.setattr(answerer.model.config, "max_position_embeddings", size)
    with pytest.raises(
        WeftError, match=f"a prompt of {size} tokens leaves no room in the model's context of {size}.*capital"
    ):
        answerer.answer([[Message(role="user", content="a")], QUESTION])


def test_nan_is_named(answerer: Answerer) -> None:
    broken = dataclasses.replace(answerer, model=copy.deepcopy(answerer.model))
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not a number"):
        broken.answer([QUESTION])


def test_sampling_defaults_of_the_model_directory_do_not_leak_in(answerer: Answerer) -> None:
    restless = dataclasses.replace(answerer, model=copy.deepcopy(answerer.model))
    restless.model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, max_new_tokens=1)
    assert restless.answer([QUESTION], max_new_tokens=12) == answerer.answer([QUESTION], max_new_tokens=12)


def _collect(stream: Generator[str, None, Completion]) -> tuple[list[str], Completion]:
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


def _ids(answerer: Answerer, text: str) -> list[int]:
    return answerer.tokenizer.encode(text, (), continues=True)


def _script(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    """Make the model say ``ids``."""

    def choose(self: Sampler, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        return torch.full((len(rows),), ids[step])

    monkeypatch.setattr(Sampler, "choose", choose)
