"""Small galleries of vectors and layouts made by hand."""

import numpy as np
import torch
from torch.nn import functional

from composer.layout import region_maps, region_projection
from retrieval.engines.exact import ExactIndex
from retrieval.search import Gallery
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store

DIM = 8
AXES = torch.eye(DIM)
LAYOUT_DIM = 12


def vectors_of(*rows):
    """Unit vectors from the first numbers of each."""
    vectors = torch.zeros(len(rows), DIM)
    for number, row in enumerate(rows):
        vectors[number, : len(row)] = torch.tensor(row)
    return functional.normalize(vectors, dim=1).numpy()


def item(number, **known):
    return Item(id=f"{number:032x}", path=f"{number:03}.png", **known)


def store_of_five(folder):
    """Five pictures ever further from the first axis; 1 is a near-duplicate of 0."""
    manifest = Manifest(gallery_hash="tower", dim=DIM, kit="tiny", root="..")
    store = Store.create(folder / "index", manifest, regions=False)
    items = [
        item(0, kind="chair"),
        item(1, kind="chair", near=f"{0:032x}"),
        item(2, kind="lamp"),
        item(3, kind="chair"),
        item(4, kind="lamp"),
    ]
    vectors = vectors_of([1], [1, 0.05], [1, 0.5], [1, 0, 0.9], [1, 2])
    store.add(items, vectors, np.zeros((5, 0), np.int8))
    return store


def numbers(ranking):
    return [int(hit.id, 16) for hit in ranking.hits]


def ids(*numbers):
    return tuple(f"{number:032x}" for number in numbers)


def patches(seed, count=1, side=8, dim=LAYOUT_DIM):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, side * side, dim, generator=generator), dim=-1)


def maps_of(features):
    return region_maps(features, region_projection(features.shape[-1]))


def gallery_of(folder, vectors, codes):
    manifest = Manifest(gallery_hash="tower", dim=LAYOUT_DIM, kit="tiny", root="..")
    store = Store.create(folder, manifest)
    items = [Item(id=f"{number:032x}", path=f"{number:03}.png") for number in range(len(vectors))]
    store.add(items, vectors.numpy(), codes.numpy())
    return Gallery(store, ExactIndex(store))
