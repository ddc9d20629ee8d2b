"""`duet compare`."""

from dataclasses import asdict
from pathlib import Path

from composer.images import open_image
from generation.foreign.read import read_metadata
from generation.png_text import MetadataError
from generation.recorded import Difference, differences, recorded_settings
from retrieval.files import printable
from studio.commands.options import CompareOptions
from studio.commands.outputs import OutputRules, picture_writer, plan_output, save_all
from studio.commands.shared import print_json, print_line
from studio.sheet import Tile, comparison_sheet

SAME = "The settings are the same."


def run(options: CompareOptions) -> int:
    """Print the settings that differ, and save both images with them if requested.

    Raises:
        MetadataError: One is no PNG, or has no metadata that can be used.
        UsageError: The sheet could not be written.
    """
    output = _plan(options)
    rows = differences(_settings_of(options.first), _settings_of(options.second))
    if output is not None:
        table = [(row.name, row.first, row.second) for row in rows]
        sheet = comparison_sheet(_tile("A", options.first), _tile("B", options.second), table)
        (output,) = save_all([output], [picture_writer(sheet)], overwrite=options.overwrite)
    if options.json:
        print_json({"differences": [asdict(row) for row in rows]})
    else:
        _print(rows, output)
    return 0


def _plan(options: CompareOptions) -> Path | None:
    if options.output is None:
        return None
    rules = OutputRules(
        option="--output",
        suffix=".png",
        why="as it is a PNG",
        inputs=(options.first, options.second),
        overwrite=options.overwrite,
    )
    return plan_output(options.output, rules)


def _settings_of(file: Path) -> dict[str, str]:
    try:
        return recorded_settings(read_metadata(file))
    except MetadataError as error:
        raise MetadataError(f"{file}: {error}") from error


def _tile(title: str, file: Path) -> Tile:
    return Tile(image=open_image(file), title=title, subtitle=file.name)


def _print(rows: tuple[Difference, ...], output: Path | None) -> None:
    if not rows:
        print_line(SAME)
    for row in rows:
        first, second = (printable(text) or "-" for text in (row.first, row.second))
        print_line(f"{row.name}: {first} | {second}")
    if output is not None:
        print_line(str(output))
