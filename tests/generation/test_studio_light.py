"""Backdrop and lights that belong to a seed, in pipelines whose UNet has learned them."""

import dataclasses

import numpy as np
import pytest
import torch

from generation.generate import generate
from generation.model_files import PipelineSource
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.studio_light import FILE_NAME, StudioLight
from generation.transfer import transfer
from tests.generation import tiny
from tests.generation.test_generate import make_request, make_transfer, pixels


def make_light(width: int = tiny.WIDTH) -> StudioLight:
    generator = torch.Generator().manual_seed(5)
    return StudioLight(
        weight=torch.randn(width, 9, generator=generator),
        bias=torch.randn(width, generator=generator),
        mean=torch.zeros(9),
        std=torch.ones(9),
        examples=torch.randn(6, 9, generator=generator),
    )


@pytest.fixture
def lit(base_pipeline):
    return ImagePipeline.from_parts(base_pipeline, None, tiny.TEXT_HASH, make_light())


def test_a_file_keeps_the_map_and_refuses_another_width(tmp_path):
    light = make_light()
    light.save(tmp_path / FILE_NAME)
    again = StudioLight.load(tmp_path / FILE_NAME, tiny.WIDTH)
    assert again.to_bytes() == light.to_bytes()
    raw = light.examples[:2]
    expected = (raw - light.mean) / light.std @ light.weight.T + light.bias
    torch.testing.assert_close(light.states(raw), expected)
    with pytest.raises(ValueError, match=FILE_NAME):
        StudioLight.load(tmp_path / FILE_NAME, 7)


def test_a_seed_chooses_the_light_and_keeps_it():
    light = make_light()
    chosen = [tuple(light.of_seed(seed).tolist()) for seed in range(40)]
    assert len(set(chosen)) == 6
    assert chosen == [tuple(light.of_seed(seed).tolist()) for seed in range(40)]


@pytest.mark.parametrize(
    ("words", "number", "sign"),
    [
        ("a red chair on a dark backdrop", 0, -1),
        ("a red chair, Light Background", 0, 1),
        ("lit from the left", 3, -1),
        ("a chair lit from the right", 3, 1),
        ("a warm backdrop", 2, -1),
        ("a cool background", 2, 1),
    ],
)
def test_words_choose_among_the_studios(words, number, sign):
    generator = torch.Generator().manual_seed(1)
    light = dataclasses.replace(make_light(), examples=torch.rand(200, 9, generator=generator))
    chosen = torch.stack([light.of_seed(seed, words) for seed in range(60)])
    middle = light.examples[:, number].mean()
    assert float(sign * (chosen[:, number].mean() - middle)) > 0.15
    assert len({tuple(one.tolist()) for one in chosen}) > 10


def test_other_words_leave_the_studio_to_the_seed():
    light = make_light()
    for words in ("a light oak chair", "a dark red cup, left of a chair", "warm colours"):
        for seed in range(8):
            assert torch.equal(light.of_seed(seed, words), light.of_seed(seed))


def test_the_words_of_a_query_reach_its_light(lit, monkeypatch):
    run, calls = lit.run, []
    monkeypatch.setattr(lit, "run", lambda **call: calls.append(call) or run(**call))
    words = "a chair on a dark backdrop"
    for text in ("a chair", words):
        generate(lit, make_request(query=tiny.make_query(text), seed=3))
    ends = [call["prompt_embeds"][0, -1] for call in calls]
    expected = [lit.light.states(lit.light.of_seed(3, text)[None])[0] for text in ("", words)]
    torch.testing.assert_close(torch.stack(ends), torch.stack(expected))
    assert not torch.equal(*expected)


def test_the_light_is_a_further_state_of_each_image_with_words_and_without(lit, monkeypatch):
    run, calls = lit.run, []
    monkeypatch.setattr(lit, "run", lambda **call: calls.append(call) or run(**call))
    generate(lit, make_request(num_images=2, seed=3))
    plain = lit.condition(make_request().query, "")
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        states = calls[0][name]
        assert states.shape == (2, tiny.CONTEXT + 1, tiny.WIDTH)
        torch.testing.assert_close(states[:, :-1], plain[name].expand(2, -1, -1))
        numbers = torch.stack([lit.light.of_seed(3), lit.light.of_seed(4)])
        torch.testing.assert_close(states[:, -1], lit.light.states(numbers))


def test_the_picture_and_its_hash_change_with_the_light_and_with_nothing_else(lit, base_pipeline):
    dark = ImagePipeline.from_parts(base_pipeline, None, tiny.TEXT_HASH)
    request = make_request(num_images=2, seed=3)
    shown, plain = (generate(one, request) for one in (lit, dark))
    assert np.abs(pixels(shown) - pixels(plain)).max() > 2
    assert lit.weights_hash != dark.weights_hash
    np.testing.assert_array_equal(pixels(shown), pixels(generate(lit, request)))
    single = generate(lit, make_request(seed=4))
    assert np.abs(pixels(shown)[1] - pixels(single)[0]).max() <= 1


def test_a_picture_that_is_drawn_over_keeps_its_own_light(lit, base_pipeline):
    dark = ImagePipeline.from_parts(base_pipeline, None, tiny.TEXT_HASH)
    np.testing.assert_array_equal(
        pixels(transfer(lit, make_transfer())), pixels(transfer(dark, make_transfer()))
    )


def test_stock_diffusers_draws_the_same_from_the_same_states(lit, base_pipeline):
    request = make_request(seed=6)
    shown = generate(lit, request)
    states = lit.condition(request.query, "")
    further = lit.light.states(lit.light.of_seed(6)[None])[:, None]
    stock = base_pipeline(
        **{name: torch.cat([one, further], 1) for name, one in states.items()},
        generator=torch.Generator().manual_seed(6),
        num_inference_steps=request.settings.num_inference_steps,
        guidance_scale=float(request.settings.guidance_scale),
    )
    np.testing.assert_array_equal(pixels(shown)[0], np.asarray(stock.images[0]))


def test_a_folders_light_is_opened_with_it_and_a_damaged_one_is_told(base_pipeline, tmp_path):
    base_pipeline.save_pretrained(tmp_path)
    source = PipelineSource(folder=tmp_path, text_hash=tiny.TEXT_HASH)
    assert ImagePipeline.load(source).light is None
    make_light().save(tmp_path / FILE_NAME)
    light = ImagePipeline.load(source).light
    assert light is not None
    assert light.to_bytes() == make_light().to_bytes()
    make_light(width=5).save(tmp_path / FILE_NAME)
    with pytest.raises(PipelineError, match=FILE_NAME):
        ImagePipeline.load(source)
    (tmp_path / FILE_NAME).write_bytes(b"no tensors")
    with pytest.raises(PipelineError, match=FILE_NAME):
        ImagePipeline.load(dataclasses.replace(source))
