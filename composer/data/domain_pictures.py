"""Reader of pictures of the catalogue's designs in several domains."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from composer.data.tree import DatasetError

NAMED: Final = "domains"
UNNAMED: Final = "unnamed"
"""Tables of the domains that words name, and of those that no caption names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainPicture:
    """One picture.

    Attributes:
        file: Its file.
        design: The shape it shows.
        kind: What it is ("armchair").
        domain: "photo", or the medium.
    """

    file: Path
    design: str
    kind: str
    domain: str


def read_domain_pictures(folder: Path, *tables: str) -> list[DomainPicture]:
    """Read tables of a folder made by the catalogue's `domains` command.

    Raises:
        DatasetError: A table is missing or damaged.
    """
    pictures: list[DomainPicture] = []
    for table in tables:
        try:
            columns = ["path", "design", "kind", "domain"]
            rows = pq.read_table(folder / f"{table}.parquet", columns=columns).to_pylist()
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(
                f"{folder} must hold {table}.parquet as `python -m assets.catalogue domains` "
                "writes it; make the folder again."
            ) from error
        pictures += [DomainPicture(file=folder / row.pop("path"), **row) for row in rows]
    return pictures
