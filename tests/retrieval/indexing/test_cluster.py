"""Embedding by Ray Data: the same index as one machine makes, whatever dies on the way."""

import os
import random
import signal
import socket
from pathlib import Path

import pytest

from composer.backbone import Backbone
from retrieval.errors import GalleryError
from retrieval.indexing.embed import Embedded, EmbedOptions, LocalEmbedder
from retrieval.indexing.encode import IndexOptions, index_folders
from retrieval.indexing.intake import Recognised
from retrieval.indexing.walk import Skipped, walk
from retrieval.indexing.wire import candidates_of, results_of, rows_of_candidates, rows_of_results
from retrieval.store.table import Store
from tests.composer.tiny import write_clip
from tests.retrieval.pictures import picture
from tests.retrieval.store.children import kill_after
from tests.retrieval.stores import assert_same_contents

ray = pytest.importorskip("ray", reason="ray is not installed")

from retrieval.indexing import cluster as encode_cluster  # noqa: E402
from retrieval.indexing.cluster import ClusterEmbedder  # noqa: E402

NUM_PICTURES = 24
pytestmark = [
    # 2026-11: ray leaves its log files and sockets to the collector, and warns of its own settings.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def backbone(clip):
    return Backbone.load(clip)


@pytest.fixture(scope="module")
def cluster():
    encode_cluster.start()
    yield
    ray.shutdown()


@pytest.fixture
def photos(tmp_path):
    """Pictures, two of them copies, some with captions, and a file that is none."""
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(NUM_PICTURES):
        picture(number % (NUM_PICTURES - 2)).save(root / f"{number:02}.png")
        if number % 3 == 0:
            (root / f"{number:02}.txt").write_text(f"picture {number}")
    (root / "06.txt").write_bytes(b"\xff\xfe\xff")
    (root / "broken.png").write_bytes(b"not a picture")
    return root


def index_by(embedder, photos, index, backbone):
    options = IndexOptions(batch_size=2, commit_every=4)
    return index_folders([photos], index, backbone, kit="tiny", options=options, embedder=embedder)


def cluster_embedder(clip, backbone):
    options = EmbedOptions(batch_size=2)
    return ClusterEmbedder(clip, backbone.gallery_hash, options=options, files_at_once=5)


def test_results_travel(photos, backbone):
    candidates = [result for result in walk(photos) if not isinstance(result, Skipped)]
    rows = rows_of_candidates(candidates)
    assert candidates_of(rows) == candidates
    embedder = LocalEmbedder(backbone, EmbedOptions(facts_by_path={"01.png": {"kind": "café"}}))
    known = next(result.id for result in results(embedder, candidates[:1], ()) if result)
    local = results(embedder, candidates, {known})
    kinds = {type(result) for result in local}
    assert kinds == {Embedded, Recognised, Skipped}
    back = list(results_of(rows_of_results(iter(local), rows), candidates))
    for result, other in zip(local, back, strict=True):
        if isinstance(result, Embedded):
            assert (result.item, result.problem) == (other.item, other.problem)
            assert (result.feature == other.feature).all()
            assert (result.codes == other.codes).all()
        else:
            assert result == other
    assert any(isinstance(result, Embedded) and result.problem for result in back)


def results(embedder, candidates, known_ids):
    embedded = list(embedder.embed(candidates, known_ids))
    return embedded if known_ids else [result.item for result in embedded]


def test_a_cluster_makes_the_same_index(photos, tmp_path, clip, backbone, cluster):
    embedder = cluster_embedder(clip, backbone)
    report = index_by(embedder, photos, tmp_path / "many", backbone)
    expected = index_by(None, photos, tmp_path / "one", backbone)
    assert report == expected
    assert (report.num_added, len(report.skipped)) == (NUM_PICTURES - 2, 3)
    assert_same_contents(Store.open(tmp_path / "many"), Store.open(tmp_path / "one"))

    (photos / "00.png").rename(photos / "zero.png")
    picture(99).save(photos / "99.png")
    (photos / "05.png").unlink()
    again = index_by(embedder, photos, tmp_path / "many", backbone)
    assert (again.num_added, again.num_moved, again.num_removed) == (1, 1, 1)


def test_workers_with_another_encoder_are_refused(photos, tmp_path, backbone, cluster):
    other = write_clip(tmp_path / "other", seed=1)
    embedder = ClusterEmbedder(other, backbone.gallery_hash)
    with pytest.raises(
        GalleryError, match=r"(?s)^The cluster has stopped .*the same kit\..*to continue"
    ):
        index_by(embedder, photos, tmp_path / "index", backbone)
    assert len(Store.open(tmp_path / "index")) == 0


def test_a_cluster_that_would_wait_for_ever_is_refused(monkeypatch, cluster):
    monkeypatch.setattr(encode_cluster, "LEAST_CPUS", 10_000)
    with pytest.raises(GalleryError, match="must declare 10000 CPUs or more"):
        ClusterEmbedder("clip", "hash")


def test_a_cluster_that_does_not_answer_is_reported(monkeypatch):
    monkeypatch.setattr(encode_cluster.ray, "is_initialized", lambda: False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(GalleryError, match="does not answer; check RAY_ADDRESS"):
            ClusterEmbedder("clip", "hash")


@pytest.mark.slow
def test_killed_and_taken_up_again(photos, tmp_path, backbone):
    rng, index, least = random.Random(0), photos / ".duet", 0
    for _ in range(3):
        committed = kill_after("cluster", photos, rng.randrange(1, 3), rng.uniform(0, 0.1))
        there = len(Store.open(index))
        assert there >= max(least, committed or 0)
        least = there
    assert least > 0
    index_by(None, photos, index, backbone)
    index_by(None, photos, tmp_path / "whole", backbone)
    assert_same_contents(Store.open(index), Store.open(tmp_path / "whole"))


def workers():
    """Process numbers of those that embed."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"_Worker" in (folder / "cmdline").read_bytes():
                pids.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return pids


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes as Linux tells them")
def test_workers_that_die_cost_nothing_but_time(photos, clip, backbone, cluster):
    candidates = [result for result in walk(photos) if not isinstance(result, Skipped)]
    embedding = cluster_embedder(clip, backbone).embed(candidates, ())
    results_so_far = [next(embedding)]
    killed = workers()
    assert killed
    for number in killed:
        os.kill(number, signal.SIGKILL)
    results_so_far += embedding
    expected = LocalEmbedder(backbone, EmbedOptions(batch_size=2)).embed(candidates, ())
    ids = [result.item.id if isinstance(result, Embedded) else result for result in results_so_far]
    expected_ids = [
        result.item.id
        if isinstance(result, Embedded)
        else result.id
        if isinstance(result, Recognised)
        else result
        for result in expected
    ]
    assert ids == expected_ids
