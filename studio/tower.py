"""A CLIP of a kit and its composers, loaded at first use."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import RLock

import torch

from composer import names
from composer.added_words import AddedWord, check_space, is_in_space
from composer.backbone import Backbone
from composer.clip_files import BackboneError
from composer.composed import ComposedQuery
from composer.emphasis import compose_emphasised
from composer.feature_backbone import NO_TOKENS
from composer.kit_parts import ComposerFiles
from composer.learned import FILE_NAME as LEARNED_NAMES
from composer.learned import LearnedNames
from composer.query import Query
from composer.strategies import load_composer
from composer.strategies.converter import TextConverter
from composer.strategies.protocol import Composer, ComposerError, EncodedReference, with_backbone
from studio.kits import TowerFiles

NUM_CACHED_REFERENCES = 32
NUM_CACHED_READERS = 8


class Tower:
    """A CLIP that composes queries. Each part loads at first use; all methods are thread-safe."""

    def __init__(
        self,
        files: TowerFiles,
        *,
        device: str,
        dtype: torch.dtype,
        has_random_weights: bool = False,
    ) -> None:
        """Store what to load; nothing is loaded yet."""
        self._files, self._device, self._dtype = files, device, dtype
        self._open = Backbone.random if has_random_weights else Backbone.load
        self._lock = RLock()
        self._backbone: Backbone | None = None
        self._learned: LearnedNames | None = None
        self._converter: TextConverter | None = None
        self._composers: dict[str, Composer] = {}
        self._reading: OrderedDict[tuple[str, str], Composer] = OrderedDict()
        self._encoded: OrderedDict[tuple[str, str], EncodedReference] = OrderedDict()

    @property
    def backbone(self) -> Backbone:
        """The CLIP.

        Raises:
            BackboneError: It cannot be loaded.
        """
        with self._lock:
            if self._backbone is None:
                # Weights loaded in inference mode have no gradients, which inversion needs.
                with torch.inference_mode(mode=False):
                    self._backbone = self._open(
                        self._files.backbone, device=self._device, dtype=self._dtype
                    )
            return self._backbone

    @property
    def learned_names(self) -> LearnedNames | None:
        """What the CLIP learned with pictures; None where it has no such table.

        Raises:
            WeightsError: The table is damaged.
        """
        path = self._files.backbone / LEARNED_NAMES
        with self._lock:
            if self._learned is None and path.is_file():
                self._learned = LearnedNames.load(path)
            return self._learned

    @property
    def converter(self) -> TextConverter | None:
        """What turns joint features, or differences of two, into tokens; None without one.

        Raises:
            ComposerError: It belongs to another CLIP, or is damaged.
        """
        path = self._files.converter
        with self._lock:
            if self._converter is None and path is not None:
                with torch.inference_mode(mode=False):
                    self._converter = TextConverter.load(path, self.backbone)
            return self._converter

    def composer(self, name: str) -> Composer:
        """Return a composer, loaded once.

        Raises:
            ComposerError: The tower has none of that name, or its weights do not fit.
        """
        with self._lock:
            if name not in self._composers:
                if not self.backbone.has_tokens and name in (names.INVERSION, *names.TRAINED):
                    raise ComposerError(
                        f"The composer {name!r} needs tokens, and this kit's CLIP has no space of "
                        f"tokens; choose one of: {', '.join(self._files.composers)}."
                    )
                bare = ComposerFiles(converter=self._files.converter)
                files = self._files.composers.get(name, bare)
                self._composers[name] = load_composer(name, self.backbone, files)
            return self._composers[name]

    def knows(self, word: AddedWord) -> bool:
        """Tell whether a word lives in the token space of this tower.

        Raises:
            BackboneError: The tower cannot be loaded.
        """
        backbone = self.backbone
        width = backbone.token_width
        return backbone.has_tokens and is_in_space(word, backbone.text_hash, width)

    def check_word(self, word: AddedWord, kit: str) -> None:
        """Check that a word lives in the token space of this tower.

        Raises:
            InputError: It does not; the message names both spaces.
            BackboneError: The tower has none, or cannot be loaded.
        """
        backbone = self.backbone
        if not backbone.has_tokens:
            raise BackboneError(NO_TOKENS)
        check_space(word, kit=kit, text_hash=backbone.text_hash, width=backbone.token_width)

    def reading(self, words: Sequence[AddedWord]) -> Backbone:
        """Return the CLIP with those of some words that are of its token space.

        Raises:
            InputError: The words contradict each other.
        """
        known = [word for word in words if self.knows(word)]
        return self.backbone.with_words(known) if known else self.backbone

    def _composer_with(self, name: str, words: Sequence[AddedWord]) -> Composer:
        """Return a composer that reads texts with some words; recent ones are kept."""
        composer = self.composer(name)
        if not any(map(self.knows, words)):
            return composer
        key = (name, " ".join(word.key for word in words))
        with self._lock:
            if key not in self._reading:
                self._reading[key] = with_backbone(composer, self.reading(words))
            self._reading.move_to_end(key)
            while len(self._reading) > NUM_CACHED_READERS:
                self._reading.popitem(last=False)
            return self._reading[key]

    def compose(
        self,
        query: Query,
        composer_name: str,
        balance: float,
        words: Sequence[AddedWord] = (),
    ) -> ComposedQuery:
        """Compose a query; recent references are cached, so a change of words costs little.

        Args:
            query: The query.
            composer_name: Name of the composer.
            balance: As in `Composer.compose`.
            words: Words of token files that its text may use.

        Raises:
            ComposerError: The tower has no such composer.
            InputError: The balance is not in [0, 1].
        """
        composer = self.composer(composer_name)
        key = (composer_name, _reference_digest(query))
        with self._lock:
            encoded = self._encoded.get(key)
        if encoded is None:
            encoded = composer.encode(query)
        with self._lock:
            self._encoded[key] = encoded
            self._encoded.move_to_end(key)
            while len(self._encoded) > NUM_CACHED_REFERENCES:
                self._encoded.popitem(last=False)
        composer = self._composer_with(composer_name, words)
        return compose_emphasised(composer, encoded, query.text, balance)


def _reference_digest(query: Query) -> str:
    """Return a digest of the content of a query's reference."""
    digest = hashlib.sha256()
    if query.image is not None:
        digest.update(f"image{query.image.size}".encode() + query.image.tobytes())
    if query.sketch is not None and query.sketch.raster is not None:
        digest.update(f"raster{query.sketch.raster.shape}".encode())
        digest.update(query.sketch.raster.tobytes())
    for stroke in (query.sketch.strokes or ()) if query.sketch is not None else ():
        digest.update(f"stroke{stroke.shape}".encode() + stroke.tobytes())
    return digest.hexdigest()
