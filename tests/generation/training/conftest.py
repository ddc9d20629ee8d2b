"""The tiny world, written once."""

from dataclasses import replace

import pytest

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.strategies.duet import DuetComposer
from generation.training.autoencoder_recipe import AutoencoderRecipe, make_autoencoder
from generation.training.crops import CropSize
from generation.training.inputs import KitSources
from tests.generation.training import world


@pytest.fixture(scope="session")
def pack_folder(tmp_path_factory):
    return world.write_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="session")
def small_autoencoder():
    gentle = replace(world.FAST, batch_size=2, learning_rate=5e-4)
    crops = CropSize(side_px=32, count=4, share=0.8), CropSize(side_px=128, count=1, share=0.2)
    return AutoencoderRecipe(
        block_out_channels=(8, 8, 16, 16),
        image_px=128,
        crops=crops,
        decoder_crops=crops,
        critic_width=4,
        optimisation=gentle,
    )


@pytest.fixture(scope="session")
def sources(tmp_path_factory, small_autoencoder):
    folder = tmp_path_factory.mktemp("below")
    clip, duet = world.write_composer(folder)
    make_autoencoder(small_autoencoder, 0).save_pretrained(folder / "vae")
    return KitSources(clip=clip, duet=duet, vae=folder / "vae")


@pytest.fixture(scope="session")
def pack(pack_folder):
    return CataloguePack.open(pack_folder)


@pytest.fixture(scope="session")
def composer(sources):
    return DuetComposer.load(sources.duet, Backbone.load(sources.clip))
