"""Follows changes of folders of pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

from retrieval.errors import GalleryError
from retrieval.indexing.walk import CAPTION_SUFFIX, IMAGE_SUFFIXES

SETTLED_MS = 1600  # changes that come together are one; files are written in several steps


def watch(folders: Sequence[Path], index: Path | None, update: Callable[[], None]) -> None:
    """Call `update` whenever pictures or their captions change, until Ctrl-C.

    Changes inside the folder `index` are its own doing; None where the index lies elsewhere.

    Raises:
        GalleryError: The library that watches is not installed.
    """
    try:
        import watchfiles
    except ImportError as error:
        raise GalleryError(
            "--watch needs the library watchfiles: pip install 'duet-studio[watch]'"
        ) from error
    concerns = _Concerns(folders, index)
    for _ in watchfiles.watch(
        *folders,
        watch_filter=lambda _, path: concerns(path),
        debounce=SETTLED_MS,
        raise_interrupt=False,
    ):
        update()


class _Concerns:
    """Tells whether a change of a path can change an index: what the walker passes over cannot."""

    def __init__(self, folders: Sequence[Path], index: Path | None) -> None:
        self._folders = [Path(folder).absolute() for folder in folders]
        self._index = None if index is None else index.absolute()

    def __call__(self, changed: str) -> bool:
        path = Path(changed).absolute()
        if self._index is not None and path.is_relative_to(self._index):
            return False
        inside = [path.relative_to(one) for one in self._folders if path.is_relative_to(one)]
        if any(part.startswith(".") for below in inside[:1] for part in below.parts):
            return False
        suffix = path.suffix.lower()
        # A folder that was moved or deleted no longer says that it was one.
        return suffix in IMAGE_SUFFIXES or suffix == CAPTION_SUFFIX or not path.is_file()
