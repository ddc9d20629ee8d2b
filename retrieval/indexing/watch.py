"""Watch for changes in folders of pictures."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from retrieval.errors import GalleryError
from retrieval.indexing.walk import CAPTION_SUFFIX, is_picture_file

SETTLED_MS = 1600  # changes within this time count as one; files are written in several steps
_UNREADABLE_NAME = "Unable to decode path"


def watch(folders: Sequence[Path], index: Path | None, update: Callable[[], None]) -> None:
    """Call `update` whenever pictures or their captions change, until Ctrl-C.

    Args:
        folders: Folders to watch.
        index: Folder of the index, whose changes are ignored; None if it is not in a folder.
        update: Called after changes.

    Raises:
        GalleryError: The library watchfiles is not installed, or the system watches no more
            folders.
    """
    # Told not to raise, the library would log a warning when it is interrupted.
    with suppress(KeyboardInterrupt):
        for _ in _changes(folders, _ChangeFilter(folders, index)):
            update()


def _changes(folders: Sequence[Path], is_relevant: Callable[[str], bool]) -> Iterator[None]:
    """Yield after changes.

    The library ends at a name that is not UTF-8. It is started again, and as it has missed what
    changed meanwhile, this counts as a change.

    Raises:
        GalleryError: As in `watch`.
    """
    try:
        import watchfiles
    except ImportError as error:
        raise GalleryError(
            "--watch needs the library watchfiles: pip install 'duet-studio[watch]'"
        ) from error
    has_missed = False
    while True:
        changes = watchfiles.watch(
            *folders,
            watch_filter=lambda _, path: is_relevant(path),
            debounce=SETTLED_MS,
            rust_timeout=SETTLED_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        while True:
            try:
                changed = next(changes)
            except (OSError, RuntimeError) as error:
                if _UNREADABLE_NAME not in str(error):
                    raise GalleryError(f"The folders cannot be watched: {error}") from error
                has_missed = True
                time.sleep(SETTLED_MS / 1000)
                break
            if changed or has_missed:
                has_missed = False
                yield


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
        return is_caption or is_picture_file(path) or not _is_other_file(path)


def _is_other_file(path: Path) -> bool:
    """Tell whether a path is a file; one that no longer exists may have been a folder.

    Where a link cannot be followed, such as one into a closed folder, the walk has the last word.
    """
    try:
        return path.is_file()
    except OSError:
        return False
