"""Choice of slerp's settings on the validation split."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import slerp
from composer.data.catalogue import CataloguePack
from composer.data.duet_batches import ValidationQueries, encode_gallery, validation_queries
from composer.data.feature_store import FeatureStore
from composer.medium import Medium
from composer.strategies.duet import DuetModel
from composer.strategies.reference import PLAIN_PROMPT
from composer.strategies.slerp import SlerpSettings, modality_shift
from composer.training.duet_validation import accuracy

ALPHAS = tuple(round(0.05 * step, 2) for step in range(1, 20))
BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredSettings:
    """Settings of slerp and their validation Acc@1."""

    settings: SlerpSettings
    acc_1: float


@torch.inference_mode()
def choose(clip: Path, duet: Path, data: Path) -> list[ScoredSettings]:
    """Score every alpha with both towers, with and without the shift to photos; best first.

    Raises:
        ValueError: A file cannot be read, or the parts do not belong together.
    """
    backbone = Backbone.load(clip)
    model = DuetModel.load(duet, backbone)
    pack = CataloguePack.open(data)
    rows = pack.validation_photos()
    gallery = encode_gallery(pack, rows, FeatureStore(backbone)).features
    queries = validation_queries(pack, rows, backbone.image_size_px)
    words = backbone.encode_text([f"{PLAIN_PROMPT} {text}" for text in queries.words])
    right = torch.arange(len(rows))
    choices: list[ScoredSettings] = []
    for is_tuned, moves in product((True, False), (True, False)):
        drawn = encode_drawn(backbone, model if is_tuned else None, queries)
        if moves:
            drawn = functional.normalize(drawn + modality_shift(backbone), dim=-1)
        for alpha in ALPHAS:
            settings = SlerpSettings(alpha=alpha, uses_tuned_tower=is_tuned, moves_sketches=moves)
            result = accuracy(slerp(drawn, words, alpha) @ gallery.T, right)
            choices.append(ScoredSettings(settings=settings, acc_1=result.at_1))
    return sorted(choices, key=lambda choice: -choice.acc_1)


def encode_drawn(
    backbone: Backbone, model: DuetModel | None, queries: ValidationQueries
) -> Float[Tensor, "n d"]:
    """Return features of validation drawings: by a duet's tower, or the frozen one."""
    encode = backbone.encode_image if model is None else model.encode_image
    starts = range(0, len(queries.sketches), BATCH)
    parts = (backbone.normalise_pixels(queries.sketches[at : at + BATCH]) for at in starts)
    return torch.cat([encode(pixels, Medium.DRAWING).features for pixels in parts])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the best settings with the tuned tower, the fair baseline of duet, to a JSON file."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.slerp")
    parser.add_argument("--kit", type=Path, required=True, help="folder of the kit")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training pack")
    parser.add_argument("--output", type=Path, help="default: KIT/composers/slerp.json")
    chosen = parser.parse_args(arguments)
    composers = chosen.kit / "composers"
    choices = choose(chosen.kit / "clip", composers / "duet.safetensors", chosen.data)
    tuned = [choice for choice in choices if choice.settings.uses_tuned_tower]
    text = json.dumps({**asdict(tuned[0].settings), "validation_acc_1": tuned[0].acc_1}, indent=2)
    (chosen.output or composers / "slerp.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
