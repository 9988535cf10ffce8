"""An adapter folded into its base model, and the proof that the result computes the same.

The merged directory is written aside, loaded again from disk and compared with base plus adapter before it gets its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from weft.errors import ModelError, RunError
from weft.models.adapters import save_model
from weft.models.directory import check_model, tuned_kind
from weft.models.files import copy_serving_files, refuse_occupied, written_aside
from weft.models.load import load_model, load_tuned

_PROBE_SHAPE = (2, 32)


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far merged logits may lie from unmerged ones: absolutely, and relative to the largest logit."""

    absolute: float
    relative: float


TOLERANCES = {
    torch.float32: Tolerance(absolute=2e-4, relative=1e-4),
    torch.float16: Tolerance(absolute=2e-2, relative=1e-2),
    torch.bfloat16: Tolerance(absolute=1e-1, relative=5e-2),
}
"""By the type that the merged weights are stored in: half precision rounds every weight of the sum once more."""


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What :func:`merge` made and measured."""

    directory: Path
    dtype: str
    """The type of the merged weights: that of the base model's files."""
    max_difference: float
    """The largest difference between a logit of the merged model and of base plus adapter, computed in float32."""
    max_change: float
    """The largest difference that the adapter itself makes to a logit of the base model."""
    files: tuple[str, ...]
    """Tokenizer, template and generation settings, copied byte for byte."""


def merge(base_dir: Path, run_dir: Path, out: Path) -> MergeResult:
    """Merge the adapter in ``run_dir`` into the model in ``base_dir`` and write a model directory, on the CPU.

    Sums are taken in float32; the result is stored in the type of the base model's weights.

    Raises:
        RunError: there is no adapter to merge, or ``out`` is there already or cannot be written.
        ModelError: a model cannot be loaded, or the merged one does not compute the same.
    """
    _require_adapter(run_dir)
    refuse_occupied(out)
    dtype = _stored_dtype(base_dir)
    tuned = load_tuned(base_dir, run_dir, dtype=torch.float32, device="cpu")
    probe = _probe(tuned)
    unmerged = _logits(tuned, probe)
    with torch.no_grad(), tuned.disable_adapter():
        change = _largest(_logits(tuned, probe) - unmerged)
    merged = tuned.merge_and_unload()
    with written_aside(out) as aside:
        save_model(merged.to(dtype), aside)
        files = copy_serving_files(run_dir, aside)
        del tuned, merged  # one copy of the weights in memory at a time
        difference = _largest(_logits(load_model(aside, dtype=torch.float32, device="cpu"), probe) - unmerged)
        _require_agreement(difference, unmerged, TOLERANCES[dtype], run_dir)
    return MergeResult(
        directory=out,
        dtype=_name(dtype),
        max_difference=difference,
        max_change=change,
        files=files,
    )


def _require_adapter(run_dir: Path) -> None:
    match tuned_kind(run_dir):
        case "full":
            raise RunError(
                "nothing to merge: every weight was trained, so this directory is a complete model already",
                where=str(run_dir),
                fix="load or serve it as it is, or copy it",
            )
        case None:
            raise RunError(
                "holds no trained adapter", where=str(run_dir), fix="run `weft train` with this configuration first"
            )


def _stored_dtype(base_dir: Path) -> torch.dtype:
    """The type that config.json names, under its present or its former key; float32 where it names none."""
    config = check_model(base_dir)
    name = str(config.get("dtype") or config.get("torch_dtype"))
    return next((dtype for dtype in TOLERANCES if _name(dtype) == name), torch.float32)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _probe(model: PreTrainedModel) -> Tensor:
    """Token ids int64 [2, 32], the same for every merge, spread over the vocabulary."""
    rows = model.get_input_embeddings().weight.shape[0]
    return torch.randint(rows, _PROBE_SHAPE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return model(input_ids=ids, use_cache=False).logits


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _require_agreement(difference: float, unmerged: Tensor, tolerance: Tolerance, run_dir: Path) -> None:
    limit = tolerance.absolute + tolerance.relative * _largest(unmerged)
    if not difference <= limit:  # a NaN is no agreement
        raise ModelError(
            f"merged and unmerged model disagree: their logits differ by up to {difference:.2g}, more than {limit:.2g}",
            where=str(run_dir),
            fix="serve the adapter unmerged; an adapter on a head that shares its weights with the embedding cannot be merged",
        )
