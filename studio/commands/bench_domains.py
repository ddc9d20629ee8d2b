"""`duet bench domains`: transfer by words and by examples, and whether examples leak their kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from composer.images import open_image
from composer.query import Query
from generation.judge import Judge
from generation.request import DrawingSettings, TransferRequest
from generation.sample import sample_each
from generation.transfer import plan_transfer
from retrieval.benchmarks.media import DOMAIN_WORDS
from retrieval.benchmarks.metrics import Interval, bootstrap
from retrieval.errors import GalleryError
from studio.commands.bench_gallery import count_of
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.domain_examples import encode_levels, read_examples
from studio.domains import Learning, domain_word, learn_domain, neutral_features
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError
from studio.kit_file import assets_folder
from studio.sheet import Tile, contact_sheet

NUM_PHOTOS = 16
NUM_EXAMPLES = 5
PHOTO = "photo"
_BATCH = 8
_NAME = "examples"
_NO_PART = "none"  # the judge names no colour then


@dataclass(frozen=True, kw_only=True, slots=True)
class _Picture:
    file: Path
    design: str
    kind: str
    domain: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Moved:
    """A photograph and what became of it."""

    source: _Picture
    image: Image.Image


def bench_domains(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Move photographs into each domain, by its name and by five examples of one other kind.

    The judge, which saw neither, names the kinds of the results and of the photographs as they
    are. `leaked` is the share of results that it takes for the kind of the examples. `reached` is
    the share whose nearest domain, by the mean feature of its pictures of other designs, is the
    one that was asked for; the kit's own CLIP measures it, which also composed the query.

    Raises:
        GalleryError: The pictures of the domains are not there.
        PipelineError: The kit does not draw.
        UsageError: The kit has no judge, or the count is not positive.
    """
    if engine.kit.judge is None:
        raise UsageError(f"The kit {engine.kit.name!r} has no judge of generated images.")
    count = count_of(options, NUM_PHOTOS)
    judge = Judge.load(engine.kit.judge)
    pictures = _read_pictures(assets_folder() / "domains")
    domains = _Domains(engine, pictures)
    learning = Learning(photos=neutral_features(engine))
    rng, rows, tiles = np.random.default_rng(options.seed), list[dict[str, Any]](), list[Tile]()
    progress = ProgressLine("domains drawn")
    kinds = sorted({picture.kind for picture in pictures})
    for number, domain in enumerate(DOMAIN_WORDS):
        shown = kinds[int(rng.integers(len(kinds)))]
        examples = [p for p in pictures if (p.domain, p.kind) == (domain, shown)][:NUM_EXAMPLES]
        others = [p for p in pictures if p.domain == PHOTO and p.kind != shown]
        sources = [others[i] for i in rng.permutation(len(others))[:count]]
        read = read_examples([one.file for one in examples], engine.backbone, "the examples")
        word = domain_word(engine, learn_domain(engine, _NAME, read, learning))
        moved = {
            "nothing": [_Moved(source=one, image=open_image(one.file)) for one in sources],
            "words": _move(engine, sources, domain, options.seed),
            f"{len(examples)} of {shown}": _move(
                engine.with_words([word]), sources, word.mark, options.seed
            ),
        }
        for asked_by, results in moved.items():
            heading = {"domain": domain, "asked_by": asked_by, "num_photos": len(results)}
            reached = domains.are_reached(results, domain)
            rows.append(
                {**heading, **_judged(judge, results, shown), **_fields("reached", reached)}
            )
            tiles += [Tile(image=one.image, title=f"{domain}: {asked_by}") for one in results[:4]]
        progress(number + 1, len(DOMAIN_WORDS))
    if options.sheet:
        contact_sheet(tiles, num_columns=12, tile_px=128).save(options.sheet)
    return rows


def _read_pictures(folder: Path) -> list[_Picture]:
    try:
        columns = ["path", "design", "kind", "domain"]
        rows = pq.read_table(folder / "domains.parquet", columns=columns).to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise GalleryError(
            f"{folder} must hold domains.parquet as `python -m assets.catalogue domains` writes "
            "it; make the folder again."
        ) from error
    return [
        _Picture(
            file=folder / row["path"], design=row["design"], kind=row["kind"], domain=row["domain"]
        )
        for row in rows
    ]


class _Domains:
    """The mean feature of each domain's pictures, without those of one design."""

    def __init__(self, engine: Engine, pictures: Sequence[_Picture]) -> None:
        self._engine, self._pictures = engine, pictures
        self._features = self._see([open_image(picture.file) for picture in pictures])

    def are_reached(self, moved: Sequence[_Moved], domain: str) -> Interval:
        """Tell which results lie nearest to a domain among all."""
        names = [PHOTO, *DOMAIN_WORDS]
        features = self._see([one.image for one in moved])
        hits: list[float] = []
        for one, feature in zip(moved, features, strict=True):
            means = torch.stack([self._mean(name, one.source.design) for name in names])
            hits.append(float(names[int((means @ feature).argmax())] == domain))
        return bootstrap(np.array(hits))

    def _mean(self, domain: str, without: str) -> Tensor:
        rows = [
            number
            for number, picture in enumerate(self._pictures)
            if picture.domain == domain and picture.design != without
        ]
        return functional.normalize(self._features[rows].mean(dim=0), dim=-1)

    def _see(self, images: Sequence[Image.Image]) -> Tensor:
        backbone = self._engine.backbone
        return encode_levels(backbone, np.stack([backbone.crop(image) for image in images]))


def _move(engine: Engine, sources: Sequence[_Picture], to: str, seed: int) -> list[_Moved]:
    moved: list[_Moved] = []
    for start in range(0, len(sources), _BATCH):
        part = sources[start : start + _BATCH]
        requests = [_request(engine, one, to, seed + start + i) for i, one in enumerate(part)]
        plans = [plan_transfer(engine.pipeline, request) for request in requests]
        images = sample_each(engine.pipeline, plans)
        moved += [_Moved(source=s, image=i) for s, i in zip(part, images, strict=True)]
    return moved


def _request(engine: Engine, source: _Picture, to: str, seed: int) -> TransferRequest:
    kit, image = engine.kit.drawing, open_image(source.file)
    composer = ComposeOptions(composer=engine.default_composer)
    return TransferRequest(
        query=engine.drawable(engine.compose(Query(image=image, text=to), composer)),
        source=image,
        strength=kit.strength,
        settings=DrawingSettings(
            seed=seed,
            num_inference_steps=kit.num_inference_steps,
            guidance_scale=kit.guidance_scale,
            controlnet_conditioning_scale=kit.controlnet_conditioning_scale,
        ),
    )


def _judged(judge: Judge, moved: Sequence[_Moved], shown: str) -> dict[str, Any]:
    verdicts = judge.assess([one.image for one in moved], [_NO_PART] * len(moved))
    kept = [verdict.kind == one.source.kind for verdict, one in zip(verdicts, moved, strict=True)]
    leaked = [verdict.kind == shown for verdict in verdicts]
    return {
        **_fields("kind_kept", bootstrap(np.array(kept, float))),
        **_fields("leaked", bootstrap(np.array(leaked, float))),
    }


def _fields(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
