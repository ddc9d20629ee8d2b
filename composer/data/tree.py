"""Files of a data set, in a folder or an archive, read in place.

Nothing is extracted. An archive's table of contents is read once; every read then opens the file
and reads the bytes directly, so that threads and forked loaders may share one tree.
"""

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MAX_UNPACKED_BYTES = 1 << 30
PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp"))
_GZIP_SUFFIXES = (".tar.gz", ".tgz")
_ZIP_HEADER_BYTES = 30
_ENCRYPTED = 0x1


class DatasetError(ValueError):
    """A data set that cannot be read, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Where an archive keeps a file: `num_bytes` at `offset`, both counted in bytes.

    For a zip the offset is that of the local header, and `crc` checks the unpacked bytes.
    """

    offset: int
    num_bytes: int
    is_deflated: bool = False
    crc: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Source:
    """A folder (`spans` None) or an archive; `unpacked` holds a compressed tar in memory."""

    path: Path
    spans: Mapping[PurePosixPath, _Span] | None = None
    unpacked: bytes | None = None

    def read(self, file: PurePosixPath) -> bytes:
        if self.spans is None:
            return (self.path / file).read_bytes()
        span = self.spans[file]
        if self.unpacked is not None:
            return _read_span(io.BytesIO(self.unpacked), span)
        with self.path.open("rb") as opened:
            return _read_span(opened, span)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tree:
    """The regular files of a folder, a .tar, a .tar.gz or a .zip.

    Hidden files and folders (a leading dot, `__MACOSX`) are left out, and so are links inside an
    archive and linked folders inside a folder.

    Attributes:
        name: Its name in messages.
        files: Paths below the root of the tree, sorted.
        source: Where the bytes are.
        root: Folder of the source that is the root of the tree.
    """

    name: str
    files: tuple[PurePosixPath, ...]
    source: _Source
    root: PurePosixPath = field(default_factory=PurePosixPath)

    @classmethod
    def open(cls, path: Path) -> "Tree":
        """List the files of a folder or an archive.

        A .tar.gz is unpacked in memory once, for it has no random access; a large one is refused.

        Raises:
            DatasetError: The path is missing, no folder or known archive, damaged or empty, or an
                archive holds a path that would leave it.
        """
        source = _open_source(path)
        files = _folder_files(path) if source.spans is None else source.spans
        visible = tuple(sorted(file for file in files if not _is_hidden(file)))
        if not visible:
            raise DatasetError(f"{path.name} must hold the files of a data set; it is empty.")
        return cls(name=path.name, files=visible, source=source)

    def read(self, path: PurePosixPath) -> bytes:
        """Read one of `files`.

        Raises:
            DatasetError: There is no such file, or it is damaged.
        """
        try:
            return self.source.read(self.root / path)
        except (FileNotFoundError, KeyError) as error:
            raise DatasetError(f"{self.name} has no file {path}.") from error
        except (OSError, EOFError, zlib.error) as error:
            raise DatasetError(f"{path} of {self.name} is damaged and cannot be read.") from error

    def under(self, *parts: str | PurePosixPath) -> tuple[PurePosixPath, ...]:
        """Return the files below a folder, at any depth; none where there is no such folder."""
        folder = PurePosixPath(*parts).parts
        return tuple(
            file
            for file in self.files
            if len(file.parts) > len(folder) and file.parts[: len(folder)] == folder
        )

    def locate(self, *names: str, hint: str = "") -> PurePosixPath:
        """Return the folder nearest to the root that has all of the given folders in it.

        Args:
            names: Folders, as `photo` or `photo/dog`.
            hint: Added to the message when there is none: where to get the data set.

        Raises:
            DatasetError: No folder has them, or several at the same depth do.
        """
        folders = self._folders()
        holders = [at for at in folders if all(at / name in folders for name in names)]
        names_text = " and ".join(f"{name}/" for name in names)
        if not holders:
            tops = ", ".join(sorted({file.parts[0] for file in self.files})[:6])
            raise DatasetError(
                f"{self.name} must hold {names_text}, but holds {tops}. {hint}".strip()
            )
        depth = min(len(at.parts) for at in holders)
        nearest = sorted(at for at in holders if len(at.parts) == depth)
        if len(nearest) > 1:
            folders_text = " and in ".join(map(str, nearest[:3]))
            raise DatasetError(
                f"{self.name} holds {names_text} in {folders_text}. Pass one of them."
            )
        return nearest[0]

    def rooted(self, *names: str, hint: str = "") -> "Tree":
        """Return the tree below the folder that `locate` finds, without wrapper folders.

        Raises:
            DatasetError: As `locate`.
        """
        return self.at(self.locate(*names, hint=hint))

    def at(self, folder: PurePosixPath) -> "Tree":
        """Return the tree below one of its folders.

        Raises:
            DatasetError: There are no files in it.
        """
        files = tuple(file.relative_to(folder) for file in self.under(folder))
        if not files:
            raise DatasetError(f"{self.name} has no folder {folder}.")
        return Tree(name=self.name, files=files, source=self.source, root=self.root / folder)

    def _folders(self) -> set[PurePosixPath]:
        direct = {file.parent for file in self.files}
        return direct | {above for folder in direct for above in folder.parents}


