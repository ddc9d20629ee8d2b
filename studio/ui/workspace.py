"""The server's private folder, and what killed servers left of theirs."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "duet-page-"
LOCK = "server.lock"
# A folder is a moment older than the lock that its server takes on it.
_SETTLED_S = 10.0


@contextmanager
def private_workspace() -> Generator[Path, None, None]:
    """Create the server's private folder and make its subfolders the current and temp folders.

    Libraries serve files of the current and the temp folder, so neither may contain other files.
    Everything is removed at the end, and folders of killed servers are removed at the start.

    Yields:
        The private folder (0700); `gradio` in it is gradio's cache, `work` the current folder.
    """
    before_folder, before_temp = Path.cwd(), tempfile.tempdir
    before_cache = os.environ.get("GRADIO_TEMP_DIR")
    sweep_workspaces()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    try:
        with FileLock(folder / LOCK):
            for name in ("work", "gradio", "temp"):
                (folder / name).mkdir(mode=0o700)
            os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
            tempfile.tempdir = str(folder / "temp")
            os.chdir(folder / "work")
            yield folder
    finally:
        os.chdir(before_folder)
        tempfile.tempdir = before_temp
        os.environ.pop("GRADIO_TEMP_DIR", None)
        if before_cache is not None:
            os.environ["GRADIO_TEMP_DIR"] = before_cache
        shutil.rmtree(folder, ignore_errors=True)


def sweep_workspaces() -> int:
    """Remove private folders of this user whose server was killed; return how many.

    A server that runs holds the lock of its folder, and the system frees it with the process.
    """
    num_removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = folder / LOCK
        if not _is_of_a_server(folder, lock):
            continue
        try:
            with FileLock(lock, blocking=False):
                shutil.rmtree(folder, ignore_errors=True)
                num_removed += 1
        except (Timeout, OSError):
            continue
    return num_removed


def _is_of_a_server(folder: Path, lock: Path) -> bool:
    """Tell whether a folder is this user's, no link, and old enough to have been locked."""
    try:
        about, locked = folder.lstat(), lock.lstat()
    except OSError:
        return False
    is_ours = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    is_plain = stat.S_ISDIR(about.st_mode) and stat.S_ISREG(locked.st_mode)
    return is_ours and is_plain and time.time() - locked.st_mtime > _SETTLED_S
