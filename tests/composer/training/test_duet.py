from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.data.duet_batches import (
    DuetBatches,
    Mixture,
    average_regions,
    encode_gallery,
    encode_references,
)
from composer.data.world import NaturalParts, PairTable
from composer.layout import region_maps, region_projection
from composer.sketch import Sketch
from composer.strategies.duet import DuetModel, DuetShape
from composer.training import duet, duet_validation
from composer.training.decoder import Decoder, reconstruction
from composer.training.duet import DuetTraining, duet_trainer
from composer.training.duet_objective import (
    Banks,
    DuetMargins,
    DuetWeights,
    duet_terms,
    encode_batch,
)
from composer.training.duet_validation import accuracy
from composer.training.loop import Budget
from composer.training.losses import weighted_sum
from composer.training.phrases import HAND_PROMPTS, NEUTRAL
from composer.training.run import main
from composer.training.trainer import RunSettings, TrainingError
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("duet")
    write_clip(root / "kit" / "clip", image_px=128)
    write_pack(root / "pack")
    return root


@pytest.fixture(scope="module")
def backbone(folder):
    return Backbone.load(folder / "kit" / "clip")


@pytest.fixture(scope="module")
def pack(folder):
    return CataloguePack.open(folder / "pack")


@pytest.fixture(scope="module")
def gallery(pack, backbone):
    return encode_gallery(pack, pack.rows(split="train"), backbone)


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


def test_banks_have_the_sizes_of_the_paper():
    assert len(NEUTRAL) == len(set(NEUTRAL)) == 100
    assert all(3 <= len(phrase.split()) <= 6 for phrase in NEUTRAL)
    assert len(HAND_PROMPTS) == len(set(HAND_PROMPTS)) >= 5


def test_region_means_by_hand():
    patches = torch.zeros(1, 16, 2)
    patches[0, [0, 1, 4, 5], 0] = 1.0  # the upper left quarter of a 4 x 4 grid
    patches[0, [10, 11, 14, 15], 1] = 3.0  # the lower right one
    regions = average_regions(patches, (4, 4), 2)
    assert regions[0].tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]
    overlapping = average_regions(patches, (4, 4), 3)
    assert overlapping.shape == (1, 9, 2)
    assert overlapping[0, [0, 8]].tolist() == [[1, 0], [0, 1]]


def test_a_batch_knows_its_answers(pack, gallery, backbone):
    mixture = Mixture(photo_references=0.0, domain_targets=0.0, dropped_words=0.0)
    batches = DuetBatches(pack, gallery, backbone, mixture=mixture)
    batch = batches.draw(3, 8)
    items = [pack.items[row] for row in gallery.rows]
    for i in range(8):
        anchor = items[int(batch.anchors[i])]
        assert anchor.domain == "photo"
        design = {j for j, item in enumerate(items) if item.design == anchor.design}
        photos = {j for j in design if items[j].domain == "photo"}
        assert set(batch.shows_design[i].nonzero().flatten().tolist()) == photos
        assert set(batch.design_ignored[i].nonzero().flatten().tolist()) == design - photos
        answers = set(batch.answers[i].nonzero().flatten().tolist())
        assert int(batch.targets[i]) in answers <= photos
        assert not (batch.answers[i] & batch.answer_ignored[i]).any()
        assert batch.same_look[i].nonzero().flatten().tolist() == [int(batch.anchors[i])]
    assert len({items[int(a)].design for a in batch.anchors}) == 8
    again = DuetBatches(pack, gallery, backbone, mixture=mixture).draw(3, 8)
    np.testing.assert_array_equal(again.references, batch.references)
    assert again.word_ids == batch.word_ids


def test_words_that_name_a_medium_are_answered_in_it(pack, gallery, backbone):
    batches = DuetBatches(pack, gallery, backbone, mixture=Mixture(domain_targets=1.0))
    batch = batches.draw(0, 8)
    domains = [pack.items[row].domain for row in gallery.rows]
    for i in range(8):
        found = {domains[j] for j in batch.answers[i].nonzero().flatten().tolist()}
        assert found == {"watercolour"}
        assert not batch.answer_ignored[i].any()


