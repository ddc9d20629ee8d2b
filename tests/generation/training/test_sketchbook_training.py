from collections import defaultdict
from dataclasses import replace

import numpy as np

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.data.views import PackView
from composer.medium import Medium
from composer.sketch import Sketch, rasterise
from generation.sketchbook import Sketchbook
from generation.training.sketchbook import main, make_sketchbook
from tests.generation.training import world


def test_the_command_writes_the_drawings_of_train_designs_and_says_how_they_are_found(
    sources, tmp_path, capsys
):
    folder = world.write_pack(tmp_path, has_views=True)
    file = tmp_path / "book.safetensors"
    arguments = ["--data", folder, "--clip", sources.clip, "--output", file]
    assert main([str(argument) for argument in arguments]) == 0
    said = capsys.readouterr().out.splitlines()
    pack = CataloguePack.open(folder)
    train = [item.design for item in pack.items if item.split == "train"]
    validation = {item.design for item in pack.items if item.split == "validation"}
    assert said[0] == f"{len(set(train))} drawings of 2 kinds"
    assert [line.split(":")[0] for line in said[1:]] == [
        "captions of validation designs", "short texts of validation designs",
    ]  # fmt: skip
    assert all(line.endswith(f"of {len(validation)} right") for line in said[1:])
    book, made = Sketchbook.load(file), make_sketchbook(pack, Backbone.load(sources.clip))
    assert book.kinds == made.kinds
    assert all(0 <= stroke.min() <= stroke.max() <= 1 for one in book.drawings
               for stroke in one.strokes or ())  # fmt: skip


def test_of_each_design_the_drawing_is_taken_that_reads_best(sources, tmp_path, monkeypatch):
    pack, view = CataloguePack.open(world.write_pack(tmp_path, has_views=True)), CataloguePack.view

    def bent(self: CataloguePack, row: int) -> PackView:
        seen = view(self, row)
        strokes = tuple(stroke.clip(0, 1) ** (1 + row % 4) for stroke in seen.drawing.strokes)
        return replace(seen, drawing=replace(seen.drawing, strokes=strokes))

    monkeypatch.setattr(CataloguePack, "view", bent)
    backbone = Backbone.load(sources.clip)
    words = backbone.encode_text(["a photo of a box", "a photo of a disc"]).numpy()
    found = defaultdict[str, dict[float, Points]](dict)  # of every design, by margin
    for row in pack.rows(split="train", domain=PHOTO).tolist():
        sketch, item = Sketch.from_strokes(pack.view(row).drawing.strokes), pack.items[row]
        ink = rasterise(sketch, backbone.image_size_px)
        pixels = backbone.normalise_pixels(np.stack([ink] * 3, axis=-1)[None])
        box, disc = words @ backbone.encode_image(pixels, Medium.DRAWING).features[0].numpy()
        found[item.design][float(box - disc) * (1 if item.kind == "box" else -1)] = points(sketch)
    assert min(len(margins) for margins in found.values()) == 3
    drawings = [points(drawing) for drawing in make_sketchbook(pack, backbone).drawings]
    assert sorted(drawings) == sorted(margins[max(margins)] for margins in found.values())


Points = list[list[list[float]]]


def points(sketch: Sketch) -> Points:
    return [stroke.tolist() for stroke in sketch.strokes or ()]
