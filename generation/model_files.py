"""A kit's image models, opened from their files as one pipeline."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from composer.random_weights import count_parameters
from composer.weights import WeightsError
from generation.controls import Control, ControlKind, ControlSource
from generation.families import (
    ABSENT_PARTS,
    ADAPTER_MODEL,
    CONTROL_MODELS,
    DENOISER,
    DIFFUSERS_MODELS,
    OPTIONAL_PARTS,
    SCHEDULERS,
    TRANSFORMERS_MODELS,
    UNION_MODEL,
    Family,
)
from generation.finish import open_finisher
from generation.lora import LoraSource, MergedLora, merge_lora
from generation.lora_header import DrawingModel, check_lora_header
from generation.model_folder import (
    DIFFUSERS_STEM,
    TRANSFORMERS_STEM,
    PipelineError,
    build_model,
    check_folder,
    check_weights,
    make_random_model,
    open_model,
    read_model_config,
    translate_opening,
)
from generation.sketchbook import FILE_NAME as SKETCHBOOK
from generation.sketchbook import Sketchbook
from generation.studio_light import FILE_NAME as LIGHT
from generation.studio_light import StudioLight
from generation.style_files import StyleSource, check_style_files

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

Pipe = Any
"""Any pipeline of diffusers; their calls differ and are not typed."""

CONTROL_NETWORK = "control network"


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineSource:
    """Files of a kit's image models.

    Attributes:
        folder: diffusers folder of a pipeline.
        controlnet: diffusers folder of its control network, or None.
        control_kind: what that follows.
        text_hash: hash of the CLIP text tower the pipeline belongs to; None reads it from the
            text encoder's config.
        checkpoint: one file with all weights, in place of those in `folder`.
        loras: LoRAs to merge into the weights, in this order.
        style: IP-Adapter, opened when a request first has a style image; None for none.
        finish: LoRA of the denoiser that finishes what the pipeline's begins; None for none.
        scheduler: name of a sampler of diffusers as "class", and settings of it; empty leaves the
            folder's.
        further_controls: folders of control networks that may be opened later, for the memory plan.
        random_around: where given, no weights are read: the models of the configs get random ones,
            but for this table of token embeddings of the CLIP. For measurements only.
        without: models to leave out, of those that the family can do without.
    """

    folder: Path
    controlnet: Path | None = None
    control_kind: ControlKind = ControlKind.SCRIBBLE
    text_hash: str | None = None
    checkpoint: Path | None = None
    loras: Sequence[LoraSource] = ()
    finish: LoraSource | None = None
    scheduler: Mapping[str, Any] = field(default_factory=dict[str, Any])
    style: StyleSource | None = None
    further_controls: Sequence[Path] = ()
    random_around: torch.Tensor | None = None
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """Opened models.

    Attributes:
        family: what they are.
        base: the text-to-image pipeline of diffusers.
        control: the control network, or None.
        loras: what was merged into the weights, in this order.
        finisher: the denoiser that finishes a drawing, or None.
        style: files of an IP-Adapter that fit, or None.
        light: backdrop and lights as a further state, of UNets that learned them, or None.
        sketchbook: the kit's own drawings, for words without one, or None.
    """

    family: Family
    base: Pipe
    control: Control | None
    loras: tuple[MergedLora, ...] = ()
    finisher: nn.Module | None = None
    style: StyleSource | None = None
    light: StudioLight | None = None
    sketchbook: Sketchbook | None = None


def open_models(source: PipelineSource, dtype: torch.dtype) -> Models:
    """Open all models of a source on the CPU; nothing is downloaded.

    Raises:
        PipelineError: a file is missing, damaged, not safetensors, or does not fill its model; or
            the parts are of different families.
        LoraError: a LoRA is for another model, or cannot be used.
        StyleError: the IP-Adapter is for another model, or lacks its image encoder.
    """
    _silence()
    further = () if source.finish is None else (source.finish,)
    check_loras((*source.loras, *further), source.folder)
    family = family_of(source.folder)
    if source.style is not None:
        check_style_files(source.style, read_model_config(source.folder / DENOISER[family]))
    is_random = source.random_around is not None
    _check_without(family, source.without)
    if source.checkpoint is None or is_random:
        base = _open_folder(family, source, dtype)
    else:
        base = _open_checkpoint(family, source.checkpoint, source.folder, dtype)
    control = None
    if source.controlnet is not None:
        control_source = ControlSource(folder=source.controlnet, kind=source.control_kind)
        control = open_control(family, control_source, dtype, is_random=is_random)
    loras = tuple(merge_lora(base, lora) for lora in source.loras)
    if source.scheduler:
        base.scheduler = _scheduler(family, base, source.scheduler)
    finisher = None
    if source.finish is not None:
        finisher = open_finisher(base, family, source.finish)
    if source.random_around is not None:
        base.text_encoder.get_input_embeddings().weight.copy_(source.random_around)
    light = sketchbook = None
    try:
        if family is Family.SD and (source.folder / LIGHT).exists():
            width = int(base.unet.config.cross_attention_dim)
            light = StudioLight.load(source.folder / LIGHT, width)
        if (source.folder / SKETCHBOOK).exists():
            sketchbook = Sketchbook.load(source.folder / SKETCHBOOK)
    except WeightsError as error:
        raise PipelineError(f"A file of the pipeline cannot be used: {error}") from error
    return Models(
        family=family,
        base=base,
        control=control,
        loras=loras,
        finisher=finisher,
        style=source.style,
        light=light,
        sketchbook=sketchbook,
    )


def check_loras(loras: Sequence[LoraSource], folder: Path) -> None:
    """Check by their headers that LoRAs are for the pipeline in a folder, before anything loads.

    Raises:
        PipelineError: the folder is no pipeline.
        LoraError: a file is no LoRA, or is for another model.
    """
    if not loras:
        return
    config = read_model_config(folder / DENOISER[family_of(folder)])
    model = DrawingModel(text_width=config.get("cross_attention_dim"))
    for lora in loras:
        check_lora_header(lora.file, model)


def family_of(folder: Path) -> Family:
    """Return the family of a diffusers folder.

    Raises:
        PipelineError: it is none, or of an unknown class.
    """
    if not folder.is_dir():
        raise PipelineError(f"There is no model folder {folder}.")
    index = folder / "model_index.json"
    if not index.is_file():
        raise PipelineError(f"{folder} is no diffusers folder: it has no model_index.json.")
    try:
        name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (AttributeError, ValueError) as error:
        raise PipelineError(f"{index} is damaged; it is no JSON object.") from error
    if name not in set(Family):
        raise PipelineError(f"The pipeline must be a {' or '.join(Family)}, got {name}.")
    return Family(name)


def _check_without(family: Family, names: Sequence[str]) -> None:
    for name in names:
        if name not in OPTIONAL_PARTS[family]:
            optional = ", ".join(OPTIONAL_PARTS[family]) or "nothing"
            raise PipelineError(
                f"A {family} can do without {optional}; the kit's `without` names {name!r}."
            )


def _silence() -> None:
    """Keep progress bars and warnings off the terminal; what matters raises."""
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    for log in (diffusers_log, transformers_log):
        log.disable_progress_bar()
        log.set_verbosity_error()


def _open_folder(family: Family, source: PipelineSource, dtype: torch.dtype) -> Pipe:
    import diffusers
    import transformers

    folder, optional = source.folder, OPTIONAL_PARTS[family]
    parts: dict[str, Any] = {part: None for name in source.without for part in optional[name]}
    for library, stem, names in (
        (diffusers, DIFFUSERS_STEM, DIFFUSERS_MODELS[family]),
        (transformers, TRANSFORMERS_STEM, TRANSFORMERS_MODELS[family]),
    ):
        for part, name in names.items():
            if part in parts:
                continue
            if part in optional and not (folder / part).is_dir():
                raise PipelineError(
                    f"There is no model folder {folder / part}. The pipeline can do without it: "
                    f'write without = ["{part}"] below [pipeline] in the kit.'
                )
            check_folder(folder / part)
            kind = getattr(library, name)
            if source.random_around is not None:
                parts[part] = make_random_model(kind, folder / part, dtype)
            else:
                parts[part] = open_model(kind, folder / part, stem, dtype)
    with translate_opening(f"The pipeline in {folder}"):
        return getattr(diffusers, family).from_pretrained(
            folder, local_files_only=True, **parts, **_absent(family)
        )


def _absent(family: Family) -> dict[str, object]:
    extra = {"image_encoder": None} if family is Family.SD else {}
    return {**ABSENT_PARTS[family], **extra}


def _open_checkpoint(family: Family, file: Path, folder: Path, dtype: torch.dtype) -> Pipe:
    import diffusers

    if family is Family.SD3:
        raise PipelineError(
            f"A {family} is opened from a diffusers folder, not from one checkpoint; leave out "
            "`checkpoint`."
        )
    check_weights(file)
    with translate_opening(f"The checkpoint {file.name}"):
        return getattr(diffusers, family).from_single_file(
            str(file),
            config=str(folder),
            local_files_only=True,
            dtype=dtype,
            **ABSENT_PARTS[family],
        )


def open_control(
    family: Family, source: ControlSource, dtype: torch.dtype, *, is_random: bool = False
) -> Control:
    """Open a control network on the CPU.

    Args:
        family: of the pipeline that it controls.
        source: its files.
        dtype: precision of its weights.
        is_random: make it with random weights, for measurements.

    Raises:
        PipelineError: a file is missing, damaged or not safetensors, or it is of another family.
    """
    import diffusers

    check_folder(source.folder)
    classes = CONTROL_MODELS[family]
    usual = next(iter(classes))
    found = read_model_config(source.folder).get("_class_name", usual)
    if found not in classes:
        raise PipelineError(
            f"The control network in {source.folder} is a {found}, the pipeline takes a {usual}. "
            "Choose one of the same family."
        )
    name = classes[found]
    kind = getattr(diffusers, name)
    model = (
        make_random_model(kind, source.folder, dtype)
        if is_random
        else open_model(kind, source.folder, DIFFUSERS_STEM, dtype)
    )
    return Control(
        model=model,
        kind=source.kind,
        is_union=name == UNION_MODEL,
        is_adapter=name == ADAPTER_MODEL,
    )


def parameter_counts(folder: Path, controlnet: Path | None) -> dict[str, int]:
    """Count the weights of each model of a kit from its configs; none is opened or made.

    Raises:
        PipelineError: a config is missing or damaged, or the family is unknown.
    """
    import diffusers
    import transformers

    family = family_of(folder)
    models = {
        **{name: (diffusers, kind) for name, kind in DIFFUSERS_MODELS[family].items()},
        **{name: (transformers, kind) for name, kind in TRANSFORMERS_MODELS[family].items()},
    }
    left_out = {part for part in OPTIONAL_PARTS[family] if not (folder / part).is_dir()}
    places = {
        name: (getattr(*models[name]), folder / name) for name in models if name not in left_out
    }
    with translate_opening(f"The configs of {folder}"):
        counts = {
            name: count_parameters(partial(build_model, kind, place))
            for name, (kind, place) in places.items()
        }
    if controlnet is not None:
        counts[CONTROL_NETWORK] = control_parameter_count(family, controlnet)
    return counts


def control_parameter_count(family: Family, folder: Path) -> int:
    """Count the weights of a control network from its config; it is not opened or made.

    Raises:
        PipelineError: the config is missing or damaged.
    """
    import diffusers

    found = read_model_config(folder).get("_class_name", "")
    usual = next(iter(CONTROL_MODELS[family]))
    kind = getattr(diffusers, CONTROL_MODELS[family].get(found, usual))
    with translate_opening(f"The config of {folder}"):
        return count_parameters(partial(build_model, kind, folder))


def image_encoder_parameter_count(folder: Path) -> int:
    """Count the weights of a CLIP vision model from its config; it is not opened or made.

    Raises:
        PipelineError: the config is missing or damaged.
    """
    from transformers import CLIPVisionModelWithProjection

    with translate_opening(f"The config of {folder}"):
        return count_parameters(partial(build_model, CLIPVisionModelWithProjection, folder))


def open_image_encoder(folder: Path, dtype: torch.dtype) -> "CLIPVisionModelWithProjection":
    """Open a CLIP vision model of transformers on the CPU.

    Raises:
        PipelineError: a file is missing, damaged, not safetensors, or does not fill the model.
    """
    from transformers import CLIPVisionModelWithProjection

    check_folder(folder)
    return open_model(CLIPVisionModelWithProjection, folder, TRANSFORMERS_STEM, dtype)


def _scheduler(family: Family, base: Pipe, settings: Mapping[str, Any]) -> Any:  # noqa: ANN401
    import diffusers

    changes = dict(settings)
    name = changes.pop("class", type(base.scheduler).__name__)
    if name not in SCHEDULERS[family]:
        raise PipelineError(
            f"The kit's scheduler must be one of {', '.join(SCHEDULERS[family])}, got {name!r}."
        )
    return getattr(diffusers, name).from_config(base.scheduler.config, **changes)
