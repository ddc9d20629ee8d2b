"""Domain conversion in a gallery of three designs in eight domains, counted by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from assets.catalogue import words
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from composer.training.phrases import MEDIUM_PHRASES
from retrieval.benchmarks.media import DOMAIN_WORDS, DOMAINS, MediaSet, media_rows, open_media
from retrieval.errors import GalleryError
from tests.composer.tiny import JOINT_DIM, tiny_backbone

STROKES = {
    "chair-0": [[[10, 10], [200, 30]]],
    "chair-1": [[[10, 200], [200, 30], [50, 60]]],
    "lamp-0": [[[120, 10], [120, 240]], [[60, 240], [180, 240]]],
}
KINDS = {"chair-0": "chair", "chair-1": "chair", "lamp-0": "lamp"}
PAIRS = [(design, domain) for domain in DOMAINS for design in STROKES]


@pytest.fixture(scope="module")
def composer():
    return SlerpComposer(tiny_backbone(), SlerpSettings(alpha=0.5, moves_sketches=False))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The set as files, its pictures noise."""
    (tmp_path / "images").mkdir()
    items = [
        {"path": f"images/{design}-{domain}.png", "design": design, "domain": domain}
        | {"kind": KINDS[design]}
        for design, domain in PAIRS
    ]
    for number, item in enumerate(items):
        levels = np.random.default_rng(number).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((64, 64)).save(tmp_path / item["path"])
    sketches = [{"design": d, "strokes": json.dumps(strokes)} for d, strokes in STROKES.items()]
    _write(tmp_path / "domains.parquet", items)
    _write(tmp_path / "sketches.parquet", sketches)
    return tmp_path


def _write(path: Path, rows: list) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def perfect(composer) -> MediaSet:
    """A gallery in which every picture looks as its own query wishes; photos look as drawings."""
    sketches = {d: Sketch.from_json(json.dumps(s), extent=255.0) for d, s in STROKES.items()}
    features = [_wish(composer, sketches[d], DOMAIN_WORDS.get(domain, "")) for d, domain in PAIRS]
    return MediaSet(
        features=torch.stack(features),
        designs=tuple(design for design, _ in PAIRS),
        kinds=tuple(KINDS[design] for design, _ in PAIRS),
        domains=tuple(domain for _, domain in PAIRS),
        sketches=sketches,
    )


def _wish(composer, sketch: Sketch, text: str):
    return composer.compose(composer.encode(Query(sketch=sketch)), text).feature


def _as_if(perfect: MediaSet, pairs: list) -> MediaSet:
    """The gallery with each picture looking as the one in `shown` at its place should."""
    rows = [PAIRS.index(pair) for pair in pairs]
    return replace(perfect, features=perfect.features[rows])


def test_perfect_pictures_are_ranked_first(composer, perfect):
    kind, design = media_rows(composer, perfect)
    for row, target in ((kind, "kind"), (design, "design")):
        head = (row["composer"], row["query"], row["split"], row["target"])
        assert head == ("slerp", "sketch+text", "domains", target)
        assert (row["num_queries"], row["num_gallery"]) == (3 * 7, 3 * 8)
    assert (design["acc@1"], design["domain_right@1"]) == (1.0, 1.0)
    assert design["chance@1"] == pytest.approx(1 / 24)
    assert kind["hit@1"] == 1.0
    # A chair query has two right pictures, of which one can be first; the lamp has one.
    assert kind["R@1"] == pytest.approx((0.5 + 0.5 + 1.0) / 3)


def test_another_design_of_the_kind_is_right_for_the_kind_only(composer, perfect):
    other = {"chair-0": "chair-1", "chair-1": "chair-0", "lamp-0": "lamp-0"}
    swapped = _as_if(perfect, [(other[design], domain) for design, domain in PAIRS])
    kind, design = media_rows(composer, swapped)
    assert kind["hit@1"] == 1.0
    assert design["acc@1"] == pytest.approx(1 / 3)
    assert design["domain_right@1"] == 1.0


