"""Kits whose models have their real shapes and random weights, to measure time and memory with."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from composer.clip_files import write_vocabulary
from generation.families import DENOISER, Family
from generation.memory_plan import Footprint, PipelineShapes, footprint_of
from generation.model_files import control_parameter_count
from studio.hub import default_hub
from studio.kit_contents import CLIP, CONTROLNET, PIPELINE, KitError, KitFile
from studio.kit_file import embedded_kits, read_kit_file
from studio.kits import Kit, control_folders

SHAPES_FILE: Final = "shapes.json"
PARAMETERS: Final = "parameters"
STYLE: Final = "style"
_PARTS: Final = (CLIP, PIPELINE, CONTROLNET)
_END: Final = "<|endoftext|>"
# The second tokenizer of SDXL and SD 3.5 pads with "!", all other CLIPs with the end of text.
_PADDING: Final = {"tokenizer": _END, "tokenizer_2": "!"}
_T5_TOKENIZER: Final = "tokenizer_3"
_T5_PIECES: Final = ("<pad>", "</s>", "<unk>", "\u2581", *map(chr, range(33, 127)))

Shapes = Mapping[str, Mapping[str, Any]]
"""Small files of each part of a kit: configs by path; and the numbers of weights by model."""


def random_kit(name: str, folder: Path) -> Kit:
    """Write the configs and vocabularies of a shipped kit, and return a kit of them.

    LoRAs, the finisher and trained composers are left out; but for the finisher they change neither
    time nor memory of a step.

    Args:
        name: Of a kit that ships.
        folder: An empty folder that lives as long as the kit.

    Raises:
        KitError: There is no such kit, or the shapes of its models are not known.
    """
    file = read_kit_file(name)
    shapes = read_shapes(file)
    for part in _PARTS:
        _write_part(shapes.get(part, {}), folder / part)
    return Kit(
        name=file.name,
        folder=file.folder,
        backbone=folder / CLIP,
        composers=file.composers,
        pipeline=folder / PIPELINE if PIPELINE in shapes else None,
        without=file.without,
        controlnet=folder / CONTROLNET if CONTROLNET in shapes else None,
        drawing=replace(file.drawing, finish_noise=0.0),
        scheduler=file.scheduler,
        speed=file.speed,
        licence="The weights are random; the pictures show nothing.",
        knows="Nothing: the weights are random.",
    )


def read_shapes(file: KitFile) -> Shapes:
    """Return the configs of a kit's parts, its own before those of the kit it is based on.

    Raises:
        KitError: They are not known.
    """
    shapes = _known_shapes(file)
    if CLIP not in shapes:
        raise KitError(
            f"The shapes of the models of {file.name!r} are not known, so random weights cannot "
            "stand in for them. Choose a kit such as sd15 or sdxl."
        )
    return shapes


def full_size_footprints(dtype: torch.dtype) -> dict[str, Footprint]:
    """Return the footprints of the shipped kits that draw and whose shapes are known, by name.

    Further control networks count where they were downloaded.

    Raises:
        KitError: The hub's lock file is damaged.
        PipelineError: The config of a control network is damaged.
    """
    footprints: dict[str, Footprint] = {}
    for name in embedded_kits():
        file = read_kit_file(name)
        shapes = _known_shapes(file)
        if file.pipeline is None or PARAMETERS not in shapes:
            continue
        configs = shapes[PIPELINE]
        family = Family(configs["model_index.json"]["_class_name"])
        further, style = control_folders(file, default_hub()), shapes.get(STYLE, {})
        pipeline = PipelineShapes(
            family=family,
            counts={part: n for part, n in shapes[PARAMETERS].items() if part not in file.without},
            denoiser=configs[f"{DENOISER[family]}/config.json"],
            vae=configs["vae/config.json"],
            further_control_counts=[control_parameter_count(family, one) for one in further],
            style_count=style.get("adapter", 0),
            style_encoder_count=style.get("image encoder", 0),
        )
        footprints[name] = footprint_of(pipeline, dtype)
    return footprints


def _known_shapes(file: KitFile) -> Shapes:
    shapes: dict[str, Mapping[str, Any]] = {}
    for folder in file.folders:
        path = folder / SHAPES_FILE
        if path.is_file():
            shapes = json.loads(path.read_text(encoding="utf-8")) | shapes
    return shapes


def _write_part(configs: Mapping[str, Any], folder: Path) -> None:
    for name, config in configs.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config), encoding="utf-8")
    for name in configs.get("model_index.json", {}):
        if name in _PADDING:
            _write_tokenizer(folder / name, _PADDING[name])
        elif name == _T5_TOKENIZER:
            _write_t5_tokenizer(folder / name)


def _write_tokenizer(folder: Path, padding: str) -> None:
    write_vocabulary(folder)
    special = {"bos_token": "<|startoftext|>", "eos_token": _END, "unk_token": _END}
    special |= {"pad_token": padding}
    config = {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    for name, content in (
        ("special_tokens_map.json", special),
        ("tokenizer_config.json", config),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def _write_t5_tokenizer(folder: Path) -> None:
    """Write a T5 tokenizer that knows single letters."""
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    end = {"id": "</s>", "ids": [1], "tokens": ["</s>"]}
    words = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": n, "content": piece, "special": True, **added}
            for n, piece in enumerate(_T5_PIECES[:3])
        ],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {**words, "split": True},
        "decoder": {**words, "split": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {"</s>": end},
        },
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [[one, -1.0] for one in _T5_PIECES]},
    }
    config = {**special, "extra_ids": 0, "model_max_length": 512, "tokenizer_class": "T5Tokenizer"}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("tokenizer.json", tokenizer),
        ("special_tokens_map.json", special),
        ("tokenizer_config.json", config),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
