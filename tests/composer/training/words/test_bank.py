from pathlib import Path

import pytest
import torch

from composer.training.words.bank import (
    PhotoHead,
    PooledSet,
    class_directions,
    pca_head,
    read_bank,
    write_bank,
)
from composer.weights import WeightsError, write_safetensors


def test_a_bank_comes_back_from_its_file(tmp_path: Path):
    sets = {
        "flickr": PooledSet(names=("flickr/1.jpg", "flickr/2.jpg"), pooled=torch.eye(2, 3)),
        "noto": PooledSet(names=("noto/ä.webp",), pooled=torch.ones(1, 3)),
    }
    write_bank(sets, tmp_path / "bank.safetensors")
    back = read_bank(tmp_path / "bank.safetensors")
    assert {name: s.names for name, s in back.items()} == {n: s.names for n, s in sets.items()}
    assert torch.equal(back["flickr"].pooled, torch.eye(2, 3))


def test_names_and_features_must_be_as_many(tmp_path: Path):
    with pytest.raises(ValueError, match="got 1 names and 2 features"):
        PooledSet(names=("a",), pooled=torch.ones(2, 3))
    write_safetensors(tmp_path / "bank.safetensors", {"flickr": torch.ones(2, 3)})
    with pytest.raises(WeightsError, match="must name every picture of every set"):
        read_bank(tmp_path / "bank.safetensors")


def test_a_photo_head_projects_and_comes_back(tmp_path: Path):
    head = PhotoHead(weight=torch.tensor([[2.0, 0.0], [0.0, 1.0]]), bias=torch.tensor([1.0, 0.0]))
    # 2 * 1 + 1 = 3 and 4: a 3-4-5 triangle.
    assert head.project(torch.tensor([[1.0, 4.0]])).tolist() == [pytest.approx([0.6, 0.8])]
    head.save(tmp_path / "head.safetensors")
    back = PhotoHead.load(tmp_path / "head.safetensors")
    assert torch.equal(back.weight, head.weight)
    assert torch.equal(back.bias, head.bias)


def test_the_pca_head_centres_and_whitens():
    spread = torch.tensor([4.0, 2.0, 0.01])
    pooled = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * spread + 5
    head = pca_head(pooled, dim=2, whitening=1.0)
    mapped = pooled @ head.weight.T + head.bias
    assert mapped.mean(0).abs().max() < 1e-3
    assert mapped.std(0)[0] / mapped.std(0)[1] == pytest.approx(1.0, abs=0.01)
    plain = pca_head(pooled, dim=2, whitening=0.0)
    mapped = pooled @ plain.weight.T + plain.bias
    assert mapped.std(0)[0] / mapped.std(0)[1] == pytest.approx(2.0, abs=0.1)


def test_class_directions_undo_what_a_classifier_does_to_its_means():
    """Means over a covariance: the classifier of such classes is S^-1 mean."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([3.0, 1.0, 0.5])
    pooled = torch.randn(20_000, 3, generator=generator) * spread
    means = torch.tensor([[1.0, 1.0, 1.0], [-1.0, 0.0, 1.0], [0.0, -1.0, -2.0]])
    classifier = means / spread.square()
    found = class_directions(classifier, pooled, power=1.0)
    cosines = torch.cosine_similarity(found, means - means.mean(0))
    assert cosines.min() > 0.995
    unchanged = class_directions(classifier, pooled, power=0.0)
    torch.testing.assert_close(unchanged, classifier - classifier.mean(0), atol=1e-4, rtol=0)
