"""Engine of the studio: a kit in memory that composes, searches, generates and transfers."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock
from typing import TypeVar

import torch

from composer import names
from composer.added_words import AddedWord
from composer.backbone import Backbone
from composer.composed import ComposedQuery, with_prompt_of
from composer.data.wording import with_article
from composer.kit_parts import ComposerFiles
from composer.plain import compose_plain, names_added_words
from composer.query import Query
from composer.strategies.converter import TextConverter
from composer.strategies.drawable import with_tokens
from composer.strategies.protocol import Composer
from composer.urgent import urgent
from generation.controls import ControlSource
from generation.generate import generate, kind_of_own_drawings
from generation.lora import LoraSource
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest, RequestError, TransferRequest
from generation.sample import DEFAULT_OPTIONS, Result, RunOptions
from generation.transfer import transfer
from retrieval.confidence import Calibrations, Confidence, judge, load_calibrations
from retrieval.filters.tree import Filter
from retrieval.search import UNREFINED, Gallery, Ranking, Refinement
from studio.drawing import DEFAULT_MODE, Drawing, DrawingMode, DrawingOptions
from studio.galleries import SHIPPED, open_gallery
from studio.kits import Kit
from studio.tower import Tower
from studio.vocabulary import UnknownWord, query_notes, unknown_words

_Request = TypeVar("_Request", GenerateRequest, TransferRequest)
DEFAULT_COMPOSER, FALLBACK_COMPOSER = names.DUET, names.BASIC


@dataclass(frozen=True, kw_only=True, slots=True)
class ComposeOptions:
    """The composer of a query, and its balance: 0 is the reference, 1 the words."""

    composer: str = DEFAULT_COMPOSER
    balance: float = 0.5


DEFAULT_COMPOSE_OPTIONS = ComposeOptions()


class Engine:
    """A kit in memory. Each part loads at first use; all methods are thread-safe."""

    def __init__(
        self,
        kit: Kit,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        has_random_weights: bool = False,
        loras: tuple[LoraSource, ...] = (),
        mode: DrawingMode = DEFAULT_MODE,
    ) -> None:
        """Store the kit and check LoRAs that are added to its own; nothing is loaded yet.

        Args:
            kit: The files of its parts.
            device: As torch names it.
            dtype: Precision of the weights.
            has_random_weights: Make the models of the kit's configs with random weights, to measure
                time and memory; for a kit of `studio.random_kit`.
            loras: LoRAs to draw with besides the kit's own.
            mode: How fast images are drawn, and from which memory.

        Raises:
            PipelineError: There are LoRAs, and the kit draws nothing.
            LoraError: A LoRA is for another model, by its header.
        """
        self.kit, self.device, self.dtype, self.loras = kit, device, dtype, loras
        self._lock = RLock()
        self._drawing = Tower(
            kit.drawing_tower, device=device, dtype=dtype, has_random_weights=has_random_weights
        )
        options = DrawingOptions(
            device=device,
            dtype=dtype,
            has_random_weights=has_random_weights,
            loras=loras,
            mode=mode,
        )
        self._drawn = Drawing(kit, self._drawing, options)
        self._searching = self._drawing
        if kit.search is not None:
            self._searching = Tower(kit.search, device=device, dtype=dtype)
        self._words: tuple[AddedWord, ...] = ()
        self._calibrations: dict[Path, Calibrations] = {}
        self._galleries: dict[Path | str, Gallery] = {}

    @property
    def default_composer(self) -> str:
        """Name of the default composer: `duet`, or a training-free one in a kit without it."""
        return _default(self.kit.search_tower.composers)

    @property
    def backbone(self) -> Backbone:
        """The CLIP that the pipeline draws with.

        Raises:
            BackboneError: It cannot be loaded.
        """
        return self._drawing.reading(self._words)

    @property
    def search_backbone(self) -> Backbone:
        """The CLIP that galleries are indexed and searched with; in most kits the same.

        Raises:
            BackboneError: It cannot be loaded.
        """
        return self._searching.reading(self._words)

    @property
    def converter(self) -> TextConverter | None:
        """What turns features of the tower that draws into tokens; None without one.

        Raises:
            ComposerError: It belongs to another CLIP, or is damaged.
        """
        return self._drawing.converter

    def with_words(self, words: Sequence[AddedWord], *, to_search: bool = False) -> "Engine":
        """Return this engine with words of token files in its texts; all that is loaded is shared.

        Args:
            words: Words of the token space of the tower that draws or the one that searches.
            to_search: Whether the one that searches must know them.

        Raises:
            InputError: A word is of another space, or the words contradict each other.
            BackboneError: The CLIP has no space of tokens.
        """
        if not words:
            return self
        towers = [self._searching] if to_search else [self._drawing, self._searching]
        for word in words:
            if not any(tower.knows(word) for tower in towers):
                towers[0].check_word(word, self.kit.name)
        engine = copy(self)
        engine._words = tuple(words)
        _ = engine.backbone, engine.search_backbone
        return engine

    def unknown_words(self, text: str) -> tuple[UnknownWord, ...]:
        """Return the words of a text that the kit has not learned, in order, each once.

        Raises:
            BackboneError: The CLIP cannot be loaded.
            WeightsError: The table of what it learned is damaged.
        """
        return unknown_words(self.search_backbone, text, self._searching.learned_names)

    def notes_on_words(self, query: ComposedQuery, typed: str = "") -> tuple[str, ...]:
        """Return sentences about what a query's words will not do.

        About words unknown to the kit, other scripts, syntax of other programs, and words that are
        not read.

        Args:
            query: The composed query.
            typed: The words as they were typed, with their emphasis; empty for those of the query.

        Raises:
            BackboneError: The CLIP cannot be loaded.
            WeightsError: The table of what it learned is damaged.
        """
        return query_notes(
            self.backbone,
            self.search_backbone,
            query,
            self._searching.learned_names,
            typed=typed,
        )

    def composer(self, name: str) -> Composer:
        """Return a composer of the tower that searches, loaded once.

        Raises:
            ComposerError: The kit has none of that name, or its weights do not fit.
        """
        return self._searching.composer(name)

    @torch.inference_mode()
    def compose(
        self, query: Query, options: ComposeOptions = DEFAULT_COMPOSE_OPTIONS
    ) -> ComposedQuery:
        """Compose a query; recent references are cached, so a change of words costs little.

        Where one tower searches and another draws, each composes its part. The one that draws takes
        the composer of that name, if the kit has one for it, otherwise its default.

        Raises:
            ComposerError: The kit has no such composer.
            InputError: The balance is not in [0, 1].
        """
        with urgent(self.device):
            searching = self._searching.compose(
                query, options.composer, options.balance, self._words
            )
            if self._searching is self._drawing:
                return searching
            return with_prompt_of(searching, self.compose_to_draw(query, options))

    @torch.inference_mode()
    def compose_to_draw(
        self, query: Query, options: ComposeOptions = DEFAULT_COMPOSE_OPTIONS
    ) -> ComposedQuery:
        """Compose a query with the tower that draws alone; its features are of that tower.

        Raises:
            ComposerError: The kit has no such composer.
            InputError: The balance is not in [0, 1].
        """
        name, composers = options.composer, self.kit.composers
        if self._searching is not self._drawing and name not in composers:
            name = _default(composers)
        with urgent(self.device):
            return self._drawing.compose(query, name, options.balance, self._words)

    def gallery(self, index: Path | str | None = None) -> Gallery:
        """Return an open index: a folder, or an address of Milvus or of an object store.

        None is the shipped gallery.

        Raises:
            GalleryError: There is no index, it is empty, or it is of another encoder.
        """
        address = index or SHIPPED
        with self._lock:
            if address not in self._galleries:
                self._galleries[address] = open_gallery(
                    index, self.search_backbone.gallery_hash, self.kit.name
                )
            return self._galleries[address]

    def search(
        self,
        query: ComposedQuery,
        index: Path | str | None = None,
        top_k: int = 10,
        where: Filter | None = None,
        refinement: Refinement = UNREFINED,
    ) -> Ranking:
        """Rank the items of a gallery that meet `where` for a composed query.

        Raises:
            GalleryError: The index cannot be used with this query.
            FilterError: The engine of the gallery does not support `where`.
            InputError: `top_k` is out of range, or the refinement is malformed.
        """
        gallery = self.gallery(index)
        with urgent(self.device):
            return gallery.search(query, top_k=top_k, where=where, refinement=refinement)

    def confidence(self, query: ComposedQuery, ranking: Ranking) -> Confidence | None:
        """Return the probability that the gallery holds what the query describes.

        Returns:
            None where the kit has no calibration for the query's composer, and where nothing seems
            to match words that it learned without pictures: their scores were not calibrated.

        Raises:
            CalibrationError: The calibration cannot be read.
        """
        path = self.kit.search_tower.confidence.get(query.composer)
        if path is None:
            return None
        with self._lock:
            if path not in self._calibrations:
                self._calibrations[path] = load_calibrations(path)
        confidence = judge(query, ranking.standing, self._calibrations[path])
        if confidence is None or confidence.matches or self.is_calibrated_for(query):
            return confidence
        return None

    def is_calibrated_for(self, query: ComposedQuery) -> bool:
        """Tell whether all words of a query came with pictures, as those of the calibration did.

        Kits that have no table of such words are believed.

        Raises:
            WeightsError: The table is damaged.
        """
        learned = self._searching.learned_names
        text = self.search_backbone.without_added_words(query.text)
        return learned is None or not learned.unknown_words(text)

    @property
    def pipeline(self) -> ImagePipeline:
        """The kit's diffusion pipeline, checked against the backbone's token table.

        Raises:
            PipelineError: The kit has none, or it does not belong to the backbone.
        """
        return self._drawn.pipeline

    def generate(self, request: GenerateRequest, options: RunOptions = DEFAULT_OPTIONS) -> Result:
        """Generate images; see `generation.generate.generate` for the errors."""
        result = generate(self.pipeline, self._prepare(request), options)
        self._drawn.compile_later()
        return result

    def note_on_own_drawings(self, request: GenerateRequest) -> str | None:
        """Return a sentence where words are drawn on drawings of the kit's own; None otherwise."""
        kind = kind_of_own_drawings(self.pipeline, request)
        if kind is None:
            return None
        return f"Without a drawing of yours, the kit follows its own of {with_article(kind)}."

    def transfer(self, request: TransferRequest, options: RunOptions = DEFAULT_OPTIONS) -> Result:
        """Move an image into another domain; see `generation.transfer.transfer` for the errors."""
        self.check_transfer(request)
        result = transfer(self.pipeline, self._prepare(request), options)
        self._drawn.compile_later()
        return result

    def check_transfer(self, request: TransferRequest) -> None:
        """Check that the kit's models can be followed back to noise, if a transfer needs it.

        Raises:
            RequestError: They draw in too few steps.
        """
        if request.is_faithful and self.kit.drawing.is_few_step:
            raise RequestError(
                f"The kit {self.kit.name!r} draws in a few jumps that cannot be followed back from "
                "a picture. Leave out --faithful, or choose a kit of more steps."
            )

    def load_control(self, name: str) -> str:
        """Load a control network of the kit; return its name as requests have it.

        Args:
            name: As the kit names it; empty is the default.

        Raises:
            KitError: The kit has none of that name, or it was not downloaded.
            PipelineError: It cannot be used.
        """
        found = self.kit.find_control(name)
        if found:
            files = self.kit.controls[found]
            assert files.folder is not None
            source = ControlSource(folder=files.folder, kind=files.kind)
            self.pipeline.add_control(found, source)
        return found

    def _prepare(self, request: _Request) -> _Request:
        """Return a request whose queries have tokens and whose control network is loaded."""
        _ = self.pipeline  # first, as a kit may have none
        name = self.load_control(request.settings.control_name)
        return replace(
            request,
            query=self.drawable(request.query),
            negative=request.negative or self._composed_negative(request.settings.negative_text),
            settings=replace(request.settings, control_name=name),
        )

    @torch.inference_mode()
    def _composed_negative(self, text: str) -> ComposedQuery | None:
        """Return a negative text that names words of token files, composed; None for another."""
        if not names_added_words(self.backbone, text):
            return None
        with urgent(self.device):
            return compose_plain(self.backbone, text)

    def drawable(self, query: ComposedQuery) -> ComposedQuery:
        """Return the query with tokens; finding them takes seconds if its composer makes none."""
        return with_tokens(self.backbone, query) if query.missing_tokens else query


def _default(composers: Mapping[str, ComposerFiles]) -> str:
    return DEFAULT_COMPOSER if DEFAULT_COMPOSER in composers else FALLBACK_COMPOSER
