"""Reports: ``predictions_<set>.jsonl``, ``eval_report_<set>.json`` for machines, ``eval_report_<set>.md`` for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.data.files import StagedFiles
from weft.escape import visible
from weft.evaluation.metrics import METRICS
from weft.evaluation.scoring import Prediction, Score

PROTOCOL = "the last assistant turn of each conversation, after its true history"
"""Which turns are evaluated: models are compared on one answer per record, none of them on a history of its own making."""

OF_DOCUMENTS = "every token of each document but the first, given those before it in its block"
"""What the loss of documents is of."""

_EXAMPLES_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SetLoss:
    """The loss over a set: the mean over its trained tokens, so that it does not depend on how they were batched."""

    loss: float
    """Nats per token."""
    perplexity: float
    """e to the loss."""
    tokens: int
    """Trained tokens."""
    examples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalReport:
    """Everything that one evaluation of one set found, and what is needed to repeat it."""

    set_name: str
    sources: tuple[str, ...]
    evaluated: int
    """Conversations that were answered, and documents."""
    score: Score | None
    """None where only the loss was asked for."""
    loss: SetLoss | None
    dropped: Mapping[str, int]
    """Records that were not evaluated, by reason."""
    tuned: bool
    quick: bool
    """Whether this is a sample of the set."""
    model: Mapping[str, Any]
    template: str
    generation: Mapping[str, Any]
    seconds: float
    """How long the answers took."""
    config: Mapping[str, Any]
    date: str
    weft: str
    documents: int = 0
    """Those among the evaluated that are documents, which have a loss and no answer."""

    @property
    def protocol(self) -> str:
        """What was evaluated of each record."""
        talks, documents = self.evaluated > self.documents, self.documents > 0
        return "; ".join([PROTOCOL] * talks + [OF_DOCUMENTS] * documents)

    @property
    def file_name(self) -> str:
        """The part of the file names that tells this evaluation from the run's others."""
        parts = [re.sub(r"[^\w.-]+", "_", self.set_name), "quick" * self.quick, "untuned" * (not self.tuned)]
        return "_".join(part for part in parts if part)

    def payload(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        return {
            "set": self.set_name,
            "sources": list(self.sources),
            "evaluated": self.protocol,
            "quick": self.quick,
            "n": self.evaluated,
            **({"documents": self.documents} if self.documents else {}),
            "dropped": dict(self.dropped),
            "tuned": self.tuned,
            "model": dict(self.model),
            "template": self.template,
            "generation": dict(self.generation),
            **(_score_payload(self.score, self.seconds) if self.score else {}),
            **(_loss_payload(self.loss) if self.loss else {}),
            "date": self.date,
            "weft": self.weft,
            "config": dict(self.config),
        }


def write_report(directory: Path, report: EvalReport, predictions: Sequence[Prediction]) -> tuple[Path, ...]:
    """Write the report's files into ``directory``, all of them whole or none, and return their paths.

    Raises:
        DataError: the directory cannot be written to.
    """
    contents = {
        f"eval_report_{report.file_name}.json": json.dumps(report.payload(), ensure_ascii=False, indent=2) + "\n",
        f"eval_report_{report.file_name}.md": markdown(report, predictions),
    }
    if report.score:
        rows = zip(predictions, report.score.rows, strict=True)
        lines = (json.dumps(_prediction_payload(*row), ensure_ascii=False) + "\n" for row in rows)
        contents[f"predictions_{report.file_name}.jsonl"] = "".join(lines)
    with StagedFiles() as files:
        for name, text in contents.items():
            files.write(
                directory / name, [text.encode(errors="backslashreplace")]
            )  # half a surrogate pair: JSON's escape
        files.commit()
    return tuple(directory / name for name in contents)


def markdown(report: EvalReport, predictions: Sequence[Prediction]) -> str:
    """The report for people: what was evaluated, the numbers, the worst and the best answers."""
    facts = {
        "model": ", ".join(f"{key} {value}" for key, value in report.model.items()),
        "template": report.template,
        "records": f"{report.evaluated:,} from {', '.join(report.sources)}",
        "evaluated": report.protocol,
        "generation": ", ".join(f"{key} {value}" for key, value in report.generation.items()),
        **{f"dropped ({reason})": f"{count:,}" for reason, count in report.dropped.items()},
        "written": f"{report.date} by weft {report.weft}",
    }
    blocks = [
        f"# {report.set_name}: {'tuned' if report.tuned else 'untuned'} model" + ", a sample" * report.quick,
        _table(["", ""], facts.items()),
        "## Scores",
        _table(["measure", "value"], _measures(report)),
    ]
    if report.score:
        blocks += _examples(predictions, report.score)
    return "\n\n".join(blocks) + "\n"


def _measures(report: EvalReport) -> list[tuple[str, str]]:
    rows = []
    if report.score:
        rows.append(("answers", f"{report.score.n:,}"))
        for name, summary in report.score.metrics.items():
            metric = METRICS[name]
            rows.append((f"{metric.title}, mean ({metric.version})", f"{summary.mean:.4f}"))
            if summary.share_high is not None:
                rows.append((f"{metric.title}, median", f"{summary.median:.4f}"))
                rows.append((f"{metric.title} ≥ {metric.high}", f"{summary.share_high:.1%}"))
        rows.append(("cut off by the token limit", f"{report.score.at_limit:,}"))
        rows.append(("tokens written", f"{report.score.tokens:,} in {report.seconds:.1f} s"))
    if report.loss:
        rows.append(("loss per trained token", f"{report.loss.loss:.4f} ({report.loss.tokens:,} tokens)"))
        rows.append(("perplexity", f"{report.loss.perplexity:,.3f}"))
    return rows


def _examples(predictions: Sequence[Prediction], score: Score) -> list[str]:
    """The worst and the best answers by the first metric, no answer in both lists."""
    if not score.metrics:
        return []
    name = next(iter(score.metrics))
    order = sorted(range(score.n), key=lambda index: score.rows[index][name])
    shown = min(_EXAMPLES_SHOWN, (score.n + 1) // 2)
    lists = {"Lowest": order[:shown], "Highest": order[shown:][::-1][:_EXAMPLES_SHOWN]}
    blocks = []
    for title, indices in lists.items():
        if indices:
            blocks.append(f"## {title} {METRICS[name].title}")
        blocks += [_example(predictions[index], name, score.rows[index][name]) for index in indices]
    return blocks


def _example(prediction: Prediction, metric: str, value: float) -> str:
    label = " · ".join(part for part in (prediction.id, str(prediction.location)) if part)
    ending = ", cut off by the token limit" if prediction.completion.finish == "length" else ""
    question = prediction.prompt[-1].content if prediction.prompt else ""
    parts = {"Prompt": question, "Reference": prediction.reference, "Answer": prediction.completion.text}
    texts = "\n\n".join(f"{title}:\n\n{_fenced(text)}" for title, text in parts.items())
    return f"### {_inline(label)}\n\n{METRICS[metric].title} {value:.4f}{ending}\n\n{texts}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_inline(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _inline(text: str) -> str:
    """Text on one line that Markdown prints as it is."""
    return re.sub(r"([\\`*_\[\]<>|#!&$~])", r"\\\1", " ".join(visible(text).split()))


def _fenced(text: str) -> str:
    """A code block whose fence is longer than every run of backticks within."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{visible(text)}\n{fence}"


def _score_payload(score: Score, seconds: float) -> dict[str, Any]:
    return {
        "metrics": {name: _metric_payload(name, score) for name in score.metrics},
        "at_limit": score.at_limit,
        "tokens": score.tokens,
        "seconds": round(seconds, 3),
    }


def _metric_payload(name: str, score: Score) -> dict[str, Any]:
    summary, metric = score.metrics[name], METRICS[name]
    payload = {"version": metric.version, "mean": summary.mean, "median": summary.median}
    return payload if metric.high is None else {**payload, f"share_ge_{metric.high}": summary.share_high}


def _loss_payload(loss: SetLoss) -> dict[str, Any]:
    return {
        "loss": loss.loss,
        "perplexity": loss.perplexity,
        "loss_tokens": loss.tokens,
        "loss_examples": loss.examples,
    }


def _prediction_payload(prediction: Prediction, scores: Mapping[str, float]) -> dict[str, Any]:
    return {
        "id": prediction.id,
        "source": str(prediction.location),
        "prompt": [{"role": message.role, "content": message.content} for message in prediction.prompt],
        "reference": prediction.reference,
        "prediction": prediction.completion.text,
        "finish": prediction.completion.finish,
        "tokens": prediction.completion.tokens,
        "scores": dict(scores),
    }
