"""Line detectors, with random weights in the layouts of the public files."""

import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from generation.controls import ControlKind
from generation.detectors import WEIGHTS, Detector, LineDetector
from generation.request import RequestError
from tests.pictures import noise

controlnet_aux = pytest.importorskip("cv2", reason="the extra `control` is not installed")

from tests.replicas.detectors import write_detectors  # noqa: E402  after the extra

pytestmark = pytest.mark.kits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_detectors(tmp_path_factory.mktemp("annotators") / "files")


def square() -> Image.Image:
    image = Image.new("RGB", (96, 96), (240, 240, 240))
    image.paste((20, 20, 60), (32, 32, 64, 64))
    return image


@pytest.mark.parametrize("detector", Detector)
def test_a_photo_becomes_a_control_image_of_the_outputs_size(folder, detector):
    weights = folder / WEIGHTS[detector] if detector in WEIGHTS else None
    opened = LineDetector(detector, weights)
    drawn = opened.control_image(square(), 80, 72, ControlKind.CANNY)
    assert (drawn.shape, drawn.dtype) == ((80, 72), np.uint8)
    other = opened.control_image(noise((96, 96), 3).convert("RGB"), 80, 72, ControlKind.CANNY)
    assert (drawn != other).any()
    again = opened.control_image(square(), 80, 72, ControlKind.CANNY)
    assert np.array_equal(drawn, again)


def test_canny_draws_white_on_black_where_the_picture_has_an_edge():
    drawn = LineDetector(Detector.CANNY, None).control_image(square(), 96, 96, ControlKind.CANNY)
    assert drawn[48, 30:35].max() > 200
    assert drawn[48, 40:56].max() == 0
    assert drawn[5:20].max() == 0


def test_scribbles_are_thinned_to_black_and_white(folder):
    opened = LineDetector(Detector.HED, folder / WEIGHTS[Detector.HED])
    image = noise((128, 128), 5).convert("RGB")
    grey = opened.control_image(image, 128, 128, ControlKind.LINEART)
    thin = opened.control_image(image, 128, 128, ControlKind.SCRIBBLE)
    assert set(np.unique(thin)) <= {0, 255}
    assert not set(np.unique(grey)) <= {0, 255}


class _Code:
    """What a malicious file would run."""

    def __reduce__(self):
        return os.mkdir, (sys.argv[0] + "-was-run",)


def test_files_that_hold_more_than_the_network_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "code")])
    torch.save({"state_dict": _Code()}, tmp_path / "code.pth")
    (tmp_path / "cut.pth").write_bytes((folder / "sk_model.pth").read_bytes()[:-500])
    for name in ("code.pth", "cut.pth", "absent.pth"):
        with pytest.raises(RequestError, match=rf"weights {name} are damaged, or hold more than"):
            LineDetector(Detector.LINEART, tmp_path / name)
    assert not (tmp_path / "code-was-run").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    for file in (folder / "ControlNetHED.pth", tmp_path / "list.pth"):
        with pytest.raises(RequestError, match="are not those of this detector"):
            LineDetector(Detector.LINEART, file)


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("controlnet_aux")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "controlnet_aux", None)
    with pytest.raises(RequestError, match=r"duet-studio\[control\]"):
        LineDetector(Detector.CANNY, None)
