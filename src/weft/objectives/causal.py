"""Next-token prediction: every target is predicted from the tokens before it in its own example."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from weft.models.parts import split_model
from weft.objectives.base import LossTerms, Objective
from weft.objectives.batch import Batch
from weft.objectives.cross_entropy import head_loss
from weft.objectives.stages import stage


class CausalObjective(Objective):
    """The cross-entropy of the targets under a causal language model.

    Args:
        model: a causal model of Transformers, or a PEFT model around one.

    Raises:
        ModelError: the model's body and head could not be found (weft.models.parts).
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self._parts = split_model(model)  # no module of its own: its parts are the model's, and are saved with it
        self.rung = "one document per forward"
        self.logits_rung = self._parts.rung
        # What FSDP asks of the module that it wraps. It must not see get_output_embeddings: an untied head would
        # become a unit of its own, and the loss would meet a sharded weight.
        self._no_split_modules = model._no_split_modules

    def tie_weights(self) -> None:
        """Tie what the model ties, after a wrapper has replaced its weights."""
        self.model.tie_weights()

    def forward(self, batch: Batch) -> LossTerms:
        """The loss terms of ``batch``; without any target, a zero that still has a gradient for every weight."""
        examples = zip(
            batch.input_ids.split(batch.lengths, dim=1), batch.loss_weights.split(batch.lengths, dim=1), strict=True
        )
        with stage("body_forward"):
            hidden = torch.cat([self._predicting_states(ids, weights) for ids, weights in examples])
        weights = batch.loss_weights[0].index_select(0, batch.targets)
        labels = batch.input_ids[0].index_select(0, batch.targets)
        with stage("head_loss"):
            loss_sum = head_loss(self._parts.head, hidden, labels, weights)
        return LossTerms(loss_sum, weights.sum())

    def _predicting_states(self, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The hidden states [n, H] that predict the n targets of one example [1, L]: those one position before them.

        The example is alone in its forward, without mask or padding, which is exact for every architecture.
        """
        positions = weights[0].nonzero()[:, 0] - 1
        return self._parts.hidden_at(positions, input_ids=ids, use_cache=False)
