"""Archives in the layouts of the real ones and a bank of what a trunk saw in them."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import torch

from composer.data import heldout
from composer.data.catalogue import PackItem
from composer.training.words.bank import PhotoHead, PooledSet
from composer.training.words.imagenet import imagenet_classes

FREE = next(f"{i}.jpg" for i in range(99) if not heldout.flickr_is_held_out(f"{i}.jpg"))
KEPT = next(f"{i}.jpg" for i in range(99) if heldout.flickr_is_held_out(f"{i}.jpg"))
CAPTIONS = {
    FREE: ["A dog runs .", "A  dog\non grass"],
    KEPT: ["A girl ."],
    "owl.jpg": ["a bird", "two owls ."],
}
KEYWORDS = {"🦉": ["owl", "bird"], "🐕": ["dog", "_pet"], "🇩🇪": ["flag"], "👍🏻": ["thumb"]}


def _tar(path: Path, files: Mapping[str, object]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_archives(folder: Path) -> Path:
    """Writes the captions of Flickr and the keywords of Noto."""
    _tar(folder / "flickr_captions.tar", {"flickr/captions.json": CAPTIONS})
    _tar(folder / "noto_emoji.tar", {"noto/keywords.json": KEYWORDS})
    return folder


def _pictures(*names: str) -> PooledSet:
    generator = torch.Generator().manual_seed(len(names))
    return PooledSet(names=names, pooled=torch.rand(len(names), 8, generator=generator))


def _pacs(medium: str, *, held_out: bool) -> str:
    names = (f"{medium}/dog/{i}.png" for i in range(99))
    return next(f"pacs/{n}" for n in names if heldout.pacs_is_held_out(n) is held_out)


def tiny_items() -> dict[str, PackItem]:
    """Words of two chairs of the catalogue, one of them painted, and of a bowl."""
    rows = (("chair-1", "photo", "red"), ("chair-2", "photo", "red"), ("bowl-1", "photo", "blue"))
    painted = ("chair-1-watercolour", "watercolour", "red")
    return {id: _item(id, domain, colour) for id, domain, colour in (*rows, painted)}


def tiny_renders() -> PooledSet:
    """What a trunk saw in them."""
    return _pictures(*(f"train/{name}" for name in tiny_items()))


def _item(id: str, domain: str, colour: str) -> PackItem:
    kind = id.partition("-")[0]
    caption = f"a {domain} of a {kind}, with a {colour} oak body"
    return PackItem(
        id=id,
        design=id,
        kind=kind,
        split="train",
        domain=domain,
        colourway=0,
        part_names=("body",),
        part_finishes=(f"{colour} oak",),
        part_colours=(colour,),
        caption=caption,
        attributes=f"with a {colour} oak body",
        shape="",
        paraphrases=(f"a {colour} {kind}", caption),
    )


def tiny_bank() -> dict[str, PooledSet]:
    """What a trunk of width 8 saw, at random."""
    generator = torch.Generator().manual_seed(0)
    classifier = torch.rand(1000, 8, generator=generator) + torch.eye(1000, 8)
    return {
        "classifier": PooledSet(names=tuple(c.wnid for c in imagenet_classes()), pooled=classifier),
        "flickr": _pictures(f"flickr/{FREE}", f"flickr/{KEPT}", "flickr/owl.jpg"),
        "noto": _pictures("noto/emoji_u1f989.webp", "noto/emoji_u1f415.webp"),
        "pacs": _pictures(_pacs("cartoon", held_out=False), _pacs("cartoon", held_out=True)),
        "sketchy": _pictures("photo/t/owl/1.jpg", "photo/t/cat/1.jpg", "photo/t/cat/2.jpg"),
        "tiny": _pictures("tiny/n02123045/1.webp", "tiny/n02123045/2.webp"),
    }


def tiny_head() -> PhotoHead:
    """A head onto a space of four dimensions."""
    generator = torch.Generator().manual_seed(1)
    return PhotoHead(weight=torch.rand(4, 8, generator=generator), bias=torch.zeros(4))
