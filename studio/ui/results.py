"""Results of the page: files of a visit, with what is shown of them."""

from typing import Any

import gradio as gr

from generation.provenance import describe, write_png
from generation.sample import Result
from studio.best_of import RankedPicture
from studio.content_check import REFUSAL
from studio.errors import UsageError
from studio.ui.context import PageContext
from studio.ui.present import PagePicture, agreement_rows
from studio.ui.texts import Facts
from studio.ui.visits import Visits


class Results:
    """Writes what was drawn to the folder of its visit."""

    def __init__(self, context: PageContext, visits: Visits) -> None:
        self._context, self._visits = context, visits

    def keep(
        self,
        result: Result,
        session: str,
        verb: str,
        ranked: tuple[RankedPicture, ...] = (),
        most: int | None = None,
    ) -> tuple[PagePicture, ...]:
        """Write each image as a PNG with its provenance, in the order of the seeds or the ranks.

        What the operator's check refuses is left out.

        Args:
            result: The images.
            session: The visit.
            verb: What was done to them, for the title of those without words.
            ranked: Their places, if they have any.
            most: How many of them are written, the first ones; None for all.

        Raises:
            UsageError: That is all of them.
        """
        self._visits.note(session)
        folder = self._visits.sessions.folder(session)
        kit, check = self._context.engine.kit.name, self._context.may_show
        pictures: list[PagePicture] = []
        settings = result.request.settings
        places = {picture.index: picture.selection for picture in ranked}
        for number in places or range(len(result.images)):
            image = result.images[number].image
            if len(pictures) == most:
                break
            if check is not None and not check(image):
                continue
            seed, place = settings.seed + number, places.get(number)
            file = folder / f"duet-{seed}.png"
            write_png(file, image, describe(result, number, kit=kit, selection=place))
            rows = (
                ("Seed", str(seed)),
                ("Steps", str(settings.num_inference_steps)),
                ("Guidance", f"{settings.guidance_scale:g}"),
                ("Balance", f"{result.request.query.balance:g}"),
                ("Size", f"{result.width} × {result.height} px"),
                *agreement_rows(place),
            )
            title = result.request.query.text or f"{verb} from the drawing alone"
            label = f"{place.rank}  seed {seed}" if place else f"seed {seed}"
            shown = Facts(title=title, rows=rows)
            pictures.append(PagePicture(file=file, label=label, facts=shown))
        if not pictures:
            raise UsageError(REFUSAL)
        return tuple(pictures)


def show_results(kept: tuple[PagePicture, ...], line: str) -> tuple[Any, ...]:
    """Return the outputs that show all results, the first of them large."""
    tiles = [(picture.file, picture.label) for picture in kept]
    gallery = gr.update(value=tiles, selected_index=None)
    return (gallery, kept, line, 0, *show_result(kept[0]))


def show_result(picture: PagePicture) -> tuple[Any, ...]:
    """Return the outputs that show one result large, with its facts and its PNG."""
    return (
        picture.file,
        picture.facts.as_value(),
        gr.update(value=picture.file, interactive=True),
    )
