"""Domains of a user: learned from examples, saved under a name, said as words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from composer.added_words import AddedWord
from composer.domain import Domain, check_domain_space, read_domain, write_domain
from composer.errors import InputError
from composer.feature_backbone import NO_TOKENS
from composer.strategies.difference import Progress, invert_difference, picture_difference
from composer.weights import WeightsError
from studio.domain_examples import Examples, encode_levels, neutral_levels, thumbnail_of
from studio.engine import Engine
from studio.errors import UsageError
from studio.user_folder import user_folder
from studio.vocabulary import knows_any_word

PRESETS: Final = (
    *("photo", "watercolour", "pencil", "cartoon", "clay", "low-poly", "night", "blueprint"),
)
ONE_EXAMPLE = (
    "One example says little of a look apart from its subject; three or more of different "
    "subjects are much better."
)
NO_CONVERTER = (
    "The kit {0!r} has no converter of features to tokens, so the tokens are searched for."
)
_MARK = re.compile(r"<([^<>\s]+)>")
_BETWEEN_WORDS = re.compile(r"[\s_-]+")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learning:
    """How a domain is learned.

    Attributes:
        subject: Photographs of the examples' own subject; None for those of the shipped gallery.
        photos: Features of the shipped gallery's photographs where they are at hand.
        inverts: Search for the tokens, which takes minutes and says more than the converter.
        on_step: Called after each step of the search; what it raises stops it.
    """

    subject: Examples | None = None
    photos: Float[Tensor, "m d"] | None = None
    inverts: bool = False
    on_step: Progress | None = None


PLAIN_LEARNING: Final = Learning()


def learn_domain(
    engine: Engine, name: str, examples: Examples, learning: Learning = PLAIN_LEARNING
) -> Domain:
    """Learn a domain from examples; tokens are searched for where the kit has no converter.

    Args:
        engine: The kit.
        name: What texts call the domain.
        examples: The pictures.
        learning: What they are compared with, and whether tokens are searched for.

    Raises:
        InputError: The name cannot stand in a text, or the examples are like any photograph.
        UsageError: The kit has no tokens.
    """
    backbone = engine.backbone
    if not backbone.has_tokens:
        raise UsageError(NO_TOKENS)
    subject = learning.subject
    if subject is not None:
        photos = encode_levels(backbone, subject.levels)
    else:
        photos = neutral_features(engine) if learning.photos is None else learning.photos
    difference = picture_difference(
        encode_levels(backbone, examples.levels), photos, same_subject=subject is not None
    )
    domain = Domain(
        name=name,
        difference=difference.cpu(),
        tokens=None,
        thumbnail=thumbnail_of(examples.levels),
        examples=examples.hashes,
        kit=engine.kit.name,
        text_hash=backbone.text_hash,
        gallery_hash=backbone.gallery_hash,
    )
    if not learning.inverts and engine.converter is not None:
        return domain
    start = None if engine.converter is None else domain_tokens(engine, domain)
    found = invert_difference(backbone, difference, start=start, on_step=learning.on_step)
    return replace(domain, tokens=found.tokens.detach().float().cpu())


def neutral_features(engine: Engine) -> Float[Tensor, "m d"]:
    """Return the features of the shipped gallery's photographs, by the tower that draws.

    Raises:
        UsageError: The gallery is damaged.
    """
    return encode_levels(engine.backbone, neutral_levels(engine.backbone))


@torch.no_grad()
def domain_tokens(engine: Engine, domain: Domain) -> Float[Tensor, "n w"]:
    """Return the tokens of a domain: those that it was saved with, or the converter's.

    Raises:
        InputError: The domain is of another kit's space, or the kit has no converter.
    """
    backbone = engine.backbone
    check_domain_space(
        domain,
        kit=engine.kit.name,
        text_hash=backbone.text_hash,
        gallery_hash=backbone.gallery_hash,
    )
    if domain.tokens is not None:
        return domain.tokens
    if engine.converter is None:
        raise InputError(
            f"The kit {engine.kit.name!r} has no converter of features to tokens; learn the domain "
            f"{domain.name!r} again with --invert."
        )
    return engine.converter(domain.difference[None].to(backbone.device))[0]


def domain_word(engine: Engine, domain: Domain) -> AddedWord:
    """Return a domain as a word of the kit's texts.

    Raises:
        InputError: As in `domain_tokens`.
    """
    return domain.word(domain_tokens(engine, domain))


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainWords:
    """Words that name a domain, and what of them is no word of the kit.

    Attributes:
        text: The words; added ones in angle brackets.
        words: The added ones.
    """

    text: str
    words: tuple[AddedWord, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedDomain:
    """A file of the store: its domain, or what is wrong with it."""

    name: str
    domain: Domain | None
    problem: str = ""


class DomainStore:
    """Saved domains, one file each; upper and lower case of a name are one."""

    def __init__(self, folder: Path | None = None) -> None:
        """Take the folder, which need not exist; None for the user's."""
        self.folder = user_folder() / "domains" if folder is None else folder

    def saved(self) -> tuple[SavedDomain, ...]:
        """Return all saved domains by name; a damaged file is one with a problem."""
        return tuple(self._examine(file) for file in self._files())

    def find(self, name: str) -> Path | None:
        """Return the file of a domain; None without one."""
        wanted = name.casefold()
        return next((file for file in self._files() if file.stem.casefold() == wanted), None)

    def read(self, name: str) -> Domain:
        """Return a domain.

        Raises:
            UsageError: There is none of that name.
            WeightsError: Its file is damaged.
        """
        file = self._file(name)
        return read_domain(file, file.stem)

    def check_free(self, name: str) -> None:
        """Check that no domain has a name yet.

        Raises:
            UsageError: One has.
        """
        if self.find(name) is not None:
            raise UsageError(
                f"There is a domain {name!r} already; choose another name, or remove that one: "
                f"duet domains remove {name}"
            )

    def add(self, domain: Domain) -> Path:
        """Save a domain; the file appears whole or not at all.

        Raises:
            UsageError: Its name is taken.
            OSError: The folder cannot be written.
        """
        self.check_free(domain.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{domain.name}.safetensors"
        write_domain(path, domain)
        return path

    def remove(self, name: str) -> None:
        """Delete a domain.

        Raises:
            UsageError: There is none of that name.
            OSError: It cannot be deleted.
        """
        self._file(name).unlink()

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(
            file for file in self.folder.glob("*.safetensors") if not file.name.startswith(".")
        )

    def _file(self, name: str) -> Path:
        file = self.find(name)
        if file is None:
            known = ", ".join(one.stem for one in self._files()) or "none yet"
            raise UsageError(f"There is no saved domain {name!r}; there are: {known}.")
        return file

    def _examine(self, file: Path) -> SavedDomain:
        try:
            return SavedDomain(name=file.stem, domain=read_domain(file, file.stem))
        except (WeightsError, InputError) as error:
            return SavedDomain(name=file.stem, domain=None, problem=str(error))


def words_of_domain(
    engine: Engine, text: str, given: Sequence[AddedWord], *, knows_saved: bool = True
) -> DomainWords:
    """Return the words of a domain, saved ones found by their names.

    A preset of the kit comes first, in whatever spelling, then a saved domain of that name, then
    plain words, in which `<name>` may be a saved domain, too.

    Args:
        engine: The kit.
        text: What was asked for.
        given: Words of token files, which come before saved domains.
        knows_saved: Whether saved domains may be used; if not, none is found or named.

    Raises:
        UsageError: The kit knows no word of it.
        InputError: A saved domain is of another kit's space.
        WeightsError: A saved domain is damaged.
    """
    store, name = DomainStore(), text.strip()
    preset = preset_named(engine, name)

    def find(name: str) -> Path | None:
        return store.find(name) if knows_saved else None

    if preset is not None:
        text = preset
    elif (file := find(name)) is not None:
        text = f"<{file.stem}>"
    taken = {word.name.casefold() for word in given}
    names = dict.fromkeys(mark.casefold() for mark in _MARK.findall(text))
    saved = [name for name in names if name not in taken and find(name) is not None]
    words = tuple(domain_word(engine, store.read(name)) for name in saved)
    reading = engine.with_words((*given, *words))
    is_known = preset is not None or knows_any_word(reading.backbone, text)
    if engine.kit.domains and not is_known:
        others = [one.name for one in store.saved()] if knows_saved else []
        known = ", ".join((*engine.kit.domains, *others))
        raise UsageError(
            f"The kit {engine.kit.name!r} does not know the domain {name!r}; "
            f"choose one of {known}, or other words it was trained on."
        )
    return DomainWords(text=text, words=words)


def preset_named(engine: Engine, name: str) -> str | None:
    """Return the kit's own domain of that name, or None.

    Case, spaces and hyphens do not count, nor does American or British spelling of "colour".
    """
    return {_spelling(preset): preset for preset in engine.kit.domains}.get(_spelling(name))


def _spelling(name: str) -> str:
    return _BETWEEN_WORDS.sub("", name.casefold()).replace("colour", "color")


def fitting_domains(engine: Engine) -> tuple[str, ...]:
    """Return the names of saved domains of the kit's space, beside its presets."""
    saved = [one.domain for one in DomainStore().saved() if one.domain is not None]
    if not saved or not engine.backbone.has_tokens:
        return ()
    space = (engine.backbone.text_hash, engine.backbone.gallery_hash)
    return tuple(
        domain.name
        for domain in saved
        if (domain.text_hash, domain.gallery_hash) == space
        and preset_named(engine, domain.name) is None
        and (domain.tokens is not None or engine.converter is not None)
    )
