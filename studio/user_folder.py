"""The folder of what belongs to a user: the lock file of downloads, saved domains."""

import os
from pathlib import Path


def user_folder() -> Path:
    """Return the user's folder; it need not exist.

    DUET_HOME names it. Without that it is `~/.duet` where that exists, else `duet` below
    XDG_DATA_HOME where that is set, else `~/.duet`.
    """
    if named := os.environ.get("DUET_HOME"):
        return Path(named)
    usual, data = Path.home() / ".duet", os.environ.get("XDG_DATA_HOME", "")
    if usual.is_dir() or not Path(data).is_absolute():
        return usual
    return Path(data) / "duet"
