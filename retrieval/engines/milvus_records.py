"""Records of a published gallery and their columns in Milvus; no server is contacted."""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from retrieval.errors import GalleryError
from retrieval.filters.folders import composed, folders_of
from retrieval.filters.targets import copy_tag, plain
from retrieval.store.address import MilvusAddress
from retrieval.store.schema import Item, Manifest

NUMBERS = ("size_bytes", "width_px", "height_px")  # fields of filters


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Record:
    """The published data of one item.

    Attributes:
        item: The item; its path is relative to the root of the collection.
        vector: Its feature.
        codes: Its region codes; None if the store has none.
        source: Key of the publishing store, eight hex digits.
    """

    item: Item
    vector: Float[np.ndarray, " d"]
    codes: Int8[np.ndarray, " c"] | None
    source: str

    @property
    def digest(self) -> str:
        """Hash of all published data, prefixed with the key of the store."""
        fields = json.dumps(asdict(self.item), sort_keys=True).encode()
        codes = b"" if self.codes is None else self.codes.tobytes()
        content = fields + self.vector.astype(np.float16).tobytes() + codes
        return self.source + hashlib.sha256(content).hexdigest()[:32]


def row_of(record: Record) -> dict[str, Any]:
    """Return a record as a row of the collection."""
    item, codes = record.item, record.codes
    filterable = {name: getattr(item, name) for name in ("kind", "domain", "taken", *NUMBERS)}
    return filterable | {
        "id": item.id,
        "path": composed(item.path),
        "item": json.dumps(asdict(item), ensure_ascii=False),
        "tags": [*item.tags, *map(copy_tag, folders_of(item.copies))],
        "caption_plain": plain(item.caption),
        "vector": record.vector.astype(np.float32).tolist(),
        "regions": "" if codes is None else base64.b64encode(codes.tobytes()).decode(),
        "digest": record.digest,
    }


def item_of(text: str) -> Item:
    """Parse the column that holds an item as JSON."""
    fields: dict[str, Any] = json.loads(text)
    fields["tags"] = tuple(fields["tags"])
    fields["copies"] = tuple(fields.get("copies", ()))
    return Item(**{name: value for name, value in fields.items() if name in Item.__slots__})


def check_encoder(manifest: Manifest, gallery_hash: str | None, address: MilvusAddress) -> None:
    """Check the encoder of a collection.

    Raises:
        GalleryError: Another encoder made it.
    """
    if gallery_hash is not None and manifest.gallery_hash != gallery_hash:
        raise GalleryError(
            f"The gallery published at {address.uri} was made by another encoder (kit "
            f"{manifest.kit!r}, {manifest.gallery_hash}, not {gallery_hash}). Rebuild it with: "
            f"duet index {manifest.root} --publish {address.uri} --rebuild"
        )