def encoded_by(tower, pack, batches, gallery, backbone, count=1):
    return encode_references(
        pack, batches.designs, gallery.rows, backbone, tower.encode_image, count=count
    )


def test_references_encoded_before_stand_in_for_pixels(pack, gallery, backbone):
    mixture = Mixture(photo_references=0.0)
    batches = DuetBatches(pack, gallery, backbone, mixture=mixture)
    encoded = encoded_by(backbone, pack, batches, gallery, backbone, count=2)
    sketches = [sketch for sketch in pack.sketches if sketch.design in batches.designs]
    assert sum(len(found) for found in encoded.drawings.values()) == 2 * len(sketches)
    items = [pack.items[row] for row in gallery.rows]
    assert list(encoded.photos) == [i for i, item in enumerate(items) if item.domain == "photo"]
    for place, feature in encoded.photos.items():
        torch.testing.assert_close(feature, gallery.features[place])
    batch = batches.draw(0, 8, encoded)
    for feature, anchor in zip(batch.references, batch.anchors.tolist(), strict=True):
        assert (encoded.drawings[items[anchor].design] == feature).all(1).any()
    photos = DuetBatches(pack, gallery, backbone, mixture=Mixture(photo_references=1.0))
    batch = photos.draw(0, 8, encoded)
    for feature, anchor in zip(batch.references, batch.anchors.tolist(), strict=True):
        shown = [row for row, photo in encoded.photos.items() if torch.equal(photo, feature)]
        assert items[anchor].design in {items[row].design for row in shown}


def test_references_are_encoded_by_the_tower_that_is_held(pack, gallery, backbone):
    model = DuetModel(backbone)
    batches = DuetBatches(pack, gallery, backbone)
    with torch.no_grad():
        for name, parameter in model.trainable_state().items():
            if name.startswith("layer_norms."):
                parameter.mul_(1.2)
    frozen, tuned = (
        encoded_by(tower, pack, batches, gallery, backbone) for tower in (backbone, model)
    )
    design = batches.designs[0]
    for place, photo in frozen.photos.items():
        assert not torch.allclose(photo, tuned.photos[place], atol=1e-3)
    assert not torch.allclose(frozen.drawings[design], tuned.drawings[design], atol=1e-3)


def test_photo_references_show_another_colourway(pack, gallery, backbone):
    batches = DuetBatches(pack, gallery, backbone, mixture=Mixture(photo_references=1.0))
    batch = batches.draw(0, 8)
    items = [pack.items[row] for row in gallery.rows]
    pixels = pack.pixels(gallery.rows)
    for reference, place in zip(batch.references, batch.anchors.tolist(), strict=True):
        shown = [items[i] for i in range(len(items)) if np.array_equal(pixels[i], reference)]
        assert {item.design for item in shown} == {items[place].design}
        assert items[place].colourway not in {item.colourway for item in shown}


def test_every_term_trains_and_only_what_it_should(pack, gallery, backbone):
    torch.manual_seed(0)
    model = DuetModel(backbone)
    batch = DuetBatches(pack, gallery, backbone).draw(0, 8)
    bank, rng = Banks(backbone), np.random.default_rng(0)
    features = encode_batch(model, batch, gallery, bank, rng)
    terms = duet_terms(features, batch, gallery, DuetMargins())
    elsewhere = {"reconstruction", "natural"}
    assert set(terms) == {field.name for field in fields(DuetWeights)} - elsewhere
    only = DuetWeights(**{name: float(name == "words") for name in terms})
    assert weighted_sum(terms, only).item() == pytest.approx(terms["words"].item())
    weighted_sum(terms, DuetWeights()).backward()
    for name, parameter in model.trainable_state().items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    touched = [n for n, p in model.trainable_state().items() if p.grad.abs().sum() > 0]
    assert len(touched) == len(model.trainable_state())
    assert all(p.grad is None for p in backbone.model.parameters())


