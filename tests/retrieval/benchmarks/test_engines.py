"""Engines side by side: what is compared, and that the figures are theirs."""

import numpy as np
import pytest

from composer.strategies.protocol import EncodedReference
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from retrieval.benchmarks import end_to_end, engines, scale
from tests.composer.tiny import tiny_backbone


def test_synthetic_vectors_lie_as_features_do():
    vectors = engines.synthetic_vectors(3000, 64).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    cosines = vectors @ vectors.T
    assert 0.35 < cosines.mean() < 0.65
    again = engines.synthetic_vectors(3000, 64, seed=1).astype(np.float32)
    assert np.abs(again - vectors).max() > 0.1


def test_composed_queries_are_beside_the_gallery():
    vectors = engines.synthetic_vectors(3000, 64)
    queries = engines.composed_queries(vectors, 20)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    nearest = (queries @ vectors.T.astype(np.float32)).max(axis=1)
    assert nearest.mean() < 0.97


@pytest.mark.parametrize("num_queries", [1, 5])
def test_exact_peers_find_what_ours_finds(num_queries):
    pytest.importorskip("faiss", reason="faiss is installed for development alone")
    rows = engines.engine_rows(2000, 32, num_queries=num_queries)
    recalls = {row.peer: row.peer_recall for row in rows}
    assert recalls["numpy"] == recalls["faiss Flat"] == 1.0
    assert set(recalls) == {"numpy", "faiss Flat", "faiss SQfp16", "faiss SQ8", "faiss HNSW"}
    assert all(recall > 0.5 for recall in recalls.values())
    fields = rows[0].as_json()
    assert fields["ratio"] == pytest.approx(rows[0].peer_ms / rows[0].ours_ms, abs=0.006)
    gigabytes = 2000 * 32 * 2 / 1e9
    assert rows[0].ours_gb_per_s == pytest.approx(gigabytes / (rows[0].ours_ms / 1000))
    assert fields["share_of_copy"] == pytest.approx(
        rows[0].ours_gb_per_s / rows[0].copy_gb_per_s, abs=0.006
    )


def test_sizes_below_1_are_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 0, 8, 1"):
        engines.engine_rows(0, 8)


def test_a_whole_search_is_timed_in_parts(tmp_path):
    backbone = tiny_backbone()
    gallery = end_to_end.synthetic_gallery(tmp_path / "index", 300, backbone)
    assert len(gallery) == 300
    composer, texts = SlerpComposer(backbone, SlerpSettings()), set()

    def compose(words):
        texts.add(words)
        return composer.compose(EncodedReference(), words)

    rows = end_to_end.end_to_end_rows(gallery, compose)
    assert [row.num_items for row in rows] == [300] * 3
    assert len(texts) == 65
    parts = {row.what: row for row in rows}
    whole = parts["all of it"]
    assert whole.p95_ms >= whole.p50_ms > parts["compose"].p50_ms > 0
    beside = end_to_end.lance_row(tmp_path / "index")
    assert (beside.what, beside.num_items) == ("LanceDB's index, 100 hits", 300)
    assert beside.p95_ms >= beside.p50_ms > 0


@pytest.mark.parametrize("in_processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_gallery_is_grown_and_measured_in_every_part(tmp_path, monkeypatch, in_processes):
    pytest.importorskip("milvus_lite", reason="milvus-lite (extra dev) is not installed")
    if not in_processes:  # five processes that import everything take most of the time
        monkeypatch.setattr(scale, "run_in_subprocess", lambda measure, *given: measure(*given))
    row = scale.scale_row(tmp_path / "index", 2000, 8, milvus=f"{tmp_path}/lite.db")
    assert row.num_items == 2000
    # Region codes take a kilobyte, vectors 16 bytes, a caption and a path some dozens.
    assert 1100 < row.bytes_per_item < 1500
    assert row.lance_recall == row.milvus_recall == 1.0  # both compare all in so small a gallery
    assert row.lance_build_s == 0
    fields = row.as_json()
    assert all(fields[name] > 0 for name in fields if name.endswith("_ms"))
    with pytest.raises(ValueError, match="must have 2000 items or more, got 1999"):
        scale.scale_row(tmp_path / "less", 1999, 8)
