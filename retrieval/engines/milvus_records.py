"""What is published of a gallery, and where: no server is asked here."""

import base64
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from retrieval.errors import GalleryError
from retrieval.filters.targets import plain
from retrieval.store.schema import Item, Manifest

DEFAULT_COLLECTION = "duet"
NUMBERS = ("size_bytes", "width_px", "height_px")  # that filters ask


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a collection is.

    Attributes:
        uri: As the user writes it.
        server: Address of the server, or path of milvus-lite's folder.
        collection: Its name.
    """

    uri: str
    server: str
    collection: str

    @classmethod
    def read(cls, uri: str) -> "Place":
        """Take an address apart.

        Raises:
            GalleryError: It is none.
        """
        server, _, name = uri.partition("#")
        name = name or DEFAULT_COLLECTION
        if not (server.startswith(("http://", "https://")) or server.endswith(".db")):
            raise GalleryError(
                f"A Milvus address must be like http://host:19530, or a path that ends in .db, "
                f"got {uri!r}."
            )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,200}", name):
            raise GalleryError(
                f"A Milvus collection must be named by letters, digits and _, got {name!r}."
            )
        return cls(uri=uri, server=server, collection=name)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Record:
    """All that is published of one item.

    Attributes:
        item: What is known of it; its path begins at the root of the collection.
        vector: Its feature.
        codes: Its region codes; None where the store has none.
        source: Key of the store it comes from, eight hex digits.
    """

    item: Item
    vector: Float[np.ndarray, " d"]
    codes: Int8[np.ndarray, " c"] | None
    source: str

    @property
    def digest(self) -> str:
        """Changes with anything that is published, and begins with the key of the store."""
        told = json.dumps(asdict(self.item), sort_keys=True).encode()
        codes = b"" if self.codes is None else self.codes.tobytes()
        whole = told + self.vector.astype(np.float16).tobytes() + codes
        return self.source + hashlib.sha256(whole).hexdigest()[:32]


def row_of(record: Record) -> dict[str, Any]:
    """Return the columns of a record, as the collection names them."""
    item, codes = record.item, record.codes
    asked = {name: getattr(item, name) for name in ("path", "kind", "domain", "taken", *NUMBERS)}
    return asked | {
        "id": item.id,
        "item": json.dumps(asdict(item), ensure_ascii=False),
        "tags": list(item.tags),
        "caption_plain": plain(item.caption),
        "vector": record.vector.astype(np.float32).tolist(),
        "regions": "" if codes is None else base64.b64encode(codes.tobytes()).decode(),
        "digest": record.digest,
    }


def item_of(told_item: str) -> Item:
    """Read an item back from its column."""
    known: dict[str, Any] = json.loads(told_item)
    known["tags"] = tuple(known["tags"])
    return Item(**{name: value for name, value in known.items() if name in Item.__slots__})


def check_encoder(manifest: Manifest, gallery_hash: str | None, place: Place) -> None:
    """Check who encoded a collection.

    Raises:
        GalleryError: It was another encoder.
    """
    if gallery_hash is not None and manifest.gallery_hash != gallery_hash:
        raise GalleryError(
            f"What is published at {place.uri} was made by another encoder (kit "
            f"{manifest.kit!r}, {manifest.gallery_hash}, here {gallery_hash}). Rebuild it with: "
            f"duet index {manifest.root} --publish {place.uri} --rebuild"
        )
