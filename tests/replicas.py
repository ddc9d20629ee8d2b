"""Tiny models with random weights, saved as the public repositories save theirs.

File names, variants, configs and names of tensors are those of the repositories that the shipped
kits name; only widths and depths are small. The vocabulary is the full one.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file

CLIP_L14 = "openai/clip-vit-large-patch14"
CLIP_B32 = "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"
WIDTH, HEADS, LAYERS, CONTEXT, VOCABULARY = 32, 4, 2, 77, 49408
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

Repository = dict[str, bytes]


def read_folder(folder: Path) -> Repository:
    """The files of a folder, as a hub serves them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def merges() -> tuple[str, ...]:
    """The merges of CLIP's vocabulary, from open_clip's own file."""
    path = Path(open_clip.tokenizer.default_bpe())
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return tuple(lines[1 : VOCABULARY - 256 - 256 - 2 + 1])


def clip_config() -> dict[str, Any]:
    """A tiny CLIP in the config of transformers, all values written out as the hub's is."""
    shared = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": WIDTH,
    }
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": WIDTH,
        "text_config": {
            **shared, "model_type": "clip_text_model", "vocab_size": VOCABULARY,
            "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 2,
            "pad_token_id": 1,
        },
        "vision_config": {
            **shared, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8,
        },
    }  # fmt: skip


def write_clip_l14(folder: Path, *, seed: int = 0) -> Path:
    """`openai/clip-vit-large-patch14`: a CLIPModel of transformers."""
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = clip_config()
    model = CLIPModel(CLIPConfig.from_dict(config)).eval()
    with torch.no_grad():  # drawn small, the features of a tiny model hardly differ
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embedding" not in name:
                parameter.mul_(4.0)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    # The hub's file keeps the buffers that transformers has dropped since.
    state["text_model.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    preprocess = {
        "crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": MEAN, "image_std": STD,
        "resample": 3, "size": 32,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocess))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody needs")
    return folder


def write_clip_b32(folder: Path, *, seed: int = 0) -> Path:
    """`laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K`: a folder of open_clip."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model_cfg: dict[str, Any] = {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "image_size": 32, "layers": LAYERS, "width": 32, "head_width": 8, "patch_size": 8,
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": VOCABULARY, "width": WIDTH,
            "heads": HEADS, "layers": LAYERS,
        },
    }  # fmt: skip
    model = open_clip.CLIP(**model_cfg)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    )
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"a pickle that nobody needs")
    return folder


SIGLIP2, PE_CORE = "timm/ViT-B-32-SigLIP2-256", "timm/PE-Core-L-14-336"


def _write_timm_clip(folder: Path, model_cfg: dict[str, Any], mean: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    sizes = {key: value for key, value in model_cfg.items() if key != "custom_text"}
    model = open_clip.CustomTextCLIP(**sizes)
    with torch.no_grad():  # drawn small, the features of a tiny model hardly differ
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3.0)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    preprocess = {
        "mean": [mean] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash",
    }  # fmt: skip
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    )
    return folder


def write_pe_core(folder: Path) -> Path:
    """`timm/PE-Core-L-14-336`: an Eva of timm, and CLIP's own kind of text tower."""
    return _write_timm_clip(
        folder,
        {
            "embed_dim": WIDTH,
            "vision_cfg": {
                "image_size": 384, "timm_model_name": "vit_pe_core_tiny_patch16_384",
                "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": None,
            },
            "text_cfg": {
                "context_length": 32, "vocab_size": VOCABULARY, "width": WIDTH,
                "heads": HEADS, "layers": LAYERS,
            },
            "custom_text": True,
        },
        mean=0.5,
    )  # fmt: skip


