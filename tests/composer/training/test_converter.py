"""The kit's converter: what its prompts look like, and that it learns on text alone."""

import numpy as np
import pytest
import torch

from composer.strategies.converter import TextConverter
from composer.training.converter import (
    ConverterTraining,
    _keyword_runs,
    converter_trainer,
    encode_prompt_batch,
    splice_between,
)
from composer.training.loop import Budget
from composer.training.losses import in_batch_nce
from composer.training.trainer import RunSettings
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import CONTEXT, TEXT_WIDTH, tiny_backbone, write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("converter")
    write_clip(root / "clip", image_px=128)
    write_pack(root / "pack")
    return root


def trainer_of(folder, tmp_path, num_steps):
    recipe = ConverterTraining(clip=folder / "clip", pack=folder / "pack", batch_size=24)
    settings = RunSettings(
        output=tmp_path / "converter.safetensors", state=tmp_path / "state", device="cpu",
        budget=Budget(num_steps=num_steps), validate_every=num_steps,
    )  # fmt: skip
    return converter_trainer(recipe, settings)


def test_splicing_a_captions_own_words_back_gives_the_caption():
    backbone = tiny_backbone()
    table = backbone.token_table()
    words = [[i for word in backbone.word_ids(t) for i in word] for t in ("red oak", "blue chair")]
    middle = torch.stack([table[ids[:2]] for ids in words])
    batch = splice_between(backbone, [[], []], middle, [ids[2:] for ids in words])
    features = encode_prompt_batch(backbone, batch)
    expected = backbone.encode_text(["red oak", "blue chair"])
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


def test_long_captions_keep_tokens_and_end():
    backbone = tiny_backbone()
    tokens = torch.randn(2, 4, TEXT_WIDTH)
    long = [[5] * 99, []]
    batch = splice_between(backbone, long, tokens, [[], [7] * 99])
    assert batch.embeddings.shape[1] == CONTEXT
    ends = batch.end_positions.tolist()
    assert max(ends) == CONTEXT - 1
    torch.testing.assert_close(batch.embeddings[0, CONTEXT - 5 : CONTEXT - 1], tokens[0])
    torch.testing.assert_close(batch.embeddings[1, 1:5], tokens[1])
    end = backbone.token_table()[backbone.end_id]
    for row, at in enumerate(ends):
        assert torch.equal(batch.embeddings[row, at], end)


def test_runs_of_words_that_say_something():
    words = ["a", "photo", "of", "a", "red", "chair", ",", "with", "oak"]
    assert _keyword_runs(words) == [(1, 2), (4, 6), (8, 9)]
    assert _keyword_runs(["of", "the"]) == []


def test_nce_by_hand():
    eye = torch.eye(2)
    loss = in_batch_nce(eye, eye, temperature=0.5).item()
    assert loss == pytest.approx(-np.log(np.exp(2) / (np.exp(2) + 1)), rel=1e-5)


def test_pictures_are_moved_to_where_texts_are():
    converter = TextConverter(tiny_backbone())
    feature = torch.nn.functional.normalize(torch.randn(1, len(converter.text_mean)), dim=-1)
    torch.testing.assert_close(converter.from_images(feature), converter(feature))
    converter.text_mean[0], converter.image_mean[1] = 0.5, 0.5
    moved = feature.clone()
    moved[0, 0] += 0.5
    moved[0, 1] -= 0.5
    expected = converter(torch.nn.functional.normalize(moved, dim=-1))
    torch.testing.assert_close(converter.from_images(feature), expected)


def test_a_run_learns_from_text_and_leaves_the_means(folder, tmp_path):
    trainer = trainer_of(folder, tmp_path, 30)
    first = [trainer.train_step() for _ in range(5)]
    trainer.run()
    last = [trainer.train_step() for _ in range(5)]
    for name in ("whole", "replaced", "difference"):
        before, after = (sum(terms[name] for terms in part) for part in (first, last))
        assert after < 0.97 * before, name
    model = trainer.objective.model
    loaded = TextConverter.load(tmp_path / "converter.safetensors", trainer.objective.backbone)
    for name in ("text_mean", "image_mean"):
        torch.testing.assert_close(getattr(loaded, name), getattr(model, name), atol=1e-3, rtol=0)
        assert getattr(model, name).norm() > 0


def test_media_are_paired_with_the_photo_of_the_same_thing(folder, tmp_path):
    objective = trainer_of(folder, tmp_path, 1).objective
    assert objective._media
    for plain, other in objective._media:
        photo, painted = objective._texts[plain], objective._texts[other]
        assert photo.replace("a photo of", "a watercolour of") == painted
