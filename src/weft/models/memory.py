"""How much memory training takes, estimated from a model's shape and the settings: formulas only, without torch.

With P weights of w bytes, of which a run trains P' (adapters are float32):

- weights P·w, gradients P'·w, and AdamW's two moments 2·P'·w (plain gradient descent: none);
- activations: what autograd keeps of the T tokens of a micro-batch from the forward to the backward pass. Korthikanti et al.
  2022 (arXiv:2205.05198, section 4.1) count them tensor by tensor; below is the same count for the layers of Transformers
  as weft runs them: attention per segment keeps no scores, and norms are computed in float32. With H the hidden, I the
  intermediate and A, K the sizes of all query and all key heads, a layer keeps per token

      always    of each norm its input; of attention 2·A + 2·K (queries, keys, values and the result); of a gated MLP 3·I,
                of another I
      full      of RMSNorm the normed input too; the inputs of linear layers, which some share: 2·H + A + I
      LoRA      per adapter its rank, and its layer's input: with dropout one for each and a mask, else shared as above

  Checkpointing (Chen et al. 2016, arXiv:1604.06174) keeps H per layer, and all of one layer at a time;
- the head: a chunk of logits, the hidden states and gradient of T targets, and where the head is trained its gradient
  in float32 (and, where it is the embedding too, that one's), as weft.objectives.linear_loss computes them.

tests/test_memory.py compares the count with what autograd keeps, and docs/training.md the total with real runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.config.schema import Config
from weft.models.shape import Matrix, ModelShape, Sizes

Device = Literal["cuda", "cpu"]

TARGETS_AT_ONCE = 512
"""As weft.objectives.linear_loss, which loads torch."""
_FLOAT32 = 4
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_BESIDE: dict[Device, int] = {"cuda": 800_000_000, "cpu": 500_000_000}
"""What a process needs before the model: on a GPU context and libraries (an assumption), on a CPU Python and its libraries."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that are needed at once, by what they hold."""

    weights: int
    """With adapters, and with copies in the type that products are computed in."""
    gradients: int
    optimizer: int
    activations: int | None
    """None where they cannot be known (:attr:`weft.models.shape.ModelShape.unknown`)."""
    head: int | None
    beside: int
    """What a process needs before the model."""

    @property
    def total(self) -> int:
        """The sum of what is known."""
        known = (self.weights, self.gradients, self.optimizer, self.activations, self.head, self.beside)
        return sum(part or 0 for part in known)


def estimate(shape: ModelShape, config: Config, device: Device, *, tokens: int, targets: int) -> Memory:
    """The memory of training.

    Args:
        shape: of the base model.
        config: what is tuned and how.
        device: decides the types that ``auto`` takes.
        tokens: of the largest micro-batch.
        targets: those of them that are trained.
    """
    full = config.tuning.mode == "full"
    stored, computed = types(config, device)
    adapted = [] if full else adapted_modules(shape, config)
    trained = shape.parameters if full else sum(config.tuning.lora.r * (one.inputs + one.outputs) for one in adapted)
    trained_bytes = trained * (stored if full else _FLOAT32)
    multiplied = sum(one.inputs * one.outputs for one in shape.matrices if one.body)
    copies = computed * multiplied if computed < stored else 0
    sizes = shape.sizes
    return Memory(
        weights=shape.parameters * stored + (0 if full else trained_bytes) + copies,
        gradients=trained_bytes,
        optimizer={"adamw": 2, "sgd": 0}[config.train.optim] * trained_bytes,
        activations=_activations(shape, sizes, config, adapted, device, tokens) if sizes else None,
        head=_head(shape, sizes, config, device, targets) if sizes else None,
        beside=_BESIDE[device],
    )


def types(config: Config, device: Device) -> tuple[int, int]:
    """Bytes of a stored weight and of a computed value, as weft.models.hardware chooses them on a GPU with bfloat16."""
    trained = config.tuning.mode == "full"
    automatic = 4 if trained or device == "cpu" else 2
    stored = automatic if config.model.dtype == "auto" else _BYTES[config.model.dtype]
    half = config.train.fp16 or config.train.bf16 is True or (config.train.bf16 == "auto" and device == "cuda")
    return stored, 2 if half else stored


def adapted_modules(shape: ModelShape, config: Config) -> list[Matrix]:
    """The modules that get an adapter."""
    targets = config.tuning.lora.target_modules
    if targets == "auto":
        return [module for module in shape.matrices if module.body]
    return [module for module in shape.matrices if any(is_named(module, name) for name in targets)]


def is_named(module: Matrix, target: str) -> bool:
    """Whether ``target`` names the module, by its full name or its last parts, as PEFT matches them."""
    return module.name == target or module.name.endswith(f".{target}")


def _activations(
    shape: ModelShape, sizes: Sizes, config: Config, adapted: list[Matrix], device: Device, tokens: int
) -> int:
    kept = _kept_per_token(shape, sizes, config, adapted, device)
    if config.train.gradient_checkpointing:
        stored, _ = types(config, device)
        kept = sizes.layers * sizes.hidden * stored + kept // sizes.layers
    return tokens * kept


def _kept_per_token(shape: ModelShape, sizes: Sizes, config: Config, adapted: list[Matrix], device: Device) -> int:
    """Bytes that the layers keep of a token; the formulas of the module."""
    full, computed = config.tuning.mode == "full", types(config, device)[1]
    queries, keys = sizes.heads * sizes.head_size, sizes.kv_heads * sizes.head_size
    shared_inputs = sizes.layers * (2 * sizes.hidden + queries + sizes.intermediate)
    layers = sizes.layers * (2 * queries + 2 * keys + shape.between * sizes.intermediate)
    norms = _FLOAT32 * (shape.norms + (shape.unbiased_norms if full else 0))
    if full:
        return norms + computed * (layers + shared_inputs)
    layers += config.tuning.lora.r * len(adapted)
    if not config.tuning.lora.dropout:
        return norms + computed * (layers + shared_inputs)
    mask = 1 if device == "cuda" else computed  # the CPU's dropout keeps a mask of numbers, CUDA's one of bytes
    return norms + computed * layers + (computed + mask) * sum(layer.inputs for layer in adapted if layer.body)


def _head(shape: ModelShape, sizes: Sizes, config: Config, device: Device, targets: int) -> int:
    stored, computed = types(config, device)
    at_once = min(TARGETS_AT_ONCE, targets)
    logits = at_once * sizes.vocabulary * (computed if computed == _FLOAT32 else computed + _FLOAT32)
    states = 3 * targets * sizes.hidden * computed
    copy = sizes.vocabulary * sizes.hidden * computed if computed < stored else 0
    trained = config.tuning.mode == "full"
    gradients = sizes.vocabulary * sizes.hidden * _FLOAT32 * (1 + shape.tied) if trained else 0
    return logits + states + copy + gradients
