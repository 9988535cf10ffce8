"""Answer questions from a file, from standard input, or given here.

  weft infer configs/my_sft.yaml --input questions.txt
  weft infer configs/my_sft.yaml --input data/processed/test.jsonl --output answers.jsonl
  weft infer configs/my_sft.yaml --prompt "What is Python?" --prompt "What is NLP?"
  echo "What is Python?" | weft infer configs/my_sft.yaml

A .txt file and standard input hold one question per line. In files of records every record is a question, in
the formats that training reads; of a conversation everything up to its last user turn is the question. Each question is
answered on its own. gen.max_new_tokens, gen.temperature and gen.top_p say how, eval.batch_size how many at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from weft.commands.arguments import add_config, load
from weft.errors import WeftError
from weft.importing import importing_libraries

if TYPE_CHECKING:
    from weft.inference.questions import Question

_ANSWER_KEYS = frozenset({"prompt", "response", "finish"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the configuration and where questions come from and answers go."""
    add_config(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--input", metavar="FILE", help="a file of questions; - is standard input")
    source.add_argument("--prompt", action="append", metavar="TEXT", help="a question; can be given several times")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.jsonl", help="write the answers there as JSON lines, not here"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines with prompt, response and finish")


def run(args: argparse.Namespace) -> int:
    """Answer the questions."""
    config = load(args).config
    questions = _questions(args)
    if args.output:
        _check_output(args)

    with importing_libraries():
        from weft.inference.infer import infer

    rows = [
        {"prompt": question[-1].content, "response": answer.text, "finish": answer.finish}
        for question, answer in zip(questions, infer(config, questions), strict=True)
    ]
    _show(args, rows)
    return 0


def _show(args: argparse.Namespace, rows: list[dict[str, str]]) -> None:
    from weft.data.files import StagedFiles, json_lines
    from weft.escape import visible

    if args.output:
        with StagedFiles() as files:
            files.write(args.output, json_lines(rows))
            files.commit()
        print(f"{len(rows):,} answers are in {args.output}")
    elif args.json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    else:
        print("\n\n".join(f"> {visible(row['prompt'])}\n{visible(row['response'])}" for row in rows))


def _check_output(args: argparse.Namespace) -> None:
    """Raise now, not after everything was answered, where the answers cannot be written or would replace something else."""
    from weft.data.files import StagedFiles, first_line_has

    if args.input not in (None, "-") and args.output.exists() and args.output.samefile(args.input):
        raise WeftError(
            "the answers would replace the questions", where=str(args.output), fix="choose another --output"
        )
    if args.output.is_file() and not first_line_has(args.output, _ANSWER_KEYS):
        raise WeftError(
            "the file exists and holds no answers of `weft infer`",
            where=str(args.output),
            fix="choose another --output",
        )
    with StagedFiles() as trial:
        trial.write(args.output, ())


def _questions(args: argparse.Namespace) -> list[Question]:
    from weft.inference.questions import plain_question, questions_of_lines, read_questions

    if args.prompt:
        if not all(text.strip() for text in args.prompt):
            raise WeftError("the question is empty", where="--prompt", fix="write it after --prompt, in quotes")
        return [plain_question(text) for text in args.prompt]
    if args.input not in (None, "-"):
        return read_questions(Path(args.input))
    if args.input is None and sys.stdin.isatty():
        raise WeftError(
            "there is no question",
            fix="give --prompt TEXT or --input FILE, or pipe questions in; `weft chat` is for talking",
        )
    return questions_of_lines(sys.stdin.buffer.read(), "standard input")
