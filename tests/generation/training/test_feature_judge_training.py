import json

import numpy as np

from generation.feature_judge import FeatureJudge
from generation.training import feature_judge


class MeanColours:
    """Stands for the packaged trunk: the mean colour of each quarter."""

    def __call__(self, images):
        levels = np.stack([np.asarray(image.resize((4, 4))) for image in images])
        return levels.reshape(len(levels), -1).astype(np.float32)


def test_the_judge_learns_from_train_designs_and_is_measured_on_others(
    pack_folder, pack, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(feature_judge, "PublicFeatures", MeanColours)
    path = tmp_path / "judge.safetensors"
    assert feature_judge.main(["--data", str(pack_folder), "--output", str(path)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["num_pictures"] == len(pack.validation_photos())
    assert figures["kind_accuracy"] > 0.6
    assert FeatureJudge.load(path).kinds == ("box", "disc")
