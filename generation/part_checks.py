"""Whether the models of a pipeline fit together."""

from collections.abc import Sequence
from typing import Any

import torch

from generation.families import DENOISER, TRANSFORMERS_MODELS, Family
from generation.model_files import Models, Pipe, PipelineError

_Models = Sequence[tuple[str, Any]]


def check_parts(models: Models) -> None:
    """Check that widths agree and that all weights are finite.

    Raises:
        PipelineError: they do not, or one is not.
    """
    base, denoiser = models.base, DENOISER[models.family]
    for part in TRANSFORMERS_MODELS[models.family]:
        encoder, name = getattr(base, part), part.replace("text_encoder", "tokenizer")
        if encoder is not None and len(getattr(base, name)) > encoder.config.vocab_size:
            raise PipelineError(
                f"The tokenizer of {part} has {len(getattr(base, name))} entries, its token table "
                f"{encoder.config.vocab_size}. Both must come from one repository."
            )
    checked: Any = (("UNet", getattr(base, denoiser)), ("control network", models.controlnet))
    if models.family is Family.SD3:
        checked = (("transformer", getattr(base, denoiser)), ("control network", models.controlnet))
        _check_sd3_widths(base, checked)
    else:
        _check_widths(models.family, base, checked)
    finite: Any = (*checked, ("autoencoder", base.vae))
    for name, module in finite:
        for key, tensor in module.state_dict().items() if module is not None else ():
            if not bool(torch.isfinite(tensor).all()):
                raise PipelineError(f"The {name}'s weights are damaged: {key} is not finite.")


def _check_widths(family: Family, base: Pipe, models: _Models) -> None:
    """Check that models attend to states as wide as the text encoders' are side by side."""
    encoders = [getattr(base, part) for part in TRANSFORMERS_MODELS[family]]
    width = sum(int(encoder.config.hidden_size) for encoder in encoders)
    for name, module in models:
        if module is not None and module.config.cross_attention_dim != width:
            raise PipelineError(
                f"The {name} expects text of width {module.config.cross_attention_dim}, the text "
                f"encoder gives {width}. Choose one of the same family."
            )


def _check_sd3_widths(base: Pipe, models: _Models) -> None:
    """Check that models take the pooled features of both CLIPs, and states as wide as T5's."""
    clips, t5 = (base.text_encoder, base.text_encoder_2), base.text_encoder_3
    pooled = sum(int(clip.config.projection_dim) for clip in clips)
    width = sum(int(clip.config.hidden_size) for clip in clips)
    for name, module in models:
        if module is None:
            continue
        if module.config.pooled_projection_dim != pooled:
            raise PipelineError(
                f"The {name} expects pooled text of width {module.config.pooled_projection_dim}, "
                f"the text encoders give {pooled}. Choose one of the same family."
            )
        joint = module.config.joint_attention_dim
        if joint is None:  # some control networks read no text
            continue
        if joint < width or (t5 is not None and t5.config.d_model != joint):
            given = f"{width} and {t5.config.d_model}" if t5 is not None else str(width)
            raise PipelineError(
                f"The {name} expects text of width {joint}, the text encoders give {given}. "
                "Choose one of the same family."
            )
