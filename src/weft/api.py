"""The commands as Python functions: a configuration file, and overrides as keywords.

Overrides are written as the configuration writes them, ``**{"train.epochs": 5}``, or with two underscores for the dot,
``train__epochs=5``. Every function raises :class:`weft.errors.WeftError` where its command would leave with exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.config.load import Loaded, load_config
from weft.config.scalars import dump

if TYPE_CHECKING:
    from weft.data.check import CheckReport
    from weft.data.prepare import PrepareReport
    from weft.evaluation.report import EvalReport
    from weft.inference.chat import Chat
    from weft.training.train import TrainResult

ConfigFile = str | Path | None
"""A YAML file; None for the defaults."""


def prepare(config: ConfigFile = None, *, jobs: int = 1, **overrides: Any) -> PrepareReport:
    """Turn raw records into train, validation and test files: ``weft prepare``.

    ``jobs`` processes may work where it pays. With more than one, a script must keep what it does under
    ``if __name__ == "__main__"``, because each of them imports it.
    """
    from weft.data.prepare import prepare

    return prepare(_load(config, overrides).config, jobs=jobs)


def check(config: ConfigFile = None, **overrides: Any) -> CheckReport:
    """Say what will be trained, without loading weights: ``weft check``."""
    from weft.data.check import check

    return check(_load(config, overrides).config)


def train(config: ConfigFile = None, *, fresh: bool = False, **overrides: Any) -> TrainResult:
    """Train, or resume: ``weft train``. ``fresh`` moves an existing run aside first."""
    from weft.training.train import train

    return train(_load(config, overrides), fresh=fresh)


def evaluate(
    config: ConfigFile = None,
    *,
    sets: Sequence[str] = (),
    full: bool = False,
    quick: bool = False,
    untuned: bool = False,
    compare: bool = False,
    **overrides: Any,
) -> list[EvalReport]:
    """Score the model and write its reports: ``weft eval``, whose flags the arguments are."""
    from weft.commands.eval import evaluate

    return evaluate(
        _load(config, overrides).config, sets=sets, full=full, quick=quick, untuned=untuned, compare=compare
    )


def chat(config: ConfigFile = None, *, system: str | None = None, **overrides: Any) -> Chat:
    """A conversation with the tuned model: ``"".join(chat(config).ask("What is weft?"))``.

    ``system`` replaces the configured system prompt. Where nothing is trained yet, that is said on standard error.
    """
    from weft.data.style import effective_system_prompt
    from weft.inference.chat import Chat
    from weft.inference.load import load_answerer

    settings = _load(config, overrides).config
    answerer = load_answerer(settings)
    if answerer.notice:
        print(f"({answerer.notice})", file=sys.stderr)
    prompt = effective_system_prompt(settings) if system is None else system
    return Chat(answerer, settings.gen, system=prompt, seed=settings.seed)


def _load(config: ConfigFile, overrides: dict[str, Any]) -> Loaded:
    """Every override travels the way of the command line, with its checks and its error messages."""
    return load_config(config, [f"{key.replace('__', '.')}={dump(value)}" for key, value in overrides.items()])
