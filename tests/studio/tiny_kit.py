"""A whole kit and a small gallery on disk, of a few thousand random weights."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw

from composer.backbone import Backbone
from composer.strategies.duet import DuetModel
from generation.pipeline import TEXT_HASH_KEY
from generation.training.text_export import export_text_encoder, export_tokenizer
from retrieval.indexing.encode import IndexOptions, index_folder
from tests.composer.tiny import write_clip
from tests.generation import tiny
from tests.replicas import loras

KIT_FILE = """\
name = "tiny"
licence = "for tests alone"
knows = "Random shapes."
[backbone]
path = "clip"
[composers.duet]
weights = "composers/duet.safetensors"
"""
PIPELINE = '[pipeline]\npath = "pipeline"\ncontrolnet = "controlnet"\n'
PAYLOAD = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1> ${window.hacked=1}"


def write_kit(folder: Path, *, draws: bool = True) -> Path:
    """A kit whose pipeline, if it draws, carries the text tower of its CLIP."""
    backbone = Backbone.load(write_clip(folder / "clip"))
    torch.manual_seed(0)
    (folder / "composers").mkdir()
    DuetModel(backbone).save(folder / "composers" / "duet.safetensors")
    (folder / "kit.toml").write_text(KIT_FILE + (PIPELINE if draws else ""))
    if draws:
        pipe = tiny.make_pipeline(folder / "scratch")
        pipe.register_modules(
            text_encoder=export_text_encoder(backbone),
            tokenizer=export_tokenizer(backbone, folder / "clip"),
        )
        assert getattr(pipe.text_encoder.config, TEXT_HASH_KEY) == backbone.text_hash
        pipe.save_pretrained(folder / "pipeline")
        tiny.make_controlnet(pipe.unet).save_pretrained(folder / "controlnet")
    return folder


def add_finisher(kit: Path) -> Path:
    """Have a kit that draws finish its images from half the noise on."""
    from diffusers import UNet2DConditionModel

    factors = loras.unet_factors(UNet2DConditionModel.from_pretrained(kit / "pipeline" / "unet"))
    loras.write_diffusers(kit / "jump.safetensors", factors, {}, alpha=2.0)
    with (kit / "kit.toml").open("a") as file:
        file.write('\n[drawing]\nfinish_noise = 0.5\n\n[finish]\npath = "jump.safetensors"\n')
    return kit


def write_gallery(folder: Path, kit: Path, num: int = 12) -> Path:
    """Pictures of blobs, the last with a caption that attacks; returns the index."""
    folder.mkdir(parents=True)
    known: dict[str, dict[str, str]] = {}
    for number in range(num):
        image = Image.new("RGB", (96, 96), (240, 235, 225))
        colour = (40 + 17 * number % 200, 90, 220 - 15 * number % 200)
        ImageDraw.Draw(image).ellipse((10 + number, 20, 60 + 2 * number, 80), fill=colour)
        image.save(folder / f"blob-{number:02}.png")
        known[f"blob-{number:02}.png"] = {
            "kind": "blob", "domain": "photo", "caption": f"a photo of blob {number}",
        }  # fmt: skip
    known[f"blob-{num - 1:02}.png"] = {"kind": PAYLOAD, "domain": "photo", "caption": PAYLOAD}
    index_folder(
        folder, folder / ".duet", Backbone.load(kit / "clip"), kit="tiny",
        options=IndexOptions(facts_by_path=known, near=1.0),
    )  # fmt: skip
    return folder / ".duet"
