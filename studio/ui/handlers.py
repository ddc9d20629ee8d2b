"""What the page does: values of its inputs in, values of its outputs out."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from composer.images import ImageError, ImageLimits, open_image
from composer.query import Query
from generation.cancel import CancelToken, GenerationCancelledError
from generation.provenance import describe, write_png
from generation.request import DrawingSettings, GenerateRequest, RequestError, TransferRequest
from generation.sample import Result, RunOptions
from generation.transfer import fit_source
from studio.engine import ComposeOptions
from studio.errors import UsageError
from studio.ui.finder import Finder
from studio.ui.inputs import real, text, whole
from studio.ui.messages import told
from studio.ui.present import Shown, large_one
from studio.ui.runs import Sessions
from studio.ui.security import private_name
from studio.ui.setting import Setting, position, query_of
from studio.ui.texts import Facts
from studio.ui.thumbnails import Thumbnails

Progress = Callable[..., object]

BUSY_S = 60.0
NO_PIPELINE = (
    "This kit searches but does not draw: it has no diffusion pipeline. Retrieve works; "
    "to draw, open the studio with a kit that has one."
)


class Desk:
    """The handlers of one server. All state of a visitor travels through `gr.State`."""

    def __init__(self, setting: Setting) -> None:
        """Make the folders of thumbnails and results."""
        self.setting = setting
        self._taken = count(1)
        thumbnails, results = (setting.folder / private_name() for _ in range(2))
        self._own_folders = (thumbnails, results)
        for folder in self._own_folders:
            folder.mkdir(mode=0o700)
        self.thumbnails = Thumbnails(thumbnails)
        self.finder = Finder(setting, self.thumbnails)
        self.sessions = Sessions(results)

    @property
    def draws(self) -> bool:
        """Whether the kit has a pipeline."""
        return self.setting.engine.kit.pipeline is not None

    @told
    def take_example(self, event: gr.SelectData) -> tuple[Any, ...]:
        """Put an example's strokes and words into the query, evenly weighed, and count it."""
        examples = self.setting.examples
        example = examples[position(event.index, len(examples))]
        return example.strokes, example.words, 0.5, next(self._taken)

    @told
    def hand_over(self, shown: tuple[Shown, ...], picked: str) -> tuple[Any, ...]:
        """Make a hit the source of a transfer and turn to that tab."""
        file = large_one(shown, picked).file
        return self.thumbnails.large(file), gr.update(selected="transfer")

    @told
    def hand_over_result(self, kept: tuple[Shown, ...], number: int) -> tuple[Any, ...]:
        """Make a result the source of a transfer and turn to that tab."""
        file = kept[position(number, len(kept))].file
        return self.thumbnails.large(file), gr.update(selected="transfer")

    @told
    def generate(
        self,
        strokes: object,
        words: object,
        balance: object,
        seed: object,
        num_steps: object,
        guidance: object,
        num_images: object,
        kept: tuple[Shown, ...],
        request: gr.Request,
        progress: Progress = gr.Progress(),  # noqa: B008  gradio looks at the default
    ) -> tuple[Any, ...]:
        """Draw new images from the query on the left and keep them with their seeds."""
        self._check_draws()
        query = query_of(strokes, words)
        if query is None:
            raise UsageError("Draw something or write a few words first; they are the query.")
        caps = self.setting.caps
        asked = GenerateRequest(
            query=self.setting.compose(query, balance),
            control_sketch=query.sketch,
            settings=DrawingSettings(
                seed=whole(seed, "The seed"),
                num_images=_capped(num_images, "The number of images", caps.num_images),
                num_inference_steps=_capped(
                    num_steps, "The number of steps", caps.num_inference_steps
                ),
                guidance_scale=real(guidance, "The guidance"),
            ),
        )
        result = self._run(
            request, progress, lambda options: self.setting.engine.generate(asked, options)
        )
        if result is None:
            return (gr.skip(), kept, "Stopped.", *(gr.skip() for _ in range(4)))
        made = self._keep(result, request, "generated")
        line = f"{len(made)} drawn in {result.duration_s:.1f} s."
        return self._results((*made, *kept)[: self.setting.caps.num_kept], line)

    @told
    def pick_result(self, kept: tuple[Shown, ...], event: gr.SelectData) -> tuple[Any, ...]:
        """Show one result large, and offer its own PNG."""
        number = position(event.index, len(kept))
        return number, *self._result(kept[number])

    @told
    def transfer(
        self,
        source: object,
        domain: object,
        own_words: object,
        strength: object,
        seed: object,
        uses_words: object,
        words: object,
        request: gr.Request,
        progress: Progress = gr.Progress(),  # noqa: B008  gradio looks at the default
    ) -> tuple[Any, ...]:
        """Move the source into a domain; before and after, and the PNG."""
        self._check_draws()
        image = self._source(source, request)
        to = text(own_words, "The words of the domain").strip() or text(domain, "The domain")
        if uses_words is True and text(words, "The words").strip():
            to = f"{to}, {text(words, 'The words')}"
        asked = TransferRequest(
            query=self.setting.engine.compose(
                Query(image=image, text=to), ComposeOptions(composer=self.setting.composer)
            ),
            source=image,
            strength=real(strength, "The strength"),
            settings=DrawingSettings(seed=whole(seed, "The seed")),
        )
        result = self._run(
            request, progress, lambda options: self.setting.engine.transfer(asked, options)
        )
        if result is None:
            return gr.skip(), "Stopped.", gr.skip()
        (made,) = self._keep(result, request, "transferred")
        before = made.file.with_name("before.png")
        fit_source(image, result.height, result.width).save(before)
        seed = asked.settings.seed
        line = f"{to}: strength {asked.strength:g}, seed {seed}, {result.duration_s:.1f} s."
        download = gr.update(value=made.file, interactive=True)
        return (before, made.file), line, download

    def stop(self, request: gr.Request) -> None:
        """Stop what this visitor has running."""
        self.sessions.stop(_session(request))

    def leave(self, request: gr.Request) -> None:
        """End a visit: stop its work, remove its files."""
        self.sessions.leave(_session(request))

    def _check_draws(self) -> None:
        if not self.draws:
            raise UsageError(NO_PIPELINE)

    def _source(self, source: object, request: gr.Request) -> Image.Image:
        """Read the upload; only files that this server was handed may be named."""
        if not isinstance(source, str) or not source:
            raise UsageError(
                "Choose a picture first: upload one, or select a hit and transfer that."
            )
        file = Path(source).resolve()
        if not file.is_relative_to(self.setting.folder):
            raise UsageError("The picture is no upload of this page.")
        if not any(file.is_relative_to(folder) for folder in self._own_folders):
            self.sessions.note_upload(_session(request), file)
        caps = self.setting.caps
        try:
            return open_image(file, ImageLimits(max_bytes=caps.upload_bytes, max_px=caps.upload_px))
        except ImageError as error:
            raise ImageError("The picture", error.reason) from error

    def _run(
        self, request: gr.Request, progress: Progress, work: Callable[[RunOptions], Result]
    ) -> Result | None:
        """Run under the visitor's switch; None when it was turned."""

        def tell(done: int, total: int) -> None:
            progress((done, total), desc="Drawing", unit="steps")

        with self.sessions.running(_session(request)) as token:
            try:
                progress(0.0, desc="Getting ready")
                self._wait_for_pipeline(token)
                return work(RunOptions(cancel=token, on_step=tell, wait_s=BUSY_S))
            except GenerationCancelledError:
                return None

    def _wait_for_pipeline(self, token: CancelToken) -> None:
        """Have the pipeline loaded; a stop that came meanwhile counts."""
        _ = self.setting.engine.pipeline
        token.check()

    def _keep(self, result: Result, request: gr.Request, verb: str) -> tuple[Shown, ...]:
        """Write each image as our own PNG, with its provenance."""
        folder = self.sessions.folder(_session(request))
        kit = self.setting.engine.kit.name
        made: list[Shown] = []
        settings = result.request.settings
        for number, picture in enumerate(result.images):
            seed = settings.seed + number
            file = folder / f"duet-{seed}.png"
            write_png(file, picture.image, describe(result, number, kit=kit))
            rows = (
                ("Seed", str(seed)),
                ("Steps", str(settings.num_inference_steps)),
                ("Guidance", f"{settings.guidance_scale:g}"),
                ("Balance", f"{result.request.query.balance:g}"),
                ("Size", f"{result.width} × {result.height} px"),
            )
            title = result.request.query.text or f"{verb} from the drawing alone"
            made.append(Shown(file=file, label=f"seed {seed}", facts=Facts(title=title, rows=rows)))
        return tuple(made)

    def _results(self, kept: tuple[Shown, ...], line: str) -> tuple[Any, ...]:
        tiles = [(one.file, one.label) for one in kept]
        gallery = gr.update(value=tiles, selected_index=None)
        return (gallery, kept, line, 0, *self._result(kept[0]))

    def _result(self, one: Shown) -> tuple[Any, ...]:
        return one.file, one.facts.as_value(), gr.update(value=one.file, interactive=True)


def _capped(value: object, name: str, most: int) -> int:
    number = whole(value, name)
    if not 1 <= number <= most:
        raise RequestError(f"{name} must be between 1 and {most} here, got {number}.")
    return number


def _session(request: gr.Request) -> str:
    return str(request.session_hash or "")
