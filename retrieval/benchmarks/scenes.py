"""Scenes of several objects: one object is drawn, the words describe its position among others.

The protocol is the catalogue's, with relation words instead of the attribute phrase: "to the left
of a blue vase", without kind or shape of the drawn object. The target is the picture itself. Scenes
come in groups: the same object on the other side, beside another neighbour, and another design at
its position, so that neither drawing nor words determine the target.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from composer.backbone import Backbone
from composer.images import ImageError, open_image
from composer.sketch import Sketch
from composer.strategies.protocol import Composer
from retrieval.benchmarks import catalogue
from retrieval.benchmarks.metrics import bootstrap, ranks_of_targets
from retrieval.engines.matrix import ExactMatrix
from retrieval.errors import GalleryError
from retrieval.fusion import similarities
from retrieval.indexing.embed import encode_images

BATCH_SIZE = 32
SPLITS = {"seen": "scenes", "unseen": "scenes unseen"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SceneSet:
    """A folder of scenes, encoded by the frozen backbone.

    Attributes:
        protocol: One case per picture, in the order of the index.
        index: Features of the pictures.
        mirrored: Pairs of cases that differ in the relation alone: one drawing and one neighbour,
            on either side of each other.
    """

    protocol: catalogue.Protocol
    index: ExactMatrix
    mirrored: Int[np.ndarray, "p 2"]


def read_scenes(folder: Path, backbone: Backbone) -> SceneSet:
    """Read `scenes.parquet`, `sketches.parquet` and the pictures, and encode them.

    Raises:
        GalleryError: Files are missing or not of scenes.
    """
    try:
        rows = pq.read_table(folder / "scenes.parquet").to_pylist()
        drawn = pq.read_table(folder / "sketches.parquet").to_pylist()
    except (OSError, ValueError) as error:
        raise GalleryError(f"{folder} must hold scenes.parquet and sketches.parquet.") from error
    try:
        cases = tuple(_case(row, target) for target, row in enumerate(rows))
        paths = [folder / str(row["path"]) for row in rows]
        sketches = {
            str(row["design"]): Sketch.from_json(row["strokes"], extent=catalogue.STROKE_EXTENT)
            for row in drawn
        }
        mirrored = _mirrored(rows)
    except KeyError as error:
        raise GalleryError(f"The tables of {folder} are not of scenes: no {error}.") from error
    if not cases:
        raise GalleryError(f"{folder}/scenes.parquet must describe at least one scene, has none.")
    if lost := [case.design for case in cases if case.design not in sketches]:
        raise GalleryError(f"{folder}/sketches.parquet must show all main objects, not {lost[0]}.")
    features = torch.cat(list(_encoded(paths, backbone)))
    return SceneSet(
        protocol=catalogue.Protocol(cases=cases, sketches=sketches),
        index=ExactMatrix(features.cpu().numpy()),
        mirrored=mirrored,
    )


def scene_rows(name: str, composer: Composer, scenes: SceneSet) -> list[dict[str, Any]]:
    """Return the accuracies in each mode, and how often the relation decides correctly."""
    rows: list[dict[str, Any]] = []
    targets = np.array([case.target for case in scenes.protocol.cases])
    encoded = catalogue.encode_sketches(scenes.protocol, composer)
    for mode in catalogue.MODES:
        queries = catalogue.composed_queries(scenes.protocol, composer, mode, encoded=encoded)
        scores = similarities(queries, scenes.index.vectors).cpu().numpy()
        ranks = ranks_of_targets(scores, targets)
        table = catalogue.table(name, mode, scenes.protocol, ranks)
        rows += [replace(row, split=SPLITS[row.split]).as_json() for row in table]
        rows += _relation_rows(name, mode, scenes, scores)
    return rows


def relation_right(
    similarities: Float[np.ndarray, "q n"], mirrored: Int[np.ndarray, "p 2"]
) -> Bool[np.ndarray, "p 2"]:
    """Return for both queries of each pair whether the target ranks above the other's target.

    A tie is wrong. A ranking that ignores the relation is right for at most one query of a pair, so
    chance is one half.
    """
    of_targets = similarities[mirrored, mirrored]
    return of_targets > similarities[mirrored, mirrored[:, ::-1]]


def _relation_rows(
    name: str, mode: str, scenes: SceneSet, similarities: Float[np.ndarray, "q n"]
) -> Iterator[dict[str, Any]]:
    right = relation_right(similarities, scenes.mirrored)
    trained = scenes.protocol.trained_kinds[scenes.mirrored[:, 0]]
    for split, mask in (("seen", trained), ("unseen", ~trained)):
        if not mask.any():
            continue
        share = bootstrap(right[mask].mean(axis=1))
        yield {
            "composer": name,
            "query": mode,
            "split": SPLITS[split],
            "num_queries": int(right[mask].size),
            "relation_right": share.mean,
            "relation_right_low": share.low,
            "relation_right_high": share.high,
        }


def _case(row: dict[str, Any], target: int) -> catalogue.Case:
    return catalogue.Case(
        target=target,
        design=str(row["design"]),
        attributes=str(row["words"]),
        caption=str(row["caption"]),
        kind=str(row["kind"]),
        part="",
        colour="",
        trained_kind=row["split"] != "unseen",
    )


def _mirrored(rows: list[dict[str, Any]]) -> Int[np.ndarray, "p 2"]:
    """Return the cases of members "a" and "b" of each group that has both."""
    numbers = {(row["group"], row["member"]): number for number, row in enumerate(rows)}
    pairs = [
        (number, numbers[group, "b"])
        for (group, member), number in numbers.items()
        if member == "a" and (group, "b") in numbers
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _encoded(paths: list[Path], backbone: Backbone) -> Iterator[Float[Tensor, "n d"]]:
    for start in range(0, len(paths), BATCH_SIZE):
        try:
            images = [open_image(path) for path in paths[start : start + BATCH_SIZE]]
        except ImageError as error:
            raise GalleryError(f"A picture of the scenes cannot be read: {error}") from error
        yield encode_images(backbone, images)
