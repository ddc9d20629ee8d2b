"""Pictures and buffers of a real, tiny object, by each Mitsuba variant that runs here."""

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import pytest

from assets.catalogue import engine, lighting, scene
from assets.catalogue import mesh as m
from assets.catalogue import render as renderer
from assets.catalogue.denoise import Traced
from assets.catalogue.model import Colourway, Finish, Part

pytest.importorskip("mitsuba", reason="rendering needs the extra `catalogue`")

from assets.catalogue.render import Camera, View, buffers, prepare, render, tone_mapped

CAMERA = Camera(azimuth=25, elevation=20)
VIEW = View(camera=CAMERA, backdrop=(0.5, 0.55, 0.5), light=5)
LEGS = ("legs", Finish(colour="oak", material="wood"))


def stool() -> tuple[Part, ...]:
    legs = m.merge(
        [m.tapered(0.03, 0.03, (x, 0, z), (x, 0.45, z)) for x in (-0.2, 0.2) for z in (-0.2, 0.2)]
    )
    seat = m.rounded_box((0.55, 0.12, 0.55), 0.03, (0, 0.5, 0))
    return (Part(name="seat", mesh=seat), Part(name="legs", mesh=legs))


def worn(colour: str, material: str) -> Colourway:
    return Colourway(finishes=(("seat", Finish(colour=colour, material=material)), LEGS))


def forget_mitsuba() -> None:
    """Lets the next picture choose its variant again."""
    for made_once in (
        engine.mitsuba,
        scene._sensor,
        renderer._plain_sensor,
        renderer._studio,
        renderer._surveyor,
    ):
        made_once.cache_clear()


def chosen(variant: str) -> Generator[str]:
    """Make pictures by `variant` for a while; skips where it needs a library that is missing."""
    if variant.startswith("llvm") and engine.find_llvm() is None:
        pytest.skip("LLVM 19 was not found (Debian: apt-get install libllvm19)")
    with pytest.MonkeyPatch.context() as patch:
        if variant.startswith("scalar"):
            patch.setenv(engine.LLVM_VARIABLE, "")
        forget_mitsuba()
        assert engine.mitsuba().variant() == variant
        yield variant
    forget_mitsuba()


@pytest.fixture(scope="module", params=["scalar_rgb", "llvm_ad_rgb"], autouse=True)
def variant(request) -> Generator[str]:
    yield from chosen(request.param)


@pytest.fixture(scope="module")
def red_stool(variant):
    return render(stool(), worn("red", "plastic"), VIEW, 48, 8)


def share_of_other_pixels(image: np.ndarray, other: np.ndarray) -> float:
    """Share of pixels that differ by more than rounding: a ray may hit another edge."""
    return float((np.abs(image.astype(int) - other).max(-1) > 2).mean())


def test_the_picture_shows_the_colours_asked_for(red_stool) -> None:
    seat = np.median(red_stool.image[red_stool.buffers.part_ids == 1], axis=0)
    assert red_stool.image.shape == (48, 48, 3)
    assert seat[0] > 120
    assert seat[0] > 2 * max(seat[1], seat[2])
    ground = np.median(red_stool.image[red_stool.buffers.part_ids == 0], axis=0)
    assert np.ptp(ground) < 60


def test_the_same_view_gives_the_same_picture(red_stool) -> None:
    again = render(prepare(stool()), worn("red", "plastic"), VIEW, 48, 8)
    assert share_of_other_pixels(again.image, red_stool.image) < 0.02


def test_a_picture_does_not_depend_on_the_one_before(red_stool) -> None:
    glass = render(stool(), worn("clear", "glass"), VIEW, 48, 8)
    assert share_of_other_pixels(glass.image, red_stool.image) > 0.1
    again = render(stool(), worn("red", "plastic"), VIEW, 48, 8)
    assert share_of_other_pixels(again.image, red_stool.image) < 0.02


def test_the_sky_is_written_in_the_size_mitsuba_reads(variant) -> None:
    """Another size is read beyond its end by the scalar variant, which says nothing."""
    values = engine.mitsuba().traverse(scene.Studio()._scene)
    assert values["sky.data"].shape == lighting._sky(np.random.default_rng(0)).shape


