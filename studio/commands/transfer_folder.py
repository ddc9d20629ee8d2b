"""`duet transfer FOLDER`: every picture of a folder, continued where it was interrupted."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from composer.files import sha256_of, sync
from composer.images import ImageError, open_image
from generation.masking import MaskError
from generation.provenance import describe, write_png
from generation.sample import pixels_hash
from retrieval.files import content_id_of, printable
from retrieval.indexing.walk import Candidate, Skipped, walk
from studio.commands.generate import print_notes
from studio.commands.options import TransferOptions
from studio.commands.shared import ProgressLine, print_json, print_line, translate_save_errors
from studio.commands.transfer_setup import TransferSetup, domain_of, plan_token, set_up
from studio.errors import UsageError

STATE: Final = ".duet-transfer.jsonl"
UNFINISHED: Final = ".duet-transfer"  # a folder, with whatever a kill leaves half-written
NUM_LISTED: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A picture that this command has written to the output folder.

    Attributes:
        output: Path below the folder.
        source: Id of the source's content.
        recipe: Digest of everything else that the picture depends on.
        sha256: Of the file.
    """

    output: str
    source: str
    recipe: str
    sha256: str


class OutputFolder:
    """The folder of the results, with a record of what was written to it.

    A picture is recorded before it gets its name, so that after a kill a file of that name either
    is the recorded one or is somebody else's.
    """

    def __init__(self, folder: Path) -> None:
        """Read the record; a last line that a kill cut off is left out."""
        self.folder = folder
        self._written: dict[str, Written] = {}
        try:
            lines = (folder / STATE).read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            try:
                entry = Written(**json.loads(line))
            except (ValueError, TypeError):
                continue
            self._written[entry.output] = entry

    def find(self, output: str) -> Written | None:
        """Return what was written to a path, if it is there unchanged."""
        entry = self._written.get(output)
        try:
            is_ours = entry is not None and sha256_of(self.folder / output) == entry.sha256
        except OSError:
            return None
        return entry if is_ours else None

    def keep(self, unfinished: Path, output: str, *, source: str, recipe: str) -> None:
        """Give a written file its name, and record it.

        Raises:
            OSError: The folder cannot be written.
        """
        entry = Written(output=output, source=source, recipe=recipe, sha256=sha256_of(unfinished))
        with (self.folder / STATE).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(asdict(entry)) + "\n")  # a cut line may stand before it
            file.flush()
            os.fsync(file.fileno())
        path = self.folder / output
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(path)
        sync(path.parent)
        self._written[output] = entry


@dataclass(kw_only=True, slots=True)
class _Report:
    drawn: list[dict[str, str]]
    num_kept: int
    skipped: list[Skipped]


def transfer_folder(options: TransferOptions) -> int:
    """Move every picture of a folder into a domain; print what became of each.

    Run again, it draws only what is missing or whose source has changed.

    Raises:
        UsageError: The options do not fit a folder, or no picture can be used.
        GalleryError: The folder cannot be read.
    """
    _check(options)
    entries = list(walk(options.source))
    if not entries:
        raise UsageError(f"There is no picture in {printable(options.source)}.")
    token_path = plan_token(options)
    setup = set_up(options)
    domain = domain_of(setup, token_path)
    setup = setup.with_words(domain.words)
    print_notes(setup.engine, setup.settings)
    with translate_save_errors(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
        report = _draw_all(setup, domain.text, entries, OutputFolder(options.output))
    if report.skipped and not report.drawn and not report.num_kept:
        first = report.skipped[0]
        raise UsageError(
            f"None of the {len(report.skipped)} pictures can be used; the first, {first.path}: "
            f"{first.reason}"
        )
    _print(report, options)
    return 0


def _check(options: TransferOptions) -> None:
    if options.drawing.num_images != 1:
        raise UsageError("A folder takes one image of each picture; leave out --num-images.")
    if options.drawing.seed is None:
        raise UsageError("A folder needs a seed, so that it can be continued: --seed 0.")
    if options.control_image is not None:
        raise UsageError("A control image is for one picture; leave out --control-image.")
    try:
        source, output = options.source.resolve(), options.output.resolve()
        is_file = output.exists() and not output.is_dir()
    except (OSError, RuntimeError) as error:  # over-long names, loops of links
        raise UsageError(f"--output cannot be used as a folder: {options.output}.") from error
    if is_file:
        raise UsageError(f"--output must be a folder for a folder, and {options.output} is a file.")
    if output.is_relative_to(source):
        raise UsageError("--output must lie outside the folder of the pictures.")


def _draw_all(
    setup: TransferSetup, domain: str, entries: list[Candidate | Skipped], folder: OutputFolder
) -> _Report:
    report = _Report(drawn=[], num_kept=0, skipped=[])
    recipe, progress = _recipe(setup, domain), ProgressLine("drawn", unit="pictures")
    taken: set[str] = set()
    unfinished = folder.folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, Skipped):
            report.skipped.append(entry)
        else:
            output = _output_name(entry, taken)
            try:
                _draw_one(setup, domain, entry, _Goal(output, recipe, folder, report))
            except (ImageError, MaskError, UsageError) as error:
                reason = f"It {error.reason}" if isinstance(error, ImageError) else str(error)
                report.skipped.append(Skipped(path=printable(entry.path), reason=reason))
        progress(number, len(entries))
    shutil.rmtree(unfinished, ignore_errors=True)
    return report


