"""Tiny models shared by the tests of generation."""

import pytest
import torch

from generation.pipeline import ImagePipeline
from tests.generation import tiny

FOREIGN_WARNINGS = (
    # diffusers 0.42 hands torch tensors to np.array under numpy 2 (seen November 2026).
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Lets known warnings of the libraries pass in this folder."""
    for warning in FOREIGN_WARNINGS:
        item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def base_pipeline(tmp_path_factory):
    return tiny.make_pipeline(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def pipeline(base_pipeline):
    control = tiny.make_controlnet(base_pipeline.unet)
    return ImagePipeline.from_parts(base_pipeline, control, tiny.TEXT_HASH)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return tiny.make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def encoder():
    torch.manual_seed(0)
    return tiny.make_text_encoder()
