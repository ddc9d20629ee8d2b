"""CLIPs in the layouts of transformers, open_clip and timm."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from tests.replicas.layout import CONTEXT, HEADS, LAYERS, VOCABULARY, WIDTH

CLIP_L14 = "openai/clip-vit-large-patch14"
CLIP_B32 = "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"
SIGLIP2, PE_CORE = "timm/ViT-B-32-SigLIP2-256", "timm/PE-Core-L-14-336"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


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
