"""What the natural world is asked in training, and what answers."""

import numpy as np
import pytest

from composer.data import archives
from composer.data.natural_queries import PACS_WORDS, read_natural_queries
from composer.data.pacs import DOMAINS
from composer.data.world import PairTable, World
from composer.medium import Medium
from composer.sketch import Sketch
from tests.composer.data.test_pacs import write_pacs

PX = 32


def table(name, classes, colours):
    photos = np.full((len(colours), PX, PX, 3), 255, np.uint8)
    for photo, colour in zip(photos, colours, strict=True):
        photo[8:24, 8:24] = colour
    raster = np.full((PX, PX), 255, np.uint8)
    raster[10, 4:20] = 0
    things = tuple(f"{name}/{number}" for number in range(len(colours)))
    return PairTable(
        name=name, photos=photos, photo_classes=classes, photo_instances=things,
        drawings=(Sketch(raster=raster),) * len(colours), drawing_classes=classes,
        drawing_instances=things,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world():
    sketchy = table("sketchy", ("cow", "cow", "duck"), [(90, 60, 40)] * 3)
    chairs = table("chairv2", ("chair", "chair"), [(190, 30, 40), (255, 255, 255)])
    return World([sketchy, chairs])


@pytest.fixture(scope="module")
def queries(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    # The archive may be a folder; several pictures each, so that some are not held out.
    write_pacs(folder / archives.PACS)
    root = folder / archives.PACS / "kfold"
    for picture in list(root.rglob("*.png")):
        for number in range(2, 6):
            (picture.parent / f"pic_{number:03}.png").write_bytes(picture.read_bytes())
    return read_natural_queries(folder, world, num_drawings=2, seed=0)


def test_a_drawing_asks_for_its_class_and_a_chair_for_itself(world, queries):
    assert [q.answers for q in queries.by_source["sketchy"][::2]] == [(0, 1), (0, 1), (2,)]
    assert [q.answers for q in queries.by_source["chairv2"][::2]] == [(3,), (4,)]
    assert all(not q.words for name in ("sketchy", "chairv2") for q in queries.by_source[name])
    assert {queries.media[q.reference] for q in queries.by_source["chairv2"]} == {Medium.DRAWING}
    assert queries.references.shape[1:] == (PX, PX, 3)
    np.testing.assert_array_equal(queries.pictures[:5], world.photos)


def test_words_name_the_colours_of_the_chair_they_come_with(queries):
    named = queries.by_source["chairv2 in words"]
    assert {q.answers for q in named} == {(3,)}  # of the white one nothing can be said
    assert all("red" in text for q in named for text in q.words)


def test_words_of_a_domain_ask_for_the_class_there(queries):
    first = 5  # after the world's photos
    count = len(queries.pictures) - first
    asked = queries.by_source["pacs"]
    domain_of = {text: domain for domain, words in PACS_WORDS.items() for text in words}
    shown = np.array([picture[0, 0, 0] for picture in queries.pictures[first:]])
    for query in asked:
        domain = domain_of[query.words[0]]
        answers = np.array(query.answers) - first
        assert set(shown[answers]) == {60 * DOMAINS.index(domain)}
        assert query.ignored == (query.reference - 10 + first,)
        assert query.ignored[0] not in query.answers
    drawn = [m for m in queries.media[10:] if m is Medium.DRAWING]
    assert 0 < len(drawn) < count
    # Every picture asks for the three domains that words name, but its own.
    assert len(asked) == 3 * len(drawn) + 2 * (count - len(drawn))
