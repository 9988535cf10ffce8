"""Whether a model sees only what is before a token.

Several architectures that count as causal language models are encoders unless their configuration says otherwise (BERT
and its kin without ``is_decoder``, XLNet, XLM). Trained to predict the next token, they look at it: the loss falls to
nothing, and nothing is learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedModel

from weft.errors import ModelError
from weft.models.isolation import Isolation
from weft.models.parts import RELATIVE_TOLERANCE, evaluating
from weft.models.probe import most_positions
from weft.models.wrapper import unwrapped

if TYPE_CHECKING:
    from peft import PeftModel

_HALF = 16
_OF_THE_PAST = 0.1
"""Rounding, also that which sends a token to another expert, stays far below this share of what earlier tokens do."""


def check_causal(model: PreTrainedModel | PeftModel, isolation: Isolation) -> None:
    """Change the later half of a document and look at the earlier one, beside what a change the other way round does.

    Args:
        model: the model.
        isolation: the way in which it runs rows.

    Raises:
        ModelError: it sees what comes after a token.
    """
    base = unwrapped(model)
    half = min(_HALF, (most_positions(base.config) or 2 * _HALF) // 2)
    embeddings = base.get_input_embeddings().weight
    earlier, later, other_earlier, other_later = torch.randint(
        embeddings.shape[0], (4, half), generator=torch.Generator().manual_seed(0)
    ).to(embeddings.device)
    with evaluating(model), torch.no_grad():
        logits = _logits(isolation, earlier, later)
        by_the_future = (_logits(isolation, earlier, other_later) - logits)[:half]
        by_the_past = (_logits(isolation, other_earlier, later) - logits)[half:]
    # Of most positions, not of the worst: rounding can send single tokens to other experts.
    ahead, back = (change.abs().amax(dim=1).median().item() for change in (by_the_future, by_the_past))
    rounding = RELATIVE_TOLERANCE.get(embeddings.dtype, 2e-5) * logits.abs().max().item()
    if ahead > max(rounding, _OF_THE_PAST * back):
        raise ModelError(
            "sees the tokens after the one that it is asked for, so that next-token prediction would teach it nothing",
            where=base.name_or_path or type(base).__name__,
            fix='use a model that generates text; BERT and models like it need "is_decoder": true in their config.json for that',
        )


def _logits(isolation: Isolation, *halves: Tensor) -> Tensor:
    """[L, V] in float32 of one document, given in pieces of int64."""
    ids = torch.cat(halves)
    places = torch.arange(len(ids), device=ids.device)
    hidden = isolation.hidden_at(places, input_ids=ids[None], position_ids=places[None], lengths=(len(ids),))
    return isolation.parts.head(hidden).float()
