"""Noise goes, texture, edges and failed pixels are treated as they should be."""

import numpy as np

from assets.catalogue.denoise import Traced, denoised


def _scene(noise: float) -> tuple[Traced, np.ndarray]:
    rng = np.random.default_rng(0)
    albedo = np.full((48, 48, 3), 0.5, np.float32)
    albedo[::2] = 0.3  # a texture of single rows
    normals = np.zeros((48, 48, 3), np.float32)
    normals[:, :24, 2], normals[:, 24:, 0] = 1, 1  # an edge between two faces
    shading = np.where(np.arange(48) < 24, 1.0, 0.4).astype(np.float32)[None, :, None]
    clean = albedo * shading
    light = clean * (1 + noise * rng.standard_normal((48, 48, 1))).astype(np.float32)
    return Traced(light=light.astype(np.float32), albedo=albedo, normals=normals), clean


def test_noise_falls_while_texture_and_edge_stay() -> None:
    traced, clean = _scene(0.15)
    before = np.abs(traced.light - clean).mean()
    result = denoised(traced)
    assert np.abs(result - clean).mean() < 0.4 * before
    assert np.allclose(result[::2].mean() / result[1::2].mean(), 0.6, atol=0.05)
    assert np.allclose(result[:, 23].mean() / result[:, 24].mean(), 2.5, atol=0.25)


def test_a_clean_picture_stays_as_it_is() -> None:
    traced, clean = _scene(0.0)
    assert np.abs(denoised(traced) - clean).max() < 0.02


def test_failed_and_stray_bright_pixels_are_filled_from_around_them() -> None:
    traced, clean = _scene(0.0)
    traced.light[10, 10] = np.nan
    traced.light[30, 8] = 90.0
    result = denoised(traced)
    assert np.isfinite(result).all()
    assert np.abs(result[10, 10] - clean[10, 10]).max() < 0.05
    assert result[30, 8].max() < 2.5 * clean[30, 8].max()
