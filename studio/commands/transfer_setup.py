"""What the transfers of one command share: the kit, the domain, and how images are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from composer.added_words import AddedWord, check_name
from composer.query import Query
from composer.token_file import TokenFormat, write_token
from generation.request import DrawingSettings, StyleImage, TransferRequest
from generation.sizes import settings_for
from generation.transfer import visible_part
from studio.commands.adapters import parse_loras, read_style, read_tokens
from studio.commands.controls import ControlChoice, read_control
from studio.commands.domain_choice import learn_from_files, name_of_file
from studio.commands.generate import drawing_settings
from studio.commands.mask_choice import read_mask
from studio.commands.options import TransferOptions
from studio.commands.outputs import OutputRules, plan_output, save_all
from studio.commands.shared import open_engine, warn
from studio.domains import DomainWords, domain_word, words_of_domain
from studio.engine import ComposeOptions, Engine

LEARNED = "examples"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransferSetup:
    """A kit that is ready to transfer.

    Attributes:
        options: What the command was asked for.
        engine: The kit; its texts read `words`.
        words: Words of token files and of domains.
        style: As in a request.
        settings: How images are drawn.
    """

    options: TransferOptions
    engine: Engine
    words: tuple[AddedWord, ...]
    style: StyleImage | None
    settings: DrawingSettings

    @property
    def strength(self) -> float:
        """The strength that was asked for, or the kit's."""
        asked = self.options.strength
        return self.engine.kit.drawing.strength if asked is None else asked

    def with_words(self, words: Sequence[AddedWord]) -> "TransferSetup":
        """Return a copy whose texts read further words.

        Raises:
            InputError: A word is of another space, or two have one name.
        """
        every = (*self.words, *words)
        return replace(self, engine=self.engine.with_words(every), words=every)

    def request(self, source: Image.Image, file: Path, domain: str) -> TransferRequest:
        """Return the request that moves an image into a domain.

        Args:
            source: RGB image.
            file: Its file.
            domain: Words of the domain.

        Raises:
            MaskError: The mask does not fit the image.
            UsageError: Words that name a part match nothing.
            RequestError: The settings leave nothing to do.
        """
        options, engine = self.options, self.engine
        mask = read_mask(options.masking, engine, source)
        settings = self.settings
        if mask is None:
            settings = settings_for(engine.pipeline, settings, source)
        choice = ControlChoice(
            image=options.control_image, detector=options.control_from, photo=file
        )
        composer = ComposeOptions(composer=options.composer or engine.default_composer)
        return TransferRequest(
            query=engine.compose(Query(image=visible_part(source, mask), text=domain), composer),
            source=source,
            mask=mask,
            strength=self.strength,
            is_faithful=options.is_faithful,
            keeps_colours=options.keeps_colours,
            keeps_size=options.keeps_size,
            control=read_control(choice, engine, settings),
            style=self.style,
            settings=settings,
        )


def set_up(options: TransferOptions) -> TransferSetup:
    """Open the kit and read what does not depend on the images.

    Raises:
        UsageError: The options contradict each other.
        WeightsError: A token file cannot be read.
    """
    words = read_tokens(options.tokens)
    engine = open_engine(options.kit, parse_loras(options.loras)).with_words(words)
    return TransferSetup(
        options=options,
        engine=engine,
        words=words,
        style=read_style(options.style_image, engine.kit),
        settings=drawing_settings(options.drawing, engine.kit.drawing.for_transfer()),
    )


def domain_of(setup: TransferSetup, token_path: Path | None) -> DomainWords:
    """Return the domain's words; one that is learned is saved first, before anything is drawn.

    Args:
        setup: The kit.
        token_path: Where a learned domain's tokens are kept; None where they are not.

    Raises:
        UsageError: The domain is not known, or none of its examples can be read.
        InputError: A saved domain is of another kit's space.
    """
    options, engine = setup.options, setup.engine
    if not options.like:
        return words_of_domain(engine, options.to, setup.words)
    name = LEARNED if token_path is None else name_of_file(token_path, LEARNED)
    learned = learn_from_files(engine, name, options.like, options.learning, "--like")
    word = domain_word(engine, learned)
    if token_path is not None:
        facts = {"examples": str(len(learned.examples))}
        (token_path,) = save_all(
            [token_path],
            [lambda file: write_token(file, word, TokenFormat.A1111, facts)],
            overwrite=options.overwrite,
        )
        warn(f"The domain is kept as {token_path}; use it again: --to '{word.mark}' --token FILE")
    return DomainWords(text=word.mark, words=(word,))


def plan_token(options: TransferOptions) -> Path | None:
    """Return where the learned domain's tokens are kept; None where they are not.

    Raises:
        UsageError: They cannot be written there.
        InputError: A text cannot hold the file's name.
    """
    path = options.save_token
    if path is None and options.learning.inverts:
        path = options.output.with_name(f"{name_of_file(options.output, LEARNED)}.safetensors")
    if path is None:
        return None
    check_name(path.stem)
    rules = OutputRules(
        option="--save-token",
        suffix=".safetensors",
        why="as other programs refuse or distrust pickles",
        overwrite=options.overwrite,
    )
    return plan_output(path, rules)
