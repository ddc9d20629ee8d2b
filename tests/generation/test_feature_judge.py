import numpy as np
import pytest
import torch

from composer.weights import WeightsError, read_safetensors, write_safetensors
from generation.feature_judge import FeatureJudge
from generation.judge import JudgeError


def make_features(seed: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(0, 1, (3, 12))
    numbers = rng.integers(3, size=90)
    features = centres[numbers] + rng.normal(0, 0.4, (90, 12)) + 5
    return features.astype(np.float32), [("chair", "lamp", "mug")[number] for number in numbers]


def test_a_judge_names_pictures_that_it_was_not_fitted_to(tmp_path):
    judge = FeatureJudge.fit(*make_features(0))
    judge.save(tmp_path / "judge.safetensors")
    features, labels = make_features(1)
    named = FeatureJudge.load(tmp_path / "judge.safetensors").name(features)
    assert named == judge.name(features)
    assert np.mean([a == b for a, b in zip(named, labels, strict=True)]) > 0.95


def test_other_files_are_refused(tmp_path):
    with pytest.raises(WeightsError):
        FeatureJudge.load(tmp_path / "missing.safetensors")
    path = tmp_path / "other.safetensors"
    write_safetensors(
        path, {"mean": torch.zeros(2), "weight": torch.zeros(1, 2), "bias": torch.zeros(1)}
    )
    with pytest.raises(JudgeError, match="not a judge"):
        FeatureJudge.load(path)


@pytest.mark.parametrize("kinds", [None, "", "[", "3", "[]", "[1, 2, 3]", '["chair"]'])
def test_a_judge_whose_names_are_damaged_is_refused(tmp_path, kinds):
    path = tmp_path / "judge.safetensors"
    FeatureJudge.fit(*make_features(0)).save(path)
    weights = read_safetensors(path)
    others = {name: value for name, value in weights.metadata.items() if name != "kinds"}
    named = others if kinds is None else {**others, "kinds": kinds}
    write_safetensors(path, weights.tensors, named)
    with pytest.raises(JudgeError, match="is damaged"):
        FeatureJudge.load(path)
