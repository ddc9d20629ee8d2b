"""Addresses of galleries: folders, object stores, and Milvus as a server or a file."""

from pathlib import Path

import pytest

from retrieval.errors import GalleryError
from retrieval.store.address import MilvusAddress, is_milvus, parse_location


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://gallery.example:19530", True),
        ("https://gallery.example", True),
        ("pictures.db", True),
        ("folder/pictures.db#shoes", True),
        ("s3://bucket/pictures", False),
        ("folder/http://pictures", False),
        ("pictures.db/index", False),
        ("pictures#shoes.db", False),
    ],
)
def test_addresses_of_milvus_are_known_by_their_beginning_or_their_end(address, expected):
    assert is_milvus(address) is expected


@pytest.mark.parametrize(
    ("address", "server", "collection", "file"),
    [
        ("http://host:19530#holiday", "http://host:19530", "holiday", None),
        ("https://host", "https://host", "duet", None),
        ("a/b.db#_2", "a/b.db", "_2", Path("a/b.db")),
        ("b.db", "b.db", "duet", Path("b.db")),
    ],
)
def test_an_address_is_split_into_server_and_collection(address, server, collection, file):
    found = MilvusAddress.parse(address)
    assert (found.uri, found.server, found.collection) == (address, server, collection)
    assert found.file == file


@pytest.mark.parametrize("name", ["2nd", "a-b", "a b", "a" * 202, "é"])
def test_a_collection_has_a_name_that_milvus_takes(name):
    with pytest.raises(GalleryError, match=f"letters, digits and _, got '{name}'"):
        MilvusAddress.parse(f"http://host#{name}")
    assert MilvusAddress.parse(f"http://host#{'a' * 201}").collection == "a" * 201


def test_what_is_no_address_of_milvus_is_refused():
    with pytest.raises(GalleryError, match="must be like http://host:19530, or a path that ends"):
        MilvusAddress.parse("pictures")


def test_a_folder_becomes_a_path_and_an_address_stays_a_text():
    assert parse_location("pictures/index") == Path("pictures/index")
    for address in ("s3://bucket/index", "http://host", "https://host#a", "b.db"):
        assert parse_location(address) == address
