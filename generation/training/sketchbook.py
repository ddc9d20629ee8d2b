"""The drawings of the embedded kit's own: made from the training pack, drawn by code."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.data.wording import with_article
from composer.medium import Medium
from composer.sketch import Sketch, rasterise
from generation.sketchbook import Sketchbook

MOST_OF_A_KIND = 20
_BATCH = 32


def make_sketchbook(pack: CataloguePack, backbone: Backbone) -> Sketchbook:
    """Take a drawing of each of up to 20 training designs of every kind, those that read best.

    The CLIP says how well a drawing reads: by how much it is closer to the words for its kind than
    to those for another. What a drawing shows is said in words: the kind, and the kind with the
    design's shape, half and half.

    Raises:
        PackError: The pack has no views.
    """
    rows = _rows(pack, backbone)
    items = [pack.items[row] for row in rows]
    kinds = _said([item.kind for item in items])
    shapes = [f"{kind} {item.shape}" for kind, item in zip(kinds, items, strict=True)]
    with torch.no_grad():
        both = backbone.encode_text(kinds) + backbone.encode_text(shapes)
    return Sketchbook(
        features=torch.nn.functional.normalize(both.float(), dim=-1).cpu(),
        kinds=tuple(item.kind for item in items),
        drawings=tuple(_sketch(pack, row) for row in rows),
        gallery_hash=backbone.gallery_hash,
        text_hash=backbone.text_hash,
    )


def _rows(pack: CataloguePack, backbone: Backbone) -> list[int]:
    """Return the photos whose drawings are taken, in the order of the pack."""
    rows = pack.rows(split="train", domain=PHOTO).tolist()
    best: dict[str, tuple[float, int]] = {}  # of every design
    for row, margin in zip(rows, _margins(pack, backbone, rows), strict=True):
        design = pack.items[row].design
        best[design] = max(best.get(design, (margin, row)), (margin, row))
    of_kinds: defaultdict[str, list[int]] = defaultdict(list)
    for _, row in sorted(best.values(), reverse=True):
        of_kinds[pack.items[row].kind].append(row)
    return sorted(row for found in of_kinds.values() for row in found[:MOST_OF_A_KIND])


@torch.no_grad()
def _margins(pack: CataloguePack, backbone: Backbone, rows: Sequence[int]) -> list[float]:
    """Return by how much drawings are closer to their own kind than to the next."""
    kinds = sorted({pack.items[row].kind for row in rows})
    words = backbone.encode_text(_said(kinds))
    margins = list[float]()
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        size_px = backbone.image_size_px
        ink = np.stack([rasterise(_sketch(pack, row), size_px) for row in some])
        pixels = backbone.normalise_pixels(ink[..., None].repeat(3, axis=-1))
        drawn = backbone.encode_image(pixels, Medium.DRAWING).features
        cosines = (drawn @ words.T).float().cpu()
        own = torch.tensor([kinds.index(pack.items[row].kind) for row in some])[:, None]
        others = cosines.scatter(1, own, -1.0).amax(1)
        margins += (cosines.gather(1, own)[:, 0] - others).tolist()
    return margins


def _said(kinds: Sequence[str]) -> list[str]:
    return [f"a photo of {with_article(kind)}" for kind in kinds]


def _sketch(pack: CataloguePack, row: int) -> Sketch:
    return Sketch.from_strokes([one.clip(0, 1) for one in pack.view(row).drawing.strokes])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Make the embedded kit's book of drawings.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training pack")
    parser.add_argument("--clip", type=Path, required=True, help="folder of the kit's CLIP")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    args = parser.parse_args(arguments)
    pack, backbone = CataloguePack.open(args.data), Backbone.load(args.clip, device="cpu")
    book = make_sketchbook(pack, backbone)
    book.save(args.output)
    sys.stdout.write(f"{len(book.drawings)} drawings of {len(set(book.kinds))} kinds\n")
    first = {pack.items[row].design: pack.items[row] for row in pack.validation_photos().tolist()}
    items = list(first.values())
    texts = {
        "captions": [item.caption for item in items],
        "short texts": [
            f"a photo of {with_article(f'{item.part_colours[0]} {item.kind}')}" for item in items
        ],
    }
    for name, said in texts.items():
        with torch.no_grad():
            found = [book.kind_of(feature) for feature in backbone.encode_text(said)]
        right = sum(kind == item.kind for kind, item in zip(found, items, strict=True))
        sys.stdout.write(f"{name} of validation designs: {right} of {len(items)} right\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