@dataclass(frozen=True, slots=True)
class _Goal:
    """Where a picture goes, and who is told."""

    output: str
    recipe: str
    folder: OutputFolder
    report: _Report


def _draw_one(setup: TransferSetup, domain: str, entry: Candidate, goal: _Goal) -> None:
    """Draw a picture unless it was drawn before.

    Raises:
        ImageError: It cannot be read.
        MaskError: The mask does not fit it.
        UsageError: Its place is taken.
        OSError: The result cannot be written.
    """
    folder, path = goal.folder, goal.folder.folder / goal.output
    try:
        source = content_id_of(entry.file)
    except OSError as error:
        raise ImageError(entry.path, "cannot be read.") from error
    written = folder.find(goal.output)
    if written is not None and (written.source, written.recipe) == (source, goal.recipe):
        goal.report.num_kept += 1
        return
    is_ours = written is not None and written.recipe == goal.recipe
    if os.path.lexists(path) and not is_ours and not setup.options.overwrite:
        raise UsageError(f"{goal.output} exists already; --overwrite replaces it.")
    request = setup.request(open_image(entry.file), entry.file, domain)
    result = setup.engine.transfer(request)
    unfinished = folder.folder / UNFINISHED / "picture.png"
    facts = describe(result, 0, kit=setup.engine.kit.name)
    write_png(unfinished, result.images[0].image, facts)
    folder.keep(unfinished, goal.output, source=source, recipe=goal.recipe)
    goal.report.drawn.append({"source": printable(entry.path), "path": str(path)})


def _output_name(entry: Candidate, taken: set[str]) -> str:
    """Return the path of a result: the source's with the ending .png, added where that is taken."""
    name = Path(entry.path).with_suffix(".png").as_posix()
    if name.casefold() in taken:
        name = f"{entry.path}.png"
    while name.casefold() in taken:
        name = f"{name}.png"
    taken.add(name.casefold())
    return name


def _recipe(setup: TransferSetup, domain: str) -> str:
    """Return a digest of everything that the results depend on, but for their sources."""
    options, engine = setup.options, setup.engine
    masking = options.masking
    parts: Mapping[str, object] = {
        "domain": domain,
        "words": sorted(word.key for word in setup.words),
        "composer": options.composer or engine.default_composer,
        "strength": setup.strength,
        "is_faithful": options.is_faithful,
        "keeps_colours": options.keeps_colours,
        "keeps_size": options.keeps_size,
        "settings": asdict(setup.settings),
        "weights": engine.pipeline.hash_with(
            engine.load_control(setup.settings.control_name),
            finishes=setup.settings.finish_noise > 0,
        ),
        "towers": [engine.backbone.gallery_hash, engine.backbone.text_hash],
        "device": engine.pipeline.device_name,
        "control_from": options.control_from,
        "style": None
        if setup.style is None
        else [pixels_hash(setup.style.image), setup.style.scale],
        "mask": None if masking.mask is None else sha256_of(masking.mask),
        "box": masking.box,
        "where": masking.where,
        "is_inverted": masking.is_inverted,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _print(report: _Report, options: TransferOptions) -> None:
    if options.json:
        print_json(
            {
                "folder": str(options.output),
                "images": report.drawn,
                "num_drawn": len(report.drawn),
                "num_kept": report.num_kept,
                "skipped": [asdict(file) for file in report.skipped],
            }
        )
        return
    print_line(
        f"{len(report.drawn)} drawn, {report.num_kept} unchanged, {len(report.skipped)} skipped. "
        f"The folder is {options.output}."
    )
    for file in report.skipped[:NUM_LISTED]:
        print_line(f"  skipped {file.path}: {file.reason}")
    if len(report.skipped) > NUM_LISTED:
        print_line(f"  and {len(report.skipped) - NUM_LISTED} more; --json lists them all.")
