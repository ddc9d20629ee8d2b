"""Ablations: one thing changed at a time, from one start, on the same data."""

from dataclasses import asdict, fields

import pytest

from composer.strategies.duet import DuetShape
from composer.training import ablations
from composer.training.ablations import AblationSettings, duet_ablations, variants
from composer.training.duet import DuetTraining
from composer.training.duet_objective import TOWER_TERMS, DuetWeights
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import write_clip


@pytest.fixture
def recipe(tmp_path):
    write_clip(tmp_path / "clip", image_px=128)
    write_pack(tmp_path / "pack")
    return DuetTraining(clip=tmp_path / "clip", data=tmp_path / "pack", num_drawings=1)


def test_each_variant_changes_one_thing(recipe):
    base = asdict(recipe)
    recipes = variants(recipe)
    assert recipes.pop(("loss", "recipe")) == recipe
    # Variants train on references that were encoded before: terms of the tower have no part.
    names = [field.name for field in fields(DuetWeights) if field.name not in TOWER_TERMS]
    assert len(recipes) == len(names) + 3 + 4
    for (ablation, variant), changed in recipes.items():
        differs = {name for name, value in asdict(changed).items() if value != base[name]}
        assert differs == ({"weights"} if ablation == "loss" else {"shape"}), variant
    for name in names:
        word = "with" if name == "reconstruction" else "without"
        weights = asdict(recipes["loss", f"{word} {name}"].weights)
        changed = [n for n in names if weights[n] != base["weights"][n]]
        assert changed == [name]
        assert (weights[name] == 0) == (name != "reconstruction")
    assert recipes["prompt length", "1"].shape == DuetShape(prompt_length=1)
    assert recipes["tokens", "16"].shape == DuetShape(num_tokens=16)


def test_runs_start_alike_and_differ_by_their_variant_alone(recipe, monkeypatch):
    chosen = [("loss", "recipe"), ("loss", "without words"), ("tokens", "2")]
    every = variants(recipe)

    def few(changed):
        return {key: variants(changed)[key] for key in chosen} | {("loss", "again"): changed}

    assert set(chosen) <= set(every)
    monkeypatch.setattr(ablations, "variants", few)
    settings = AblationSettings(num_steps=3, batch_size=8, device="cpu")
    rows = {(row.ablation, row.variant): row for row in duet_ablations(recipe, settings)}
    base, again = (asdict(rows["loss", name]) for name in ("recipe", "again"))
    assert {**base, "variant": ""} == {**again, "variant": ""}
    assert base["num_steps"] == 3
    for key in chosen[1:]:
        assert rows[key].moved_by_neutral != base["moved_by_neutral"], key
    assert all(0 <= row.both_1 <= row.both_10 <= 1 for row in rows.values())
