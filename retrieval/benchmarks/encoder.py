"""`python -m retrieval.benchmarks.encoder`: how well encoders find pictures, without a composer.

Drawings and photos of the held-out parts (`composer.data.heldout`), each encoded as its medium:
ChairV2's drawings find their photos by feature, by layout and by both; drawings and photos of
Sketchy's held-out classes find photos of their class.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from composer.backbone import Backbone
from composer.data import archives
from composer.data.encoder_sets import Part, sketchy_of
from composer.data.instances import Drawing, InstanceDataset
from composer.data.qmul import chairv2_parts, open_chairv2
from composer.layout import NUM_CODES, SHORT_LIST, blend
from composer.medium import Medium
from composer.query import Query
from composer.strategies.reference import reference_pixels
from retrieval.benchmarks.encode_dataset import encode_gallery
from retrieval.benchmarks.metrics import average_precision, bootstrap, ranks_of_targets
from retrieval.indexing.embed import EncodedImages
from retrieval.regions import from_codes

CUT = 200
_BATCH = 16
_TIMES = 15
_LAST = -10.0  # below every similarity


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SeenDrawings:
    """Drawings as the frozen backbone sees them: unit features and unit layouts."""

    features: Float[Tensor, "q d"]
    layouts: Float[Tensor, "q c"]


def encoder_rows(
    name: str, backbone: Backbone, natural: Path, *, seed: int
) -> list[dict[str, Any]]:
    """Measure an encoder on the held-out parts of the archives in a folder.

    Args:
        name: What the rows call it.
        backbone: The encoder.
        natural: Folder of the archives.
        seed: Of the bootstrap.

    Raises:
        DatasetError: An archive is missing or has another layout.
    """
    chairs = chairv2_parts(open_chairv2(natural / archives.CHAIRV2)).held_out
    sketchy = sketchy_of(natural, Part.HELD_OUT)
    rows = [*_chair_rows(backbone, chairs, seed), *_class_rows(backbone, sketchy, seed)]
    return [{"encoder": name, **row} for row in rows]


def speed_row(name: str, backbone: Backbone) -> dict[str, Any]:
    """Time an encoder on random pictures: medians of milliseconds a picture."""
    size = backbone.image_size_px
    levels = np.random.default_rng(0).integers(0, 256, (_BATCH, size, size, 3), dtype=np.uint8)
    pixels = backbone.normalise_pixels(levels)
    return {
        "encoder": name,
        "what": "encode a picture",
        "image_px": size,
        "batch_1_ms": _median_ms(lambda: backbone.encode_image(pixels[:1])),
        f"batch_{_BATCH}_ms": _median_ms(lambda: backbone.encode_image(pixels)) / _BATCH,
        "bytes_an_item": 2 * backbone.joint_dim + NUM_CODES,
        "vision_parameters": sum(p.numel() for p in backbone.model.visual.parameters()),
    }


@torch.inference_mode()
def see_drawings(backbone: Backbone, dataset: InstanceDataset) -> SeenDrawings:
    """Encode every drawing of a data set."""
    features: list[Tensor] = []
    layouts: list[Tensor] = []
    for pixels in _batches(backbone, dataset, dataset.drawings):
        encoding = backbone.encode_image(pixels, Medium.DRAWING)
        features.append(encoding.features.float().cpu())
        layouts.append(backbone.layouts(encoding).float().cpu())
    return SeenDrawings(features=torch.cat(features), layouts=torch.cat(layouts))


def _batches(
    backbone: Backbone, dataset: InstanceDataset, drawings: Sequence[Drawing]
) -> Iterator[Float[Tensor, "n 3 h w"]]:
    for start in range(0, len(drawings), _BATCH):
        found = [
            reference_pixels(backbone, Query(sketch=dataset.sketch(drawing)))
            for drawing in drawings[start : start + _BATCH]
        ]
        yield torch.cat([pixels for pixels in found if pixels is not None])


def _chair_rows(backbone: Backbone, dataset: InstanceDataset, seed: int) -> list[dict[str, Any]]:
    gallery, drawn = _gallery(backbone, dataset), see_drawings(backbone, dataset)
    places = {photo.instance: row for row, photo in enumerate(dataset.photos)}
    targets = np.array([places[drawing.instance] for drawing in dataset.drawings])
    by_feature = drawn.features @ gallery.features.T
    by_layout = drawn.layouts @ from_codes(gallery.regions).T
    weight = backbone.layout_weight(Medium.DRAWING)
    pairs = zip(by_feature, by_layout, strict=True)
    both = torch.stack([blend(feature, layout, weight) for feature, layout in pairs])
    asked = {"feature": by_feature, "layout": by_layout, "both": both}
    return [
        {
            "split": "chairv2",
            "query": "sketch",
            "by": by,
            "layout_weight": weight if by == "both" else None,
            "num_queries": len(targets),
            "num_gallery": len(dataset.photos),
            **_accuracies(ranks_of_targets(similarities.numpy(), targets), seed),
        }
        for by, similarities in asked.items()
    ]


def _accuracies(ranks: Int[np.ndarray, " q"], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for k in (1, 5, 10):
        interval = bootstrap((ranks <= k).astype(np.float64), seed=seed)
        found |= {f"acc@{k}": interval.mean, f"acc@{k}_95": [interval.low, interval.high]}
    return found


def _class_rows(backbone: Backbone, dataset: InstanceDataset, seed: int) -> list[dict[str, Any]]:
    gallery, drawn = _gallery(backbone, dataset), see_drawings(backbone, dataset)
    shown = np.array([photo.class_name for photo in dataset.photos])
    asked = np.array([drawing.class_name for drawing in dataset.drawings])
    layouts = from_codes(gallery.regions)
    same = torch.from_numpy(asked[:, None] == shown)
    alike = torch.from_numpy(shown[:, None] == shown)
    itself = torch.eye(len(shown), dtype=torch.bool)
    tasks = {
        Medium.DRAWING: (drawn.features, drawn.layouts, same, torch.zeros_like(same)),
        Medium.PHOTO: (gallery.features, layouts, alike, itself),
    }
    rows: list[dict[str, Any]] = []
    for medium, (features, own_layouts, is_relevant, is_left_out) in tasks.items():
        weight = backbone.layout_weight(medium)
        by_feature = (features @ gallery.features.T).masked_fill(is_left_out, _LAST)
        orders = {
            "feature": by_feature,
            "both": reranked(by_feature, own_layouts @ layouts.T, weight),
        }
        rows += [
            {
                "split": "sketchy",
                "query": "sketch" if medium is Medium.DRAWING else "photo",
                "by": by,
                "layout_weight": weight if by == "both" else None,
                "num_queries": len(features),
                "num_gallery": len(shown),
                **_mean_precision(order, is_relevant & ~is_left_out, seed),
            }
            for by, order in orders.items()
        ]
    return rows


def reranked(
    similarities: Float[Tensor, "q n"], layouts: Float[Tensor, "q n"], weight: float
) -> Float[Tensor, "q n"]:
    """Mix each query's short-list with the cosines of the layouts, as a search does.

    The short-list stays ahead of all others.
    """
    mixed = similarities + _LAST
    first = similarities.topk(min(SHORT_LIST, similarities.shape[1]), dim=1).indices
    for row, places in enumerate(first):
        mixed[row, places] = blend(similarities[row, places], layouts[row, places], weight)
    return mixed


def _mean_precision(
    similarities: Float[Tensor, "q n"], is_relevant: Bool[Tensor, "q n"], seed: int
) -> dict[str, Any]:
    pairs = zip(similarities.numpy(), is_relevant.numpy(), strict=True)
    values = np.array([_precision(scores, relevant) for scores, relevant in pairs])
    interval = bootstrap(values, seed=seed)
    return {f"mAP@{CUT}": interval.mean, f"mAP@{CUT}_95": [interval.low, interval.high]}


def _precision(scores: Float[np.ndarray, " n"], is_relevant: Bool[np.ndarray, " n"]) -> float:
    # Of pictures as similar, the wrong ones come first.
    order = np.lexsort((is_relevant, -scores))[:CUT]
    return average_precision(is_relevant[order], min(CUT, int(is_relevant.sum())))


def _gallery(backbone: Backbone, dataset: InstanceDataset) -> EncodedImages:
    return encode_gallery(backbone, (dataset.image(photo) for photo in dataset.photos))


@torch.inference_mode()
def _median_ms(act: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[2:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures encoders from a shell; returns the exit code, 2 where the user can mend it."""
    parser = argparse.ArgumentParser(prog="python -m retrieval.benchmarks.encoder")
    parser.add_argument("clips", type=Path, nargs="+", help="folders of encoders, each a row")
    parser.add_argument("--natural", type=Path, required=True, help="folder of the archives")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    chosen = parser.parse_args(arguments)
    try:
        backbones = {str(clip): Backbone.load(clip) for clip in chosen.clips}
        rows = [
            row
            for name, backbone in backbones.items()
            for row in encoder_rows(name, backbone, chosen.natural, seed=chosen.seed)
        ]
        rows += [speed_row(name, backbone) for name, backbone in backbones.items()]
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    found = {"bench": "encoder", "seed": chosen.seed, "rows": rows}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