def write_siglip2(folder: Path) -> Path:
    """`timm/ViT-B-32-SigLIP2-256`: a ViT of timm without class token, Gemma's kind of tokenizer."""
    _write_timm_clip(
        folder,
        {
            "embed_dim": 64,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 160, "timm_model_name": "test_vit2",
                "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none",
            },
            "text_cfg": {
                "context_length": 64, "vocab_size": 512,
                "hf_tokenizer_name": "timm/ViT-B-32-SigLIP2-256",
                "tokenizer_kwargs": {"clean": "canonicalize"}, "width": 64, "heads": HEADS,
                "layers": LAYERS, "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
                "norm_kwargs": {"eps": 1e-06}, "act_kwargs": {"approximate": "tanh"},
            },
        },
        mean=0.5,
    )  # fmt: skip
    _write_gemma_tokenizer(folder)
    return folder


def _write_gemma_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, processors

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    letters = [chr(code) for code in range(33, 127)] + ["\u2581"]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    tokens += ["ch", "ai", "chai", "chair", "re", "red"]
    pairs = [("c", "h"), ("a", "i"), ("ch", "ai"), ("chai", "r"), ("r", "e"), ("re", "d")]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=pairs,
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Replace("\u2581", " ")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(named))
    config = {
        **named, "tokenizer_class": "GemmaTokenizer", "add_bos_token": False,
        "add_eos_token": True, "model_max_length": 64, "padding_side": "right",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def state_of(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file."""
    return load_file(file)


SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SD15_SCRIBBLE = "lllyasviel/control_v11p_sd15_scribble"
SDXL, SDXL_TURBO = "stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/sdxl-turbo"
SDXL_SCRIBBLE = "xinsir/controlnet-scribble-sdxl-1.0"
LCM_SD15, LCM_SDXL = "latent-consistency/lcm-lora-sdv1-5", "latent-consistency/lcm-lora-sdxl"
HYPER, LIGHTNING = "ByteDance/Hyper-SD", "ByteDance/SDXL-Lightning"

SECOND_WIDTH = 40
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def write_tokenizer(folder: Path, *, pad: str = "<|endoftext|>") -> None:
    """The four small files of a tokenizer, without a tokenizer.json."""
    folder.mkdir(parents=True)
    # open_clip calls the two special tokens otherwise.
    names = [*open_clip.tokenizer.SimpleTokenizer().encoder][:-2]
    tokens = {name: i for i, name in enumerate([*names, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges()]) + "\n", "utf-8")
    special = {
        name: {
            "content": content, "lstrip": False, "normalized": True, "rstrip": False,
            "single_word": False,
        }
        for name, content in (("bos_token", "<|startoftext|>"), ("eos_token", "<|endoftext|>"))
    }  # fmt: skip
    special["unk_token"] = special["eos_token"]
    (folder / "special_tokens_map.json").write_text(json.dumps({**special, "pad_token": pad}))
    typed = {name: {"__type": "AddedToken", **fields} for name, fields in special.items()}
    config = {
        **typed, "add_prefix_space": False, "do_lower_case": True, "errors": "replace",
        "model_max_length": CONTEXT, "pad_token": pad, "tokenizer_class": "CLIPTokenizer",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _text_config(*, width: int, activation: str) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY, "hidden_size": width, "intermediate_size": 4 * width,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT, "hidden_act": activation, "layer_norm_eps": 1e-5,
        "projection_dim": width, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip


def write_text_encoder(folder: Path, clip: Path, *, has_positions: bool) -> None:
    """The text tower of `openai/clip-vit-large-patch14` as a CLIPTextModel, in half precision."""
    folder.mkdir(parents=True)
    state = {
        name: tensor.half()
        for name, tensor in load_file(clip / "model.safetensors").items()
        if name.startswith("text_model.") and not name.endswith("position_ids")
    }
    if has_positions:
        state["text_model.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    save_file(state, folder / "model.fp16.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["CLIPTextModel"], "model_type": "clip_text_model",
        **_text_config(width=WIDTH, activation="quick_gelu"),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def write_second_encoder(folder: Path) -> None:
    """SDXL's second text encoder: its table is a linear image of the first's, and some noise."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = _text_config(width=SECOND_WIDTH, activation="gelu")
    model = CLIPTextModelWithProjection(CLIPTextConfig(**config)).eval().half()
    folder.mkdir(parents=True)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.fp16.safetensors", metadata={"format": "pt"})
    named = {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model"}
    (folder / "config.json").write_text(json.dumps({**named, **config}))


def _save_variant(model: Any, folder: Path) -> None:
    model.half().save_pretrained(folder, variant="fp16")


def _make_vae(scaling: dict[str, Any]) -> Any:
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
    with torch.no_grad():
        for parameter in control.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return control


def _write_index(folder: Path, name: str, parts: dict[str, list[str | None]], **more: Any) -> None:
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
    _save_variant(_make_vae({}), folder / "vae")
    vae = folder / "vae" / "config.json"
    config = json.loads(vae.read_text())
    vae.write_text(json.dumps({k: v for k, v in config.items() if k != "scaling_factor"}))
    _rename_attention(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    write_text_encoder(folder / "text_encoder", clip, has_positions=True)
    write_tokenizer(folder / "tokenizer")
    _write_scheduler(
        folder / "scheduler", "PNDMScheduler", set_alpha_to_one=False, skip_prk_steps=True
    )
    _write_index(
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
    _save_variant(_make_vae({"scaling_factor": 0.13025, "force_upcast": True}), folder / "vae")
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
    _write_index(
        folder, "StableDiffusionXLPipeline", parts,
        force_zeros_for_empty_prompt=True, add_watermarker=None,
    )  # fmt: skip
    return folder


def write_sdxl_scribble(folder: Path, *, seed: int = 0) -> Path:
    """`xinsir/controlnet-scribble-sdxl-1.0`: half precision under the plain name."""
    torch.manual_seed(seed)
    make_controlnet(make_sdxl_unet(8)).half().save_pretrained(folder)
    return folder


def write_lora(file: Path, unet: Any, *, rank: int = 2, seed: int = 0) -> Path:
    """A LoRA with kohya's names over attention, feed-forward, convolutions and projections."""
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    for name, module in unet.named_modules():
        if not name.startswith(("down_blocks", "mid_block", "up_blocks")):
            continue
        stem = "lora_unet_" + name.replace(".", "_")
        if isinstance(module, torch.nn.Linear):
            state[f"{stem}.lora_down.weight"] = 0.2 * torch.randn(rank, module.in_features)
            state[f"{stem}.lora_up.weight"] = 0.2 * torch.randn(module.out_features, rank)
        elif isinstance(module, torch.nn.Conv2d):
            size = module.kernel_size
            down = 0.2 * torch.randn(rank, module.in_channels, *size)
            state[f"{stem}.lora_down.weight"] = down
            state[f"{stem}.lora_up.weight"] = 0.2 * torch.randn(module.out_channels, rank, 1, 1)
        else:
            continue
        state[f"{stem}.alpha"] = torch.tensor(float(rank))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half() for name, tensor in state.items()}, file)
    return file


def write_all(folder: Path) -> dict[str, Repository]:
    """Every repository that the shipped kits name, as a hub serves them."""
    clip = write_clip_l14(folder / "l14")
    write_clip_b32(folder / "b32")
    write_sd15(folder / "sd15", clip)
    write_sd15_scribble(folder / "sd15-scribble")
    write_sdxl(folder / "sdxl", clip)
    write_sdxl(folder / "turbo", clip, is_turbo=True)
    write_sdxl_scribble(folder / "sdxl-scribble")
    sd, xl = make_sd_unet(), make_sdxl_unet(8)
    plain = "pytorch_lora_weights.safetensors"
    write_lora(folder / "lcm" / plain, sd)
    write_lora(folder / "lcm-xl" / plain, xl)
    write_lora(folder / "hyper" / "Hyper-SD15-4steps-lora.safetensors", sd)
    write_lora(folder / "hyper" / "Hyper-SDXL-4steps-lora.safetensors", xl)
    write_lora(folder / "lightning" / "sdxl_lightning_4step_lora.safetensors", xl)
    named = {
        CLIP_L14: "l14", CLIP_B32: "b32", SD15: "sd15", SD15_SCRIBBLE: "sd15-scribble",
        SDXL: "sdxl", SDXL_TURBO: "turbo", SDXL_SCRIBBLE: "sdxl-scribble", LCM_SD15: "lcm",
        LCM_SDXL: "lcm-xl", HYPER: "hyper", LIGHTNING: "lightning",
    }  # fmt: skip
    return {repository: read_folder(folder / name) for repository, name in named.items()}


_LDM_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_LDM_TOP = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


def _ldm_unet_name(name: str, num_layers: int) -> str:
    """The name that single-file checkpoints have for a weight of a UNet."""
    for ours, theirs in _LDM_TOP.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    parts = name.split(".")
    if parts[0] == "mid_block":
        index = {"resnets.0": 0, "attentions.0": 1, "resnets.1": 2}[".".join(parts[1:3])]
        head, rest = f"middle_block.{index}", parts[3:]
    else:
        block, kind, item = int(parts[1]), parts[2], int(parts[3])
        rest = parts[4:]
        if parts[0] == "down_blocks":
            first = 1 + block * (num_layers + 1)
            place = {"resnets": (item, 0), "attentions": (item, 1)}.get(kind, (num_layers, 0))
            head = f"input_blocks.{first + place[0]}.{place[1]}"
            rest = ["op", *rest[1:]] if kind == "downsamplers" else rest
        else:
            first = block * (num_layers + 1)
            last = (num_layers, 1 if block == 0 else 2)  # the first block has no attention
            place = {"resnets": (item, 0), "attentions": (item, 1)}.get(kind, last)
            head = f"output_blocks.{first + place[0]}.{place[1]}"
    if rest[0] in _LDM_RESNET:
        rest = [_LDM_RESNET[rest[0]], *rest[1:]]
    return ".".join([head, *rest])


def _ldm_vae_name(name: str, num_blocks: int) -> str:
    """The name that single-file checkpoints have for a weight of an autoencoder."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    for side in ("encoder", "decoder"):
        name = name.replace(f"{side}.mid_block.resnets.0", f"{side}.mid.block_1")
        name = name.replace(f"{side}.mid_block.resnets.1", f"{side}.mid.block_2")
        name = name.replace(f"{side}.mid_block.attentions.0", f"{side}.mid.attn_1")
    for ours, theirs in (
        ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
        ("to_out.0", "proj_out"),
    ):  # fmt: skip
        if "attn_1" in name:
            name = name.replace(f".{ours}.", f".{theirs}.")
    for block in range(num_blocks):
        down, up = f"encoder.down_blocks.{block}.", f"decoder.up_blocks.{block}."
        if name.startswith(down):
            rest = name.removeprefix(down).replace("resnets", "block")
            return f"encoder.down.{block}." + rest.replace("downsamplers.0", "downsample")
        if name.startswith(up):
            rest = name.removeprefix(up).replace("resnets", "block")
            rest = rest.replace("upsamplers.0", "upsample")
            return f"decoder.up.{num_blocks - 1 - block}.{rest}"
    return name


def write_checkpoint(file: Path, clip: Path, *, seed: int = 0) -> Path:
    """A single file of the SD 1.x kind, with the names of the first Stable Diffusion code."""
    torch.manual_seed(seed)
    unet, vae = make_sd_unet(), _make_vae({})
    state = {
        f"model.diffusion_model.{_ldm_unet_name(name, 1)}": tensor
        for name, tensor in unet.state_dict().items()
    }
    for name, tensor in vae.state_dict().items():
        is_projection = ".attentions." in name and "group_norm" not in name and tensor.ndim == 2
        shaped = tensor[:, :, None, None] if is_projection else tensor
        state[f"first_stage_model.{_ldm_vae_name(name, 4)}"] = shaped
    for name, tensor in load_file(clip / "model.safetensors").items():
        if name.startswith("text_model."):
            state[f"cond_stage_model.transformer.{name}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    return file
