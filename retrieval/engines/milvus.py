"""Milvus engine for galleries that outgrow one machine: a collection holds a whole gallery.

Works with milvus-lite (a path that ends in .db) and with servers from 2.3 on. A name after #
selects one of several galleries of a server: http://host:19530#holiday.
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
from retrieval.engines.milvus_records import NUMBERS, Record, check_encoder, item_of, row_of
from retrieval.engines.protocol import Matches, best_matches, check_search
from retrieval.errors import GalleryError
from retrieval.filters.targets import to_milvus
from retrieval.filters.tree import Filter, FilterError
from retrieval.store.address import MilvusAddress
from retrieval.store.schema import Item, Manifest, checked_id

MIN_GRAPH_ROWS = 10_000  # below, a scan is as fast
_MANIFESTS = "duet_manifests"
# By default a search may miss recent writes. "Session" includes all writes of this process;
# "Strong" those of other processes too, but waits a fifth of a second for the server's clock.
_SESSION, _STRONG = "Session", "Strong"
_MAX_K = 16_384  # limit of the server on hits and on rows of a response
_EXTRA = 32  # additional hits, to order equal similarities by id
_PAGE = 4_096  # target number of rows of a response
_IDS_AT_ONCE = 1_000
_QUERIES_AT_ONCE = 100
_TEXT_BYTES = 65_535
_GRAPH = {"M": 32, "efConstruction": 200}
_EF = 512  # candidates of the graph search; composed queries need many
_TIMEOUT_S = 10.0
# Fields of filters, and `item`: the whole item as JSON, so that items can gain fields.
_TEXTS = ("path", "kind", "domain", "caption_plain", "taken", "item", "regions", "digest")


class MilvusIndex:
    """A published gallery: a search engine and a source of its items.

    Small galleries are scanned, so their ranking is exact; from 10,000 items on a graph (HNSW) is
    searched. Every response reflects all earlier writes of this process; writes of other processes
    take effect within a second.
    """

    def __init__(self, client: MilvusClient, address: MilvusAddress, manifest: Manifest) -> None:
        """Wrap an open client; used by `open` and by `retrieval.indexing.publish`."""
        self._client: Any = client  # pymilvus is only partly typed
        self._address, self.manifest = address, manifest
        self._has_regions: bool | None = None

    @classmethod
    def open(cls, uri: str, gallery_hash: str | None = None) -> "MilvusIndex":
        """Open a published gallery; with `gallery_hash`, only one of this encoder.

        Raises:
            GalleryError: The server does not answer, nothing is published at the address, or
                another encoder made it.
        """
        address = MilvusAddress.parse(uri)
        if address.file is not None and not address.file.exists():
            raise _nothing_published(address)
        with translate_errors(address):
            client = connect(address)
            manifest = read_manifest(client, address)
            if manifest is None or not client.has_collection(address.collection):
                raise _nothing_published(address)
            check_encoder(manifest, gallery_hash, address)
            client.load_collection(address.collection)
        return cls(client, address, manifest)

    @property
    def root(self) -> Path:
        """Folder of the pictures on the machine that published them."""
        return Path(self.manifest.root)

    @property
    def location(self) -> str:
        """The address, for messages."""
        return self._address.uri

    @property
    def has_near(self) -> bool:
        """Whether near-duplicates are marked: always, as a field of the item."""
        return True

    @property
    def has_regions(self) -> bool:
        """Whether every item was published with region codes; queried once."""
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
            FilterError: The server does not support `where`.
            GalleryError: The server does not answer.
            ValueError: `k` is below one or, as the gallery, above 16,384; or the queries have
                another width.
        """
        check_search(queries, k, self.manifest.dim)
        if k > _MAX_K and (k := min(k, max(1, len(self)))) > _MAX_K:
            raise ValueError(f"Milvus returns {_MAX_K} items at most, got `k` = {k}.")
        condition = "" if where is None else to_milvus(where)
        parts = queries.cpu().float().split(_QUERIES_AT_ONCE)
        return [matches for part in parts for matches in self._nearest(part, k, condition)]

    def _nearest(self, queries: Float[Tensor, "q d"], k: int, condition: str) -> Iterator[Matches]:
        limit = min(k + _EXTRA, _MAX_K)
        with translate_errors(self._address):
            answers = self._client.search(
                self._address.collection,
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
        """Return items in the order of `ids`; None where there is none."""
        items = {row["id"]: item_of(row["item"]) for row in self._rows(ids, ["id", "item"])}
        return [items.get(id_) for id_ in ids]

    def read_regions(self, ids: Sequence[str]) -> Int8[np.ndarray, "n c"]:
        """Return region codes in the order of `ids`; zeros for a missing item.

        Raises:
            GalleryError: No region codes are stored.
        """
        codes = {row["id"]: row["regions"] for row in self._rows(ids, ["id", "regions"])}
        if "" in codes.values():
            raise GalleryError(
                f"{self._address.uri} has no region codes. Add them with: "
                f"duet index {self.root} --publish {self._address.uri} --rebuild"
            )
        regions = np.zeros((len(ids), NUM_CODES), dtype=np.int8)
        for row, id_ in enumerate(ids):
            if id_ in codes:
                regions[row] = np.frombuffer(base64.b64decode(codes[id_]), dtype=np.int8)
        return regions

    def vectors_of(self, ids: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Return vectors in the order of `ids`; zeros for a missing item."""
        by_id = {row["id"]: row["vector"] for row in self._rows(ids, ["id", "vector"])}
        vectors = np.zeros((len(ids), self.manifest.dim), dtype=np.float16)
        for row, id_ in enumerate(ids):
            if id_ in by_id:
                vectors[row] = by_id[id_]
        return vectors

    def sample(self, count: int, where: Filter | None = None) -> list[str]:
        """Return the ids of about `count` items: a deterministic random sample.

        With `where`, of matching items; deterministic if these are at most 16,384.
        """
        if where is not None:
            rows = self._select(to_milvus(where), ["id"], limit=_MAX_K)
            return sorted(row["id"] for row in rows)[:count]
        share = min(count, _MAX_K // 2) / max(1, len(self))
        # Ids are hashes, so the lowest ones are a random draw.
        condition = "" if share >= 1 else f'id < "{int(share * 16**8):08x}"'
        return sorted(row["id"] for row in self._select(condition, ["id"], limit=_MAX_K))

    def digests(self, source: str) -> dict[str, str]:
        """Return the digest of every record that a store published, by the id of its item."""
        condition = f'digest like "{source}%"'
        count = int(self._select(condition, ["count(*)"], level=_STRONG)[0]["count(*)"])
        num_pages, prefixes = count // _PAGE, [""]
        while len(prefixes) < num_pages:
            prefixes = [prefix + digit for prefix in prefixes for digit in "0123456789abcdef"]
        pages = (self._page(prefix, condition) for prefix in prefixes)
        return {row["id"]: row["digest"] for page in pages for row in page}

    def send(self, records: Sequence[Record]) -> None:
        """Write records; records with the same id are replaced.

        Raises:
            GalleryError: The server refuses them. Earlier records are kept.
        """
        rows = [row_of(record) for record in records]
        with translate_errors(self._address):
            self._client.upsert(self._address.collection, rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Delete items by id."""
        with translate_errors(self._address):
            for part in _parts(ids):
                self._client.delete(self._address.collection, filter=_any_of(part))

    def settle(self, min_graph_rows: int = MIN_GRAPH_ROWS) -> None:
        """Have the server store and index the records, by a graph if there are enough."""
        index_type = "HNSW" if len(self) >= min_graph_rows else "FLAT"
        with translate_errors(self._address):
            self._client.flush(self._address.collection)
            current = self._client.describe_index(self._address.collection, "vector")
            if current["index_type"] != index_type:
                self._client.release_collection(self._address.collection)
                self._client.drop_index(self._address.collection, "vector")
                index_vectors(self._client, self._address, index_type)
            self._client.load_collection(self._address.collection)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _page(self, prefix: str, condition: str) -> list[dict[str, Any]]:
        """Return matching rows by prefix of the id, a hash, so that pages are of equal size."""
        # "g" follows every hex digit.
        page = f'id >= "{prefix}" and id < "{prefix}g" and {condition}'
        rows = self._select(page, ["id", "digest"], limit=_MAX_K, level=_STRONG)
        if len(rows) < _MAX_K:
            return rows
        return [
            row for digit in "0123456789abcdef" for row in self._page(prefix + digit, condition)
        ]

    def _rows(self, ids: Sequence[str], columns: list[str]) -> list[dict[str, Any]]:
        return [row for part in _parts(ids) for row in self._select(_any_of(part), columns)]

    def _select(
        self, condition: str, columns: list[str], limit: int | None = None, level: str = _SESSION
    ) -> list[dict[str, Any]]:
        options = {} if limit is None else {"limit": limit}
        with translate_errors(self._address):
            return self._client.query(
                self._address.collection,
                filter=condition,
                output_fields=columns,
                consistency_level=level,
                **options,
            )


def connect(address: MilvusAddress) -> MilvusClient:
    """Connect to a server; its token comes from the environment variable MILVUS_TOKEN."""
    for noisy in ("pymilvus", "milvus_lite", "grpc._server"):  # they also raise their errors
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    token = os.environ.get("MILVUS_TOKEN", "")
    return MilvusClient(uri=address.server, token=token, timeout=_TIMEOUT_S)


def create_collection(client: MilvusClient, address: MilvusAddress, manifest: Manifest) -> None:
    """Create an empty collection unless it exists.

    The manifest is written first, so that an interrupted creation can be resumed.

    Raises:
        GalleryError: The collection exists and was not made by duet.
    """
    if read_manifest(client, address) is None and client.has_collection(address.collection):
        raise GalleryError(
            f"{address.server} has a collection {address.collection!r} that duet did not make. "
            f"Choose another name: {address.server}#NAME"
        )
    write_manifest(client, address, manifest)
    if not client.has_collection(address.collection):
        client.create_collection(
            address.collection, schema=_schema(manifest.dim), consistency_level=_STRONG
        )
        index_vectors(client, address, "FLAT")
    client.load_collection(address.collection)


def drop_collection(client: MilvusClient, address: MilvusAddress) -> None:
    """Drop a collection that duet made, if it exists."""
    if read_manifest(client, address) is not None:
        client.drop_collection(address.collection)


def index_vectors(client: MilvusClient, address: MilvusAddress, index_type: str) -> None:
    """Create the index of vectors: a scan ("FLAT") or a graph ("HNSW")."""
    params = client.prepare_index_params()
    graph = _GRAPH if index_type == "HNSW" else {}
    params.add_index("vector", index_type=index_type, metric_type="IP", params=graph)
    client.create_index(address.collection, params)


def read_manifest(client: MilvusClient, address: MilvusAddress) -> Manifest | None:
    """Return the manifest of a collection; None if duet made none of that name.

    Manifests have a separate collection: not every server keeps a collection's description.
    """
    if not client.has_collection(_MANIFESTS):
        return None
    client.load_collection(_MANIFESTS)
    rows: list[dict[str, Any]] = client.query(
        _MANIFESTS,
        filter=f'id == "{address.collection}"',
        output_fields=["manifest"],
        consistency_level=_STRONG,
    )
    return Manifest(**json.loads(rows[0]["manifest"])) if rows else None


def write_manifest(client: MilvusClient, address: MilvusAddress, manifest: Manifest) -> None:
    """Store the manifest of a collection."""
    if not client.has_collection(_MANIFESTS):
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=255)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # servers require one
        schema.add_field("manifest", DataType.VARCHAR, max_length=_TEXT_BYTES)
        client.create_collection(_MANIFESTS, schema=schema, consistency_level=_STRONG)
        params = client.prepare_index_params()
        params.add_index("vector", index_type="FLAT", metric_type="IP")
        client.create_index(_MANIFESTS, params)
        client.load_collection(_MANIFESTS)
    text = json.dumps(asdict(manifest))
    row = {"id": address.collection, "vector": [1.0, 0.0], "manifest": text}
    client.upsert(_MANIFESTS, [row])


@contextmanager
def translate_errors(address: MilvusAddress) -> Generator[None, None, None]:
    """Raise errors of the server as `GalleryError`, or `FilterError` for an unsupported filter."""
    try:
        yield
    except MilvusException as error:
        report = (error.message or str(error) or type(error).__name__).strip().splitlines()[0]
        # Milvus 2.3 has no error code for a pattern that it does not support: only the text tells.
        if "unsupported pattern" in report:
            raise FilterError(
                f"The Milvus server {address.server} finds texts at the beginning of a caption "
                "only; `caption contains` needs Milvus 2.4 or later."
            ) from error
        raise GalleryError(
            f"Milvus at {address.server} cannot be used: {report[:300]}. Check the address, and "
            "that the server runs."
        ) from error


def _nothing_published(address: MilvusAddress) -> GalleryError:
    return GalleryError(
        f"Nothing is published at {address.uri}. Publish a gallery with: "
        f"duet index FOLDER --publish {address.uri}"
    )


def _schema(dim: int) -> Any:  # noqa: ANN401  a class of pymilvus
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
    return "id in [" + ", ".join(f'"{checked_id(id_)}"' for id_ in ids) + "]"
