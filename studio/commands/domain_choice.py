"""The domain that a command learns from pictures."""

import re
from collections.abc import Sequence
from pathlib import Path

from composer.domain import Domain
from studio.commands.options import LearningOptions
from studio.commands.shared import ProgressLine, warn
from studio.domain_examples import Examples, read_examples
from studio.domains import NO_CONVERTER, ONE_EXAMPLE, Learning, learn_domain
from studio.engine import Engine

NUM_LISTED = 20
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


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


def name_of_file(path: Path, fallback: str) -> str:
    """Return the name of a file as a word that a text can hold."""
    return _NOT_IN_NAME.sub("-", path.stem).strip("-_.")[:60] or fallback
