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

_LENGTH = 18
_CUTS = (1, 5, 7, 10, 14)
"""Tokens before a change: as many places where a short look ahead would show, and at no regular distance."""
_OF_THE_PAST = 0.1
"""Rounding, also that which sends a token to another expert, stays far below this share of what earlier tokens do."""


def check_causal(model: PreTrainedModel | PeftModel, isolation: Isolation) -> None:
    """Change all of a document behind a cut and look at the last token before it, beside what a change of all before the
    cut does to the first token behind it; at several cuts.

    Args:
        model: the model.
        isolation: the way in which it runs rows.

    Raises:
        ModelError: it sees what comes after a token.
    """
    base = unwrapped(model)
    length = min(_LENGTH, most_positions(base.config) or _LENGTH)
    embeddings = base.get_input_embeddings().weight
    documents = torch.randint(embeddings.shape[0], (2, length), generator=torch.Generator().manual_seed(0))
    one, other = documents.to(embeddings.device)
    cuts = torch.tensor([cut for cut in _CUTS if cut < length], device=embeddings.device)
    with evaluating(model), torch.no_grad():
        before, behind = _logits(isolation, one, cuts - 1), _logits(isolation, other, cuts)
        changed = [_logits(isolation, torch.cat([one[:cut], other[cut:]]), torch.stack([cut - 1, cut])) for cut in cuts]
    changes = torch.stack(changed) - torch.stack([before, behind], dim=1)
    # Of most cuts, not of the worst: rounding can send single tokens to other experts.
    ahead, back = changes.abs().amax(dim=2).median(dim=0).values.tolist()
    rounding = RELATIVE_TOLERANCE.get(embeddings.dtype, 2e-5) * torch.cat([before, behind]).abs().max().item()
    if ahead > max(rounding, _OF_THE_PAST * back):
        raise ModelError(
            "sees the tokens after the one that it is asked for, so that next-token prediction would teach it nothing",
            where=base.name_or_path or type(base).__name__,
            fix='use a model that generates text; BERT and models like it need "is_decoder": true in their config.json for that',
        )


def _logits(isolation: Isolation, ids: Tensor, places: Tensor) -> Tensor:
    """[N, V] in float32 at ``places`` int64 [N] of one document, int64 [L]."""
    positions = torch.arange(len(ids), device=ids.device)[None]
    hidden = isolation.hidden_at(places, input_ids=ids[None], position_ids=positions, lengths=(len(ids),))
    return isolation.parts.head(hidden).float()