def is_picture(path: PurePosixPath) -> bool:
    """Tell by its suffix whether a file is a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def summarise(names: Iterable[object], most: int = 5) -> str:
    """Write a collection for a message: its first few names, in order, and how many more."""
    ordered = sorted(map(str, names))
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def _open_source(path: Path) -> _Source:
    if path.is_dir():
        return _Source(path=path)
    if not path.is_file():
        raise DatasetError(
            f"{path} must be the folder or archive of a data set; it does not exist."
        )
    try:
        if path.name.endswith(_GZIP_SUFFIXES):
            unpacked = _unpack(path)
            return _Source(path=path, spans=_tar_spans(io.BytesIO(unpacked)), unpacked=unpacked)
        if path.suffix == ".tar":
            with path.open("rb") as opened:
                return _Source(path=path, spans=_tar_spans(opened))
        if path.suffix == ".zip":
            return _Source(path=path, spans=_zip_spans(path))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise DatasetError(f"{path.name} is damaged or cut short; get it again.") from error
    raise DatasetError(
        f"A data set is a folder, a .tar, a .tar.gz or a .zip, got {path.name}. Unpack it first."
    )


def _unpack(path: Path) -> bytes:
    with gzip.open(path) as opened:
        data = opened.read(MAX_UNPACKED_BYTES + 1)
    if len(data) > MAX_UNPACKED_BYTES:
        raise DatasetError(
            f"{path.name} unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB, too much for "
            "memory. Turn it into a plain .tar with gunzip."
        )
    return data


def _tar_spans(opened: io.BufferedReader | io.BytesIO) -> dict[PurePosixPath, _Span]:
    with tarfile.open(fileobj=opened, mode="r:") as archive:
        return {
            _safe(member.name): _Span(offset=member.offset_data, num_bytes=member.size)
            for member in archive
            if member.isreg() and not member.issparse()
        }


def _zip_spans(path: Path) -> dict[PurePosixPath, _Span]:
    spans: dict[PurePosixPath, _Span] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
            if info.is_dir() or is_link:
                continue
            packing = info.compress_type
            known = packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if not known or info.flag_bits & _ENCRYPTED:
                raise DatasetError(
                    f"{path.name} must be a plain zip, but {info.filename} is encrypted or packed "
                    "in an unusual way. Unpack it into a folder."
                )
            spans[_safe(info.filename)] = _Span(
                offset=info.header_offset,
                num_bytes=info.compress_size,
                is_deflated=packing == zipfile.ZIP_DEFLATED,
                crc=info.CRC,
            )
    return spans


def _read_span(opened: io.BufferedReader | io.BytesIO, span: _Span) -> bytes:
    opened.seek(span.offset)
    if span.crc is not None:
        header = opened.read(_ZIP_HEADER_BYTES)
        opened.seek(int.from_bytes(header[26:28], "little"), io.SEEK_CUR)
        opened.seek(int.from_bytes(header[28:30], "little"), io.SEEK_CUR)
    data = opened.read(span.num_bytes)
    if len(data) != span.num_bytes:
        raise EOFError
    if span.is_deflated:
        data = zlib.decompress(data, -zlib.MAX_WBITS)
    if span.crc is not None and zlib.crc32(data) != span.crc:
        raise zlib.error
    return data


def _folder_files(root: Path) -> list[PurePosixPath]:
    paths: list[PurePosixPath] = []
    for base, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        at = PurePosixPath(Path(base).relative_to(root).as_posix())
        paths.extend(at / name for name in names if (Path(base) / name).is_file())
    return paths


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DatasetError(f"An archive's paths must stay inside it, got {name!r}. Do not use it.")
    return path


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)
