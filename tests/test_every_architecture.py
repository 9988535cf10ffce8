"""Packing is invisible on every causal architecture that the installed Transformers has, or weft refuses it in words.

What these are, nobody here wrote down: a new version brings new ones. Which rung one ends on is its own affair, as long as
the rung is exact; tests/test_isolation.py holds down those of the architectures that matter most.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from every_architecture import VOCABULARY, build
from weft.config.schema import LoraConfig
from weft.errors import ModelError
from weft.models.adapters import add_lora, trainable_parameters
from weft.models.quiet import quiet_transformers
from weft.objectives.batch import Batch
from weft.objectives.causal import CausalObjective

NOT_BUILT = {
    "blt": "no size of it is small",
    "dbrx": "its own default configuration does not build",
    "dots3_note": "no size of it is small",
    "dots3_note_text": "no size of it is small",
    "fuyu": "its vision model is large",
    "gemma3": "its vision model is large; tests/test_isolation.py has it",
    "gemma3n": "needs timm",
    "gemma4_assistant": "reads the states of another model",
    "gemma4_unified_assistant": "reads the states of another model",
    "git": "its vision model is large",
    "got_ocr2": "its vision model is large",
    "moss_transcribe_diarize": "its audio model is large",
    "musicgen": "not text",
    "musicgen_melody": "not text",
    "phi4_multimodal": "its vision model is large",
    "reformer": "tests/test_trial.py has it: refused",
    "xmod": "has to be told a language before each use",
}
SEES_AHEAD = ("cpmant", "xlnet")
WITHOUT_CHECKPOINTING = ("cpmant", "ctrl", "gpt_neox_japanese", "jetmoe", "openai-gpt", "xlm", "xlnet")
SAMPLE = (  # of kinds that tests/architectures.py lacks: every rung, kind of head, and kind of mixing
    "deepseek_v2",
    "ernie4_5_moe",
    "glm4_moe",
    "jamba",
    "jetmoe",
    "minimax",
    "modernbert-decoder",
    "phimoe",
    "prophetnet",
    "recurrent_gemma",
    "xglm",
    "xlnet",
)
"""Those that every run of the tests goes through; the others are slow together."""
KINDS = [kind for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if kind not in NOT_BUILT]
LENGTHS = (5, 1, 20, 3, 11)
BOUNDS = {"longest_document": 40, "longest_row": 60}


def plain(kind: str) -> nn.Module:
    return build(kind).train()


def adapted_and_checkpointed(kind: str) -> nn.Module:
    model = build(kind)
    if kind not in WITHOUT_CHECKPOINTING:
        with quiet_transformers():
            model.gradient_checkpointing_enable({"use_reentrant": False})
    model = add_lora(model, LoraConfig(r=4, dropout=0), seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2, generator=generator)
    return model.train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(VOCABULARY, (1, sum(LENGTHS)), generator=generator)
    weights = torch.rand(ids.shape, generator=generator) + 0.1
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    weights[positions == 0] = 0
    return Batch(
        input_ids=ids,
        position_ids=positions,
        loss_weights=weights,
        targets=weights[0].nonzero()[:, 0],
        lengths=LENGTHS,
    )


def loss_alone(model: nn.Module, given: Batch) -> Tensor:
    """Of each document in a forward pass of its own, from the model's own logits."""
    losses = []
    documents = zip(given.input_ids.split(LENGTHS, dim=1), given.loss_weights.split(LENGTHS, dim=1), strict=True)
    for ids, weights in documents:
        logits = model(input_ids=ids, use_cache=False).logits[0]
        losses.append((F.cross_entropy(logits[:-1], ids[0, 1:], reduction="none") * weights[0, 1:]).sum())
    return torch.stack(losses).sum()


def gradients(loss: Tensor, model: nn.Module) -> Tensor:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    together = zip(trained, found, strict=True)
    return torch.cat([(torch.zeros_like(weight) if got is None else got).flatten() for weight, got in together])


@pytest.mark.filterwarnings("ignore")  # of architectures that nobody maintains any more
@pytest.mark.parametrize("make", [plain, adapted_and_checkpointed])
@pytest.mark.parametrize(
    "kind", [kind if kind in SAMPLE else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_packed_is_alone(kind: str, make: object) -> None:
    fresh, model = make(kind), make(kind)
    if kind in SEES_AHEAD:
        with pytest.raises(ModelError, match="sees the tokens after the one"):
            CausalObjective(model, **BOUNDS)
        return
    objective = CausalObjective(model, **BOUNDS).train()
    expected = loss_alone(fresh, batch())
    actual = objective(batch()).loss_sum
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=0)
    wanted, found = gradients(expected, fresh), gradients(actual, model)
    assert wanted.norm() > 1e-3
    assert (found - wanted).norm() <= 1e-5 * wanted.norm(), objective.rung


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_adapters(kind: str) -> None:
    model = build(kind)
    assert model.supports_gradient_checkpointing == (kind not in WITHOUT_CHECKPOINTING)
    trained = trainable_parameters(add_lora(model, LoraConfig(r=4, dropout=0), seed=1))
    assert trained
    assert not [name for name in trained if "lora_" not in name]
