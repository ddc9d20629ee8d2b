"""A kit of a few thousand weights, built in memory in the layouts of the real ones."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from composer.composed import ComposedQuery
from composer.sketch import Sketch
from generation.request import DrawingSettings

TEXT_HASH = "00000000feedbeef"
CONTEXT = 12
WIDTH = 32


def byte_names() -> list[str]:
    """Return the 256 printable stand-ins of bytes that CLIP's tokenizer uses."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(others))]


def write_tokenizer_files(folder: Path) -> None:
    """vocab.json and merges.txt: bytes, bytes at a word's end, two merges, two specials."""
    names = byte_names()
    vocab = [*names, *(f"{name}</w>" for name in names), "re", "red</w>"]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")


def make_tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    write_tokenizer_files(folder)
    return CLIPTokenizer.from_pretrained(
        folder, model_max_length=CONTEXT, pad_token="<|endoftext|>"
    )


def make_text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=516,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        hidden_act="gelu",
        bos_token_id=514,
        eos_token_id=515,
        pad_token_id=515,
    )
    return CLIPTextModel(config).eval()


def make_unet(width: int = WIDTH):
    """Return a UNet of random weights that reads states of a width."""
    import diffusers

    return diffusers.UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(4, 8),
        layers_per_block=1,
        cross_attention_dim=width,
        norm_num_groups=2,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def make_pipeline(folder: Path):
    """Return a StableDiffusionPipeline at 64 px with a flow scheduler."""
    import diffusers

    torch.manual_seed(0)
    unet = make_unet()
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
        sample_size=64,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0, steps_offset=1
    )
    return diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=make_text_encoder(),
        tokenizer=make_tokenizer(folder),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_controlnet(unet):
    """Return a control network whose output is not zero, as an untrained one's would be."""
    import diffusers

    control = diffusers.ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=(2, 4), load_weights_from_unet=True
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in control.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return control


def make_query(text: str = "a red chair", *, seed: int = 0, balance: float = 0.5, **changes):
    generator = torch.Generator().manual_seed(seed)
    feature = torch.nn.functional.normalize(torch.randn(16, generator=generator), dim=0)
    values = {
        "pseudo_tokens": torch.randn(1, WIDTH, generator=generator),
        "prompt_embeddings": 0.5 * torch.randn(CONTEXT, WIDTH, generator=generator),
        "end_position": 7,
        "pseudo_positions": (3,),
        "feature": feature,
        "reference_feature": None,
        "words_feature": None,
        "patch_features": None,
        "balance": balance,
        "composer": "duet",
        "text": text,
        "both_feature": feature,
        "gallery_hash": "0000000000000001",
        "text_hash": TEXT_HASH,
    } | changes
    return ComposedQuery(**values)


def vary(request, **changes):
    """Change fields of a request and of its settings, whichever has them."""
    names = {field.name for field in fields(DrawingSettings)} & changes.keys()
    settings = replace(request.settings, **{name: changes.pop(name) for name in names})
    return replace(request, settings=settings, **changes)


def make_sketch() -> Sketch:
    """Return a house: a square with a roof."""
    square = np.array([[0.2, 0.5], [0.8, 0.5], [0.8, 0.9], [0.2, 0.9], [0.2, 0.5]], np.float32)
    roof = np.array([[0.2, 0.5], [0.35, 0.3], [0.5, 0.1], [0.65, 0.3], [0.8, 0.5]], np.float32)
    return Sketch.from_strokes([square, roof])
