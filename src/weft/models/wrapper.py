"""Models with and without PEFT's wrapper around them, told apart without importing PEFT: full tuning does not need it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from transformers import PreTrainedModel

if TYPE_CHECKING:
    from peft import PeftModel


def is_wrapped(model: PreTrainedModel | PeftModel) -> TypeGuard[PeftModel]:
    """Whether ``model`` is one of PEFT's; where PEFT was never imported, there is none."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def unwrapped(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model of Transformers itself; adapters in its layers stay there."""
    return model.get_base_model() if is_wrapped(model) else model
