"""Watch for changes in folders of pictures."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from retrieval.errors import GalleryError
from retrieval.indexing.walk import CAPTION_SUFFIX, is_picture_file

SETTLED_MS = 1600  # changes within this time count as one; files are written in several steps


def watch(folders: Sequence[Path], index: Path | None, update: Callable[[], None]) -> None:
    """Call `update` whenever pictures or their captions change, until Ctrl-C.

    Args:
        folders: Folders to watch.
        index: Folder of the index, whose changes are ignored; None if it is not in a folder.
        update: Called after changes.

    Raises:
        GalleryError: The library watchfiles is not installed.
    """
    try:
        import watchfiles
    except ImportError as error:
        raise GalleryError(
            "--watch needs the library watchfiles: pip install 'duet-studio[watch]'"
        ) from error
    is_relevant = _ChangeFilter(folders, index)
    changes = watchfiles.watch(
        *folders, watch_filter=lambda _, path: is_relevant(path), debounce=SETTLED_MS
    )
    # Told not to raise, the library would log a warning when it is interrupted.
    with suppress(KeyboardInterrupt):
        for _ in changes:
            update()


class _ChangeFilter:
    """Filter of changes that can affect an index; files that the walk ignores cannot."""

    def __init__(self, folders: Sequence[Path], index: Path | None) -> None:
        self._folders = [Path(folder).absolute() for folder in folders]
        self._index = None if index is None else index.absolute()

    def __call__(self, changed: str) -> bool:
        path = Path(changed).absolute()
        if self._index is not None and path.is_relative_to(self._index):
            return False
        inside = [path.relative_to(root) for root in self._folders if path.is_relative_to(root)]
        if any(part.startswith(".") for below in inside[:1] for part in below.parts):
            return False
        is_caption = path.suffix.lower() == CAPTION_SUFFIX
        # A path that no longer exists may have been a folder.
        return is_caption or is_picture_file(path) or not path.is_file()
