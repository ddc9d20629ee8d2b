"""The studio's engine: one kit loaded once, one query composed once, three things done with it."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock

import torch

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.kit_parts import ComposerFiles
from composer.query import Query
from composer.strategies import load_composer
from composer.strategies.drawable import with_tokens
from composer.strategies.protocol import Composer, EncodedReference
from generation.generate import generate
from generation.pipeline import ImagePipeline, PipelineError, PipelineSource
from generation.request import GenerateRequest, TransferRequest
from generation.sample import DEFAULT_OPTIONS, Result, RunOptions
from generation.transfer import transfer
from retrieval.confidence import Calibrations, Confidence, judge, load_calibrations
from retrieval.errors import GalleryError
from retrieval.filters.tree import Filter
from retrieval.search import UNREFINED, Gallery, Ranking, Refinement
from studio.kits import Kit, assets_folder

NUM_CACHED_REFERENCES = 32
DEFAULT_COMPOSER = "duet"
TRAINING_FREE = "slerp"
NO_MILVUS = (
    "Galleries on Milvus need its client. Install it with: pip install 'duet-studio[cluster]'"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """How a query is composed: by which composer, and weighed how (0 reference, 1 words)."""

    composer: str = DEFAULT_COMPOSER
    balance: float = 0.5


DEFAULT_COMPOSITION = Composition()


class Engine:
    """A kit in memory. Everything loads at first use; all methods may be called from threads."""

    def __init__(self, kit: Kit, *, device: str = "cpu") -> None:
        """Remember what to load; nothing is read yet."""
        self.kit, self.device = kit, device
        self._lock = RLock()
        self._backbone: Backbone | None = None
        self._pipeline: ImagePipeline | None = None
        self._composers: dict[str, Composer] = {}
        self._calibrations: dict[Path, Calibrations] = {}
        self._galleries: dict[Path | str, Gallery] = {}
        self._encoded: OrderedDict[tuple[str, str], EncodedReference] = OrderedDict()

    @property
    def default_composer(self) -> str:
        """The composer where none is named: a training-free one where the kit lacks duet."""
        return DEFAULT_COMPOSER if DEFAULT_COMPOSER in self.kit.composers else TRAINING_FREE

    @property
    def backbone(self) -> Backbone:
        """The kit's CLIP.

        Raises:
            BackboneError: It cannot be loaded.
        """
        with self._lock:
            if self._backbone is None:
                # Loaded in inference mode, weights could not be descended through: inversion does.
                with torch.inference_mode(mode=False):
                    self._backbone = Backbone.load(self.kit.backbone, device=self.device)
            return self._backbone

    def composer(self, name: str) -> Composer:
        """Return a composer of the kit, loaded once.

        Raises:
            ComposerError: The kit has none of that name, or its weights do not fit.
        """
        with self._lock:
            if name not in self._composers:
                bare = ComposerFiles(converter=self.kit.converter)
                files = self.kit.composers.get(name, bare)
                self._composers[name] = load_composer(name, self.backbone, files)
            return self._composers[name]

    @torch.inference_mode()
    def compose(self, query: Query, how: Composition = DEFAULT_COMPOSITION) -> ComposedQuery:
        """Compose a query; the last references are remembered, so changed words cost little.

        Raises:
            ComposerError: The kit has no such composer.
            ValueError: The balance is not in [0, 1].
        """
        composer = self.composer(how.composer)
        key = (how.composer, _reference_digest(query))
        with self._lock:
            encoded = self._encoded.get(key)
        if encoded is None:
            encoded = composer.encode(query)
            with self._lock:
                self._encoded[key] = encoded
                while len(self._encoded) > NUM_CACHED_REFERENCES:
                    self._encoded.popitem(last=False)
        return composer.compose(encoded, query.text, how.balance)

    def gallery(self, index: Path | str | None = None) -> Gallery:
        """Return an open index: a folder, or an address of Milvus or of an object store.

        None is the shipped one.

        Raises:
            GalleryError: There is none, it is empty, or another encoder made it.
        """
        place = index or assets_folder() / "gallery" / "index"
        with self._lock:
            if place not in self._galleries:
                known = self.backbone.gallery_hash
                opened = (
                    _open_published(place, known)
                    if isinstance(place, str) and is_of_milvus(place)
                    else Gallery.open(place, known)
                )
                self._galleries[place] = opened
            return self._galleries[place]

    def search(
        self,
        query: ComposedQuery,
        index: Path | str | None = None,
        top_k: int = 10,
        where: Filter | None = None,
        refinement: Refinement = UNREFINED,
    ) -> Ranking:
        """Rank a gallery, or what of it passes `where`, for a composed query.

        Raises:
            GalleryError: The index cannot be used with this query.
            ValueError: `top_k` is out of range, the engine cannot ask for `where`, or the
                refinement is malformed.
        """
        gallery = self.gallery(index)
        return gallery.search(query, top_k=top_k, where=where, refinement=refinement)

    def confidence(self, query: ComposedQuery, ranking: Ranking) -> Confidence | None:
        """Tell how likely it is that the gallery holds what was asked for.

        None where the kit did not measure it for the query's composer.

        Raises:
            CalibrationError: What the kit measured cannot be read.
        """
        path = self.kit.confidence.get(query.composer)
        if path is None:
            return None
        with self._lock:
            if path not in self._calibrations:
                self._calibrations[path] = load_calibrations(path)
        return judge(query, ranking.standing, self._calibrations[path])

    @property
    def pipeline(self) -> ImagePipeline:
        """The kit's diffusion pipeline, checked against the backbone's token table.

        Raises:
            PipelineError: The kit has none, or it does not belong to the backbone.
        """
        if self.kit.pipeline is None:
            raise PipelineError(
                f"The kit {self.kit.name!r} has no pipeline, so it searches but does not draw. "
                "Choose a kit that has one."
            )
        with self._lock:
            if self._pipeline is None:
                source = PipelineSource(folder=self.kit.pipeline, controlnet=self.kit.controlnet)
                pipeline = ImagePipeline.load(source, device=self.device)
                pipeline.check_token_table(self.backbone.token_table())
                self._pipeline = pipeline
            return self._pipeline

    def generate(self, request: GenerateRequest, options: RunOptions = DEFAULT_OPTIONS) -> Result:
        """Draw new images; see `generation.generate.generate` for the errors."""
        pipeline = self.pipeline  # first of all: a kit may have none
        drawable = replace(request, query=self._drawable(request.query))
        return generate(pipeline, drawable, options)

    def transfer(self, request: TransferRequest, options: RunOptions = DEFAULT_OPTIONS) -> Result:
        """Move an image into another domain; see `generation.transfer.transfer` for the errors."""
        pipeline = self.pipeline  # first of all: a kit may have none
        drawable = replace(request, query=self._drawable(request.query))
        return transfer(pipeline, drawable, options)

    def _drawable(self, query: ComposedQuery) -> ComposedQuery:
        """Find tokens for a query of a composer that makes none; seconds, where that is so."""
        return with_tokens(self.backbone, query) if query.missing_tokens else query


def is_of_milvus(address: str) -> bool:
    """Tell whether an address is of Milvus: of a server, or of a file that milvus-lite keeps."""
    return address.startswith(("http://", "https://")) or address.split("#")[0].endswith(".db")


def _open_published(address: str, gallery_hash: str) -> Gallery:
    try:
        from retrieval.engines.milvus import MilvusIndex
    except ImportError as error:
        raise GalleryError(NO_MILVUS) from error
    published = MilvusIndex.open(address, gallery_hash)
    return Gallery(published, published)


def _reference_digest(query: Query) -> str:
    """Name a query's reference by its content; its words play no part."""
    digest = hashlib.sha256()
    if query.image is not None:
        digest.update(f"image{query.image.size}".encode() + query.image.tobytes())
    if query.sketch is not None and query.sketch.raster is not None:
        digest.update(f"raster{query.sketch.raster.shape}".encode())
        digest.update(query.sketch.raster.tobytes())
    for stroke in (query.sketch.strokes or ()) if query.sketch is not None else ():
        digest.update(f"stroke{stroke.shape}".encode() + stroke.tobytes())
    return digest.hexdigest()
