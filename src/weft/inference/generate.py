"""From messages to answers: the text around :mod:`weft.inference.decode`, in batches or as a stream."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from weft.data.render import Renderer
from weft.data.seeds import derive_seed
from weft.data.template import ChatTemplate
from weft.data.tokenizer import Tokenizer
from weft.errors import WeftError
from weft.escape import visible
from weft.inference.decode import Sampler, decode
from weft.types import Completion, Message

OnStep = Callable[[int, int], None]
"""Called after every step with the answers finished and the tokens written so far."""

_HALF_CHARACTER = "\ufffd"
"""What a byte-level tokenizer prints for a character of which not every byte is there yet."""


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """A loaded model with the tokenizer, the template and the renderer it was (or would be) trained with."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    template: ChatTemplate | None
    """None where it answers nothing, and there is none."""
    renderer: Renderer
    name: str
    """The base model, as the configuration calls it."""
    directory: Path
    """Where the weights were read from."""
    tuned: bool
    notice: str | None = None
    """What the user should know about the choice of weights."""

    @property
    def context(self) -> int | None:
        """How many tokens the model can attend to, prompt and answer together; None where it has no fixed limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: those that close the template's turn, and those that the model's directory names."""
        return self.tokenizer.stopping_ids(self.template.stop_strings if self.template else ())

    def prompt_ids(self, messages: Sequence[Message]) -> np.ndarray:
        """The ids that the model sees before it answers: those that training saw before the trained tokens (law 1)."""
        return self.renderer.prompt_ids(messages)

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int = 16,
        progress: OnStep | None = None,
    ) -> list[Completion]:
        """Answer every conversation; the results are in its order.

        Prompts are sorted by length, the longest first, and answered ``batch_size`` at a time. At temperature 0 an answer is
        the one that the prompt gets alone. Above, the random numbers of prompt ``i`` derive from ``seed`` and ``i``, so that an
        answer depends on the batch only through the rounding of the logits.

        Args:
            conversations: messages each, ending with the one to answer.
            max_new_tokens: the longest answer; less where the model's context ends first.
            temperature: 0 takes the most likely token.
            top_p: when sampling, the probability mass of the tokens to choose from.
            seed: where the random numbers come from.
            batch_size: prompts answered together.
            progress: told after every step.

        Raises:
            WeftError: a prompt fills the model's context, or a batch does not fit into the device's memory.
            ModelError: the model's output is not a number.
        """
        prompts = [self.prompt_ids(messages) for messages in conversations]
        limits = [self._limit(*pair, max_new_tokens) for pair in zip(conversations, prompts, strict=True)]
        written: list[list[int]] = [[] for _ in prompts]
        longest_first = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        done = tokens = 0
        for start in range(0, len(prompts), batch_size):
            batch = longest_first[start : start + batch_size]
            seeds = [derive_seed(seed, "answer", index) for index in batch]
            steps = decode(
                self.model,
                [prompts[index] for index in batch],
                limits=[limits[index] for index in batch],
                stop_ids=self.stop_ids,
                sampler=Sampler.seeded(seeds, max_new_tokens, temperature=temperature, top_p=top_p),
            )
            try:
                for step in steps:
                    for row, token, ended in step:
                        written[batch[row]].append(token)
                        done += ended
                    tokens += len(step)
                    if progress:
                        progress(done, tokens)
            except torch.OutOfMemoryError as error:
                raise WeftError(
                    f"{len(batch)} prompts of up to {len(prompts[batch[0]]):,} tokens do not fit into the device's memory",
                    fix=f"answer fewer together: eval.batch_size={max(1, len(batch) // 2)}",
                ) from error
        return [self._completion(ids) for ids in written]

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Generator[str, None, Completion]:
        """Answer one conversation piece by piece; the pieces joined are the text of the completion that it returns.

        A piece never ends inside a character, and whitespace waits until text follows it. Errors as :meth:`answer`.
        """
        prompt = self.prompt_ids(messages)
        sampler = Sampler.seeded([derive_seed(seed, "answer", 0)], max_new_tokens, temperature=temperature, top_p=top_p)
        limits = [self._limit(messages, prompt, max_new_tokens)]
        ids: list[int] = []
        shown = ""
        for step in decode(self.model, [prompt], limits=limits, stop_ids=self.stop_ids, sampler=sampler):
            ids.append(step[0][1])
            text = self._completion(ids).text.rstrip()
            if text != shown and text.startswith(shown):
                yield text[len(shown) :]
                shown = text
        completion = self._completion(ids)
        if rest := completion.text.removeprefix(shown):
            yield rest
        return completion

    def _limit(self, messages: Sequence[Message], prompt: np.ndarray, max_new_tokens: int) -> int:
        """How many tokens may follow ``prompt``, the ids of ``messages``."""
        if self.context is None:
            return max_new_tokens
        if len(prompt) >= self.context:
            beginning = visible(" ".join(messages[-1].content[:80].split()))
            raise WeftError(
                f"a prompt of {len(prompt):,} tokens leaves no room in the model's context of {self.context:,}: “{beginning} …”",
                fix="shorten the prompt, or use a model with a longer context",
            )
        return min(max_new_tokens, self.context - len(prompt))

    def _completion(self, ids: Sequence[int]) -> Completion:
        """The answer that ``ids`` (at least one) spell: without its stop token, and without a character cut in half."""
        stopped = ids[-1] in self.stop_ids
        text = self.tokenizer.decode(ids[:-1] if stopped else ids)
        assert self.template, "who is asked something has a template"
        return Completion(
            text=self.template.parse(text if stopped else text.rstrip(_HALF_CHARACTER)),
            finish="stop" if stopped else "length",
            tokens=len(ids),
        )
