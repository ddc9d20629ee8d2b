"""Runs of the duet's training: resumed, stopped, logged, from the command line."""

from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from composer.strategies.duet import DuetModel, DuetShape
from composer.training import decoder
from composer.training.duet_objective import DuetWeights
from composer.training.run import main
from composer.training.trainer import TrainingError
from tests.composer.tiny import write_clip
from tests.composer.training.duet.runs import trainer_of


def test_training_learns_and_its_file_serves(folder, tmp_path, backbone):
    trainer = trainer_of(folder, tmp_path, 30, weights=DuetWeights(region=0.0))
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


def test_a_decoder_trains_beside_the_composer_and_stays_out_of_its_file(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(decoder, "_CHANNELS", (32, 24, 16, 16, 8))
    weights = DuetWeights(reconstruction=1.0)
    trainer = trainer_of(folder, tmp_path, 16, weights=weights, auxiliary_share=1.0)
    first = sum(trainer.train_step()["reconstruction"] for _ in range(4))
    trainer.run()
    last = sum(trainer.train_step()["reconstruction"] for _ in range(4))
    assert last < 0.8 * first
    assert not any("decoder" in name for name in load_file(trainer.settings.output))
    resumed = trainer_of(folder, tmp_path, 16, weights=weights)
    for name, tensor in resumed.objective.trainable_state().items():
        assert torch.equal(tensor, load_file(tmp_path / "state/state.safetensors")[f"model.{name}"])
    only = DuetWeights(**{f.name: float(f.name == "reconstruction") for f in fields(DuetWeights)})
    objective = trainer_of(folder, tmp_path / "only", 1, weights=only).objective
    objective.losses(0, 0).total.backward()
    assert objective.model.converter.layers[0].weight.grad.abs().sum() > 0


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
    common += ["--features", str(tmp_path / "features")]
    assert main([*common, "--data", str(folder / "pack")]) == 0
    assert (tmp_path / "d.safetensors").exists()
    again = [*common, "--data", str(folder / "pack"), "--state", str(tmp_path / "s2")]
    assert main([*again, "--start", str(tmp_path / "d.safetensors")]) == 0
    assert main([*again, "--start", str(tmp_path / "none.safetensors")]) == 2
    with pytest.raises(SystemExit):
        main(["modality", *again[1:], "--start", str(tmp_path / "d.safetensors")])
    assert "other composers cannot continue from one" in capsys.readouterr().err
    assert main([*common, "--data", str(tmp_path / "none")]) == 2
    assert "build the pack" in capsys.readouterr().err


def test_a_held_tower_stays_as_it_is(folder, tmp_path, backbone):
    clip, pack = str(folder / "kit" / "clip"), str(folder / "pack")
    common = ["duet", "--clip", clip, "--data", pack, "--steps", "1", "--device", "cpu"]
    common += ["--features", str(tmp_path / "features")]

    def train(name, *more):
        output = tmp_path / f"{name}.safetensors"
        arguments = ["--state", str(tmp_path / name), "--output", str(output), *more]
        assert main([*common, *arguments]) == 0
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
