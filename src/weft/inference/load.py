"""The model that a configuration means: its trained result, or the base model where nothing is trained yet."""

from __future__ import annotations

import re
from pathlib import Path

from weft.config.locate import model_directory, output_dir
from weft.config.schema import Config
from weft.data.inputs import check_ids, chosen_template, configured_template, configured_tokenizer, renderer_of
from weft.data.template import ChatTemplate, load_template
from weft.data.tokenizer import load_tokenizer
from weft.inference.generate import Answerer
from weft.models.directory import tuned_kind
from weft.models.hardware import choose_device, choose_dtype
from weft.models.load import load_model, load_tuned
from weft.models.vocab import add_rows, check_vocab


def load_answerer(config: Config, *, untuned: bool = False, answers: bool = True) -> Answerer:
    """Load what ``config`` trained, with the tokenizer and the template of its run directory.

    Where nothing is trained yet it is the base model, and where training has not ended the newest checkpoint;
    ``notice`` says so then.

    Args:
        config: names the run directory and the base model.
        untuned: the base model in any case, without a notice.
        answers: whether it will be asked anything; without, a chat template may be absent (see
            :func:`weft.data.inputs.chosen_template`).

    Raises:
        ModelError: a model or tokenizer cannot be used.
        TemplateError: no chat template can be used.
    """
    tuned, notice = (None, None) if untuned else find_tuned(config)
    tokenizer = load_tokenizer(tuned) if tuned else configured_tokenizer(config)
    check_ids(tokenizer, config.model.tokenizer_ids)
    kept = tuned and tuned / "chat_template.jinja"
    template: ChatTemplate | None
    if kept and (kept.exists() or config.mode != "cpt"):
        template = load_template(str(kept), tokenizer, prompt_mismatch=config.data.prompt_mismatch)
    else:
        template = configured_template(config, tokenizer) if answers else chosen_template(config, tokenizer)
    if tuned and template and _asks_for_another(config.data.template_path, template):
        other = f"answers use the template of training, {template.name}, not {config.data.template_path}"
        notice = f"{notice}; {other}" if notice else other
    device = choose_device()
    dtype = choose_dtype(config, device, trained=False)
    if tuned:
        base = tuned if tuned_kind(tuned) == "full" else model_directory(config.model, weights=True)
        model = load_tuned(base, tuned, dtype=dtype, device=device)
    else:
        base = model_directory(config.model, weights=True)
        model = load_model(base, dtype=dtype, device=device)
        add_rows(model, tokenizer.new_ids)
    check_vocab(model, tokenizer.vocab_size)
    return Answerer(
        model=model,
        tokenizer=tokenizer,
        template=template,
        renderer=renderer_of(config, tokenizer, template),
        name=config.model.name,
        directory=tuned or base,
        tuned=tuned is not None,
        notice=notice,
    )


def _asks_for_another(path: str | None, template: ChatTemplate) -> bool:
    """Whether a file that ``data.template_path`` names holds another template; training refuses to change it, too."""
    try:
        return path is not None and Path(path).read_bytes() != template.source.encode()
    except OSError:  # a built-in one, or a file that is gone: nothing to compare
        return False


def find_tuned(config: Config) -> tuple[Path | None, str | None]:
    """The directory of the trained weights, None where there are none, and what the user should know about the choice."""
    run = output_dir(config)
    if tuned_kind(run):
        return run, None
    if checkpoint := _newest_checkpoint(run):
        return checkpoint, f"the training in {run} has not ended: this is its {checkpoint.name}"
    return None, f"nothing is trained yet in {run}: this is the base model {config.model.name}"


def _newest_checkpoint(run: Path) -> Path | None:
    """The newest ``checkpoint-N``. By its name it is complete; training looks for damage when it resumes."""
    steps = {
        int(match[1]): path
        for path in run.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    }
    return steps[max(steps)] if steps else None
