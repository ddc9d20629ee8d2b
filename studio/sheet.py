"""Contact sheets: a query and its hits in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

from retrieval.files import printable

PAPER = (250, 249, 246)
INK = (34, 34, 34)
FAINT = (120, 118, 112)
GAP_PX = 14
LABEL_PX = 40
LINE_PX = 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A picture of a sheet with up to two lines of text below it."""

    image: Image.Image
    title: str
    subtitle: str = ""


def contact_sheet(
    tiles: Sequence[Tile],
    *,
    query: Tile | None = None,
    num_columns: int = 5,
    tile_px: int = 200,
) -> Image.Image:
    """Lay tiles out in rows, with the query in a separate column on the left.

    Raises:
        ValueError: There is no picture.
    """
    if not tiles and query is None:
        raise ValueError("A contact sheet needs at least one picture.")
    num_columns = max(1, min(num_columns, len(tiles)))
    num_rows = max(1, -(-len(tiles) // num_columns))
    step_x, step_y = tile_px + GAP_PX, tile_px + LABEL_PX + GAP_PX
    left = step_x + GAP_PX if query else 0
    size = (left + num_columns * step_x + GAP_PX, num_rows * step_y + GAP_PX)
    sheet = Image.new("RGB", size, PAPER)
    if query:
        _draw_tile(sheet, query, (GAP_PX, GAP_PX), tile_px)
        pen = ImageDraw.Draw(sheet)
        pen.line([(left, GAP_PX), (left, size[1] - GAP_PX)], fill=(210, 207, 200), width=1)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, num_columns)
        _draw_tile(sheet, tile, (left + GAP_PX + column * step_x, GAP_PX + row * step_y), tile_px)
    return sheet


def comparison_sheet(
    first: Tile, second: Tile, rows: Sequence[tuple[str, str, str]], *, tile_px: int = 512
) -> Image.Image:
    """Lay two pictures out side by side, with a table of names and two texts below them.

    Args:
        first: The picture on the left.
        second: The picture on the right.
        rows: Name, text of the first and text of the second picture.
        tile_px: Side of the square that each picture is fitted into.
    """
    top = GAP_PX + tile_px + LABEL_PX
    height = top + GAP_PX + LINE_PX * 3 * len(rows) + GAP_PX
    sheet = Image.new("RGB", (2 * tile_px + 3 * GAP_PX, height), PAPER)
    columns = (GAP_PX, tile_px + 2 * GAP_PX)
    for x, tile in zip(columns, (first, second), strict=True):
        _draw_tile(sheet, tile, (x, GAP_PX), tile_px)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for number, (name, *texts) in enumerate(rows):
        y = top + GAP_PX + LINE_PX * 3 * number
        pen.line([(GAP_PX, y - 4), (sheet.width - GAP_PX, y - 4)], fill=(210, 207, 200), width=1)
        pen.text((GAP_PX, y), _shorten(printable(name), tile_px, pen, font), fill=FAINT, font=font)
        for x, text in zip(columns, texts, strict=True):
            line = _shorten(printable(text) or "-", tile_px, pen, font)
            pen.text((x, y + LINE_PX), line, fill=INK, font=font)
    return sheet


def _draw_tile(sheet: Image.Image, tile: Tile, corner: tuple[int, int], tile_px: int) -> None:
    fitted = ImageOps.pad(tile.image.convert("RGB"), (tile_px, tile_px), color=PAPER)
    sheet.paste(fitted, corner)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    x, y = corner[0], corner[1] + tile_px + 4
    for number, (line, colour) in enumerate(((tile.title, INK), (tile.subtitle, FAINT))):
        text = _shorten(printable(line), tile_px, pen, font)
        pen.text((x, y + LINE_PX * number), text, fill=colour, font=font)


def _shorten(
    text: str,
    width_px: int,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> str:
    """Shorten a line until it fits, with an ellipsis."""
    if pen.textlength(text, font=font) <= width_px:
        return text
    while text and pen.textlength(text + "…", font=font) > width_px:
        text = text[:-1]
    return text.rstrip() + "…"
