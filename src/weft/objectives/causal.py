"""Next-token prediction: every target is predicted from the tokens before it in its own example."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from weft.models.causality import check_causal
from weft.models.isolation import isolate
from weft.models.parts import split_model
from weft.objectives.base import LossTerms, Objective
from weft.objectives.batch import Batch
from weft.objectives.cross_entropy import head_loss
from weft.objectives.sharded import is_sharded, with_as_many_documents_as_any
from weft.objectives.stages import stage


class CausalObjective(Objective):
    """The cross-entropy of the targets under a causal language model.

    Args:
        model: a causal model of Transformers, or a PEFT model around one. Its attention is switched to the one that runs
            rows; weft.models.isolation.original_attention switches it back for generation.
        longest_document: tokens of the longest example that will come; longer ones are not proven exact. None is 8,192.
        longest_row: tokens of the longest batch that will come, likewise.
        autocast: the type of the autocast that ``forward`` will run in, if any.
        trained: whether there will be backward passes; without, the model need not be fit for them.

    Raises:
        ModelError: the model's body and head could not be found (weft.models.parts), or it is not causal.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        longest_document: int | None = None,
        longest_row: int | None = None,
        autocast: torch.dtype | None = None,
        trained: bool = True,
    ):
        super().__init__()
        self.model = model
        self._parts = split_model(model)  # no module of its own: its parts are the model's, and are saved with it
        self._isolation = isolate(
            model,
            self._parts,
            longest_document=longest_document,
            longest_row=longest_row,
            autocast=autocast,
            trained=trained,
        )
        check_causal(model, self._isolation)
        self.rung, self.rung_reason = self._isolation.rung, self._isolation.reason
        self.logits_rung = self._parts.rung
        # What FSDP asks of the module that it wraps. It must not see get_output_embeddings: an untied head would
        # become a unit of its own, and the loss would meet a sharded weight.
        self._no_split_modules = model._no_split_modules

    @property
    def fused_head(self) -> nn.Linear | None:
        """A property, because a module that is set as an attribute becomes a part of its own."""
        return self._parts.head.linear

    def tie_weights(self) -> None:
        """Tie what the model ties, after a wrapper has replaced its weights."""
        self.model.tie_weights()

    def forward(self, batch: Batch) -> LossTerms:
        """The loss terms of ``batch``; without any target, a zero that still has a gradient for every weight."""
        if self.rung == "one document per forward" and is_sharded(self):
            batch = with_as_many_documents_as_any(batch)
        with stage("body_forward"):
            hidden = self._isolation.hidden_at(
                batch.targets - 1,  # the state that predicts a token is that of the token before it
                input_ids=batch.input_ids,
                position_ids=batch.position_ids,
                lengths=batch.lengths,
            )
        with stage("head_loss"):
            labels = batch.input_ids[0].index_select(0, batch.targets)
            weights = batch.loss_weights[0].index_select(0, batch.targets)
            return LossTerms(head_loss(self._parts.head, hidden, labels, weights), weights.sum())
