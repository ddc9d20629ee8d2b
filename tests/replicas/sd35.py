"""Stable Diffusion 3.5 medium and its control network."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.replicas.layout import HEADS, LAYERS, WIDTH
from tests.replicas.pipelines import make_vae, write_index
from tests.replicas.text_encoders import (
    SECOND_WIDTH,
    write_second_encoder,
    write_text_encoder,
    write_tokenizer,
)

SD35 = "stabilityai/stable-diffusion-3.5-medium"
SD35_CANNY = "tensorart/SD3.5M-Controlnet-Canny"
T5_WIDTH = WIDTH + SECOND_WIDTH + 8


def make_sd35_transformer() -> Any:
    """A transformer with the dual attention and the norms of SD 3.5 medium."""
    import diffusers

    return diffusers.SD3Transformer2DModel(
        sample_size=8,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=WIDTH + SECOND_WIDTH,
        pos_embed_max_size=12,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )


def _write_first_encoder_with_projection(folder: Path, clip: Path) -> None:
    """SD 3's first text encoder: as `write_text_encoder` has it, and a diagonal projection."""
    write_text_encoder(folder, clip, has_positions=False)
    file = folder / "model.fp16.safetensors"
    state = {**load_file(file), "text_projection.weight": torch.eye(WIDTH).half()}
    save_file(state, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["CLIPTextModelWithProjection"]
    (folder / "config.json").write_text(json.dumps(config))


def _write_t5(folder: Path) -> None:
    """A T5 encoder in half precision, in two files with an index."""
    from transformers import T5Config, T5EncoderModel

    config = {
        "architectures": ["T5EncoderModel"], "model_type": "t5", "vocab_size": 512,
        "d_model": T5_WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": LAYERS, "num_heads": HEADS,
        "feed_forward_proj": "gated-gelu", "is_encoder_decoder": True, "pad_token_id": 0,
        "eos_token_id": 1, "decoder_start_token_id": 0, "tie_word_embeddings": False,
    }  # fmt: skip
    state = T5EncoderModel(T5Config(**config)).half().state_dict()
    state = {name: one.clone() for name, one in state.items() if "embed_tokens" not in name}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(state)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"model.fp16-{number:05}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(2 * one.numel() for one in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.fp16.json").write_text(json.dumps(index))


def _write_t5_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = [chr(code) for code in range(33, 127)] + ["\u2581"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0)]
    pieces += [(letter, -5.0) for letter in letters] + [("\u2581red", -3.0), ("chair", -3.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(named))
    config = {**named, "extra_ids": 0, "model_max_length": 512, "tokenizer_class": "T5Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "spiece.model").write_bytes(b"what tokenizer.json says, for another library")


def write_sd35(folder: Path, clip: Path, *, seed: int = 0) -> Path:
    """`stabilityai/stable-diffusion-3.5-medium`: both precisions of some parts, one of others."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    make_sd35_transformer().half().save_pretrained(folder / "transformer")
    vae = {
        "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609,
        "use_quant_conv": False, "use_post_quant_conv": False, "force_upcast": True,
    }  # fmt: skip
    make_vae(vae).half().save_pretrained(folder / "vae")
    _write_first_encoder_with_projection(folder / "text_encoder", clip)
    write_second_encoder(folder / "text_encoder_2")
    _write_t5(folder / "text_encoder_3")
    write_tokenizer(folder / "tokenizer")
    write_tokenizer(folder / "tokenizer_2", pad="!")
    _write_t5_tokenizer(folder / "tokenizer_3")
    (folder / "scheduler").mkdir()
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0,
    }  # fmt: skip
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    write_index(
        folder,
        "StableDiffusion3Pipeline",
        {
            "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "text_encoder_3": ["transformers", "T5EncoderModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "tokenizer_3": ["transformers", "T5TokenizerFast"],
            "transformer": ["diffusers", "SD3Transformer2DModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
    return folder


def write_sd35_canny(folder: Path, *, seed: int = 0) -> Path:
    """`tensorart/SD3.5M-Controlnet-Canny`: half precision under the plain name."""
    import diffusers

    torch.manual_seed(seed)
    control = diffusers.SD3ControlNetModel.from_transformer(
        make_sd35_transformer(), num_layers=1, num_extra_conditioning_channels=0
    )
    with torch.no_grad():
        for parameter in control.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    control.half().save_pretrained(folder)
    return folder
