"""Small base models made offline: a tokenizer learned from text and a decoder with random weights.

They are ordinary Hugging Face directories. Fine-tuned in full they learn a few hundred answers by heart in minutes on a
CPU, which makes them the toolkit's own test bench; they know no language beyond that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from weft.errors import DataError, ModelError
from weft.models.files import refuse_occupied, written_aside
from weft.models.new_tokenizer import (
    BOS,
    CONTROL_TOKENS,
    EOS,
    IM_END,
    PAD,
    SMALLEST_VOCABULARY,
    refuse_too_large,
    save_tokenizer,
    train_tokenizer,
)
from weft.models.quiet import quiet_transformers


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a decoder; the embedding, tied to the head, adds ``vocab_size`` × ``hidden_size`` parameters to its layers."""

    hidden_size: int
    intermediate_size: int
    layers: int
    vocab_size: int
    """At most: text that is too small to learn so many merges gives fewer, and the model that many fewer parameters."""
    head_size: int = 64
    max_length: int = 2048


SIZES = {
    "nano": Shape(hidden_size=256, intermediate_size=768, layers=2, vocab_size=4096),
    "micro": Shape(hidden_size=320, intermediate_size=896, layers=6, vocab_size=8192),
    "small": Shape(hidden_size=512, intermediate_size=1408, layers=10, vocab_size=16384),
}
"""By layers alone 1.7, 7.6 and 32 million parameters; with a full vocabulary 2.8, 10 and 41 million.

nano is wide rather than deep: two layers of 256 learn answers by heart in half the steps of four layers of 192."""


@dataclass(frozen=True, kw_only=True)
class GivenTokenizer:
    """A tokenizer that a new model is made for, in place of one that is learned."""

    files: Mapping[str, bytes]
    """What the model's directory gets of it."""
    vocab_size: int
    pad_id: int | None
    bos_id: int | None
    eos_id: int
    stop_ids: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class InitReport:
    """What :func:`init_model` or :func:`init_model_for` made."""

    directory: Path
    size: str
    parameters: int
    vocab_size: int
    vocab_limit: int
    """What the vocabulary would have been with enough text."""
    characters: int
    """The length of the text that the tokenizer learned from; 0 where it was given."""


def init_model(
    size: str,
    texts: Iterable[str],
    out: Path,
    *,
    chat_template: str,
    seed: int = 42,
    vocab_size: int | None = None,
) -> InitReport:
    """Make a base model of a named size with a tokenizer of its own; the same text and seed give the same files, byte for byte.

    Args:
        size: a name of :data:`SIZES`.
        texts: what the tokenizer learns from (:func:`weft.data.texts.read_texts`); not read where ``out`` is there already.
        out: the directory to make; it appears whole or not at all.
        chat_template: the Jinja source of the model's chat template.
        seed: of the random weights.
        vocab_size: the largest vocabulary, in place of the size's own.

    Raises:
        ModelError: unknown size, or a vocabulary that does not hold all bytes or is larger than can be learned.
        DataError: there is no text; and whatever ``texts`` raises.
        RunError: ``out`` is there already, or cannot be written.
    """
    shape = _shape(size)
    limit = vocab_size or shape.vocab_size
    if limit < SMALLEST_VOCABULARY:
        raise ModelError(
            f"a vocabulary of {limit} does not hold {SMALLEST_VOCABULARY - len(CONTROL_TOKENS)} bytes and the control tokens",
            fix=f"give a vocabulary of {SMALLEST_VOCABULARY} or more",
        )
    refuse_too_large(limit, option="--vocab-size")
    refuse_occupied(out)
    corpus = list(texts)
    if not any(map(str.strip, corpus)):
        raise DataError("there is no text to learn from", fix="name files with text in them")
    tokenizer = train_tokenizer(corpus, limit)
    special = {token: index for index, token in enumerate(CONTROL_TOKENS)}
    model = _random_model(
        shape,
        tokenizer.get_vocab_size(),
        seed,
        pad_id=special[PAD],
        bos_id=special[BOS],
        eos_id=special[EOS],
        stop_ids=[special[IM_END], special[EOS]],
    )
    with written_aside(out) as aside, quiet_transformers():
        save_tokenizer(tokenizer, aside, chat_template=chat_template, max_length=shape.max_length)
        model.save_pretrained(aside)
    return InitReport(
        directory=out,
        size=size,
        parameters=model.num_parameters(),
        vocab_size=tokenizer.get_vocab_size(),
        vocab_limit=limit,
        characters=sum(map(len, corpus)),
    )


def init_model_for(size: str, tokenizer: GivenTokenizer, out: Path, *, seed: int = 42) -> InitReport:
    """Make a base model of a named size for a tokenizer that is there; the same seed gives the same files, byte for byte.

    Raises:
        ModelError: unknown size.
        RunError: ``out`` is there already, or cannot be written.
    """
    shape = _shape(size)
    refuse_occupied(out)
    model = _random_model(
        shape,
        tokenizer.vocab_size,
        seed,
        pad_id=tokenizer.pad_id,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        stop_ids=tokenizer.stop_ids,
    )
    with written_aside(out) as aside, quiet_transformers():
        model.save_pretrained(aside)
        for name, content in tokenizer.files.items():
            (aside / name).write_bytes(content)
    return InitReport(
        directory=out,
        size=size,
        parameters=model.num_parameters(),
        vocab_size=tokenizer.vocab_size,
        vocab_limit=tokenizer.vocab_size,
        characters=0,
    )


def _shape(size: str) -> Shape:
    if size in SIZES:
        return SIZES[size]
    raise ModelError(f"there is no size '{size}'", fix=f"choose one of {', '.join(SIZES)}")


def _random_model(
    shape: Shape,
    vocab_size: int,
    seed: int,
    *,
    pad_id: int | None,
    bos_id: int | None,
    eos_id: int,
    stop_ids: Sequence[int],
) -> LlamaForCausalLM:
    """A Llama: without biases, so that no gradient is zero by symmetry, and readable by every runtime there is.

    Weights have the standard deviation 1 / √hidden (LeCun et al. 1998, "Efficient BackProp", 4.6), not the usual 0.02: a
    fine-tuning of a few hundred steps then learns over a wide range of learning rates.
    """
    heads = shape.hidden_size // shape.head_size
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=shape.max_length,
        tie_word_embeddings=True,
        initializer_range=shape.hidden_size**-0.5,
        pad_token_id=pad_id,
        bos_token_id=bos_id,
        eos_token_id=eos_id,
        dtype=torch.float32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(pad_token_id=pad_id, bos_token_id=bos_id, eos_token_id=list(stop_ids))
    return model
