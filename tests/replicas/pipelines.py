"""Pipelines of Stable Diffusion and their control networks."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.replicas.layout import WIDTH
from tests.replicas.text_encoders import (
    SECOND_WIDTH,
    write_second_encoder,
    write_text_encoder,
    write_tokenizer,
)

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SD15_SCRIBBLE = "lllyasviel/control_v11p_sd15_scribble"
SDXL, SDXL_TURBO = "stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/sdxl-turbo"
SDXL_SKETCH_ADAPTER = "TencentARC/t2i-adapter-sketch-sdxl-1.0"
SDXL_SCRIBBLE = "xinsir/controlnet-scribble-sdxl-1.0"
SDXL_UNION = "xinsir/controlnet-union-sdxl-1.0"
SD15_CONTROLS = {
    "lineart": "lllyasviel/control_v11p_sd15_lineart",
    "canny": "lllyasviel/control_v11p_sd15_canny",
    "depth": "lllyasviel/control_v11f1p_sd15_depth",
}
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def _save_variant(model: Any, folder: Path) -> None:
    model.half().save_pretrained(folder, variant="fp16")


def make_vae(scaling: dict[str, Any]) -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=64,
        **scaling,
    )


def _rename_attention(file: Path) -> None:
    """Give an autoencoder's attention the names that SD 1.5's file has."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(file).items():
        for new, old in _OLD_ATTENTION.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        state[name] = tensor
    save_file(state, file, metadata={"format": "pt"})


def make_sd_unet(width: int = WIDTH) -> Any:
    """A UNet with SD 1.5's blocks."""
    import diffusers

    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=2,
        norm_num_groups=2,
    )


def make_sdxl_unet(sample_size: int) -> Any:
    """A UNet with SDXL's blocks and its embedding of sizes and pooled text."""
    import diffusers

    return diffusers.UNet2DConditionModel(
        sample_size=sample_size,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=WIDTH + SECOND_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=SECOND_WIDTH + 6 * 8,
        norm_num_groups=2,
    )


def make_controlnet(unet: Any) -> Any:
    """A control network of a UNet's family whose output is not zero."""
    import diffusers

    control = diffusers.ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=(4, 4, 4, 4), load_weights_from_unet=False
    )
    _stir(control)
    return control


