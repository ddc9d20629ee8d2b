"""The drawings of the embedded kit's own: made from the training pack, drawn by code."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.data.wording import with_article
from composer.sketch import Sketch
from generation.sketchbook import Sketchbook

MOST_OF_A_KIND = 20


def make_sketchbook(pack: CataloguePack, backbone: Backbone) -> Sketchbook:
    """Take a drawing of each of up to 20 training designs of every kind, by the best hand.

    What it shows is said in words: the kind, and the kind with the design's shape, half and half.

    Raises:
        PackError: The pack has no views.
    """
    rows = _rows(pack)
    items, drawings = [pack.items[row] for row in rows], [pack.view(row).drawing for row in rows]
    kinds = [f"a photo of {with_article(item.kind)}" for item in items]
    shapes = [f"{kind} {item.shape}" for kind, item in zip(kinds, items, strict=True)]
    with torch.no_grad():
        both = backbone.encode_text(kinds) + backbone.encode_text(shapes)
    return Sketchbook(
        features=torch.nn.functional.normalize(both.float(), dim=-1).cpu(),
        kinds=tuple(item.kind for item in items),
        drawings=tuple(
            Sketch.from_strokes([stroke.clip(0, 1) for stroke in drawing.strokes])
            for drawing in drawings
        ),
        gallery_hash=backbone.gallery_hash,
        text_hash=backbone.text_hash,
    )


def _rows(pack: CataloguePack) -> list[int]:
    """Return the photos whose drawings are taken, in the order of the pack's designs."""
    of_designs: defaultdict[str, list[int]] = defaultdict(list)
    for row in pack.rows(split="train", domain=PHOTO).tolist():
        of_designs[pack.items[row].design].append(row)
    taken: defaultdict[str, list[int]] = defaultdict(list)
    for rows in of_designs.values():
        best = max(rows, key=lambda row: (pack.view(row).drawing.skill, -row))
        taken[pack.items[best].kind].append(best)
    return sorted(row for rows in taken.values() for row in rows[:MOST_OF_A_KIND])


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
