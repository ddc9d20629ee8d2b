"""Handlers of the page: from the values of its inputs to the values of its outputs."""

import re
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from composer.added_words import AddedWord
from composer.images import ImageError, ImageLimits, open_image
from composer.query import Query
from generation.cancel import CancelToken, GenerationCancelledError
from generation.defaults import IP_ADAPTER_SCALE
from generation.request import (
    DrawingSettings,
    GenerateRequest,
    RequestError,
    StyleImage,
    TransferRequest,
    settings_of,
)
from generation.sample import Result, RunOptions
from generation.sizes import fit_source, fitted
from generation.transfer import visible_part
from studio.best_of import rank
from studio.domains import words_of_domain
from studio.engine import ComposeOptions
from studio.errors import UsageError
from studio.known_matches import find_known_match
from studio.ui.budgets import network_of
from studio.ui.comparison import ComparisonHandlers
from studio.ui.context import PageContext, checked_index, read_query
from studio.ui.domain_tab import ExampleHandlers, PageExamples
from studio.ui.inputs import checked_float, checked_int, checked_text
from studio.ui.messages import translate_errors
from studio.ui.painting import SentPart, part_of
from studio.ui.precedence import Precedence
from studio.ui.present import PagePicture, selected_picture, transfer_line
from studio.ui.results import Results, show_result, show_results
from studio.ui.retrieve_handlers import RetrieveHandlers
from studio.ui.security import private_name
from studio.ui.sessions import Sessions
from studio.ui.thumbnails import Thumbnails
from studio.ui.uploads import Uploads
from studio.ui.visits import VisitLimits, Visits
from studio.ui.word_files import WordFileHandlers

Progress = Callable[..., object]

BUSY_S = 60.0
NUM_TRANSFER_OUTPUTS, NUM_GENERATE_OUTPUTS = 3, 7
BACK_AGAIN = "These are your last results."
_TAB_KEY = re.compile(r"[0-9a-f]{32}")
NO_PIPELINE = (
    "This kit searches but does not draw: it has no diffusion pipeline. Retrieve works; "
    "to draw, open the studio with a kit that has one."
)


