"""Do tokenizer and model belong together?"""

from __future__ import annotations

from transformers import PreTrainedModel

from weft.errors import ModelError


def check_vocab(model: PreTrainedModel, vocab_size: int) -> None:
    """Refuse a tokenizer whose ids (0 to ``vocab_size`` - 1) are more than the rows of the model's embedding.

    Fewer are fine: many models round the embedding up.

    Raises:
        ModelError: some id has no embedding.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if vocab_size > rows:
        raise ModelError(
            f"the tokenizer has ids up to {vocab_size - 1}, but the model's embedding has {rows} rows",
            where="model.name",
            fix="use the tokenizer that came with the model; tokens added later need a model resized to hold them",
        )
