"""A thousand mutated headers through every loader of weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from composer.added_words import AddedWord
from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.domain import THUMBNAIL_PX, Domain, read_domain, write_domain
from composer.learned import LearnedNames
from composer.strategies.duet import DuetModel
from composer.token_file import TokenFormat, read_token, write_token
from generation.feature_judge import FeatureJudge
from generation.judge import ColourModel, Judge, JudgeNetwork
from generation.lora_header import DrawingModel, check_lora_header
from generation.model_folder import check_weights
from generation.sketchbook import Sketchbook
from generation.studio_light import StudioLight
from generation.style_files import StyleSource, check_style_files
from tests.composer.tiny import tiny_backbone, write_clip
from tests.fuzz.mutations import is_refused, leaving_nothing, mutate_header
from tests.generation.test_sketchbook import make_book
from tests.generation.test_studio_light import make_light
from tests.replicas import adapters, loras, pipelines

pytestmark = pytest.mark.slow

Loader = Callable[[Path], object]
NUM_HEADERS = 1000


def token(file: Path) -> Loader:
    word = AddedWord(
        name="chair", vectors=torch.randn(3, 32), second_vectors=None, kit="tiny", text_hash="ab"
    )
    write_token(file, word, TokenFormat.A1111, {"text": "red"})
    return read_token


def domain(file: Path) -> Loader:
    drawn = Domain(
        name="ink", difference=torch.randn(24), tokens=torch.randn(2, 32),
        thumbnail=np.zeros((THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8), examples=("ab" * 32,),
        kit="tiny",
        text_hash="a" * 16, gallery_hash="b" * 16,
    )  # fmt: skip
    write_domain(file, drawn)
    return read_domain


def composed_query(file: Path) -> Loader:
    unit = torch.nn.functional.normalize(torch.randn(3), dim=-1)
    query = ComposedQuery(
        pseudo_tokens=torch.randn(1, 4), prompt_embeddings=torch.randn(9, 4), end_position=6,
        pseudo_positions=(4,), feature=unit, both_feature=unit, reference_feature=unit,
        words_feature=unit, patch_features=torch.randn(16, 3), balance=0.5, composer="duet",
        text="blue", gallery_hash="a" * 16, text_hash="b" * 16,
    )  # fmt: skip
    query.save(file)
    return ComposedQuery.load


def composer(file: Path) -> Loader:
    backbone = tiny_backbone()
    DuetModel(backbone).save(file)
    return lambda path: DuetModel.load(path, backbone)


def names(file: Path) -> Loader:
    LearnedNames(["chair", "lamp"], torch.randn(2, 8), ["chair"], [0, 1]).save(file)
    return LearnedNames.load


def judge(file: Path) -> Loader:
    colours = ColourModel(
        names=("red", "blue"), means=np.zeros((2, 3)), precisions=np.stack([np.eye(3)] * 2),
        log_scales=np.zeros(2),
    )  # fmt: skip
    kinds, parts = ("chair", "lamp"), ("", "seat")
    Judge(kinds=kinds, parts=parts, network=JudgeNetwork(2, 2, 4), colours=colours).save(file)
    return Judge.load


def feature_judge(file: Path) -> Loader:
    features = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    FeatureJudge.fit(features, ["chair", "lamp"] * 10).save(file)
    return FeatureJudge.load


def light(file: Path) -> Loader:
    make_light().save(file)
    return StudioLight.load


def sketchbook(file: Path) -> Loader:
    make_book().save(file)
    return Sketchbook.load


def lora(file: Path) -> Loader:
    unet = pipelines.make_sd_unet()
    loras.write_lora(file, unet)
    model = DrawingModel(text_width=unet.config.cross_attention_dim)
    return lambda path: check_lora_header(path, model)


def style(file: Path) -> Loader:
    folder = adapters.write_ip_adapter(file.parent / "adapters")
    (folder / "models" / "ip-adapter_sd15.safetensors").rename(file)
    encoder = folder / "models" / "image_encoder"
    config = {"cross_attention_dim": 32}
    return lambda path: check_style_files(StyleSource(weights=path, image_encoder=encoder), config)


def part_of_a_pipeline(file: Path) -> Loader:
    make_light().save(file)
    return check_weights


MAKERS: tuple[Callable[[Path], Loader], ...] = (
    token, domain, composed_query, composer, names, judge, feature_judge, light, sketchbook, lora,
    style, part_of_a_pipeline,
)  # fmt: skip


def is_file_refused(load: Loader, file: Path) -> bool:
    return is_refused(lambda: load(file), file.read_bytes()[:2000])


@pytest.mark.parametrize("make", MAKERS, ids=[make.__name__ for make in MAKERS])
def test_mutated_headers_are_read_or_refused(tmp_path: Path, make: Callable[[Path], Loader]):
    file = tmp_path / "weights.safetensors"
    load = make(file)
    whole, rng = file.read_bytes(), np.random.default_rng(1)
    assert not is_file_refused(load, file)
    num_refused = 0
    with leaving_nothing(tmp_path):
        for _ in range(NUM_HEADERS):
            file.write_bytes(mutate_header(whole, rng))
            num_refused += is_file_refused(load, file)
    assert num_refused > NUM_HEADERS / 5


def test_mutated_headers_of_a_clip_are_read_or_refused(tmp_path: Path):
    """It takes longer to build, so that there are fewer."""
    folder = write_clip(tmp_path / "clip")
    file, rng = folder / "open_clip_model.safetensors", np.random.default_rng(2)
    whole = file.read_bytes()

    def load(_: Path) -> Any:
        return Backbone.load(folder)

    with leaving_nothing(tmp_path):
        for _ in range(150):
            file.write_bytes(mutate_header(whole, rng))
            is_file_refused(load, file)
