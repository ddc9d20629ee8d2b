"""Milvus, for galleries that outgrow one machine: one collection holds all that a search shows.

Works with milvus-lite (a path that ends in .db) and with servers from 2.3 on. A name after #
is that of one gallery among several on a server: http://host:19530#holiday.
"""

import base64
import json
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int8
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException
from torch import Tensor

from composer.layout import NUM_CODES
from retrieval.engines.milvus_records import NUMBERS, Place, Record, check_encoder, item_of, row_of
from retrieval.engines.protocol import Matches, best_matches, check_search
from retrieval.errors import GalleryError
from retrieval.filters.targets import to_milvus
from retrieval.filters.tree import Filter, FilterError
from retrieval.store.schema import Item, Manifest, checked_id

MIN_GRAPH_ROWS = 10_000  # below, a scan is as fast
_MANIFESTS = "duet_manifests"
# The server's default lets a search miss what was just written. "Session" does not, of what this
# process wrote; "Strong" neither of what others did, and waits a fifth of a second for the clock.
_SESSION, _STRONG = "Session", "Strong"
_MAX_K = 16_384  # of the server, for hits and for rows of one answer
_EXTRA = 32  # hits beside those wanted, for the order of equal ones
_PAGE = 4_096  # rows meant to come in one answer
_IDS_AT_ONCE = 1_000
_QUERIES_AT_ONCE = 100
_TEXT_BYTES = 65_535
_GRAPH = {"M": 32, "efConstruction": 200}
_EF = 512  # candidates kept while the graph is walked; composed queries need many
_TIMEOUT_S = 10.0
# What filters ask, and `item`: all that is known as JSON, so that it may grow with the same schema.
_TEXTS = ("path", "kind", "domain", "caption_plain", "taken", "item", "regions", "digest")