def _stir(model: Any) -> None:
    """Move all weights, as the last layers of an untrained control network are zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))


def write_index(folder: Path, name: str, parts: dict[str, list[str | None]], **more: Any) -> None:
    index = {"_class_name": name, "_diffusers_version": "0.19.0.dev0", **more, **parts}
    (folder / "model_index.json").write_text(json.dumps(index))


def _write_scheduler(folder: Path, name: str, **settings: Any) -> None:
    folder.mkdir()
    shared = {
        "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
        "num_train_timesteps": 1000, "steps_offset": 1, "clip_sample": False,
    }  # fmt: skip
    config = {"_class_name": name, **shared, **settings}
    (folder / "scheduler_config.json").write_text(json.dumps(config))


def write_sd15(folder: Path, clip: Path, *, seed: int = 0) -> Path:
    """`stable-diffusion-v1-5/stable-diffusion-v1-5`: fp16 variants, old names, files to skip."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    _save_variant(make_sd_unet(), folder / "unet")
    _save_variant(make_vae({}), folder / "vae")
    vae = folder / "vae" / "config.json"
    config = json.loads(vae.read_text())
    vae.write_text(json.dumps({k: v for k, v in config.items() if k != "scaling_factor"}))
    _rename_attention(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    write_text_encoder(folder / "text_encoder", clip, has_positions=True)
    write_tokenizer(folder / "tokenizer")
    _write_scheduler(
        folder / "scheduler", "PNDMScheduler", set_alpha_to_one=False, skip_prk_steps=True
    )
    write_index(
        folder,
        "StableDiffusionPipeline",
        {
            "feature_extractor": ["transformers", "CLIPImageProcessor"],
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
            "scheduler": ["diffusers", "PNDMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
    for skipped in ("unet/diffusion_pytorch_model.fp16.bin", "v1-5-pruned.ckpt"):
        (folder / skipped).write_bytes(b"a pickle that nobody needs")
    return folder


def write_sd15_scribble(folder: Path, *, seed: int = 0) -> Path:
    """`lllyasviel/control_v11p_sd15_scribble`."""
    torch.manual_seed(seed)
    _save_variant(make_controlnet(make_sd_unet()), folder)
    return folder


def write_sdxl(folder: Path, clip: Path, *, is_turbo: bool = False, seed: int = 0) -> Path:
    """`stabilityai/stable-diffusion-xl-base-1.0`, or `sdxl-turbo` in the same layout."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    _save_variant(make_sdxl_unet(4 if is_turbo else 8), folder / "unet")
    _save_variant(make_vae({"scaling_factor": 0.13025, "force_upcast": True}), folder / "vae")
    write_text_encoder(folder / "text_encoder", clip, has_positions=False)
    write_second_encoder(folder / "text_encoder_2")
    write_tokenizer(folder / "tokenizer")
    write_tokenizer(folder / "tokenizer_2", pad="!")
    name = "EulerAncestralDiscreteScheduler" if is_turbo else "EulerDiscreteScheduler"
    spacing = "trailing" if is_turbo else "leading"
    _write_scheduler(
        folder / "scheduler", name, timestep_spacing=spacing, prediction_type="epsilon"
    )
    parts: dict[str, list[str | None]] = {
        "scheduler": ["diffusers", name],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if is_turbo:
        parts |= {"image_encoder": [None, None], "feature_extractor": [None, None]}
    write_index(
        folder, "StableDiffusionXLPipeline", parts,
        force_zeros_for_empty_prompt=True, add_watermarker=None,
    )  # fmt: skip
    return folder


def write_sdxl_scribble(folder: Path, *, seed: int = 0) -> Path:
    """`xinsir/controlnet-scribble-sdxl-1.0`: half precision under the plain name."""
    torch.manual_seed(seed)
    make_controlnet(make_sdxl_unet(8)).half().save_pretrained(folder)
    return folder


def write_sdxl_union(folder: Path, *, seed: int = 0) -> Path:
    """`xinsir/controlnet-union-sdxl-1.0`: six kinds of control, its class under its first name."""
    import diffusers

    torch.manual_seed(seed)
    unet = make_sdxl_unet(8)
    names = (
        "down_block_types", "block_out_channels", "layers_per_block", "attention_head_dim",
        "cross_attention_dim", "transformer_layers_per_block", "use_linear_projection",
        "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim",
        "norm_num_groups",
    )  # fmt: skip
    control = diffusers.ControlNetUnionModel(
        **{name: unet.config[name] for name in names},
        conditioning_embedding_out_channels=(4, 4, 4, 4),
        num_trans_channel=8,
        num_trans_head=2,
        num_proj_channel=8,
    )
    _stir(control)
    control.half().save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "_class_name": "ControlNetModel_Union"})
    )
    return folder


def make_drawing_adapter(unet: Any, *, is_xl: bool) -> Any:
    """A T2I-Adapter for a UNet: one channel in for SD 1.5, three for SDXL."""
    import diffusers

    kind, in_channels = ("full_adapter_xl", 3) if is_xl else ("full_adapter", 1)
    channels = list(unet.config.block_out_channels)
    adapter = diffusers.T2IAdapter(
        in_channels=in_channels,
        channels=[*channels, channels[-1]] if is_xl else channels,
        num_res_blocks=1,
        downscale_factor=16 if is_xl else 8,
        adapter_type=kind,
    )
    with torch.no_grad():  # drawn small, the features of a tiny model hardly differ
        for parameter in adapter.parameters():
            parameter.mul_(3.0)
    return adapter


def write_sd15_sketch_adapter(folder: Path, *, seed: int = 0) -> Path:
    """`TencentARC/t2iadapter_sketch_sd15v2`, converted: the repository has a pickle alone."""
    torch.manual_seed(seed)
    make_drawing_adapter(make_sd_unet(), is_xl=False).save_pretrained(folder)
    return folder


def write_sdxl_sketch_adapter(folder: Path, *, seed: int = 0) -> Path:
    """`TencentARC/t2i-adapter-sketch-sdxl-1.0`."""
    torch.manual_seed(seed)
    _save_variant(make_drawing_adapter(make_sdxl_unet(8), is_xl=True), folder)
    return folder
