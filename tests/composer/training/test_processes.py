"""Two processes train as one: each draws its own batch, gradients are averaged."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from composer.data.catalogue import CataloguePack
from composer.training.loop import Budget
from composer.training.modality import ModalityTraining, modality_trainer
from composer.training.pairs import PairSources
from composer.training.trainer import RunSettings
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import write_clip


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path):
    """After one step of both: the step of one process on the mean of their two gradients."""
    write_clip(tmp_path / "clip", image_px=128)
    write_pack(tmp_path / "pack")
    assert CataloguePack.open(tmp_path / "pack").items
    arguments = ["--clip", tmp_path / "clip", "--data", tmp_path / "pack", "--steps", "1"]
    arguments += [
        "--device",
        "cpu",
        "--state",
        tmp_path / "two",
        "--output",
        tmp_path / "two.safetensors",
    ]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, "-m", "composer.training.run", "modality", *arguments]
    done = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]

    settings = RunSettings(
        output=tmp_path / "one.safetensors", state=tmp_path / "one", device="cpu",
        budget=Budget(num_steps=1),
    )  # fmt: skip
    sources = PairSources(clip=tmp_path / "clip", pack=tmp_path / "pack")
    trainer = modality_trainer(ModalityTraining(sources=sources), settings)
    objective, gradients = trainer.objective, []
    for draw in (0, 1):
        objective.losses(0, draw).total.backward()
        gradients.append({n: p.grad.clone() for n, p in objective.trainable_state().items()})
        for parameter in objective.trainable_state().values():
            parameter.grad = None
    state = load_file(tmp_path / "two" / "state.safetensors")
    norm = torch.stack(
        [((gradients[0][n] + gradients[1][n]) / 2).norm() for n in gradients[0]]
    ).norm()
    scale = min(1.0, 1.0 / (norm.item() + 1e-6))
    for name in gradients[0]:
        mean = (gradients[0][name] + gradients[1][name]) / 2 * scale
        # AdamW's first moment after one step is a tenth of the gradient.
        torch.testing.assert_close(
            state[f"optimizer.{name}.exp_avg"], 0.1 * mean, atol=1e-6, rtol=1e-3
        )
