"""Cameras see the object whole, centred, and from where they say."""

import numpy as np
import pytest

from assets.catalogue.camera import Camera, axes_of, frame


def _projected(points: np.ndarray, camera: Camera) -> np.ndarray:
    pose = frame(points, camera)
    x, y, z = ((points - pose.origin) @ pose.axes.T).T
    slope = np.tan(np.radians(camera.fov) / 2)
    return np.stack([x, y], 1) / (-z[:, None] * slope)


@pytest.mark.parametrize("angles", [(0, 0, 0), (40, 20, 0), (-55, 30, 10)])
def test_the_object_fills_the_frame_up_to_the_margin(angles: tuple[int, int, int]) -> None:
    points = np.random.default_rng(0).uniform((-1, 0, -0.3), (1, 0.7, 0.3), (200, 3))
    azimuth, elevation, roll = angles
    camera = Camera(azimuth=azimuth, elevation=elevation, roll=roll, margin=0.1)
    projected = _projected(points, camera)
    assert np.abs(projected).max() == pytest.approx(0.8)
    assert projected.max(0) + projected.min(0) == pytest.approx([0, 0], abs=0.12)


def test_a_positive_azimuth_looks_from_the_objects_plus_x() -> None:
    assert axes_of(Camera(azimuth=90, elevation=0))[2] == pytest.approx([1, 0, 0])
    assert axes_of(Camera(azimuth=0, elevation=90))[2] == pytest.approx([0, 1, 0])


def test_axes_are_right_handed_and_unit() -> None:
    axes = axes_of(Camera(azimuth=33, elevation=21, roll=7))
    assert np.allclose(axes @ axes.T, np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1)
