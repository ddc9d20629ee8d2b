"""Whether the models of a pipeline fit together."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from generation.controls import Control
from generation.drawing_adapter import check_adapter
from generation.families import DENOISER, TRANSFORMERS_MODELS, Family
from generation.model_files import Models, Pipe
from generation.model_folder import PipelineError

ROW_TOLERANCE = 0.02
"""Distance of two rows, as a share of their length, that half precision explains; bf16: 0.004."""
MOVED_SHARE = 0.01
"""Share of rows that may be further apart, such as words that a fine-tune added."""


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
    name = "transformer" if models.family is Family.SD3 else "UNet"
    check_model(models.family, base, name, getattr(base, denoiser))
    if models.control is not None:
        check_control(models.family, base, models.control)
    _check_finite("autoencoder", base.vae)


def check_control(family: Family, base: Pipe, control: Control) -> None:
    """Check that a control network fits a pipeline and is whole.

    Raises:
        PipelineError: it does not, or is not.
    """
    if control.is_adapter:
        check_adapter(control.model, base.unet)
        _check_finite("adapter", control.model)
    else:
        check_model(family, base, "control network", control.model)


def check_model(family: Family, base: Pipe, name: str, model: Any) -> None:  # noqa: ANN401
    """Check that a model reads what a pipeline's text encoders give, and has finite weights.

    Raises:
        PipelineError: it does not, or has not.
    """
    if family is Family.SD3:
        _check_sd3_widths(base, name, model)
    else:
        _check_widths(family, base, name, model)
    _check_finite(name, model)


def _check_finite(name: str, model: torch.nn.Module) -> None:
    for key, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise PipelineError(f"The {name}'s weights are damaged: {key} is not finite.")


def _check_widths(family: Family, base: Pipe, name: str, model: Any) -> None:  # noqa: ANN401
    """Check that a model attends to states as wide as the text encoders' are side by side."""
    encoders = [getattr(base, part) for part in TRANSFORMERS_MODELS[family]]
    width = sum(int(encoder.config.hidden_size) for encoder in encoders)
    if model.config.cross_attention_dim != width:
        raise PipelineError(
            f"The {name} expects text of width {model.config.cross_attention_dim}, the text "
            f"encoder gives {width}. Choose one of the same family."
        )


def _check_sd3_widths(base: Pipe, name: str, model: Any) -> None:  # noqa: ANN401
    """Check that a model takes the pooled features of both CLIPs, and states as wide as T5's."""
    clips, t5 = (base.text_encoder, base.text_encoder_2), base.text_encoder_3
    pooled = sum(int(clip.config.projection_dim) for clip in clips)
    width = sum(int(clip.config.hidden_size) for clip in clips)
    if model.config.pooled_projection_dim != pooled:
        raise PipelineError(
            f"The {name} expects pooled text of width {model.config.pooled_projection_dim}, "
            f"the text encoders give {pooled}. Choose one of the same family."
        )
    joint = model.config.joint_attention_dim
    if joint is None:  # some control networks read no text
        return
    if joint < width or (t5 is not None and t5.config.d_model != joint):
        given = f"{width} and {t5.config.d_model}" if t5 is not None else str(width)
        raise PipelineError(
            f"The {name} expects text of width {joint}, the text encoders give {given}. "
            "Choose one of the same family."
        )


def check_token_tables(encoder_table: Float[Tensor, "v w"], table: Float[Tensor, "u x"]) -> None:
    """Check that a text encoder's token table is a CLIP's, but for rounding.

    Raises:
        PipelineError: vocabulary or width differ, or the rows of more than a few words do.
    """
    if encoder_table.shape != table.shape:
        raise PipelineError(
            f"The pipeline's token table is {tuple(encoder_table.shape)}, the CLIP's "
            f"{tuple(table.shape)}. A kit needs one text encoder."
        )
    theirs, ours = encoder_table.detach().float().cpu(), table.detach().float().cpu()
    distances = (theirs - ours).norm(dim=1) / ours.norm(dim=1).clamp(min=1e-12)
    moved = distances > ROW_TOLERANCE
    if float(moved.float().mean()) > MOVED_SHARE:
        raise PipelineError(
            f"The pipeline's token table differs from the CLIP's by "
            f"{float(distances[moved].mean()):.0%} in {float(moved.float().mean()):.0%} of its "
            "words, so it would draw something else than what is searched for. Choose a "
            "pipeline whose text encoder was left as it was, or the CLIP that it was tuned "
            "from."
        )