def test_a_gallery_can_be_encoded_in_half_precision(pack, gallery, backbone):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encode_gallery(pack, gallery.rows, backbone)
        projection = region_projection(backbone.joint_dim)
        maps = region_maps(torch.eye(backbone.joint_dim)[:4].unsqueeze(0), projection)
    assert maps.dtype == torch.float32
    assert found.layouts.dtype == gallery.layouts.dtype == torch.float16
    torch.testing.assert_close(found.features, gallery.features, atol=0.03, rtol=0)


def test_half_precision_ends_where_the_losses_begin(pack, gallery, backbone):
    model, rng = DuetModel(backbone), np.random.default_rng(0)
    batch = DuetBatches(pack, gallery, backbone).draw(0, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encode_batch(model, batch, gallery, Banks(backbone), rng)
    terms = duet_terms(features, batch, gallery, DuetMargins())
    assert {value.dtype for value in terms.values()} == {torch.float32}


def test_auxiliary_prompts_may_be_read_for_a_part_of_the_batch(pack, gallery, backbone):
    model = DuetModel(backbone)
    batch = DuetBatches(pack, gallery, backbone).draw(0, 8)
    bank = Banks(backbone)
    whole, part = (
        encode_batch(model, batch, gallery, bank, np.random.default_rng(0), share)
        for share in (1.0, 0.25)
    )
    assert len(part.q) == len(part.q_words) == len(whole.q_hand) == 8
    for name in ("q_delta", "q_hand"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[:2])
    terms = duet_terms(part, batch, gallery, DuetMargins())
    same = duet_terms(whole, batch, gallery, DuetMargins())
    assert terms["reference"].item() == pytest.approx(same["reference"].item(), rel=1e-4)
    assert all(torch.isfinite(value) for value in terms.values())


def test_accuracy_counts_ties_against_the_query():
    similarities = torch.tensor([[0.9, 0.5, 0.1], [0.7, 0.7, 0.1], [0.1, 0.2, 0.0]])
    found = accuracy(similarities, torch.arange(3))
    assert (found.at_1, found.at_5) == pytest.approx((1 / 3, 1.0))


def test_training_learns_and_its_file_serves(folder, tmp_path, backbone):
    trainer = trainer_of(folder, tmp_path, 60, weights=DuetWeights(region=0.0))
    frozen = [p.clone() for p in backbone.model.parameters()]
    first = [trainer.train_step() for _ in range(5)]
    trainer.run()
    last = [trainer.train_step() for _ in range(5)]
    for name in ("words", "reference"):
        before, after = (sum(terms[name] for terms in part) for part in (first, last))
        assert after < 0.9 * before, name
    kept = trainer.objective.backbone.model.parameters()
    for before, after in zip(frozen, kept, strict=True):
        assert torch.equal(before, after)
    assert DuetModel.load(trainer.settings.output, backbone).prompt.shape == (3, 32)


def test_steps_on_encoded_references_leave_the_tower_alone(folder, tmp_path):
    trainer = trainer_of(folder, tmp_path, 4, num_cached_steps=2)
    model = trainer.objective.model
    start = {name: p.detach().clone() for name, p in model.trainable_state().items()}

    def moved():
        state = model.trainable_state().items()
        return {n.split(".")[0] for n, p in state if not torch.equal(p, start[n])}

    for _ in range(2):
        trainer.train_step()
    assert moved() == {"converter", "prompt"}
    for _ in range(2):
        trainer.train_step()
    assert moved() == {"converter", "prompt", "layer_norms"}


def test_layouts_are_compared_only_where_the_tower_saw(pack, gallery, backbone):
    model, bank = DuetModel(backbone), Banks(backbone)
    batches = DuetBatches(pack, gallery, backbone)
    encoded = encoded_by(model, pack, batches, gallery, backbone)
    for batch, is_seen in ((batches.draw(0, 8), True), (batches.draw(0, 8, encoded), False)):
        features = encode_batch(model, batch, gallery, bank, np.random.default_rng(0))
        terms = duet_terms(features, batch, gallery, DuetMargins())
        assert ("layout" in terms) == is_seen
        if is_seen:
            terms["layout"].backward()
            state = model.trainable_state().items()
            touched = {n.split(".")[0] for n, p in state if p.grad is not None and p.grad.any()}
            assert touched == {"layer_norms"}


@pytest.fixture
def natural(monkeypatch):
    """Two classes of two things each to train on, and two more that no training sees."""

    def table(name, classes):
        ids = [(c, i) for c in classes for i in range(2)]
        marks = np.random.default_rng(len(name)).integers(0, 255, (len(ids), 128, 128, 3))
        photos = marks.astype(np.uint8)
        kinds = tuple(c for c, _ in ids)
        things = tuple(f"{name}/{c}/{i}" for c, i in ids)
        drawings = tuple(Sketch(raster=photo[..., 0]) for photo in photos)
        return PairTable(
            name=name, photos=np.concatenate([photos] * 8), photo_classes=kinds * 8,
            photo_instances=things * 8, drawings=drawings, drawing_classes=kinds,
            drawing_instances=things,
        )  # fmt: skip

    parts = NaturalParts(
        train=(table("sketchy", ("cow", "duck")), table("chairv2", ("chair",))),
        validation=(table("sketchy", ("pear", "fan")),),
    )
    monkeypatch.setattr(duet, "natural_tables", lambda folder, size_px: parts)
    return {"natural": Path("archives"), "num_natural": 16}


def test_drawings_of_the_natural_world_are_learnt_and_validated(folder, tmp_path, natural):
    only = DuetWeights(**{f.name: float(f.name == "natural") for f in fields(DuetWeights)})
    trainer = trainer_of(folder, tmp_path, 40, weights=only, num_cached_steps=1, **natural)
    assert "natural" not in trainer.train_step()
    first = sum(trainer.train_step()["natural"] for _ in range(3))
    trainer.run()
    last = sum(trainer.train_step()["natural"] for _ in range(3))
    assert last < 0.9 * first
    scores = trainer.validate()
    assert scores.category is not None
    assert 0 <= scores.category <= 1
    assert f"nearest 25 {scores.category:.1%}" in scores.summary()


def test_the_natural_loss_asks_for_the_class_the_thing_and_its_layout(folder, tmp_path, natural):
    objective = trainer_of(folder, tmp_path, 1, **natural).objective
    found, model = objective._data.natural, objective.model
    batch = found._batches.draw(0)
    found._gallery = torch.eye(len(found._gallery))  # features of a query are its cosines
    found._layouts = torch.zeros_like(found._layouts)  # all layouts are as good

    def loss(drawn, photos):
        known = 100.0 * (torch.from_numpy(drawn).unsqueeze(1) == photos)
        model.read_alone = lambda features: known
        return found.loss(model, 0, temperature=1.0, layout_temperature=1.0).item()

    # A class has sixteen photos here, each thing half of them; as for the class, a query that knows
    # its thing alone gives up the other half, each at a cost of 100.
    guessed = np.log(len(found._gallery))
    expected = (np.log(16) + np.log(16) + guessed) / 3
    assert loss(batch.classes, found._classes) == pytest.approx(expected, abs=1e-3)
    expected = (np.log(8) + np.log(8) + 100 / 2 + guessed) / 3
    assert loss(batch.instances, found._instances) == pytest.approx(expected, abs=1e-3)


def test_validation_orders_the_best_hundred_once_more_by_layout():
    similarities = torch.linspace(0.9, 0.1, 120).expand(2, -1).clone()
    layouts = torch.zeros(2, 120)
    layouts[0, 5] = layouts[1, 110] = 1.0
    found = duet_validation.rerank(similarities, layouts)
    assert found[0].argmax() == 5
    assert found[1].argsort(descending=True)[:100].tolist() == list(range(100))
    assert torch.isinf(found[:, 100:]).all()


def test_a_run_goes_on_from_a_trained_file(folder, tmp_path, backbone):
    first = trainer_of(folder, tmp_path / "first", 6)
    first.run()
    start = first.settings.output
    trainer = trainer_of(folder, tmp_path / "second", 6, start=start)
    kept = DuetModel.load(start, backbone).trainable_state()
    for name, tensor in trainer.objective.model.trainable_state().items():
        assert torch.equal(tensor, kept[name]), name
    trainer.train_step()
    changed = trainer.objective.model.trainable_state().items()
    assert {n.split(".")[0] for n, p in changed if not torch.equal(p, kept[n])} == {
        "converter", "prompt", "layer_norms"
    }  # fmt: skip


def test_validation_chooses_the_residual_that_finds_most_and_the_file_carries_it(
    folder, tmp_path, monkeypatch
):
    trainer = trainer_of(folder, tmp_path, 2)
    scores = {}
    for residual in (0.0, 0.5, 50.0):
        monkeypatch.setattr(duet_validation, "RESIDUALS", (residual,))
        scores[residual] = trainer.validate().score
    assert len(set(scores.values())) > 1
    monkeypatch.setattr(duet_validation, "RESIDUALS", tuple(scores))
    monkeypatch.setattr(duet_validation, "TOLERANCE", 0.0)
    found = trainer.validate()
    assert scores[found.residual] == found.score == max(scores.values())
    # Where the difference is too small to mean anything the smallest does.
    monkeypatch.setattr(duet_validation, "TOLERANCE", 1.1)
    assert trainer.validate().residual == 0.0
    trainer.export(found)
    loaded = DuetModel.load(trainer.settings.output, trainer.objective.backbone)
    assert loaded.residual == found.residual


def test_a_resumed_run_ends_where_an_unbroken_one_does(folder, tmp_path):
    whole = trainer_of(folder, tmp_path / "whole", 6, num_cached_steps=4)
    for _ in range(6):
        whole.train_step()
    first = trainer_of(folder, tmp_path / "halves", 6, num_cached_steps=4)
    for _ in range(3):
        first.train_step()
    first.save()
    second = trainer_of(folder, tmp_path / "halves", 6, num_cached_steps=4)
    assert second.step == 3
    for _ in range(3):
        second.train_step()
    for name, expected in whole.objective.trainable_state().items():
        assert torch.equal(second.objective.trainable_state()[name], expected), name
        averages = (second._descent.average, whole._descent.average)
        assert torch.equal(averages[0].tensors[name], averages[1].tensors[name]), name


def test_a_state_of_another_backbone_is_refused(folder, tmp_path):
    trainer_of(folder, tmp_path, 4).save()
    other = write_clip(tmp_path / "other", seed=5, image_px=128)
    with pytest.raises(TrainingError, match="belongs to another backbone"):
        trainer_of(folder, tmp_path, 4, clip=other)


def test_a_state_of_another_shape_is_refused(folder, tmp_path):
    trainer_of(folder, tmp_path, 4).save()
    with pytest.raises(TrainingError, match="a model of another shape"):
        trainer_of(folder, tmp_path, 4, shape=DuetShape(prompt_length=2))


def test_a_loss_that_is_not_finite_ends_the_run_and_overwrites_nothing(folder, tmp_path):
    trainer = trainer_of(folder, tmp_path, 4)
    trainer.train_step()
    trainer.export(trainer.validate())
    trainer.save()
    files = [trainer.settings.output, *sorted(trainer.settings.state.iterdir())]
    before = [path.read_bytes() for path in files]
    with torch.no_grad():
        trainer.objective.model.prompt.fill_(torch.nan)
    with pytest.raises(TrainingError, match="not finite at step 1"):
        trainer.train_step()
    assert [path.read_bytes() for path in files] == before


def test_patience_ends_a_run(folder, tmp_path):
    still = {"norm_rate": 0.0, "head_rate": 0.0}
    trainer = trainer_of(folder, tmp_path, 50, run={"validate_every": 1, "patience": 2}, **still)
    trainer.run()
    assert trainer.step == 3  # the first check is the best so far, two are not better


def test_a_decoder_trains_beside_the_composer_and_stays_out_of_its_file(folder, tmp_path):
    weights = DuetWeights(reconstruction=1.0)
    trainer = trainer_of(folder, tmp_path, 40, weights=weights, auxiliary_share=1.0)
    first = sum(trainer.train_step()["reconstruction"] for _ in range(4))
    trainer.run()
    last = sum(trainer.train_step()["reconstruction"] for _ in range(4))
    assert last < 0.8 * first
    assert not any("decoder" in name for name in load_file(trainer.settings.output))
    resumed = trainer_of(folder, tmp_path, 40, weights=weights)
    for name, tensor in resumed.objective.trainable_state().items():
        assert torch.equal(tensor, load_file(tmp_path / "state/state.safetensors")[f"model.{name}"])
    only = DuetWeights(**{f.name: float(f.name == "reconstruction") for f in fields(DuetWeights)})
    objective = trainer_of(folder, tmp_path / "only", 1, weights=only).objective
    objective.losses(0, 0).total.backward()
    assert objective.model.converter.layers[0].weight.grad.abs().sum() > 0


def test_reconstruction_by_hand():
    class Grey(Decoder):
        def forward(self, features):
            return features[:, :1, None, None].expand(-1, 3, 64, 64)

    photos = torch.full((2, 3, 64, 64), 0.5)
    alone, whole = torch.tensor([[0.1], [0.3]]), torch.tensor([[0.5], [0.6]])
    found = reconstruction(Grey(1), photos, alone, whole).item()
    assert found == pytest.approx((0.4 + 0.2) / 2 + (0.0 + 0.1) / 2, abs=1e-6)


def test_losses_and_scores_are_logged_for_tensorboard(folder, tmp_path):
    trainer = trainer_of(folder, tmp_path, 2, run={"logs": tmp_path / "logs"})
    trainer.run()
    events = EventAccumulator(str(tmp_path / "logs" / "duet")).Reload()
    assert {"words", "reference", "validation"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("words")] == [1, 2]


def test_the_command_trains_and_explains_what_is_missing(folder, tmp_path, capsys):
    clip = str(folder / "kit" / "clip")
    common = ["duet", "--clip", clip, "--steps", "1", "--device", "cpu"]
    common += ["--state", str(tmp_path / "s"), "--output", str(tmp_path / "d.safetensors")]
    assert main([*common, "--data", str(folder / "pack")]) == 0
    assert (tmp_path / "d.safetensors").exists()
    again = [*common, "--data", str(folder / "pack"), "--state", str(tmp_path / "s2")]
    assert main([*again, "--start", str(tmp_path / "d.safetensors")]) == 0
    assert main([*again, "--start", str(tmp_path / "none.safetensors")]) == 2
    with pytest.raises(SystemExit):
        main(["modality", *again[1:], "--start", str(tmp_path / "d.safetensors")])
    assert "from no other composer's yet" in capsys.readouterr().err
    assert main([*common, "--data", str(tmp_path / "none")]) == 2
    assert "build the pack" in capsys.readouterr().err


def test_a_held_tower_stays_as_it_is(folder, tmp_path, backbone):
    clip, pack = str(folder / "kit" / "clip"), str(folder / "pack")
    common = ["duet", "--clip", clip, "--data", pack, "--steps", "1", "--device", "cpu"]

    def train(name, *more):
        output = tmp_path / f"{name}.safetensors"
        told = ["--state", str(tmp_path / name), "--output", str(output), *more]
        assert main([*common, *told]) == 0
        return DuetModel.load(output, backbone).trainable_state()

    # A step of whole passes moves the tower, a held one the rest alone.
    start = ["--start", str(tmp_path / "first.safetensors")]
    first = train("first")
    moved = train("moved", *start)
    held = train("held", "--hold-tower", *start)

    def changed(state):
        return {n.split(".")[0] for n, p in state.items() if not torch.equal(p, first[n])}

    assert changed(moved) == {"layer_norms", "converter", "prompt"}
    assert changed(held) == {"converter", "prompt"}
