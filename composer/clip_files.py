"""Files of a CLIP: folders of open_clip or transformers, or what open_clip downloads by name."""

import gzip
import io
import json
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import nn

from composer.hf_clip import HfConfig, is_hf_clip, read_hf_clip, read_hf_config
from composer.media import MEDIA_NAME, MediaHeads
from composer.random_weights import make_random
from composer.trunk import has_trunk
from composer.weights import WeightsError, check_safetensors_header, refuse_pickle

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
MERGES_NAME = "merges.txt"
_MISFITS = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError)
UNTRAINED = "untrained"  # the tag of random weights


class BackboneError(ValueError):
    """A backbone that cannot be loaded or used, and what to do."""


def trunk_tower(architecture: str, *, image_px: int, joint_dim: int) -> nn.Module:
    """Make a vision tower with a convolutional trunk of timm and random weights."""
    return TimmModel(
        architecture, joint_dim, image_size=image_px, pool="avg", proj="linear", proj_bias=True
    )


def load_folder(folder: Path) -> tuple[nn.Module, open_clip.SimpleTokenizer]:
    """Open the CLIP of a folder, in the layout of open_clip or of transformers.

    Raises:
        BackboneError: A file is missing, damaged, or does not fit the others.
    """
    if not folder.is_dir():
        raise BackboneError(f"There is no CLIP folder at {folder}; check the path of the kit.")
    if not (folder / CONFIG_NAME).is_file() and is_hf_clip(folder):
        return _load_hf_folder(folder)
    config_path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    for path in (config_path, weights_path):
        if not path.is_file():
            raise BackboneError(f"{folder} has no {path.name}; a CLIP folder needs it.")
    try:
        check_safetensors_header(weights_path)
        _check_local(config_path)
        text_cfg = json.loads(config_path.read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
        model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
        tower: Any = model.visual
        _add_media(tower, folder / MEDIA_NAME)
    except WeightsError as error:
        raise BackboneError(str(error)) from error
    except BackboneError:
        raise
    except _MISFITS as error:
        raise _does_not_fit(folder, error) from error
    return model, load_tokenizer(folder, int(text_cfg.get("context_length", 77)))


def _check_local(config_path: Path) -> None:
    """Check that the configuration of a folder names no model of the hub, which would be fetched.

    The name of a tokenizer is harmless: open_clip looks for that of a folder in the folder alone.

    Raises:
        BackboneError: It names one.
    """
    config: Any = json.loads(config_path.read_text(encoding="utf-8"))["model_cfg"]
    trunk = str(config["vision_cfg"].get("timm_model_name") or "")
    name = trunk if ":" in trunk else str(config["text_cfg"].get("hf_model_name") or "")
    if name:
        raise BackboneError(
            f"{config_path} names {name!r} of a hub; a CLIP folder must hold all that it needs. "
            "Choose a CLIP whose text tower is open_clip's own."
        )


def _load_hf_folder(folder: Path) -> tuple[nn.Module, open_clip.SimpleTokenizer]:
    try:
        clip = read_hf_clip(folder)
        model = open_clip.CLIP(**clip.config.model_cfg)
        model.load_state_dict(clip.state)
    except WeightsError as error:
        raise BackboneError(f"The CLIP in {folder} cannot be loaded: {error}") from error
    except _MISFITS as error:
        raise _does_not_fit(folder, error) from error
    return _prepared(model, clip.config), load_tokenizer(folder, _context_length(clip.config))


def random_clip(folder: Path, dtype: torch.dtype) -> tuple[nn.Module, open_clip.SimpleTokenizer]:
    """Make the CLIP that a folder of transformers describes, with random weights.

    Raises:
        BackboneError: The folder does not describe one.
    """
    try:
        config = read_hf_config(folder)
        model = make_random(lambda: open_clip.CLIP(**config.model_cfg), dtype)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _does_not_fit(folder, error) from error
    return _prepared(model, config), load_tokenizer(folder, _context_length(config))


def _prepared(model: nn.Module, config: HfConfig) -> nn.Module:
    """Give a CLIP the settings of its preprocessing."""
    visual: Any = model.visual
    visual.preprocess_cfg = config.preprocess_cfg
    return model


def _context_length(config: HfConfig) -> int:
    return int(config.model_cfg["text_cfg"]["context_length"])


def write_vocabulary(folder: Path) -> None:
    """Write CLIP's vocabulary as pipelines have it: `vocab.json` and `merges.txt`."""
    tokenizer = open_clip.SimpleTokenizer()
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {special.get(name, name): row for name, row in tokenizer.encoder.items()}
    merges = (" ".join(pair) for pair in tokenizer.bpe_ranks)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = "\n".join(("#version: 0.2", *merges, ""))
    (folder / "merges.txt").write_text(lines, encoding="utf-8")


def _does_not_fit(folder: Path, error: Exception) -> BackboneError:
    return BackboneError(
        f"{folder} does not hold a CLIP whose weights fit its configuration: "
        f"{str(error).splitlines()[0].rstrip(' .:')}."
    )


def is_feature_clip(model: nn.Module) -> bool:
    """Tell whether a CLIP is a ViT of timm with attention pooling, and so gives features alone."""
    tower: Any = model
    trunk = getattr(tower.visual, "trunk", None)
    return getattr(trunk, "attn_pool", None) is not None and hasattr(tower, "text")


def any_tokenizer(folder: Path) -> Any:  # noqa: ANN401  open_clip's, or one around transformers'
    """Open the tokenizer that a folder of open_clip names, of whatever kind.

    Raises:
        BackboneError: It cannot be opened.
    """
    try:
        return open_clip.get_tokenizer(f"local-dir:{folder}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(
            f"The tokenizer of {folder} cannot be opened: {str(error).splitlines()[0]}"
        ) from error


def _add_media(visual: nn.Module, path: Path) -> None:
    """Give a trunk what its kit adds to it; a module of the tower, so that hashes cover it."""
    if path.is_file() and has_trunk(visual):
        visual.add_module("media", MediaHeads.load(path, visual))


def load_tokenizer(folder: Path, context_length: int) -> open_clip.SimpleTokenizer:
    """Read the tokenizer of a CLIP folder: from its merges, or the standard vocabulary."""
    merges = folder / MERGES_NAME
    if not merges.is_file():
        return open_clip.SimpleTokenizer(context_length=context_length)
    # open_clip reads a gzip and takes an empty last line for a merge, which would shift the ids of
    # start and end by one: hand it an in-memory gzip without one.
    text = merges.read_text(encoding="utf-8").rstrip("\n")
    packed: Any = io.BytesIO(gzip.compress(text.encode("utf-8"), mtime=0))
    return open_clip.SimpleTokenizer(bpe_path=packed, context_length=context_length)


def load_public(source: str) -> tuple[nn.Module, open_clip.SimpleTokenizer]:
    """Open a public CLIP, "architecture/tag" as open_clip lists them; downloads it at first use.

    Raises:
        BackboneError: There is none of that name, or it cannot be fetched.
    """
    name, _, tag = source.partition("/")
    if tag == UNTRAINED and name in open_clip.list_models():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return _with_tokenizer(source, open_clip.create_model(name, pretrained=None))
    config = open_clip.get_pretrained_cfg(name, tag)
    if not config or not config.get("hf_hub"):
        raise BackboneError(
            f"{source!r} is neither a folder nor a public CLIP; name one as "
            "'architecture/tag', for example 'ViT-B-32/laion2b_s34b_b79k'."
        )
    try:
        refuse_pickle(Path(open_clip.download_pretrained(config)))
        with warnings.catch_warnings():
            # A GELU of the wrong kind gives wrong features without any other sign.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            model = open_clip.create_model(name, pretrained=tag, require_pretrained=True)
    except UserWarning as error:
        raise BackboneError(
            f"{source!r} was trained with another GELU: use {name}-quickgelu."
        ) from error
    except (RuntimeError, OSError, ValueError) as error:
        raise BackboneError(
            f"{source!r} could not be fetched: {str(error).splitlines()[0]}"
        ) from error
    return _with_tokenizer(source, model)


def _with_tokenizer(source: str, model: nn.Module) -> tuple[nn.Module, open_clip.SimpleTokenizer]:
    tokenizer = open_clip.get_tokenizer(source.partition("/")[0])
    if not isinstance(tokenizer, open_clip.SimpleTokenizer):
        raise BackboneError(f"{source!r} has no byte-level BPE tokenizer; choose another CLIP.")
    return model, tokenizer


def check_layout(model: nn.Module, tokenizer: open_clip.SimpleTokenizer) -> None:
    """Check that a CLIP is of a kind whose tokens and patches can be worked with.

    Raises:
        BackboneError: It is not; the message says why.
    """
    visual: Any = model.visual
    text: Any = getattr(model, "text", model)
    is_plain = isinstance(model.visual, VisionTransformer) and not (
        visual.attn_pool or visual.proj is None or visual.final_ln_after_pool
    )
    if not is_plain and not has_trunk(visual):
        raise BackboneError(
            "The vision tower must be a plain ViT or a convolutional trunk of timm; "
            "choose another CLIP."
        )
    if visual.image_size[0] != visual.image_size[1]:
        raise BackboneError(f"The vision tower must take square images, not {visual.image_size}.")
    if not hasattr(text, "transformer") or not hasattr(text, "token_embedding"):
        raise BackboneError(
            "The text tower must be open_clip's own transformer; choose another CLIP."
        )
    if getattr(text, "cls_emb", None) is not None or getattr(text, "use_pad_mask", False):
        raise BackboneError("Text towers with a class token or a padding mask are not supported.")
    rows = text.token_embedding.weight.shape[0]
    if rows != tokenizer.vocab_size:
        raise BackboneError(
            f"The vocabulary of the tokenizer ({tokenizer.vocab_size}) must have the size of the "
            f"token table ({rows}); check {MERGES_NAME}."
        )
