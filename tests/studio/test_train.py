"""Training from the command line: order of the stages, resuming, the kit that comes of it."""

import json
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from studio import development_arguments
from studio.cli import main
from studio.commands import train
from studio.commands.train import STAGES, TrainingJob, write_kit
from studio.kit_file import read_kit_file
from studio.kits import load_kit
from tests.studio.tiny import write_kit as write_tiny_kit


@pytest.fixture
def pack(tmp_path):
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "images-000.parquet").touch()
    return folder


def test_all_stages_run_in_order_on_the_pack(tmp_path, pack, monkeypatch):
    commands = []

    def ran(command, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(train.subprocess, "run", ran)
    natural = ["--natural", str(tmp_path / "natural")]
    out = tmp_path / "out"
    assert main(["train", "mini", "--pack", str(pack), "--out", str(out), *natural]) == 0
    assert [command[2] for command in commands] == [stage.module for stage in STAGES.values()]
    given = {name: dict(pairwise(c)) for name, c in zip(STAGES, commands, strict=True)}
    assert {name for name, passed in given.items() if passed.get("--data") != str(pack)} == {
        *("encoder", "clip")
    }
    assert set(STAGES) == set(development_arguments.STAGES)
    # What one stage writes is what the next reads.
    assert commands[0][3] == given["encoder"]["--bank"] == given["words"]["--bank"]
    assert given["words"]["--head"] == str(out / "runs/encoder/photo_head.safetensors")
    assert commands[2][3] == str(Path(given["clip"]["--text"]).parent)
    assert given["clip"]["--work"] == given["encoder"]["--work"]
    assert given["clip"]["--output"] == given["duet"]["--clip"] == given["pictures"]["--clip"]
    assert given["duet"]["--output"] == given["pictures"]["--duet"] == given["one-step"]["--duet"]
    assert given["pictures"]["--out"] == given["autoencoder"]["--out"] == given["one-step"]["--out"]


def test_a_failed_stage_stops_the_run_and_says_that_it_resumes(tmp_path, pack, monkeypatch, capsys):
    monkeypatch.setattr(
        train.subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 1)
    )
    natural = ["--natural", str(tmp_path)]
    assert (
        main(["train", "mini", "--pack", str(pack), "--out", str(tmp_path / "out"), *natural]) == 2
    )
    assert "run the command again to resume" in capsys.readouterr().err


def test_without_a_pack_the_command_that_makes_it_is_named(tmp_path, capsys):
    assert main(["train", "clip", "--pack", str(tmp_path)]) == 2
    assert "python -m assets.catalogue pack" in capsys.readouterr().err


def test_the_kit_file_names_what_was_made_and_nothing_else(tmp_path):
    job = TrainingJob(
        kit=tmp_path / "kit", runs=tmp_path / "runs", pack=tmp_path, natural=None, budget="cpu"
    )
    write_kit(job)
    fields = tomllib.loads((job.kit / "kit.toml").read_text())
    assert list(fields["composers"]) == ["inversion", "basic", "freedom", "product", "slerp"]
    assert "converter" not in fields
    assert "pipeline" not in fields
    (job.kit / "composers").mkdir()
    for name in ("duet", "modality", "converter"):
        (job.kit / f"composers/{name}.safetensors").touch()
    job.runs.mkdir()
    (job.runs / "slerp.json").write_text(json.dumps({"alpha": 0.4, "validation_acc_1": 0.1}))
    (job.runs / "pictures/pipeline").mkdir(parents=True)
    (job.kit / "feature_judge.safetensors").touch()
    write_kit(job)
    assert not job.fast_kit.exists()
    fields = tomllib.loads((job.kit / "kit.toml").read_text())
    assert fields["composers"]["slerp"] == {"weights": "composers/duet.safetensors", "alpha": 0.4}
    assert list(fields["composers"]) == [
        *("duet", "modality", "inversion"),
        *("basic", "freedom", "product", "slerp"),
    ]
    assert fields["converter"] == {"weights": "composers/converter.safetensors"}
    assert fields["pipeline"] == {
        "path": "pipeline",
        "feature_judge": "feature_judge.safetensors",
    }
    assert "research" in fields["licence"]


def test_the_student_becomes_a_kit_beside_its_teachers(tmp_path):
    kit = write_tiny_kit(tmp_path / "kit")
    job = TrainingJob(kit=kit, runs=tmp_path / "runs", pack=tmp_path, natural=None, budget="cpu")
    job.student.parent.mkdir(parents=True)
    job.student.write_bytes(b"weights")
    write_kit(job)
    fast = read_kit_file(str(tmp_path / "kit-fast"))
    assert fast.folders == (tmp_path / "kit-fast", tmp_path / "kit-fast/../kit")
    assert fast.loras["one-step"].part.location.read_bytes() == b"weights"
    assert (fast.drawing.num_inference_steps, fast.drawing.guidance_scale) == (1, 1.0)
    assert load_kit(str(kit)).finish is None  # as there is nothing to finish
    (job.runs / "pictures/pipeline").mkdir(parents=True)
    write_kit(job)
    drawing, fast = load_kit(str(kit)), read_kit_file(str(tmp_path / "kit-fast"))
    assert drawing.finish is not None
    assert drawing.finish.file.read_bytes() == b"weights"
    assert (drawing.drawing.finish_noise, fast.drawing.finish_noise) == (0.5, 0.0)
    assert load_kit(str(kit)).fast == str(kit / "../kit-fast")
    assert fast.composers.keys() == read_kit_file(str(kit)).composers.keys()


def test_a_composer_is_trained_for_a_kit_that_exists(tmp_path, pack, monkeypatch):
    kit, commands = write_tiny_kit(tmp_path / "kit"), []
    before = (kit / "kit.toml").read_text()

    def ran(command, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(train.subprocess, "run", ran)
    asked = ["train", "composer", "modality", "--kit", str(kit), "--data", str(pack)]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 0
    (command,) = commands
    assert command[2:6] == ["composer.training.run", "modality", "--data", str(pack)]
    passed = dict(pairwise(command))
    assert passed["--clip"] == str(kit / "clip")
    assert passed["--output"] == str(kit / "composers/modality.safetensors")
    assert (kit / "kit.toml").read_text() == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["composer"], "Name the composer to train"),
        (["composer", "magic"], "one of converter, duet, modality"),
        (["mini"], "name their folder with --natural DIR"),
        (["clip", "duet"], "Only `composer` takes a name"),
        (["clip", "--kit", "mini"], "trains for an existing kit"),
        (["composer", "duet", "--kit", "nowhere"], "There is no kit 'nowhere'"),
    ],
)
def test_what_cannot_be_trained_is_refused(asked, said, tmp_path, pack, capsys):
    assert main(["train", *asked, "--pack", str(pack), "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
