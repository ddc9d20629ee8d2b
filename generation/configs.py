"""Configs of models: JSON objects in files."""

import json
from pathlib import Path
from typing import Any


def read_config(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no JSON object.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged; it is no JSON object.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} is damaged; it is no JSON object.")
    return config
