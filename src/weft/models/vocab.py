"""Do tokenizer and model belong together, and what becomes of the model when the tokenizer grows?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from weft.errors import ModelError
from weft.models.directory import check_rows
from weft.models.quiet import quiet_transformers


def check_vocab(model: PreTrainedModel, vocab_size: int) -> None:
    """Refuse a tokenizer whose ids (0 to ``vocab_size`` - 1) are more than the rows of the model's embedding.

    Fewer are fine: many models round the embedding up.

    Raises:
        ModelError: some id has no embedding.
    """
    check_rows(model.get_input_embeddings().weight.shape[0], vocab_size)


def add_rows(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Give tokens that the model was not trained with their rows, in its embedding and in its head.

    Each row becomes the mean of those of the tokens before, so that a new token means nothing in particular and is never the
    most likely one (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"). A model whose embedding
    was rounded up has rows for them already, which hold nothing.

    Args:
        model: changed in place; a tied head stays tied.
        ids: consecutive ids, the first behind the vocabulary that the model was trained with.

    Raises:
        ModelError: the model has fewer rows than that vocabulary, or Transformers cannot resize it.
    """
    if not ids:
        return
    first, wanted = ids[0], ids[-1] + 1
    check_vocab(model, first)
    if wanted > model.get_input_embeddings().weight.shape[0]:
        try:
            with torch.random.fork_rng(devices=[]), quiet_transformers():
                model.resize_token_embeddings(wanted, mean_resizing=False)
        except Exception as problem:  # a model's own code
            raise ModelError(
                f"its embedding cannot be resized to {wanted} rows: {type(problem).__name__}: {problem}",
                where=model.name_or_path or type(model).__name__,
                fix="set data.template_path to a template that needs no tokens of its own, such as instruct",
            ) from problem
    head = model.get_output_embeddings()
    tables = [model.get_input_embeddings().weight]
    if head is not None:
        tables += [table for table in (head.weight, getattr(head, "bias", None)) if table is not None]
    for table in {id(table): table for table in tables}.values():
        _fill_with_mean(table, first, wanted)


@torch.no_grad()
def _fill_with_mean(table: Tensor, first: int, wanted: int) -> None:
    """Rows ``first`` to ``wanted`` - 1 of a table [V, H], or entries of a bias [V], from those before."""
    table[first:wanted] = table[:first].float().mean(dim=0).to(table.dtype)
