"""What no training may see."""

import json
import zipfile
from pathlib import Path

import pytest

from composer.data import heldout

DATA = Path(__file__).parents[3] / "shared" / "data"


def test_twenty_classes_are_held_out_and_tiny_imagenet_follows_by_name():
    assert len(heldout.SKETCHY_CLASSES) == 20
    assert heldout.sketchy_is_held_out("hermit_crab")
    assert not heldout.sketchy_is_held_out("chair")
    assert heldout.tiny_imagenet_is_held_out("spiny lobster, langouste, rock lobster")
    assert heldout.tiny_imagenet_is_held_out("umbrella")
    assert not heldout.tiny_imagenet_is_held_out("goldfish, Carassius auratus")


def test_a_quarter_of_pacs_and_an_eighth_of_flickr_are_held_out():
    pacs = [heldout.pacs_is_held_out(f"photo/dog/{n}.jpg") for n in range(4000)]
    flickr = [heldout.flickr_is_held_out(f"{n}.jpg") for n in range(4000)]
    assert sum(pacs) / 4000 == pytest.approx(0.25, abs=0.02)
    assert sum(flickr) / 4000 == pytest.approx(0.125, abs=0.02)


def test_a_sketch_is_held_out_with_its_photo():
    assert heldout.sketchy_photo_stem("n02691156_10151-3") == "n02691156_10151"


def test_sixty_of_the_real_chairs_are_held_out(repo_root):
    import tarfile

    archive = repo_root.parent / "shared" / "data" / "chairv2_train.tar"
    if not archive.exists():
        pytest.skip("the training archives are not on this machine")
    with tarfile.open(archive) as opened:
        stems = [Path(n).stem for n in opened.getnames() if n.endswith(".jpg")]
    assert len(stems) == 300
    assert sum(map(heldout.chairv2_is_held_out, stems)) == 60


def test_classes_held_out_of_the_real_tiny_imagenet(repo_root):
    archive = repo_root.parent / "shared" / "data" / "tiny_imagenet.zip"
    if not archive.exists():
        pytest.skip("the training archives are not on this machine")
    with zipfile.ZipFile(archive) as opened:
        words = json.loads(opened.read("tiny_imagenet/classes.json"))
    held = {wnid for wnid, line in words.items() if heldout.tiny_imagenet_is_held_out(line)}
    assert {
        "n02950826",
        "n01983481",
        "n01984695",
        "n04507155",
    } <= held  # cannon, lobsters, umbrella
    assert len(held) < 20
