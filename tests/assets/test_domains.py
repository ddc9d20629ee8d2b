"""Domains: each keeps what its medium keeps, and can be told from the others."""

import numpy as np
import pytest

from assets.catalogue import words
from assets.catalogue.domains import stylise
from assets.catalogue.media import inner_distance, noise, soften, warp
from assets.catalogue.render import Render
from tests.assets.synthetic import chair_meshes, orthographic, shaded

RED, WOOD = (0.75, 0.16, 0.13), (0.50, 0.33, 0.20)
DOMAINS = (
    "photo",
    "watercolour",
    "pencil",
    "cartoon",
    "clay",
    "low-poly",
    "night",
    "blueprint",
    "x1",
    "x2",
)
COLOURFUL = ("watercolour", "cartoon", "clay", "low-poly", "x2")


@pytest.fixture(scope="module")
def buffers():
    return orthographic(chair_meshes(), size_px=128)


@pytest.fixture(scope="module")
def picture(buffers):
    return shaded(buffers, [RED, RED, WOOD])


def _seat(image, buffers):
    return image[buffers.part_ids == 2].astype(float).mean(0) / 255.0


def test_every_named_domain_is_painted():
    assert set(words.DOMAINS) <= set(DOMAINS)


@pytest.mark.parametrize("domain", DOMAINS)
def test_shape_type_and_determinism(picture, domain):
    first, second = (stylise(picture, domain, np.random.default_rng(7)) for _ in range(2))
    assert first.shape == picture.image.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


@pytest.mark.parametrize("domain", [d for d in DOMAINS if d not in ("photo", "cartoon")])
def test_another_generator_paints_another_picture(picture, domain):
    first, second = (stylise(picture, domain, np.random.default_rng(seed)) for seed in (1, 2))
    assert (first != second).any()


def test_photo_is_the_render(picture):
    image = stylise(picture, "photo", np.random.default_rng(0))
    assert np.array_equal(image, picture.image)
    assert image is not picture.image


@pytest.mark.parametrize("domain", COLOURFUL)
@pytest.mark.parametrize("colour", [(0.75, 0.16, 0.13), (0.15, 0.45, 0.18), (0.15, 0.22, 0.65)])
def test_colourful_media_keep_the_leading_hue(buffers, domain, colour):
    image = stylise(shaded(buffers, [colour, colour, WOOD]), domain, np.random.default_rng(3))
    seat = _seat(image, buffers)
    assert seat.argmax() == int(np.argmax(colour))
    assert seat.max() - np.median(seat) > 0.06


def test_pencil_is_grey_and_follows_light(buffers):
    pale, dark = (
        stylise(shaded(buffers, [c, c, c]), "pencil", np.random.default_rng(3))
        for c in ((0.9, 0.9, 0.9), (0.15, 0.15, 0.15))
    )
    assert (np.ptp(pale.astype(int), axis=-1) < 16).all()
    assert _seat(dark, buffers).mean() < _seat(pale, buffers).mean() - 0.08


def test_blueprint_is_blue_with_white_lines(picture, buffers):
    image = stylise(picture, "blueprint", np.random.default_rng(3)).astype(float) / 255.0
    assert (np.median(image[..., 2]) - np.median(image[..., 0])) > 0.25
    mask = buffers.part_ids > 0
    outline = (mask[:, 1:] != mask[:, :-1]) & True
    assert image[:, :-1][outline].mean() > np.median(image) + 0.2


def test_night_is_dark_blue_with_a_warm_light(picture):
    image = stylise(picture, "night", np.random.default_rng(3)).astype(float) / 255.0
    assert image.mean() < 0.6 * picture.image.mean() / 255.0
    assert np.median(image[..., 2]) > np.median(image[..., 0])
    brightest = image[image.sum(-1) > np.quantile(image.sum(-1), 0.995)].mean(0)
    assert brightest[0] > brightest[2] + 0.05


def test_domains_are_told_apart_from_simple_statistics():
    views = [(20.0, 15.0, RED), (-35.0, 22.0, (0.2, 0.3, 0.6)), (50.0, 12.0, (0.75, 0.65, 0.3))]
    features, labels = [], []
    for seed, (azimuth, elevation, colour) in enumerate(views):
        scene = orthographic(chair_meshes(), azimuth=azimuth, elevation=elevation, size_px=128)
        picture = shaded(scene, [colour, colour, WOOD])
        for domain in DOMAINS:
            features.append(_describe(stylise(picture, domain, np.random.default_rng(seed))))
            labels.append((domain, seed))
    table = np.array(features)
    table = (table - table.mean(0)) / (table.std(0) + 1e-9)
    right = 0
    for k, (domain, seed) in enumerate(labels):
        others = [j for j, (_, view) in enumerate(labels) if view != seed]
        nearest = min(others, key=lambda j: float(((table[j] - table[k]) ** 2).sum()))
        right += labels[nearest][0] == domain
    assert right / len(labels) >= 0.85


def _describe(image):
    pixels = image.astype(float) / 255.0
    grey = pixels.mean(-1)
    spectrum = np.abs(np.fft.rfft2(grey - grey.mean()))
    rings = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None])
    bands = [
        np.log(spectrum[(rings >= a) & (rings < a + 0.08)].mean())
        for a in np.arange(0.05, 0.5, 0.08)
    ]
    border = np.concatenate([pixels[:12].reshape(-1, 3), pixels[-12:].reshape(-1, 3)])
    return np.array([*border.mean(0), grey.std(), (pixels.max(-1) - pixels.min(-1)).mean(), *bands])


def test_an_empty_scene_is_painted_too():
    buffers = orthographic(chair_meshes(), size_px=96)
    buffers.part_ids[:], buffers.depth[:], buffers.normals[:] = 0, np.inf, 0
    picture = Render(image=np.full((96, 96, 3), 150, np.uint8), buffers=buffers)
    for domain in DOMAINS:
        assert stylise(picture, domain, np.random.default_rng(0)).shape == (96, 96, 3)


def test_unknown_domain_and_sizes_that_differ_are_refused(picture, buffers):
    with pytest.raises(ValueError, match="`domain` must be one of photo, watercolour"):
        stylise(picture, "oil", np.random.default_rng(0))
    wrong = Render(image=picture.image[:64], buffers=buffers)
    with pytest.raises(ValueError, match="size of its buffers"):
        stylise(wrong, "clay", np.random.default_rng(0))


def test_warp_soften_and_distance_by_hand():
    ramp = np.tile(np.arange(8.0, dtype=np.float32), (8, 1))
    shifted = warp(ramp, np.zeros((8, 8), np.float32), np.full((8, 8), 0.5, np.float32))
    assert np.allclose(shifted[:, :6], ramp[:, :6] + 0.5)
    labels = np.array([[0, 0, 1, 1]])
    assert inner_distance(labels).tolist() == [[1, 0, 0, 1]]
    assert inner_distance(labels, is_two_sided=False).tolist() == [[2, 1, 0, 1]]
    field = np.random.default_rng(0).random((50, 60))
    assert soften(field, 12.0).shape == field.shape
    assert soften(field, 12.0).std() < 0.1 * field.std()
    assert soften(np.ones((31, 47, 3)), 9.0) == pytest.approx(np.ones((31, 47, 3)))


def test_noise_has_unit_spread_and_the_wavelength_asked_for():
    rough, slow = (noise((96, 96), w, np.random.default_rng(0)) for w in (3.0, 24.0))
    assert rough.std() == pytest.approx(1.0, abs=1e-3)
    assert slow.std() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(np.diff(slow, axis=1)).mean() < 0.3 * np.abs(np.diff(rough, axis=1)).mean()
