"""The domain that a command names: learned from pictures, saved before, or plain words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from composer.added_words import AddedWord
from composer.domain import Domain
from studio.commands.options import LearningOptions
from studio.commands.shared import ProgressLine, warn
from studio.domain_examples import Examples, read_examples
from studio.domains import (
    NO_CONVERTER,
    ONE_EXAMPLE,
    DomainStore,
    Learning,
    domain_word,
    learn_domain,
)
from studio.engine import Engine
from studio.errors import UsageError
from studio.vocabulary import knows_any_word

NUM_LISTED = 20
_MARK = re.compile(r"<([^<>\s]+)>")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainWords:
    """Words that name a domain, and what of them is no word of the kit.

    Attributes:
        text: The words; added ones in angle brackets.
        words: The added ones.
    """

    text: str
    words: tuple[AddedWord, ...] = ()


def learn_from_files(
    engine: Engine, name: str, files: Sequence[Path], options: LearningOptions, option: str
) -> Domain:
    """Learn a domain from files; print what was skipped and what is weak.

    Args:
        engine: The kit.
        name: Name of the domain.
        files: Pictures or folders.
        options: How it is learned.
        option: What names the files, for messages.

    Raises:
        UsageError: No picture can be read.
        InputError: The examples are like any photograph.
    """
    examples = read_examples(files, engine.backbone, option)
    _print_skipped(examples)
    subject = None
    if options.like_subject:
        subject = read_examples(options.like_subject, engine.backbone, "--like-subject")
        _print_skipped(subject)
    if len(examples.hashes) == 1:
        warn(ONE_EXAMPLE)
    if engine.converter is None and not options.inverts:
        warn(NO_CONVERTER.format(engine.kit.name))
    learning = Learning(
        subject=subject, inverts=options.inverts, on_step=ProgressLine("search", unit="steps")
    )
    return learn_domain(engine, name, examples, learning)


def _print_skipped(examples: Examples) -> None:
    for file in examples.skipped[:NUM_LISTED]:
        warn(f"skipped {file.path}: {file.reason}")
    if len(examples.skipped) > NUM_LISTED:
        warn(f"and {len(examples.skipped) - NUM_LISTED} more were skipped.")


def words_of_domain(engine: Engine, text: str, given: Sequence[AddedWord]) -> DomainWords:
    """Return the words of a domain, saved ones found by their names.

    A preset of the kit comes first, then a saved domain of that name, then plain words, in which
    `<name>` may be a saved domain, too.

    Args:
        engine: The kit.
        text: What was asked for.
        given: Words of token files, which come before saved domains.

    Raises:
        UsageError: The kit knows no word of it.
        InputError: A saved domain is of another kit's space.
        WeightsError: A saved domain is damaged.
    """
    store, presets = DomainStore(), {preset.casefold() for preset in engine.kit.domains}
    name = text.strip()
    if name.casefold() not in presets and (file := store.find(name)) is not None:
        text = f"<{file.stem}>"
    taken = {word.name.casefold() for word in given}
    names = dict.fromkeys(mark.casefold() for mark in _MARK.findall(text))
    saved = [name for name in names if name not in taken and store.find(name) is not None]
    words = tuple(domain_word(engine, store.read(name)) for name in saved)
    reading = engine.with_words((*given, *words))
    if engine.kit.domains and not knows_any_word(reading.backbone, text):
        known = ", ".join((*engine.kit.domains, *(one.name for one in store.saved())))
        raise UsageError(
            f"The kit {engine.kit.name!r} does not know the domain {name!r}; "
            f"choose one of {known}, or other words it was trained on."
        )
    return DomainWords(text=text, words=words)


def name_of_file(path: Path, fallback: str) -> str:
    """Return the name of a file as a word that a text can hold."""
    return _NOT_IN_NAME.sub("-", path.stem).strip("-_.")[:60] or fallback
