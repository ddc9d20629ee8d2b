"""An index survives kills at random moments, and concurrent writers and readers."""

import random

import pytest

from retrieval.indexing.encode import IndexOptions, index_folder
from retrieval.store import disk
from retrieval.store.maintenance import check_index, discard_index
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture
from tests.retrieval.store.children import kill_after, start_child
from tests.retrieval.store.crash import ROWS
from tests.retrieval.stores import assert_same_contents

NUM_PICTURES = 40


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(NUM_PICTURES):
        picture(number % (NUM_PICTURES - 4)).save(root / f"{number:02}.png")  # four are copies
        if number % 3 == 0:
            (root / f"{number:02}.txt").write_text(f"picture {number}")
    return root


def undisturbed(photos, index):
    options = IndexOptions(batch_size=2, commit_every=4)
    return index_folder(photos, index, tiny_backbone(), kit="tiny", options=options)


NUM_KILLS = [2, pytest.param(20, marks=pytest.mark.slow)]


@pytest.mark.parametrize("num_kills", NUM_KILLS)
def test_killed_while_indexing(photos, tmp_path, num_kills):
    rng, index = random.Random(num_kills), photos / ".duet"
    least, num_partial = 0, 0
    for _ in range(num_kills):
        committed = kill_after("index", photos, rng.randrange(5), rng.uniform(0, 0.1))
        if (index / "store.json").exists():  # else it was killed before there was an index
            count = len(Store.open(index))
            assert count >= max(least, committed or 0)
            least = count
            num_partial += 0 < count < NUM_PICTURES - 4
            assert check_index(index).findings == ()
        if least == NUM_PICTURES - 4:  # begin again, to be killed in the midst of it once more
            discard_index(index)
            least = 0
    report = undisturbed(photos, index)
    assert report.num_kept + report.num_added == NUM_PICTURES - 4
    undisturbed(photos, tmp_path / "undisturbed")
    assert_same_contents(Store.open(index), Store.open(tmp_path / "undisturbed"))
    assert check_index(index).findings == ()
    assert num_partial


@pytest.mark.parametrize("num_kills", NUM_KILLS)
def test_killed_while_compacting(tmp_path, num_kills):
    rng, least = random.Random(num_kills), 0
    for _ in range(num_kills):
        committed = kill_after("compact", tmp_path, rng.randrange(1, 4), rng.uniform(0, 0.1))
        store = Store.open(tmp_path / ".duet")
        stored = store.ids_and_vectors()
        least = max(least, committed or 0)
        # The next batch may have been committed before it was told.
        assert len(stored.ids) in (least, least + ROWS)
        least = len(stored.ids)
        assert sorted(int(id_[16:], 16) for id_ in stored.ids.tolist()) == list(range(least))
        assert all(store.items_of(stored.ids.astype(str).tolist()))
    assert least > ROWS


@pytest.mark.parametrize("num_kills", NUM_KILLS)
def test_killed_while_deleting(tmp_path, num_kills):
    rng, most = random.Random(num_kills), 400
    for _ in range(num_kills):
        committed = kill_after("delete", tmp_path, rng.randrange(4), rng.uniform(0, 0.05))
        stored = Store.open(tmp_path / ".duet").ids_and_vectors()
        most = most if committed is None else committed
        assert len(stored.ids) in (most, max(0, most - 2))
        most = len(stored.ids)
        # Deleted were the first ones; nothing else is missing.
        assert [int(id_[16:], 16) for id_ in stored.ids.tolist()] == list(range(400 - most, 400))
    assert most < 400


@pytest.mark.parametrize(
    ("num_readers", "seconds"), [(1, 2), pytest.param(4, 60, marks=pytest.mark.slow)]
)
def test_two_writers_and_their_readers_lose_nothing(tmp_path, num_readers, seconds):
    writers = [start_child("write", tmp_path, number, seconds) for number in (1, 2)]
    readers = [start_child("read", tmp_path, seconds) for _ in range(num_readers)]
    written = [child.communicate()[0] for child in writers]
    read = [child.communicate()[0] for child in readers]
    assert {child.returncode for child in [*writers, *readers]} == {0}
    expected = {
        f"{number:016x}{row:016x}"
        for number, output in zip((1, 2), written, strict=True)
        for row in range(int(output.split()[1]))
    }
    stored = Store.open(tmp_path / ".duet").ids_and_vectors().ids.astype(str).tolist()
    assert len(stored) == len(expected) > ROWS
    assert set(stored) == expected
    assert all(int(output.split()[1]) for output in read)


def test_a_lock_does_not_outlive_who_held_it(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "LOCK_TIMEOUT_S", 60)  # a lock that stayed behind is an error then
    kill_after("compact", tmp_path, 1, 0.02)
    assert (tmp_path / ".duet/maintenance.lock").exists()
    Store.open(tmp_path / ".duet").compact()
