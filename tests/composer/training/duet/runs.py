"""Runs and encodings on the tiny world."""

from dataclasses import replace

from composer.data.duet_batches import encode_references
from composer.data.feature_store import FeatureStore
from composer.data.natural_queries import NaturalQueries, NaturalQuery
from composer.medium import Medium
from composer.training.duet import DuetTraining, duet_trainer
from composer.training.loop import Budget
from composer.training.trainer import RunSettings


def trainer_of(folder, tmp_path, num_steps, *, clip=None, run=None, **changes):
    """A run of `num_steps` on the tiny world; `run` and `changes` alter settings and recipe."""
    recipe = DuetTraining(
        clip=clip or folder / "kit" / "clip", data=folder / "pack", batch_size=8,
        num_cached_steps=0, cached_batch_size=8, num_drawings=1,
    )  # fmt: skip
    settings = RunSettings(
        output=tmp_path / "duet.safetensors", state=tmp_path / "state",
        budget=Budget(num_steps=num_steps), device="cpu", validate_every=num_steps, log_every=1,
    )  # fmt: skip
    return duet_trainer(replace(recipe, **changes), replace(settings, **(run or {})))


def encoded_by(tower, pack, batches, gallery, backbone, count=1):
    copy = getattr(tower, "tower", None)  # of a duet; the backbone itself has none
    store = FeatureStore(backbone, tower=copy, encode=tower.encode_image)
    return encode_references(pack, batches.designs, gallery.rows, store, count=count)


def queries_of(folder, world, *, num_drawings, seed):
    """Every photo of the world asks for itself: alone, and for its neighbour in words."""
    count = len(world.photos)
    alone = [NaturalQuery(reference=i, words=(), answers=(i,)) for i in range(count)]
    named = [
        NaturalQuery(reference=i, words=("next",), answers=((i + 1) % count,), ignored=(i,))
        for i in range(count)
    ]
    return NaturalQueries(
        pictures=world.photos,
        references=world.photos,
        media=(Medium.PHOTO,) * (count - 2) + (Medium.DRAWING,) * 2,
        by_source={"alone": tuple(alone), "in words": tuple(named)},
    )
