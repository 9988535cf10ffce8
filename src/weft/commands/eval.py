"""Score the model on records that have an answer: ROUGE-L, exact match, loss and perplexity.

  weft eval configs/my_sft.yaml                    the validation set
  weft eval configs/my_sft.yaml --quick            a sample of it (eval.quick_samples records)
  weft eval configs/my_sft.yaml --full             validation, test and every set of eval.sets
  weft eval configs/my_sft.yaml --set train --set data/hard.jsonl
  weft eval configs/my_sft.yaml --compare          the untuned and the tuned model, side by side

Of each conversation the last answer is evaluated, after its true history; documents (mode: cpt) have a loss and a perplexity,
but no answers. The run directory gets predictions_<set>.jsonl,
eval_report_<set>.json and eval_report_<set>.md; names end with _quick for a sample and with _untuned for the base model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weft.commands.arguments import add_config, add_json, emit, load
from weft.importing import importing_libraries

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from weft.config.schema import Config
    from weft.evaluation.report import EvalReport, SetLoss
    from weft.evaluation.sets import EvalSet
    from weft.inference.evaluate import LossFunction
    from weft.types import Example

_EXAMPLES_AT_ONCE = 8
"""Of a loss."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the configuration, the sets and the models."""
    add_config(parser)
    add_json(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="NAME",
        help="train, val, test, a name under eval.sets, or a file; can be given several times",
    )
    which.add_argument("--full", action="store_true", help="validation, test and every set of eval.sets")
    parser.add_argument("--quick", action="store_true", help="a sample of eval.quick_samples records from each set")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--untuned", action="store_true", help="evaluate the base model")
    model.add_argument("--compare", action="store_true", help="evaluate the base model and the tuned one")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    config = load(args).config
    options = {
        "sets": args.sets,
        "full": args.full,
        "quick": args.quick,
        "untuned": args.untuned,
        "compare": args.compare,
    }
    reports = evaluate(config, **options)

    from weft.config.locate import output_dir
    from weft.evaluation.table import table

    text = f"{table(reports)}\n\nreports and answers: {output_dir(config)}"
    emit(args, {"reports": [report.payload() for report in reports]}, text)
    return 0


def evaluate(
    config: Config,
    *,
    sets: Sequence[str] = (),
    full: bool = False,
    quick: bool = False,
    untuned: bool = False,
    compare: bool = False,
) -> list[EvalReport]:
    """Evaluate the model of ``config``, write the reports, and return them set by set.

    Args:
        config: the model and the run.
        sets: names as ``--set`` takes them; none means the validation set.
        full: validation, test and every set of ``eval.sets``.
        quick: a sample of each set.
        untuned: the base model instead of the tuned one.
        compare: first the base model, then the tuned one.

    Raises:
        WeftError: see weft.evaluation.sets, weft.inference.load and weft.inference.evaluate.
        DataError: the run directory cannot be written.
        RunError: ``compare`` is asked for and nothing is trained yet.
    """
    from weft.config.locate import output_dir
    from weft.data.files import check_directory
    from weft.evaluation.sets import find_sets, read_sets, sample

    check_directory(output_dir(config))
    found = find_sets(config, sets, full=full)
    if full and "test" not in found:
        print(f"(there is no test file, {config.data.test_path}, so nothing is evaluated on it)", file=sys.stderr)
    chosen = read_sets(config, found)
    if quick:
        chosen = [sample(one, config.eval.quick_samples, config.seed) for one in chosen]

    from weft.errors import RunError

    with importing_libraries():
        from weft.inference.load import find_tuned

    if compare and find_tuned(config)[0] is None:
        raise RunError("there is no tuned model to compare", fix="run `weft train` first, or evaluate with --untuned")
    models = [
        _evaluate_model(config, chosen, quick, untuned=base) for base in ((True, False) if compare else (untuned,))
    ]
    return [report for reports_of_one_set in zip(*models, strict=True) for report in reports_of_one_set]


def _evaluate_model(config: Config, chosen: Sequence[EvalSet], quick: bool, *, untuned: bool) -> list[EvalReport]:
    """A function of its own, so that one model leaves the memory before the next one comes."""
    from weft.inference.evaluate import evaluate as evaluate_sets
    from weft.inference.load import load_answerer
    from weft.types import Conversation

    answers = any(isinstance(one, Conversation) for evaluated in chosen for one in evaluated.conversations)
    answerer = load_answerer(config, untuned=untuned, answers=answers)
    if answerer.notice:
        print(f"({answerer.notice})", file=sys.stderr)
    return evaluate_sets(answerer, chosen, config, quick=quick, make_loss=_make_loss)


def _make_loss(model: PreTrainedModel, longest: int) -> LossFunction:
    import numpy as np

    from weft.data.packing import pack
    from weft.evaluation.report import SetLoss
    from weft.objectives.causal import CausalObjective
    from weft.training.evaluate import evaluate as loss_of

    objective = CausalObjective(model, longest_document=longest, longest_row=_EXAMPLES_AT_ONCE * longest, trained=False)

    def loss(examples: Sequence[Example]) -> SetLoss:
        lengths = np.array([len(example.ids) for example in examples])
        rows = pack(np.arange(len(examples)), lengths, how="none", capacity=longest)
        found = loss_of(objective, examples, rows, model.device, batch_size=_EXAMPLES_AT_ONCE)
        tokens = sum(int(np.count_nonzero(example.loss_weights[1:])) for example in examples)
        return SetLoss(loss=found.loss, perplexity=found.perplexity, tokens=tokens, examples=len(examples))

    return loss
