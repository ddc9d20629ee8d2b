"""The protocol of scenes on a group of four pictures and one of an unseen kind, by hand."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from composer.strategies.slerp import SlerpComposer
from retrieval.benchmarks import catalogue
from retrieval.benchmarks.scenes import read_scenes, relation_right, scene_rows
from retrieval.errors import GalleryError
from tests.composer.tiny import tiny_backbone

STROKES = {"chair-0": [[[10, 10], [200, 30]]], "chair-1": [[[10, 200], [200, 30], [50, 60]]]}
LEFT, RIGHT = "to the left of a red chair", "to the right of a red chair"
MEMBERS = (
    ("g", "a", "chair-0", LEFT, "test"),
    ("g", "b", "chair-0", RIGHT, "test"),
    ("g", "c", "chair-0", "to the left of an oak chair", "test"),
    ("g", "d", "chair-1", LEFT, "test"),
    ("h", "a", "chair-1", RIGHT, "unseen"),
)


def write_scenes(folder):
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, (group, member, design, words, split) in enumerate(MEMBERS):
        path = f"images/{group}-{member}.png"
        levels = np.random.default_rng(number).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((64, 64)).save(folder / path)
        rows.append(
            {
                "path": path,
                "group": group,
                "member": member,
                "design": design,
                "kind": "chair",
                "words": words,
                "caption": f"a chair {words}",
                "split": split,
            }
        )
    drawn = [{"design": d, "skill": 1, "strokes": json.dumps(s)} for d, s in STROKES.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "scenes.parquet")
    pq.write_table(pa.Table.from_pylist(drawn), folder / "sketches.parquet")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("world") / "scenes")


@pytest.fixture(scope="module")
def scenes(folder):
    return read_scenes(folder, tiny_backbone())


def test_cases_ask_for_their_picture_with_a_drawing_and_where_it_stands(scenes):
    cases = scenes.protocol.cases
    assert [case.target for case in cases] == [0, 1, 2, 3, 4]
    assert [case.attributes for case in cases] == [row[3] for row in MEMBERS]
    assert scenes.protocol.trained_kinds.tolist() == [True, True, True, True, False]
    assert len(scenes.index) == 5
    assert scenes.mirrored.tolist() == [[0, 1]]


def test_each_picture_is_indexed_at_its_case(scenes, folder):
    backbone = tiny_backbone()
    with Image.open(folder / "images" / "g-c.png") as picture:
        feature = backbone.encode_image(backbone.preprocess([picture.convert("RGB")])).features
    assert int(scenes.index.similarities(feature.detach()).argmax()) == 2


def test_neither_drawing_nor_words_are_enough(scenes):
    assert catalogue.ceilings(scenes.protocol, "sketch").tolist() == [1 / 3, 1 / 3, 1 / 3, 0.5, 0.5]
    assert catalogue.ceilings(scenes.protocol, "text").tolist() == [0.5, 0.5, 1, 0.5, 0.5]
    assert catalogue.ceilings(scenes.protocol, "sketch+text").tolist() == [1] * 5


def test_the_relation_is_right_where_each_of_two_is_nearer_to_its_query():
    mirrored = np.array([[0, 1], [2, 3]])
    similarities = np.array(
        [
            [0.9, 0.1, 0.0, 0.0],
            [0.2, 0.1, 0.0, 0.0],
            [0.0, 0.0, 0.5, 0.5],
            [1.0, 0.0, 0.3, 0.4],
        ],
        dtype=np.float32,
    )
    assert relation_right(similarities, mirrored).tolist() == [[True, False], [False, True]]


def test_rows_are_flat_and_the_drawing_alone_cannot_hear_the_relation(scenes):
    rows = scene_rows("slerp", SlerpComposer(tiny_backbone()), scenes)
    ranked = [(r["query"], r["split"], r["num_queries"]) for r in rows if "acc@1" in r]
    assert ranked == [
        (mode, split, count)
        for mode in ("sketch", "text", "sketch+text")
        for split, count in (("scenes", 4), ("scenes unseen", 1))
    ]
    heard = {row["query"]: row for row in rows if "relation_right" in row}
    assert set(heard) == set(catalogue.MODES)
    assert heard["sketch"]["relation_right"] == 0.5
    assert (heard["sketch"]["split"], heard["sketch"]["num_queries"]) == ("scenes", 2)
    assert {row["composer"] for row in rows} == {"slerp"}
    json.dumps(rows)


def test_missing_and_foreign_files_are_reported(folder, tmp_path):
    backbone = tiny_backbone()
    with pytest.raises(GalleryError, match=r"must hold scenes\.parquet and sketches\.parquet"):
        read_scenes(tmp_path, backbone)
    other = write_scenes(tmp_path / "other")
    rows = pq.read_table(folder / "scenes.parquet")
    pq.write_table(rows.drop_columns(["words"]), other / "scenes.parquet")
    with pytest.raises(GalleryError, match="are not of scenes: no 'words'"):
        read_scenes(other, backbone)
    pq.write_table(rows.slice(0, 0), other / "scenes.parquet")
    with pytest.raises(GalleryError, match="at least one scene"):
        read_scenes(other, backbone)
    pq.write_table(rows, other / "scenes.parquet")
    drawn = pq.read_table(folder / "sketches.parquet")
    pq.write_table(drawn.slice(1, 1), other / "sketches.parquet")
    with pytest.raises(GalleryError, match="must show all main objects, not chair-0"):
        read_scenes(other, backbone)
    pq.write_table(drawn, other / "sketches.parquet")
    (other / "images" / "g-b.png").unlink()
    with pytest.raises(GalleryError, match="A picture of the scenes cannot be read"):
        read_scenes(other, backbone)