class PageHandlers:
    """Handlers of one server; the state of a visitor is in `gr.State`."""

    def __init__(self, context: PageContext) -> None:
        """Create the folders of thumbnails and results."""
        self.context = context
        self._example_numbers = count(1)
        thumbnails, results = (context.folder / private_name() for _ in range(2))
        self._private_folders = (thumbnails, results)
        for folder in self._private_folders:
            folder.mkdir(mode=0o700)
        self.thumbnails, self.precedence = Thumbnails(thumbnails), Precedence()
        self.retrieval = RetrieveHandlers(context, self.thumbnails, self.precedence)
        self.sessions = Sessions(results, context.caps.grace_s)
        uploads = Uploads(context.folder, context.caps.uploads)
        limits = VisitLimits(num_open_address=context.caps.num_pages_address)
        self.visits = Visits(self.sessions, uploads, limits)
        self.results = Results(context, self.visits)
        self.word_files = WordFileHandlers(context)
        self.examples = ExampleHandlers(context)
        self.comparison = ComparisonHandlers()

    @property
    def draws(self) -> bool:
        """Whether the kit has a pipeline."""
        return self.context.engine.kit.pipeline is not None

    @translate_errors
    def take_example(self, event: gr.SelectData) -> tuple[Any, ...]:
        """Return the strokes and words of an example, a balance of 0.5, and a serial number."""
        examples = self.context.examples
        example = examples[checked_index(event.index, len(examples))]
        return example.strokes, example.words, 0.5, next(self._example_numbers)

    @translate_errors
    def hand_over(self, pictures: tuple[PagePicture, ...], picked: str) -> tuple[Any, ...]:
        """Make a hit the source of a transfer and open that tab."""
        file = selected_picture(pictures, picked).file
        return self.thumbnails.large(file), gr.update(selected="transfer")

    @translate_errors
    def hand_over_result(self, kept: tuple[PagePicture, ...], number: int) -> tuple[Any, ...]:
        """Make a result the source of a transfer and open that tab."""
        file = kept[checked_index(number, len(kept))].file
        return self.thumbnails.large(file), gr.update(selected="transfer")

    @translate_errors
    def generate(
        self,
        strokes: object,
        words: object,
        balance: object,
        seed: object,
        num_steps: object,
        guidance: object,
        num_images: object,
        control: object,
        best_first: object,
        kept: tuple[PagePicture, ...],
        added_words: tuple[AddedWord, ...],
        request: gr.Request,
        progress: Progress = gr.Progress(),  # noqa: B008  gradio reads the default
        style: object = None,
        style_scale: object = IP_ADAPTER_SCALE,
    ) -> tuple[Any, ...]:
        """Generate images from the query on the left; keep them with their seeds.

        With `best_first` they are put in the order of their agreement with the query.
        """
        self._check_draws()
        query = read_query(strokes, words)
        if query is None:
            raise UsageError("Draw something or write a few words first.")
        stopped = (gr.skip(), kept, "Stopped.", *(gr.skip() for _ in range(4)))
        try:
            style_image = self._style(style, style_scale, request)
        except GenerationCancelledError:
            return stopped
        caps, engine = self.context.caps.drawing, self.context.engine.with_words(added_words)
        name = checked_text(control, "The control")
        drawing_request = GenerateRequest(
            query=self.context.compose(query, balance, added_words),
            control_sketch=query.sketch,
            style=style_image,
            settings=DrawingSettings(
                seed=checked_int(seed, "The seed"),
                num_images=_capped(num_images, "The number of images", caps.num_images),
                num_inference_steps=_capped(
                    num_steps, "The number of steps", caps.num_inference_steps
                ),
                guidance_scale=checked_float(guidance, "The guidance"),
                finish_noise=engine.kit.drawing.finish_noise,
                control_name="" if query.sketch is None else name,
            ),
        )
        result = self._run(
            request,
            progress,
            lambda options: engine.generate(drawing_request, options),
        )
        if result is None:
            return stopped
        ranked = rank(engine, [result]) if best_first is True else ()
        results = self.results.keep(result, _session(request), "generated", ranked)
        notes = engine.notes_on_words(drawing_request.query, query.text)
        if (own := engine.note_on_own_drawings(drawing_request)) is not None:
            notes = (own, *notes)
        if (num_refused := len(result.images) - len(results)) > 0:
            notes = (f"{num_refused} held back by the content check.", *notes)
        line = " ".join((f"{len(results)} drawn in {result.duration_s:.1f} s.", *notes))
        pictures = (*results, *kept)[: self.context.caps.num_kept]
        again = show_results(pictures, BACK_AGAIN)
        self.sessions.keep(_session(request), "generate", again)
        return show_results(pictures, line)

    @translate_errors
    def known_match(
        self,
        strokes: object,
        words: object,
        balance: object,
        added_words: tuple[AddedWord, ...],
    ) -> str:
        """Return the sentence about a match that the gallery already has; empty without one."""
        query = read_query(strokes, words)
        if query is None or not self.draws:
            return ""
        composed = self.context.compose(query, balance, added_words)
        engine = self.context.engine.with_words(added_words)
        match = find_known_match(engine, composed, self.context.index)
        return match.sentence if match else ""

    @translate_errors
    def pick_result(self, kept: tuple[PagePicture, ...], event: gr.SelectData) -> tuple[Any, ...]:
        """Return a result for the large picture, and its PNG for the download."""
        number = checked_index(event.index, len(kept))
        return number, *show_result(kept[number])

    @translate_errors
    def transfer(
        self,
        source: object,
        domain: object,
        own_words: object,
        strength: object,
        seed: object,
        uses_words: object,
        words: object,
        added_words: tuple[AddedWord, ...],
        part: object,
        all_but_part: object,
        keeps_colours: object,
        painting: object,
        best_of: object,
        request: gr.Request,
        progress: Progress = gr.Progress(),  # noqa: B008  gradio reads the default
        style: object = None,
        style_scale: object = IP_ADAPTER_SCALE,
    ) -> tuple[Any, ...]:
        """Move the source, or a part of it, into a domain; return both images and the PNG.

        Of several images that are drawn, the best is kept.
        """
        self._check_draws()
        try:
            image = self._source(source, request)
            style_image = self._style(style, style_scale, request)
        except GenerationCancelledError:
            return gr.skip(), "Stopped.", gr.skip()
        engine = self.context.engine.with_words(added_words)
        kit, caps = engine.kit.drawing.for_transfer(), self.context.caps.drawing
        to = checked_text(own_words, "The words of the domain").strip() or checked_text(
            domain, "The domain"
        )
        knows_saved = self.context.offers_saved
        named = words_of_domain(engine, to, added_words, knows_saved=knows_saved)
        engine, to = engine.with_words((*added_words, *named.words)), named.text
        if uses_words is True and checked_text(words, "The words").strip():
            to = f"{to}, {checked_text(words, 'The words')}"
        sent = SentPart(words=part, painting=painting, is_inverted=all_but_part)
        mask = part_of(self.context.engine, sent, image, source)
        settings = settings_of(
            kit,
            seed=checked_int(seed, "The seed"),
            num_images=_capped(best_of, "The number of pictures", caps.num_images),
            num_inference_steps=min(kit.num_inference_steps, caps.num_inference_steps),
        )
        drawing_request = TransferRequest(
            query=engine.compose(
                Query(image=visible_part(image, mask), text=to),
                ComposeOptions(composer=self.context.composer),
            ),
            source=image,
            mask=mask,
            strength=checked_float(strength, "The strength"),
            keeps_colours=keeps_colours is True,
            style=style_image,
            settings=settings,
        )
        result = self._run(
            request,
            progress,
            lambda options: engine.transfer(fitted(engine.pipeline, drawing_request), options),
        )
        if result is None:
            return gr.skip(), "Stopped.", gr.skip()
        ranked = rank(engine, [result]) if settings.num_images > 1 else ()
        (moved,) = self.results.keep(result, _session(request), "transferred", ranked, most=1)
        before = moved.file.with_name("before.png")
        whole = image if mask else fit_source(image, result.height, result.width)
        whole.save(before)
        line = transfer_line(to, drawing_request.strength, moved, result.duration_s)
        download = gr.update(value=moved.file, interactive=True)
        outputs = ((before, moved.file), line, download)
        self.sessions.keep(_session(request), "transfer", outputs)
        return outputs

    def _style(self, picture: object, scale: object, request: gr.Request) -> StyleImage | None:
        """Return the picture that steers the style; None without one."""
        if not picture:
            return None
        strength = checked_float(scale, "The strength of the style")
        return StyleImage(image=self._source(picture, request), scale=strength)

    def enter(self, key: object, request: gr.Request) -> tuple[Any, ...]:
        """Begin a visit; return what an earlier page of the same tab transferred and generated."""
        last: Mapping[str, tuple[Any, ...]] = {}
        if isinstance(key, str) and _TAB_KEY.fullmatch(key):
            last = self.sessions.enter(_session(request), key, _address(request))
        nothing = gr.skip()
        return (
            *last.get("transfer", (nothing,) * NUM_TRANSFER_OUTPUTS),
            *last.get("generate", (nothing,) * NUM_GENERATE_OUTPUTS),
        )

    @translate_errors
    def add_example(
        self,
        upload: object,
        kept: PageExamples,
        words: tuple[AddedWord, ...],
        request: gr.Request,
    ) -> tuple[Any, ...]:
        """Add a picture to the examples of the domain that a visitor shows."""
        self._check_draws()
        try:
            image = self._source(upload, request)
        except GenerationCancelledError:
            return kept, words, "Stopped.", gr.skip()
        return self.examples.add(image, kept, words)

    def stop(self, request: gr.Request) -> None:
        """Stop the running work of this visitor."""
        self.sessions.stop(_session(request))

    def leave(self, request: gr.Request) -> None:
        """End a visit: stop its work and remove its files."""
        self.visits.leave(_session(request))

    def _check_draws(self) -> None:
        if not self.draws:
            raise UsageError(NO_PIPELINE)

    def note_upload(self, source: object, request: gr.Request) -> None:
        """Register an upload as this visitor's, from when it arrives."""
        file = Path(source).resolve() if isinstance(source, str) and source else None
        if file is not None and file.is_relative_to(self.context.folder):
            self._claim(file, request, has_arrived=True)

    def _claim(self, file: Path, request: gr.Request, *, has_arrived: bool = False) -> None:
        if not any(file.is_relative_to(folder) for folder in self._private_folders):
            self.visits.note(_session(request))
            self.visits.uploads.claim(_session(request), file, has_arrived=has_arrived)

    def _source(self, source: object, request: gr.Request) -> Image.Image:
        """Read the upload; accept only files that were uploaded to this server."""
        if not isinstance(source, str) or not source:
            raise UsageError(
                "Choose a picture first: upload one, or select a hit and transfer that."
            )
        file = Path(source).resolve()
        if not file.is_relative_to(self.context.folder):
            raise UsageError("The picture was not uploaded to this page.")
        self._claim(file, request)
        caps = self.context.caps
        limits = ImageLimits(
            max_bytes=caps.upload_bytes, max_px=caps.upload_px, max_s=caps.upload_s
        )
        with self.sessions.running(_session(request)) as token:
            try:
                return open_image(file, limits, check=token.check)
            except ImageError as error:
                raise ImageError("The picture", error.reason) from error

    def _run(
        self, request: gr.Request, progress: Progress, work: Callable[[RunOptions], Result]
    ) -> Result | None:
        """Run with the visitor's cancel token; None after a stop."""

        def report(done: int, total: int) -> None:
            progress((done, total), desc="Drawing", unit="steps")

        with self.sessions.running(_session(request)) as token:
            try:
                progress(0.0, desc="Getting ready")
                self._wait_for_pipeline(token)
                on_step = self.precedence.giving_way(report)
                return work(RunOptions(cancel=token, on_step=on_step, wait_s=BUSY_S))
            except GenerationCancelledError:
                return None

    def _wait_for_pipeline(self, token: CancelToken) -> None:
        """Load the pipeline; respect a stop that came meanwhile."""
        _ = self.context.engine.pipeline
        token.check()


def _capped(value: object, name: str, most: int) -> int:
    number = checked_int(value, name)
    if not 1 <= number <= most:
        raise RequestError(f"{name} must be between 1 and {most} here, got {number}.")
    return number


def _session(request: gr.Request) -> str:
    return str(request.session_hash or "")


def _address(request: gr.Request) -> str:
    """Return where a request comes from; empty if that is unknown, as of calls within a process."""
    client = getattr(request, "client", None)
    return "" if client is None else network_of(client.host)
