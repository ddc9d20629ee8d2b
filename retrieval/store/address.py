"""The grammar of index locations: folders, object stores and Milvus collections."""

import re
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import GalleryError

IndexLocation = Path | str
OBJECT_STORES = ("s3", "s3+ddb", "gs", "az", "abfss", "file-object-store")
DEFAULT_COLLECTION = "duet"
_MILVUS_SCHEMES = ("http://", "https://")
_MILVUS_LITE_SUFFIX = ".db"


@dataclass(frozen=True, kw_only=True, slots=True)
class MilvusAddress:
    """Address of a Milvus collection.

    Attributes:
        uri: As the user writes it.
        server: URL of the server, or path of the file of milvus-lite.
        collection: Name of the collection.
    """

    uri: str
    server: str
    collection: str

    @classmethod
    def parse(cls, uri: str) -> "MilvusAddress":
        """Split an address such as http://host:19530#holiday into server and collection.

        Raises:
            GalleryError: It is no address of Milvus.
        """
        server, _, name = uri.partition("#")
        name = name or DEFAULT_COLLECTION
        if not is_milvus(uri):
            raise GalleryError(
                f"A Milvus address must be like http://host:19530, or a path that ends in .db, "
                f"got {uri!r}."
            )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,200}", name):
            raise GalleryError(
                "The name of a Milvus collection must consist of letters, digits and _, got "
                f"{name!r}."
            )
        return cls(uri=uri, server=server, collection=name)

    @property
    def file(self) -> Path | None:
        """File of milvus-lite; None for a server."""
        return None if _is_url(self.server) else Path(self.server)


def parse_location(text: str) -> IndexLocation:
    """Return the location that a user writes: a path, or the address of a server unchanged."""
    return text if _is_url(text) or is_milvus(text) else Path(text)


def absolute_location(location: IndexLocation) -> IndexLocation:
    """Return a location that does not depend on the working directory."""
    if isinstance(location, Path):
        return location.resolve()
    return location if _is_url(location) else str(Path(location).resolve())


def is_milvus(address: str) -> bool:
    """Tell whether an address is of Milvus: of a server, or of a file of milvus-lite."""
    server = address.partition("#")[0]
    return server.startswith(_MILVUS_SCHEMES) or server.endswith(_MILVUS_LITE_SUFFIX)


def is_object_store(address: str) -> bool:
    """Tell whether an address is of an object store, such as s3://bucket/gallery."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme in OBJECT_STORES


def _is_url(text: str) -> bool:
    return "://" in text
