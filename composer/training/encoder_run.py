"""`python -m composer.training.encoder_run`: trains an encoder's picture side on a public trunk.

Without `--text` it ends there: the text tower is taught on the photos' map that this leaves. Run
again with it, the command trains nothing more and writes the encoder's folder.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from composer.data.encoder_sets import PictureSet, encoder_sets
from composer.hardware import resolve_device
from composer.medium import Medium
from composer.training.drawing_tower import DrawingTower
from composer.training.encoder import EncoderObjective, EncoderTraining, encoder_trainer
from composer.training.encoder_folder import write_encoder
from composer.training.encoder_space import Space, fit_space, fold
from composer.training.loop import Budget
from composer.training.public_trunk import MEAN, STD, public_tower
from composer.training.trainer import RunSettings
from composer.training.trunk_features import TrunkFeatures, draw_set, encode_set
from composer.training.words.bank import PhotoHead, read_bank
from composer.training.words.run import trained_part

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderPlan:
    """How an encoder is made.

    Attributes:
        natural: Folder of the natural archives.
        work: Folder of the trunk's features, of states and of heads.
        text: Folder of a trained text tower; None to train the picture side alone.
        output: Folder of the encoder, written where there is a text tower.
        bank: Pooled features of further photos, as `composer.training.words.see` writes them.
        image_px: Side of the pictures.
        head_steps: Steps of the heads alone, on what the trunk saw once; 0 keeps the closed form.
        tower_steps: Steps of heads and the drawings' normalisation layers, which look at their
            drawings anew; 0 for the heads alone.
        num_drawings: Drawings of each data set in a step of the second kind.
        num_views: Versions of each drawing that are kept.
        joint_dim: Width of the joint space, that of the text tower.
        device: Where the trunk runs, as `composer.hardware` names it.
        seed: Of every draw.
    """

    natural: Path
    work: Path
    text: Path | None = None
    output: Path | None = None
    bank: Path | None = None
    image_px: int = 192
    head_steps: int = 60
    tower_steps: int = 160
    num_drawings: int = 32
    num_views: int = 4
    joint_dim: int = 256
    device: str = "auto"
    seed: int = 0


PHOTO_HEAD_NAME = "photo_head.safetensors"
# Sets of a bank that are no drawings and not among the encoder's own.
FURTHER_PHOTOS = ("flickr", "tiny", "catalogue")
HEADS = EncoderTraining()
# A step of the tower is dear, so that its batches are small and its rates for heads low.
TOWER = replace(HEADS, rate=5e-4)


def make_encoder(plan: EncoderPlan, tower: nn.Module | None = None) -> None:
    """Train the heads, then the drawings' normalisation layers with them; write what can be.

    What is done already is not done again: pictures that were encoded, and runs where they stopped.

    Args:
        plan: What to make of what.
        tower: Another than the public one.

    Raises:
        ValueError: An archive, a state or the text tower cannot be used.
    """
    visual = public_tower(plan.image_px, plan.joint_dim) if tower is None else tower
    visual = visual.to(resolve_device(plan.device))
    pictures = {
        pictures.name: pictures for pictures in encoder_sets(plan.natural, num_views=plan.num_views)
    }
    features_at = plan.work / str(plan.image_px)
    sets = _encode(visual, pictures, features_at, plan.image_px)
    space = _fit_space(plan, sets)
    trained = _train_heads(plan, sets, space)
    if plan.tower_steps:
        levels = {
            name: draw_set(picture_set, features_at, size_px=plan.image_px)
            for name, picture_set in pictures.items()
            if name.endswith(".drawing")
        }
        recipe = replace(TOWER, joint_dim=plan.joint_dim, num_drawings=plan.num_drawings)
        settings = _settings(plan, "tower", plan.tower_steps)
        drawing_tower = DrawingTower(visual, levels, mean=MEAN, std=STD)
        encoder_trainer(recipe, sets, space, settings, tower=drawing_tower, start=trained).run()
        trained = settings.output
    if plan.text is not None and plan.output is not None:
        write_encoder(
            plan.output, tower=visual, trained=trained, sets=sets, space=space, text=plan.text
        )
        logger.info("wrote %s", plan.output)


def _fit_space(plan: EncoderPlan, sets: Mapping[str, TrunkFeatures]) -> Space:
    """Fit the space on the photos of the sets and on those of the bank that may be trained on.

    The photos' map is final with it, and is written for the training of words.
    """
    bank = {} if plan.bank is None else read_bank(plan.bank)
    further = [trained_part(n, p).pooled for n, p in bank.items() if n in FURTHER_PHOTOS]
    space = fit_space(sets, plan.joint_dim, further)
    weight, bias = fold(space.axes, space.means[Medium.PHOTO], space.scale)
    PhotoHead(weight=weight, bias=bias).save(plan.work / PHOTO_HEAD_NAME)
    return space


def _train_heads(plan: EncoderPlan, sets: Mapping[str, TrunkFeatures], space: Space) -> Path:
    """Trains the heads and returns their file; without a step, that of the closed form."""
    recipe = replace(HEADS, joint_dim=plan.joint_dim)
    if plan.head_steps:
        settings = _settings(plan, "heads", plan.head_steps)
        encoder_trainer(recipe, sets, space, settings).run()
        return settings.output
    start = EncoderObjective(recipe, sets, space, seed=plan.seed)
    path = plan.work / "closed.safetensors"
    start.export(path, start.validate(), {})
    return path


def _encode(
    visual: nn.Module, pictures: Mapping[str, PictureSet], folder: Path, image_px: int
) -> dict[str, TrunkFeatures]:
    return {
        name: encode_set(visual, picture_set, folder, size_px=image_px, mean=MEAN, std=STD)
        for name, picture_set in pictures.items()
    }


def _settings(plan: EncoderPlan, name: str, num_steps: int) -> RunSettings:
    return RunSettings(
        output=plan.work / f"{name}.safetensors",
        state=plan.work / f"{name}.state",
        budget=Budget(num_steps=num_steps),
        device="cpu",
        average_decay=0.97,
        validate_every=20,
        log_every=10,
        patience=10,
        seed=plan.seed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Make an encoder from a shell; return the exit code, 2 for an error the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.encoder_run")
    parser.add_argument("--natural", type=Path, required=True, help="folder of the archives")
    parser.add_argument("--text", type=Path, help="folder of a trained text tower")
    parser.add_argument("--output", type=Path, help="folder of the encoder; with --text")
    parser.add_argument("--work", type=Path, default=Path(".cache/encoder"))
    parser.add_argument("--bank", type=Path, help="features of further photos")
    parser.add_argument("--image-px", type=int, default=192)
    parser.add_argument("--head-steps", type=int, default=60)
    parser.add_argument("--tower-steps", type=int, default=160)
    parser.add_argument("--num-drawings", type=int, default=32)
    parser.add_argument("--device", default="auto", help="where the trunk runs")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if (chosen.text is None) != (chosen.output is None):
        parser.error("--text and --output go together: the folder needs a text tower")
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("composer").setLevel(logging.INFO)
    try:
        make_encoder(EncoderPlan(**vars(chosen)))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
