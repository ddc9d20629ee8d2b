"""What a phase of the CLIP's pretraining says is what its steps do."""

import dataclasses

import numpy as np
import pytest
import torch

from composer.clip_files import load_tokenizer
from composer.data.pictures import PictureTable
from composer.training.clip.batches import ClipBatches
from composer.training.clip.model import CONTEXT, MEAN, STD
from composer.training.clip.recipe import Phase
from composer.training.clip.trainer import ClipTrainer, learn_vocabulary
from tests.composer.training.test_clip import RECIPE, paths

NUM_GROUPS = 12


def grouped(name, first):
    """Twelve groups of five pictures, each group of one grey of its own."""
    greys = np.repeat(first + np.arange(NUM_GROUPS), 5).astype(np.uint8)
    images = np.broadcast_to(greys[:, None, None, None], (60, 32, 32, 3)).copy()
    groups = tuple(f"kind {number // 5}" for number in range(60))
    captions = (("a chair", "a red chair"),) * 60
    return PictureTable(name=name, images=images, captions=captions, groups=groups)


@pytest.fixture(scope="module")
def tables():
    return [grouped("natural", 0), grouped("catalogue_photos", 100)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tables):
    folder = tmp_path_factory.mktemp("clip")
    learn_vocabulary(tables, folder)
    return folder


def greys_of(batch):
    """The grey, 0 to 255, of each picture of a batch."""
    red = batch.pixels[:, 0].mean((1, 2)) * STD[0] + MEAN[0]
    return (red * 255).round().int()


def num_kinds(batches, step, phase):
    """How many groups a batch shows of the natural pictures, and of the catalogue."""
    greys = greys_of(batches.draw(step, phase))
    return [len(set(part.tolist())) for part in (greys[greys < 50], greys[greys >= 50])]


def test_hard_batches_show_four_kinds_of_the_catalogue_and_natural_pictures_as_ever(folder, tables):
    recipe = dataclasses.replace(RECIPE, batch_size=100)
    batches = ClipBatches(tables, load_tokenizer(folder, CONTEXT), recipe)
    hard = Phase(num_steps=1, catalogue_share=0.5, hard_share=1.0)
    easy = dataclasses.replace(hard, hard_share=0.0)
    for step in range(2):
        natural, catalogue = num_kinds(batches, step, hard)
        assert catalogue == 4 < 8 < natural
        assert min(num_kinds(batches, step, easy)) > 8


def test_as_many_batches_are_hard_as_the_phase_says(folder, tables):
    recipe = dataclasses.replace(RECIPE, batch_size=40)
    batches = ClipBatches(tables, load_tokenizer(folder, CONTEXT), recipe)
    phase = Phase(num_steps=1, catalogue_share=1.0, hard_share=0.3, image_px=16)
    are_hard = [num_kinds(batches, step, phase)[1] <= 4 for step in range(60)]
    assert 9 <= sum(are_hard) <= 27  # 2.5 deviations of a binomial


@pytest.mark.parametrize(
    ("image_px", "dropout", "num_patches"), [(64, 0.5, 8), (64, 0.25, 12), (128, 0.0, 64)]
)
def test_a_step_sees_the_patches_that_its_phase_leaves(
    folder, tables, image_px, dropout, num_patches
):
    phase = Phase(num_steps=1, catalogue_share=0.5, image_px=image_px, patch_dropout=dropout)
    trainer = ClipTrainer(
        dataclasses.replace(RECIPE, phases=(phase,)), tables, paths(folder), "cpu"
    )
    lengths = []
    trainer.model.visual.ln_pre.register_forward_hook(
        lambda module, inputs, output: lengths.append(output.shape[1])
    )
    trainer.train_step()
    assert lengths == [1 + num_patches]  # the first is the class's


def word_and_pair_gradients(folder, tables, weight):
    """Norms of the first step's gradients: of the words' head, and of the pairs' temperature."""
    phase = Phase(num_steps=1, catalogue_share=0.5, image_px=64, word_weight=weight)
    trainer = ClipTrainer(
        dataclasses.replace(RECIPE, phases=(phase,)), tables, paths(folder), "cpu"
    )
    trainer.train_step()
    return trainer._words.weight.grad.norm(), trainer.model.logit_scale.grad.abs()


def test_the_weight_of_the_words_scales_their_part_of_the_gradient(folder, tables):
    full, half, none = (word_and_pair_gradients(folder, tables, w) for w in (1.0, 0.5, 0.0))
    assert full[0] > 0
    # Clipping scales both alike, so their ratio follows the weight.
    torch.testing.assert_close(half[0] / half[1], 0.5 * full[0] / full[1], rtol=1e-2, atol=0)
    assert none[0] == 0
    assert none[1] > 0


def test_a_phase_of_words_alone_leaves_the_text_tower_as_it_is(folder, tables):
    phase = Phase(
        num_steps=1, catalogue_share=0.5, image_px=64, word_weight=1.0, is_contrastive=False
    )
    recipe = dataclasses.replace(RECIPE, phases=(phase,), weight_decay=0.0)
    trainer = ClipTrainer(recipe, tables, paths(folder), "cpu")
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train_step()
    after = trainer.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "visual.conv1.weight" in moved
    assert all(name.startswith("visual.") for name in moved)
