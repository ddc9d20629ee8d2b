"""`h94/IP-Adapter`: adapters of both families beside one image encoder."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.replicas.pipelines import make_sd_unet, make_sdxl_unet

IP_ADAPTER = "h94/IP-Adapter"
VISION_WIDTH, PROJECTION, TOKENS, FIRST_KEY = 16, 24, 4, 1


def write_ip_adapter(folder: Path, *, seed: int = 0) -> Path:
    """The repository, but for the adapters that no kit names."""
    torch.manual_seed(seed)
    sd, xl = make_sd_unet(), make_sdxl_unet(8)
    write_image_encoder(folder / "models" / "image_encoder")
    write_adapter(folder / "models" / "ip-adapter_sd15.safetensors", sd)
    write_plus_adapter(folder / "models" / "ip-adapter-plus_sd15.safetensors", sd)
    write_adapter(folder / "sdxl_models" / "ip-adapter_sdxl_vit-h.safetensors", xl)
    write_adapter(folder / "sdxl_models" / "ip-adapter_sdxl.safetensors", xl, projection=40)
    for skipped in ("models/ip-adapter_sd15.bin", "models/image_encoder/pytorch_model.bin"):
        (folder / skipped).write_bytes(b"a pickle that nobody needs")
    return folder


def write_image_encoder(folder: Path) -> None:
    """A CLIP vision model of transformers, with the buffer that its newer versions have dropped."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config: dict[str, Any] = {
        "hidden_size": VISION_WIDTH, "intermediate_size": 32, "num_hidden_layers": 3,
        "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "hidden_act": "gelu",
        "projection_dim": PROJECTION, "layer_norm_eps": 1e-5,
    }  # fmt: skip
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**config)).eval()
    with torch.no_grad():  # drawn small, the features of a tiny model hardly differ
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)
    folder.mkdir(parents=True)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    named = {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"}
    (folder / "config.json").write_text(json.dumps({**named, **config}))


def _layers(unet: Any) -> dict[str, torch.Tensor]:
    """Keys and values for each cross-attention, numbered by odd numbers."""
    state: dict[str, torch.Tensor] = {}
    attentions = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
    modules = dict(unet.named_modules())
    for index, name in enumerate(attentions):
        layer = modules[name.removesuffix(".processor")].to_k
        for which in ("k", "v"):
            weight = 0.5 * torch.randn(layer.out_features, layer.in_features)
            state[f"ip_adapter.{FIRST_KEY + 2 * index}.to_{which}_ip.weight"] = weight.half()
    return state


def write_adapter(file: Path, unet: Any, *, projection: int = PROJECTION) -> Path:
    """A plain adapter: four tokens from the projected feature of the picture."""
    width = unet.config.cross_attention_dim
    state = {
        "image_proj.proj.weight": torch.randn(TOKENS * width, projection).half(),
        "image_proj.proj.bias": torch.randn(TOKENS * width).half(),
        "image_proj.norm.weight": torch.ones(width).half(),
        "image_proj.norm.bias": torch.zeros(width).half(),
        **_layers(unet),
    }
    return _save(file, state)


def write_plus_adapter(file: Path, unet: Any) -> Path:
    """An adapter of the kind "plus": a resampler over the patches of the picture."""
    width, inner, heads = unet.config.cross_attention_dim, 64, 1
    shapes: dict[str, tuple[int, ...]] = {
        "latents": (1, TOKENS, inner), "proj_in.weight": (inner, VISION_WIDTH),
        "proj_in.bias": (inner,), "proj_out.weight": (width, inner), "proj_out.bias": (width,),
        "norm_out.weight": (width,), "norm_out.bias": (width,),
    }  # fmt: skip
    for layer in range(4):
        stem = f"layers.{layer}"
        for norm in ("norm1", "norm2"):
            shapes |= {f"{stem}.0.{norm}.{part}": (inner,) for part in ("weight", "bias")}
        shapes |= {
            f"{stem}.0.to_q.weight": (64 * heads, inner),
            f"{stem}.0.to_kv.weight": (128 * heads, inner),
            f"{stem}.0.to_out.weight": (inner, 64 * heads),
            f"{stem}.1.0.weight": (inner,), f"{stem}.1.0.bias": (inner,),
            f"{stem}.1.1.weight": (4 * inner, inner), f"{stem}.1.3.weight": (inner, 4 * inner),
        }  # fmt: skip
    projection = {f"image_proj.{name}": torch.randn(shape).half() for name, shape in shapes.items()}
    return _save(file, {**projection, **_layers(unet)})


def _save(file: Path, state: dict[str, torch.Tensor]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, file)
    return file