def test_the_right_design_in_another_domain_is_wrong(composer, perfect):
    other = {"watercolour": "pencil", "pencil": "watercolour"}
    swapped = _as_if(perfect, [(design, other.get(domain, domain)) for design, domain in PAIRS])
    kind, design = media_rows(composer, swapped)
    assert kind["hit@1"] == pytest.approx(5 / 7)
    assert design["acc@1"] == pytest.approx(5 / 7)
    assert design["domain_right@1"] == pytest.approx(5 / 7)


def test_another_kind_in_the_right_domain_has_the_domain_only(composer, perfect):
    after = {"chair-0": "lamp-0", "lamp-0": "chair-1", "chair-1": "chair-0"}
    turned = _as_if(perfect, [(after[design], domain) for design, domain in PAIRS])
    kind, design = media_rows(composer, turned)
    # QueryMode for chair-0 it shows chair-1, for chair-1 the lamp, for the lamp chair-0.
    assert kind["hit@1"] == pytest.approx(1 / 3)
    assert (design["acc@1"], design["domain_right@1"]) == (0.0, 1.0)


def test_a_folder_is_read_and_encoded_by_the_backbone(composer, folder):
    backbone = tiny_backbone()
    opened = open_media(folder, backbone)
    assert opened.features.shape == (24, JOINT_DIM)
    assert list(zip(opened.designs, opened.domains, strict=True)) == PAIRS
    assert opened.kinds[:3] == ("chair", "chair", "lamp")
    picture = Image.open(folder / "images/lamp-0-night.png")
    expected = backbone.encode_image(backbone.preprocess([picture])).features[0]
    row = PAIRS.index(("lamp-0", "night"))
    torch.testing.assert_close(opened.features[row], expected, atol=1e-5, rtol=0)
    strokes = opened.sketches["chair-0"].strokes
    assert strokes is not None
    assert strokes[0].tolist() == pytest.approx(np.array([[10, 10], [200, 30]]) / 255)
    assert media_rows(composer, opened)[1]["num_queries"] == 21


def test_a_folder_that_is_no_set_of_domains_is_refused(folder, tmp_path):
    with pytest.raises(GalleryError, match=r"must hold domains\.parquet and sketches\.parquet"):
        open_media(tmp_path / "nowhere", tiny_backbone())
    for name in ("domains", "sketches"):
        table = folder / f"{name}.parquet"
        content = table.read_bytes()
        _write(table, [{"path": "images/a.png", "design": "a"}])
        with pytest.raises(GalleryError, match=r"must hold domains\.parquet and sketches\.parquet"):
            open_media(folder, tiny_backbone())
        table.write_bytes(content)


def test_a_set_without_designs_is_refused(folder):
    for name in ("domains", "sketches"):
        path = folder / f"{name}.parquet"
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(GalleryError, match=r"its 0 drawn designs"):
        open_media(folder, tiny_backbone())


def test_a_picture_that_is_missing_is_named(folder):
    (folder / "images/lamp-0-clay.png").unlink()
    with pytest.raises(GalleryError, match=r"cannot be used.*lamp-0-clay\.png"):
        open_media(folder, tiny_backbone())


@pytest.mark.parametrize("change", ["no domain", "twice", "strange domain", "no sketch"])
def test_designs_without_every_domain_once_are_refused(folder, change):
    items = pq.read_table(folder / "domains.parquet").to_pylist()
    sketches = pq.read_table(folder / "sketches.parquet").to_pylist()
    match change:
        case "no domain":
            items = items[:-1]
        case "twice":
            items = [*items, items[0]]
        case "strange domain":
            items[0]["domain"] = "oil"
        case _:
            sketches = sketches[1:]
    _write(folder / "domains.parquet", items)
    _write(folder / "sketches.parquet", sketches)
    with pytest.raises(GalleryError, match="drawn designs once in each of photo, watercolour"):
        open_media(folder, tiny_backbone())


def test_every_domain_has_words_of_no_other_text():
    assert words.DOMAINS == DOMAINS
    for domain, phrase in DOMAIN_WORDS.items():
        sayings = [*MEDIUM_PHRASES[domain], *words.DOMAIN_PHRASES[domain]]
        assert phrase not in sayings
        assert not [saying for saying in sayings if " " in saying and saying in phrase]
