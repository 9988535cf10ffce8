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
    tokens = torch.randint(embeddings.shape[0], (2, length), generator=torch.Generator().manual_seed(0))
    one, other = tokens.to(embeddings.device)
    cuts = torch.tensor([cut for cut in _CUTS if cut < length], device=embeddings.device)
    documents = torch.stack([one, other, *(torch.cat([one[:cut], other[cut:]]) for cut in cuts)])
    watched = torch.zeros_like(documents, dtype=torch.bool)
    watched[0, cuts - 1] = watched[1, cuts] = True
    watched[2:].scatter_(1, torch.stack([cuts - 1, cuts], dim=1), True)
    together = max(1, isolation.proven // length)
    with evaluating(model), torch.no_grad():
        rows = zip(documents.split(together), watched.split(together), strict=True)
        logits = torch.cat([_logits(isolation, *row) for row in rows])
    before, behind, changed = logits.split([len(cuts), len(cuts), 2 * len(cuts)])
    changes = changed.unflatten(0, (-1, 2)) - torch.stack([before, behind], dim=1)
    # Of most cuts, not of the worst: rounding can send single tokens to other experts.
    ahead, back = changes.abs().amax(dim=2).median(dim=0).values.tolist()
    rounding = RELATIVE_TOLERANCE.get(embeddings.dtype, 2e-5) * logits.abs().max().item()
    if ahead > max(rounding, _OF_THE_PAST * back):
        raise ModelError(
            "sees the tokens after the one that it is asked for, so that next-token prediction would teach it nothing",
            where=base.name_or_path or type(base).__name__,
            fix='use a model that generates text; BERT and models like it need "is_decoder": true in their config.json for that',
        )


def _logits(isolation: Isolation, documents: Tensor, watched: Tensor) -> Tensor:
    """[N, V] in float32 where ``watched`` bool [D, L] says so, of a row of ``documents`` int64 [D, L]."""
    count, length = documents.shape
    hidden = isolation.hidden_at(
        watched.flatten().nonzero()[:, 0],
        input_ids=documents.reshape(1, -1),
        position_ids=torch.arange(length, device=documents.device).repeat(count)[None],
        lengths=(length,) * count,
    )
    return isolation.parts.head(hidden).float()
