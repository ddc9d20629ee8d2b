"""Words without a drawing are drawn on drawings of the kit's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from composer.added_words import UsedWords, WordFile
from composer.sketch import Sketch
from composer.weights import WeightsError, read_safetensors, write_safetensors
from generation.generate import generate, generate_each, kind_of_own_drawings
from generation.model_files import PipelineSource
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.provenance import describe, rebuild_request
from generation.request import GenerateRequest
from generation.sketchbook import FILE_NAME, NUM_CHOICES, Sketchbook
from tests.generation import tiny
from tests.generation.test_generate import make_request, pixels

HASHES = {"gallery_hash": "0000000000000001", "text_hash": tiny.TEXT_HASH}
AXES = torch.eye(16)


def drawing(number: int) -> Sketch:
    """A bar that leans further for each number."""
    lean = 0.05 * number
    return Sketch.from_strokes([[[0.2, 0.2], [0.2 + lean, 0.8]], [[0.4, 0.3], [0.5, 0.9 - lean]]])


def make_book() -> Sketchbook:
    """Twelve chairs, ever further from the first axis towards the third, and two lamps."""
    chairs = [AXES[0] + 0.1 * number * AXES[2] for number in range(12)]
    features = torch.stack([*chairs, AXES[1], AXES[1] + AXES[2]])
    return Sketchbook(
        features=functional.normalize(features, dim=-1),
        kinds=(*("chair",) * 12, *("lamp",) * 2),
        drawings=tuple(drawing(number) for number in range(14)),
        **HASHES,
    )


def said(feature: torch.Tensor, **changes):
    """A query of words alone."""
    words = functional.normalize(feature, dim=-1)
    return tiny.make_query(words_feature=words, **changes)


@pytest.fixture
def booked(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "sketchbook", make_book())
    return pipeline


@pytest.fixture
def drawn_without(pipeline, monkeypatch):
    """Draws a request with the same pipeline, but without the book."""

    def draw(request):
        with monkeypatch.context() as context:
            context.setattr(pipeline, "sketchbook", None)
            return pixels(generate(pipeline, request))

    return draw


def test_seeds_choose_among_the_nearest_of_the_kind_that_is_meant():
    book = make_book()
    chair = said(AXES[0])
    chosen = [book.choose(chair, seed) for seed in range(2 * NUM_CHOICES)]
    assert chosen[:NUM_CHOICES] == list(book.drawings[:NUM_CHOICES])
    assert chosen[NUM_CHOICES:] == chosen[:NUM_CHOICES]
    lamp = said(AXES[1])
    assert {id(book.choose(lamp, seed)) for seed in range(8)} == {
        id(one) for one in book.drawings[12:]
    }
    assert (book.kind(chair), book.kind(lamp)) == ("chair", "lamp")


@pytest.mark.parametrize(
    "query",
    [
        said(AXES[5]),  # something else
        said(AXES[0] + 3 * AXES[5]),
        said(AXES[0], reference_feature=AXES[0]),  # a drawing or a photo comes along
        said(AXES[0], gallery_hash="another"),
        said(AXES[0], text_hash="another"),
        said(AXES[0], added=UsedWords(files=(WordFile(name="chair", sha256=64 * "0"),))),
        tiny.make_query(reference_feature=AXES[0]),
    ],
)
def test_no_drawing_is_chosen_for_other_things_other_kits_and_queries_with_a_reference(query):
    assert make_book().choose(query, 0) is None
    assert make_book().kind(query) is None


def test_words_are_drawn_on_another_drawing_for_each_seed(booked):
    words = make_request(query=said(AXES[0]), num_images=2)
    result = generate(booked, words)
    for index in range(2):
        own = make_book().choose(words.query, 3 + index)
        alone = make_request(query=words.query, control_sketch=own, seed=3 + index)
        drawn = pixels(generate(booked, alone))[0].astype(int)
        assert np.abs(drawn - pixels(result)[index]).max() <= 1  # a batch rounds differently
    assert kind_of_own_drawings(booked, words) == "chair"


@pytest.mark.parametrize(
    "change",
    [
        {"query": said(AXES[5])},
        {"query": said(AXES[0]), "controlnet_conditioning_scale": 0.0},
        {"query": said(AXES[0], balance=1.0)},
        {"query": said(AXES[0], reference_feature=AXES[0])},
        {"query": said(AXES[0]), "control_sketch": tiny.make_sketch()},
        {"query": said(AXES[0]), "control": np.zeros((64, 64), np.uint8)},
    ],
)
def test_the_kits_drawings_have_no_part_in_other_requests(booked, drawn_without, change):
    request = make_request(**change)
    np.testing.assert_array_equal(pixels(generate(booked, request)), drawn_without(request))
    assert kind_of_own_drawings(booked, request) is None


def test_without_a_control_network_words_draw_alone(base_pipeline):
    plain = ImagePipeline.from_parts(base_pipeline, None, tiny.TEXT_HASH)
    book = ImagePipeline.from_parts(base_pipeline, None, tiny.TEXT_HASH, sketchbook=make_book())
    request = make_request(query=said(AXES[0]))
    np.testing.assert_array_equal(pixels(generate(book, request)), pixels(generate(plain, request)))


def test_a_picture_is_drawn_again_from_its_own_record_without_the_book(booked, drawn_without):
    request = make_request(query=said(AXES[0]), num_images=2)
    result = generate(booked, request)
    for index in range(2):
        again = rebuild_request(describe(result, index))
        assert isinstance(again, GenerateRequest)
        assert again.control is not None
        np.testing.assert_array_equal(drawn_without(again)[index], pixels(result)[index])


def test_a_batch_may_hold_words_with_and_without_such_a_drawing(booked):
    requests = [
        make_request(query=said(feature), seed=seed)
        for seed, feature in enumerate((AXES[0], AXES[5], AXES[1]))
    ]
    together = generate_each(booked, requests)
    for request, picture in zip(requests, together, strict=True):
        alone = pixels(generate(booked, request))[0].astype(int)
        assert np.abs(alone - np.asarray(picture)).max() <= 1


def test_a_file_keeps_the_drawings_and_refuses_contradictions(tmp_path):
    book, file = make_book(), tmp_path / FILE_NAME
    book.save(file)
    again = Sketchbook.load(file)
    torch.testing.assert_close(again.features, book.features, atol=1e-3, rtol=0)
    assert (again.kinds, again.gallery_hash, again.text_hash) == (book.kinds, *HASHES.values())
    for one, other in zip(again.drawings, book.drawings, strict=True):
        for stroke, expected in zip(one.strokes or (), other.strokes or (), strict=True):
            np.testing.assert_allclose(stroke, expected, atol=0.5 / 255 + 1e-6)
    weights = read_safetensors(file)
    tensors, metadata = dict(weights.tensors), dict(weights.metadata)
    for change in (
        {"stroke_lengths": tensors["stroke_lengths"][1:]},
        {"num_strokes": tensors["num_strokes"] - 1},
        {"features": tensors["features"][1:]},
    ):
        write_safetensors(file, tensors | change, metadata)
        with pytest.raises(WeightsError, match="is no book of drawings"):
            Sketchbook.load(file)
    for change in ({"kinds": "[1]"}, {"kinds": "no JSON"}, {"schema": "another"}):
        write_safetensors(file, tensors, metadata | change)
        with pytest.raises(WeightsError, match="is no book of drawings"):
            Sketchbook.load(file)


def test_a_folders_book_is_opened_with_it_and_a_damaged_one_is_told(base_pipeline, tmp_path):
    base_pipeline.save_pretrained(tmp_path)
    source = PipelineSource(folder=tmp_path, text_hash=tiny.TEXT_HASH)
    assert ImagePipeline.load(source).sketchbook is None
    make_book().save(tmp_path / FILE_NAME)
    book = ImagePipeline.load(replace(source)).sketchbook
    assert book is not None
    assert book.kinds == make_book().kinds
    (tmp_path / FILE_NAME).write_bytes(b"no tensors")
    with pytest.raises(PipelineError, match=FILE_NAME):
        ImagePipeline.load(replace(source))
