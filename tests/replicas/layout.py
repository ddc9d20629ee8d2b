"""What the replicas share: the small sizes, the full vocabulary, folders as a hub serves them."""

import gzip
from functools import cache
from pathlib import Path

import open_clip

WIDTH, HEADS, LAYERS, CONTEXT, VOCABULARY = 32, 4, 2, 77, 49408
Repository = dict[str, bytes]


def read_folder(folder: Path) -> Repository:
    """The files of a folder, as a hub serves them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def merges() -> tuple[str, ...]:
    """The merges of CLIP's vocabulary, from open_clip's own file."""
    path = Path(open_clip.tokenizer.default_bpe())
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return tuple(lines[1 : VOCABULARY - 256 - 256 - 2 + 1])