def test_buffers_know_parts_depth_and_normals(red_stool) -> None:
    maps = red_stool.buffers
    is_object = maps.part_ids > 0
    assert set(np.unique(maps.part_ids)) == {0, 1, 2}
    assert np.isinf(maps.depth[~is_object]).all()
    assert np.isfinite(maps.depth[is_object]).all()
    assert np.ptp(maps.depth[is_object]) < 1.2
    lengths = np.linalg.norm(maps.normals, axis=-1)
    assert np.allclose(lengths[is_object], 1, atol=1e-4)
    assert not lengths[~is_object].any()


def test_the_top_of_a_box_faces_up_in_camera_space() -> None:
    box = (Part(name="seat", mesh=m.rounded_box((1, 0.2, 1), 0.01)),)
    above = buffers(box, Camera(azimuth=0, elevation=89.9), 32)
    assert above.normals[16, 16] == pytest.approx([0, 0, 1], abs=0.01)
    front = buffers(box, Camera(azimuth=0, elevation=0), 32)
    assert front.normals[16, 16] == pytest.approx([0, 0, 1], abs=0.01)
    assert front.depth[16, 16] == pytest.approx(above.depth.min() * 1.0, rel=0.5)


def test_depth_is_in_the_objects_units() -> None:
    pair = [m.rounded_box((1, 1, 0.1), 0.01), m.rounded_box((0.3, 0.3, 0.1), 0.01, (0, 0, 0.7))]
    maps = buffers((Part(name="seat", mesh=m.merge(pair)),), Camera(azimuth=0, elevation=0), 48)
    near, far = maps.depth[24, 24], maps.depth[24, 8]
    assert far - near == pytest.approx(0.7, abs=0.01)


def test_an_object_needs_a_part() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        buffers((), CAMERA, 32)


def test_more_finishes_than_slots_are_refused() -> None:
    names = [f"p{i}" for i in range(8)]
    colours = ("red", "blue", "green", "teal", "navy", "pink", "brown", "beige")
    parts = [
        Part(name=n, mesh=m.rounded_box((1, 1, 1), centre=(2 * i, 0.5, 0)))
        for i, n in enumerate(names)
    ]
    finishes = [
        (n, Finish(colour=c, material="plastic")) for n, c in zip(names, colours, strict=True)
    ]
    many = Colourway(finishes=tuple(finishes[:3]), others=tuple(finishes[3:]))
    with pytest.raises(ValueError, match="at most 6 surfaces, got 8"):
        render(parts, many, VIEW, 32, 4)


def test_tone_mapping_keeps_mid_tones_and_rolls_off_highlights() -> None:
    light = np.array([[[0.2140, 0.2140, 0.2140], [1.0, 4.0, 50.0]]], np.float32)
    mapped = tone_mapped(light)[0]
    assert mapped[0] == pytest.approx([127, 127, 127], abs=1)
    assert 200 < mapped[1, 0] < mapped[1, 1] <= mapped[1, 2] <= 255


def test_both_variants_make_the_same_picture(variant) -> None:
    if variant.startswith("scalar"):
        pytest.skip("compared where LLVM is")
    pictures = [traced(name) for name in ("scalar_rgb", "llvm_ad_rgb")]
    forget_mitsuba()
    (scalar, scalar_buffers), (llvm, llvm_buffers) = pictures
    assert scalar.light.mean() == pytest.approx(llvm.light.mean(), rel=0.01)
    blocks = (scalar.light - llvm.light).reshape(8, 4, 8, 4, 3).mean((1, 3))
    assert np.abs(blocks).mean() < 0.05 * llvm.light.mean()
    assert np.abs(scalar.albedo - llvm.albedo).mean() < 0.002
    assert np.array_equal(scalar_buffers.part_ids, llvm_buffers.part_ids)
    assert np.allclose(scalar_buffers.depth, llvm_buffers.depth, atol=1e-4)


def traced(variant: str) -> tuple[Traced, renderer.Buffers]:
    """Return a red stool by a variant: light before noise reduction, and buffers."""
    with contextmanager(chosen)(variant):
        stools = prepare(stool())
        light = scene.Studio().photograph(stools, worn("red", "plastic"), VIEW, size_px=32, spp=64)
        return light, buffers(stools, CAMERA, 32)
