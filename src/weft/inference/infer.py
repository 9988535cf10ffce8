"""Answers to questions, with the model and the settings of a configuration."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from weft.config.schema import Config
from weft.data.style import effective_system_prompt
from weft.inference.load import load_answerer
from weft.inference.progress import answering
from weft.inference.questions import Question, plain_question, with_system_prompt
from weft.types import Completion


def infer(config: Config, questions: Sequence[Question | str]) -> list[Completion]:
    """Answer every question on its own, after the system prompt of ``config`` where it has none; in the order given.

    Args:
        config: the model, ``gen`` and ``eval.batch_size``.
        questions: messages that end with the user's, or the user's words.

    Raises:
        WeftError: the model cannot be loaded, or a question is too long for it.
    """
    answerer = load_answerer(config)
    if answerer.notice:
        print(f"({answerer.notice})", file=sys.stderr)
    system = effective_system_prompt(config)
    messages = [plain_question(question) if isinstance(question, str) else question for question in questions]
    with answering("questions", len(messages)) as on_step:
        return answerer.answer(
            [with_system_prompt(question, system) for question in messages],
            **config.gen.model_dump(),
            seed=config.seed,
            batch_size=config.eval.batch_size,
            progress=on_step,
        )