class MilvusIndex:
    """A published gallery: an engine to search with, and the source of what is known of its items.

    Small galleries are scanned, so their ranking is that of all cosines; from 10,000 items on a
    graph (HNSW) is walked. Every answer reflects all that this process wrote before; what others
    write shows within a second.
    """

    def __init__(self, client: MilvusClient, at: Place, manifest: Manifest) -> None:
        """Used by `open` and by `retrieval.indexing.publish`."""
        self._client: Any = client  # pymilvus is partly typed
        self._at, self.manifest = at, manifest
        self._has_regions: bool | None = None

    @classmethod
    def open(cls, uri: str, gallery_hash: str | None = None) -> "MilvusIndex":
        """Open a published gallery; with `gallery_hash`, only one that this encoder made.

        Raises:
            GalleryError: The server does not answer, nothing was published there, or another
                encoder made it.
        """
        place = Place.read(uri)
        if place.server.endswith(".db") and not Path(place.server).exists():
            raise _nothing_published(place)
        with told(place):
            client = connect(place)
            manifest = read_manifest(client, place)
            if manifest is None or not client.has_collection(place.collection):
                raise _nothing_published(place)
            check_encoder(manifest, gallery_hash, place)
            client.load_collection(place.collection)
        return cls(client, place, manifest)

    @property
    def root(self) -> Path:
        """Folder of the pictures, as the machine that published them sees it."""
        return Path(self.manifest.root)

    @property
    def place(self) -> str:
        """Where the gallery is, for messages."""
        return self._at.uri

    @property
    def has_near(self) -> bool:
        """Whether near-duplicates are marked: with all else that is known of an item."""
        return True

    @property
    def has_regions(self) -> bool:
        """Whether every item was published with region codes; asked once."""
        if self._has_regions is None:
            self._has_regions = not self._select('regions == ""', ["id"], limit=1)
        return self._has_regions

    def __len__(self) -> int:
        """Return the number of items."""
        return int(self._select("", ["count(*)"])[0]["count(*)"])

    def search(
        self, queries: Float[Tensor, "q d"], k: int, *, where: Filter | None = None
    ) -> list[Matches]:
        """Return the `k` items nearest to each query, of those that pass `where`.

        Equal similarities are ordered by id.

        Raises:
            FilterError: The server cannot ask for `where`.
            GalleryError: The server does not answer.
            ValueError: `k` is below one or, as the gallery, above 16,384; or the queries have
                another width.
        """
        check_search(queries, k, self.manifest.dim)
        if k > _MAX_K and (k := min(k, max(1, len(self)))) > _MAX_K:
            raise ValueError(f"Milvus returns {_MAX_K} items at most, got `k` = {k}.")
        condition = "" if where is None else to_milvus(where)
        parts = queries.cpu().float().split(_QUERIES_AT_ONCE)
        return [found for part in parts for found in self._nearest(part, k, condition)]

    def _nearest(self, queries: Float[Tensor, "q d"], k: int, condition: str) -> Iterator[Matches]:
        limit = min(k + _EXTRA, _MAX_K)
        with told(self._at):
            answers = self._client.search(
                self._at.collection,
                data=queries.tolist(),
                anns_field="vector",
                limit=limit,
                filter=condition,
                search_params={"metric_type": "IP", "params": {"ef": max(_EF, limit)}},
                consistency_level=_SESSION,
            )
        for hits in answers:
            similarities = torch.tensor([hit["distance"] for hit in hits], dtype=torch.float32)
            yield best_matches([hit["id"] for hit in hits], similarities, k)

    def items_of(self, ids: Sequence[str]) -> list[Item | None]:
        """Return items in the order of `ids`; None where one is gone."""
        found = {row["id"]: item_of(row["item"]) for row in self._rows(ids, ["id", "item"])}
        return [found.get(one) for one in ids]

    def read_regions(self, ids: Sequence[str]) -> Int8[np.ndarray, "n c"]:
        """Return region codes in the order of `ids`; zeros where one is gone.

        Raises:
            GalleryError: None are stored.
        """
        codes = {row["id"]: row["regions"] for row in self._rows(ids, ["id", "regions"])}
        if "" in codes.values():
            raise GalleryError(
                f"{self._at.uri} has no region codes. Add them with: "
                f"duet index {self.root} --publish {self._at.uri} --rebuild"
            )
        found = np.zeros((len(ids), NUM_CODES), dtype=np.int8)
        for place, one in enumerate(ids):
            if one in codes:
                found[place] = np.frombuffer(base64.b64decode(codes[one]), dtype=np.int8)
        return found

    def vectors_of(self, ids: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Return vectors in the order of `ids`; zeros where one is gone."""
        known = {row["id"]: row["vector"] for row in self._rows(ids, ["id", "vector"])}
        found = np.zeros((len(ids), self.manifest.dim), dtype=np.float16)
        for place, one in enumerate(ids):
            if one in known:
                found[place] = known[one]
        return found

    def sample(self, count: int, where: Filter | None = None) -> list[str]:
        """Return the ids of about `count` items from all over the gallery, the same every time.

        With `where`, of those that pass it; the same where these are not more than 16,384.
        """
        if where is not None:
            rows = self._select(to_milvus(where), ["id"], limit=_MAX_K)
            return sorted(row["id"] for row in rows)[:count]
        share = min(count, _MAX_K // 2) / max(1, len(self))
        # Ids are hashes, so the first of them lie anywhere.
        condition = "" if share >= 1 else f'id < "{int(share * 16**8):08x}"'
        return sorted(row["id"] for row in self._select(condition, ["id"], limit=_MAX_K))

    def digests(self, source: str) -> dict[str, str]:
        """Return the digest of every record that a store published, by its item's id."""
        own = f'digest like "{source}%"'
        count = int(self._select(own, ["count(*)"], level=_STRONG)[0]["count(*)"])
        num_pages, prefixes = count // _PAGE, [""]
        while len(prefixes) < num_pages:
            prefixes = [prefix + digit for prefix in prefixes for digit in "0123456789abcdef"]
        return {row["id"]: row["digest"] for one in prefixes for row in self._page(one, own)}

    def send(self, records: Sequence[Record]) -> None:
        """Write records; those of the same id are replaced.

        Raises:
            GalleryError: The server does not take them. All earlier ones are kept.
        """
        rows = [row_of(record) for record in records]
        with told(self._at):
            self._client.upsert(self._at.collection, rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Delete items by id."""
        with told(self._at):
            for some in _parts(ids):
                self._client.delete(self._at.collection, filter=_any_of(some))

    def settle(self, min_graph_rows: int = MIN_GRAPH_ROWS) -> None:
        """Have the server write down and index what was sent, by a graph or a scan as it suits."""
        wanted = "HNSW" if len(self) >= min_graph_rows else "FLAT"
        with told(self._at):
            self._client.flush(self._at.collection)
            if self._client.describe_index(self._at.collection, "vector")["index_type"] != wanted:
                self._client.release_collection(self._at.collection)
                self._client.drop_index(self._at.collection, "vector")
                index_vectors(self._client, self._at, wanted)
            self._client.load_collection(self._at.collection)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _page(self, prefix: str, own: str) -> list[dict[str, Any]]:
        """Own rows whose id begins so: ids are hashes, so pages are of even size."""
        condition = f'id >= "{prefix}" and id < "{prefix}g" and {own}'  # g: after every hex digit
        rows = self._select(condition, ["id", "digest"], limit=_MAX_K, level=_STRONG)
        if len(rows) < _MAX_K:
            return rows
        return [row for digit in "0123456789abcdef" for row in self._page(prefix + digit, own)]

    def _rows(self, ids: Sequence[str], columns: list[str]) -> list[dict[str, Any]]:
        return [row for some in _parts(ids) for row in self._select(_any_of(some), columns)]

    def _select(
        self, condition: str, columns: list[str], limit: int | None = None, level: str = _SESSION
    ) -> list[dict[str, Any]]:
        bound = {} if limit is None else {"limit": limit}
        with told(self._at):
            return self._client.query(
                self._at.collection,
                filter=condition,
                output_fields=columns,
                consistency_level=level,
                **bound,
            )


def connect(place: Place) -> MilvusClient:
    """Connect to a server; a token for it is read from the environment (MILVUS_TOKEN)."""
    for noisy in ("pymilvus", "milvus_lite", "grpc._server"):  # their errors reach us as exceptions
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    token = os.environ.get("MILVUS_TOKEN", "")
    return MilvusClient(uri=place.server, token=token, timeout=_TIMEOUT_S)


def create_collection(client: MilvusClient, place: Place, manifest: Manifest) -> None:
    """Make an empty collection and say who encoded it, first: a creation stopped between goes on.

    Raises:
        GalleryError: The collection is there and is not ours.
    """
    if read_manifest(client, place) is None and client.has_collection(place.collection):
        raise GalleryError(
            f"{place.server} has a collection {place.collection!r} that duet did not make. Choose "
            f"another name: {place.server}#NAME"
        )
    write_manifest(client, place, manifest)
    if not client.has_collection(place.collection):
        client.create_collection(
            place.collection, schema=_schema(manifest.dim), consistency_level=_STRONG
        )
        index_vectors(client, place, "FLAT")
    client.load_collection(place.collection)


def drop_collection(client: MilvusClient, place: Place) -> None:
    """Drop a collection that duet made, if it is there."""
    if read_manifest(client, place) is not None:
        client.drop_collection(place.collection)


def index_vectors(client: MilvusClient, place: Place, index_type: str) -> None:
    """Have vectors scanned ("FLAT") or walked as a graph ("HNSW")."""
    params = client.prepare_index_params()
    graph = _GRAPH if index_type == "HNSW" else {}
    params.add_index("vector", index_type=index_type, metric_type="IP", params=graph)
    client.create_index(place.collection, params)


def read_manifest(client: MilvusClient, place: Place) -> Manifest | None:
    """Return who encoded a collection; None where duet made none of that name.

    Kept in a collection of its own: not every server keeps a collection's description.
    """
    if not client.has_collection(_MANIFESTS):
        return None
    client.load_collection(_MANIFESTS)
    rows: list[dict[str, Any]] = client.query(
        _MANIFESTS,
        filter=f'id == "{place.collection}"',
        output_fields=["manifest"],
        consistency_level=_STRONG,
    )
    return Manifest(**json.loads(rows[0]["manifest"])) if rows else None


def write_manifest(client: MilvusClient, place: Place, manifest: Manifest) -> None:
    """Say who encoded a collection."""
    if not client.has_collection(_MANIFESTS):
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=255)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # servers ask for one
        schema.add_field("manifest", DataType.VARCHAR, max_length=_TEXT_BYTES)
        client.create_collection(_MANIFESTS, schema=schema, consistency_level=_STRONG)
        params = client.prepare_index_params()
        params.add_index("vector", index_type="FLAT", metric_type="IP")
        client.create_index(_MANIFESTS, params)
        client.load_collection(_MANIFESTS)
    told_row = {"id": place.collection, "vector": [1.0, 0.0]}
    client.upsert(_MANIFESTS, [told_row | {"manifest": json.dumps(asdict(manifest))}])


@contextmanager
def told(place: Place) -> Generator[None, None, None]:
    """Turn what the server reports into one sentence of ours."""
    try:
        yield
    except MilvusException as error:
        said = (error.message or str(error) or type(error).__name__).strip().splitlines()[0]
        if "unsupported pattern" in said:
            raise FilterError(
                f"The Milvus server {place.server} looks for texts at the beginning of a caption "
                "only; `caption contains` needs Milvus 2.4 or later."
            ) from error
        raise GalleryError(
            f"Milvus at {place.server} cannot be used: {said[:300]}. Check the address, and that "
            "the server runs."
        ) from error


def _nothing_published(place: Place) -> GalleryError:
    return GalleryError(
        f"Nothing is published at {place.uri}. Publish a gallery with: "
        f"duet index FOLDER --publish {place.uri}"
    )


def _schema(dim: int) -> Any:  # noqa: ANN401  pymilvus' own
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=32)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    for name in _TEXTS:
        schema.add_field(name, DataType.VARCHAR, max_length=_TEXT_BYTES)
    for name in NUMBERS:
        schema.add_field(name, DataType.INT64)
    schema.add_field(
        "tags",
        DataType.ARRAY,
        element_type=DataType.VARCHAR,
        max_capacity=1024,
        max_length=1024,
    )
    return schema


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[start : start + _IDS_AT_ONCE]


def _any_of(ids: Sequence[str]) -> str:
    return "id in [" + ", ".join(f'"{checked_id(one)}"' for one in ids) + "]"
