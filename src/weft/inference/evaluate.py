"""Evaluate one model on sets: answers, scores, loss, report files."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from transformers import PreTrainedModel

from weft.config.locate import output_dir
from weft.config.schema import Config
from weft.data.render import Renderer
from weft.data.rendering import Rendering
from weft.errors import DataError, Problems
from weft.evaluation.metrics import METRICS
from weft.evaluation.report import EvalReport, SetLoss, write_report
from weft.evaluation.scoring import Prediction, score
from weft.evaluation.sets import EvalSet
from weft.inference.generate import Answerer
from weft.inference.progress import answering
from weft.types import Conversation, Document, Example, Material
from weft.version import __version__

_SHOWN = 20
_NO_LOSS = "documents have no answers, only a loss: eval.metrics lacks it"

LossFunction = Callable[[Sequence[Example]], SetLoss]
"""The loss on examples of the model that it was made for."""
LossMaker = Callable[[PreTrainedModel, int], LossFunction]
"""Makes that of a model, for examples of so many tokens at most; before the first loss it proves that the model keeps
examples apart. Training owns its definition, and this room may not import training: it is handed in."""


@dataclass(frozen=True, kw_only=True)
class _RenderedSet:
    """An evaluation set as the model reads it."""

    name: str
    sources: tuple[str, ...]
    materials: Sequence[Material]
    """Conversations whose last answer is asked for, and documents."""
    examples: Sequence[Example]
    """Whose loss is computed: all that training would make of the set."""
    dropped: Counter[str]
    """How many others there are, by reason."""

    @property
    def conversations(self) -> list[Conversation]:
        return [one for one in self.materials if isinstance(one, Conversation)]

    @property
    def documents(self) -> int:
        return len(self.materials) - len(self.conversations)


def evaluate(
    answerer: Answerer, sets: Sequence[EvalSet], config: Config, *, quick: bool, make_loss: LossMaker
) -> list[EvalReport]:
    """Evaluate ``answerer`` on every set by the metrics of ``eval.metrics``, and write the reports into the run directory.

    Args:
        answerer: the model.
        sets: what to evaluate it on.
        config: settings of generation and evaluation, and the run directory.
        quick: whether the sets are samples; it marks the reports.
        make_loss: called once, where a loss is asked for.

    Raises:
        DataError: no record of a set can be evaluated, or a report cannot be written.
        Problems: records do not render, and ``on_bad_row`` is ``error``.
    """
    rendered = _rendered(answerer.renderer, sets, config)
    loss = None
    if "loss" in config.eval.metrics:
        loss = make_loss(answerer.model, max(len(example.ids) for one in rendered for example in one.examples))
    reports = []
    for one in rendered:
        report, predictions = _evaluate_set(answerer, one, config, quick=quick, loss=loss)
        write_report(output_dir(config), report, predictions)
        reports.append(report)
    return reports


def _evaluate_set(
    answerer: Answerer, rendered: _RenderedSet, config: Config, *, quick: bool, loss: LossFunction | None
) -> tuple[EvalReport, list[Prediction]]:
    metrics = [name for name in config.eval.metrics if name in METRICS and rendered.conversations]
    start = time.perf_counter()
    predictions = _predict(answerer, rendered.conversations, rendered.name, config) if metrics else []
    seconds = time.perf_counter() - start
    report = EvalReport(
        set_name=rendered.name,
        sources=rendered.sources,
        evaluated=len(rendered.materials),
        documents=rendered.documents,
        score=score(predictions, metrics) if metrics else None,
        loss=loss(rendered.examples) if loss else None,
        dropped=rendered.dropped,
        tuned=answerer.tuned,
        quick=quick,
        model={"name": answerer.name, "weights": str(answerer.directory)},
        template=answerer.template.name if answerer.template else "none",
        generation={**config.gen.model_dump(), "seed": config.seed},
        seconds=seconds,
        config=config.model_dump(mode="json"),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        weft=__version__,
    )
    return report, predictions


def _rendered(renderer: Renderer, sets: Sequence[EvalSet], config: Config) -> list[_RenderedSet]:
    """The sets; all of them anew, where one shows that a shortcut taken for those before it was none."""
    known = renderer.disproved
    rendered = [_render(renderer, evaluated, config) for evaluated in sets]
    if renderer.disproved and renderer.disproved != known:
        renderer.take_no_shortcuts(renderer.disproved)
        rendered = [_render(renderer, evaluated, config) for evaluated in sets]
    return rendered


def _render(renderer: Renderer, evaluated: EvalSet, config: Config) -> _RenderedSet:
    renderings = renderer.render_batch(evaluated.conversations)
    errors = [rendering.error for rendering in renderings if rendering.error]
    if errors and config.on_bad_row == "error":
        raise Problems(errors[:_SHOWN])
    dropped = Counter(getattr(error, "reason", error.what) for error in errors)
    dropped["longer than model.max_seq_len"] = sum(map(_is_too_long, renderings))
    whole = [
        conversation
        for conversation, rendering in zip(evaluated.conversations, renderings, strict=True)
        if not (rendering.error or _is_too_long(rendering))
    ]
    reasons = [_unscored(one, config) for one in whole]
    kept = [one for one, reason in zip(whole, reasons, strict=True) if reason is None]
    dropped.update(filter(None, reasons))
    examples = [example for rendering in renderings for example in rendering.examples]
    if not kept and not (examples and "loss" in config.eval.metrics):
        counts = ", ".join(f"{count} × {reason}" for reason, count in (+dropped).items())
        raise DataError(
            f"no record of the set '{evaluated.name}' can be evaluated: {counts}",
            where=", ".join(evaluated.sources),
            fix="add loss to eval.metrics"
            if (+dropped).keys() == {_NO_LOSS}
            else "mend the records, or raise model.max_seq_len where they are too long",
        )
    return _RenderedSet(
        name=evaluated.name,
        sources=evaluated.sources,
        materials=kept,
        examples=examples,
        dropped=Counter(evaluated.dropped) + dropped,
    )


def _is_too_long(rendering: Rendering) -> bool:
    """Whether a conversation does not fit as a whole."""
    return not rendering.document and bool(rendering.overlong or rendering.shortened)


def _unscored(conversation: Material, config: Config) -> str | None:
    """Why the last message is no answer that another one could be compared with; None where it is. A document has its loss."""
    if isinstance(conversation, Document):
        return None if "loss" in config.eval.metrics else _NO_LOSS
    before, last = conversation.messages[-2:]
    if last.weight == 0:
        return "the record says that its last answer is not to be learned, so it is no reference"
    if last.tool_calls:
        return "the last answer calls a tool, which is not scored yet"
    if before.role == "assistant":
        return "the last answer continues another one, which is not scored yet"
    return None


def _predict(answerer: Answerer, conversations: Sequence[Conversation], name: str, config: Config) -> list[Prediction]:
    """The model's answer in place of each conversation's last message, after its true history."""
    model = "tuned" if answerer.tuned else "untuned"
    with answering(f"{name}, {model} model", len(conversations)) as on_step:
        completions = answerer.answer(
            [conversation.messages[:-1] for conversation in conversations],
            **config.gen.model_dump(),
            seed=config.seed,
            batch_size=config.eval.batch_size,
            progress=on_step,
        )
    return [
        Prediction(
            id=conversation.id,
            location=conversation.location,
            prompt=conversation.messages[:-1],
            reference=conversation.messages[-1].content,
            completion=completion,
        )
        for conversation, completion in zip(conversations, completions, strict=True)
    ]
