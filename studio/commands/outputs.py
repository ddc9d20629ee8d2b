"""Files that a command writes: checked before its work, and never in place of something else."""

import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import Image

from composer.files import atomic_file
from studio.commands.shared import not_saved, warn
from studio.errors import UsageError

_ANY_WRITE = 0o222


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputRules:
    """What a file to be written must be.

    Attributes:
        option: Option that names it ("--output").
        suffix: How its name must end (".png").
        why: Why it must end so.
        inputs: Files that the command reads, which it must not be.
        overwrite: Whether it may replace a file.
    """

    option: str
    suffix: str
    why: str
    inputs: tuple[Path, ...] = ()
    overwrite: bool = False


def plan_output(path: Path, rules: OutputRules) -> Path:
    """Return where to write a file: the given path, or one with a number if that is taken.

    Raises:
        UsageError: The file could not be written there, or is one of the inputs.
    """
    return _plan(path, rules, lambda start: [_numbered(path, start) if start else path])[0]


def plan_batch(path: Path, num_files: int, rules: OutputRules) -> tuple[Path, ...]:
    """Return where to write files that are numbered on from those that exist; one has no number.

    Raises:
        UsageError: They could not be written there, or one is an input.
    """
    if num_files == 1:
        return (plan_output(path, rules),)
    return _plan(path, rules, lambda start: [_numbered(path, start + i) for i in range(num_files)])


def plan_ranked(path: Path, num_files: int, rules: OutputRules) -> tuple[Path, ...]:
    """Return where to write files that are numbered by their rank; if one exists, of a further run.

    Raises:
        UsageError: They could not be written there, or one is an input.
    """

    def files_from(start: int) -> list[Path]:
        of_run = path.with_stem(f"{path.stem}-run{start + 1}") if start else path
        return [_numbered(of_run, rank) for rank in range(1, num_files + 1)]

    return _plan(path, rules, files_from)


def save_all(
    paths: Sequence[Path], writers: Sequence[Callable[[Path], None]], *, overwrite: bool
) -> tuple[Path, ...]:
    """Write files; what cannot be written to its place is kept in a temporary folder.

    Args:
        paths: As planned.
        writers: One for each path; writes the file it is given.
        overwrite: Whether files that exist may be replaced, also those that appeared meanwhile.

    Returns:
        Where the files are.

    Raises:
        UsageError: A file could not be written to its place; the message says where it is.
    """
    failures: list[str] = []
    saved: list[Path] = []
    for planned, write in zip(paths, writers, strict=True):
        path = planned if overwrite else _still_free(planned)
        try:
            write(path)
            saved.append(path)
        except OSError as error:
            failures.append(not_saved(path, error) + _rescue(path, write))
    if failures:
        raise UsageError(" ".join(failures))
    return tuple(saved)


def picture_writer(image: Image.Image) -> Callable[[Path], None]:
    """Return a writer of a PNG that appears whole or not at all."""

    def write(path: Path) -> None:
        with atomic_file(path) as file:
            image.save(file, format="PNG")

    return write


def _still_free(path: Path) -> Path:
    """Return a planned path, or one with a number if a file has appeared there meanwhile."""
    names = (_numbered(path, number) if number else path for number in count())
    free = next(name for name in names if not os.path.lexists(name))
    if free != path:
        warn(_taken(path, free))
    return free


def _plan(
    path: Path, rules: OutputRules, files_from: Callable[[int], list[Path]]
) -> tuple[Path, ...]:
    if path.suffix.lower() != rules.suffix:
        raise UsageError(f"{rules.option} must end in {rules.suffix}, {rules.why}; got {path}.")
    try:
        if not path.parent.is_dir():
            raise UsageError(f"The folder of {rules.option} does not exist: {path.parent}.")
        return _checked(files_from, rules)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def _checked(files_from: Callable[[int], list[Path]], rules: OutputRules) -> tuple[Path, ...]:
    wanted = files_from(0)
    for file in wanted:
        if file.exists() and any(read.exists() and file.samefile(read) for read in rules.inputs):
            raise UsageError(f"{rules.option} must not be a file that is read: {file}.")
    files = wanted
    if not rules.overwrite:
        files = next(f for f in map(files_from, count()) if not any(map(os.path.lexists, f)))
    for file in files:
        _check_writable(file, rules.option)
    if files != wanted:
        taken = next(file for file in wanted if os.path.lexists(file))
        warn(_taken(taken, files[0]))
    return tuple(files)


def _taken(path: Path, instead: Path) -> str:
    return f"{path} exists, so the result is saved as {instead}; --overwrite replaces it."


def _numbered(path: Path, number: int) -> Path:
    return path.with_stem(f"{path.stem}-{number}")


def _check_writable(path: Path, option: str) -> None:
    """Check that a file can be written or replaced, by doing so where there is none.

    Raises:
        OSError: It cannot.
    """
    if path.is_symlink():
        raise UsageError(f"{option} is a link; name the file that it leads to: {path}.")
    if path.is_dir():
        raise UsageError(f"{option} must be a file, and {path} is a folder.")
    if not path.exists():
        _try_to_write(path)
        return
    # Root may write protected files, too, and a folder's owner may replace those of others.
    if not path.stat().st_mode & _ANY_WRITE or not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    _try_to_write(path.parent / f".{os.getpid()}.part")


def _try_to_write(path: Path) -> None:
    path.open("xb").close()
    path.unlink()


def _rescue(path: Path, write: Callable[[Path], None]) -> str:
    """Write a file to a folder of its own; return the sentence that says where, if that worked."""
    try:
        kept = Path(tempfile.mkdtemp(prefix="duet-")) / path.name
        write(kept)
    except OSError:
        return ""
    return f" It is kept as {kept}."
