"""`duet transfer`."""

from pathlib import Path

from composer.added_words import AddedWord, check_name
from composer.images import open_image
from composer.query import Query
from composer.token_file import TokenFormat, write_token
from generation.request import TransferRequest
from generation.sample import RunOptions
from generation.transfer import visible_part
from studio.commands.adapters import parse_loras, read_style, read_tokens, style_file
from studio.commands.controls import ControlChoice, read_control
from studio.commands.domain_choice import learn_from_files, name_of_file
from studio.commands.generate import (
    drawing_settings,
    num_files,
    output_rules,
    print_notes,
    save,
)
from studio.commands.mask_choice import check_mask, read_mask
from studio.commands.options import TransferOptions
from studio.commands.outputs import OutputRules, plan_batch, plan_output, save_all
from studio.commands.shared import ProgressLine, open_engine, warn
from studio.domains import DomainWords, domain_word, words_of_domain
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError

LEARNED = "examples"


def run(options: TransferOptions) -> int:
    """Move an image into another domain and save it with its provenance.

    Raises:
        UsageError: The domain is empty, or has no word that the kit knows.
    """
    _check_domain(options)
    _check_masking(options)
    style_path = style_file(options.style_image)
    inputs = (
        options.source, options.control_image, style_path, options.masking.mask, *options.like,
    )  # fmt: skip
    rules = output_rules(*inputs, overwrite=options.overwrite)
    paths = plan_batch(options.output, num_files(options.drawing), rules)
    token_path = _plan_token(options)
    given = read_tokens(options.tokens)
    engine = open_engine(options.kit, parse_loras(options.loras)).with_words(given)
    style = read_style(options.style_image, engine.kit)
    source = open_image(options.source)
    mask = read_mask(options.masking, engine, source)
    domain = _domain(engine, options, given, token_path)
    engine = engine.with_words((*given, *domain.words))
    settings = drawing_settings(options.drawing, engine.kit.drawing)
    choice = ControlChoice(
        image=options.control_image, detector=options.control_from, photo=options.source
    )
    control = read_control(choice, engine, settings)
    query = Query(image=visible_part(source, mask), text=domain.text)
    request = TransferRequest(
        query=engine.compose(
            query, ComposeOptions(composer=options.composer or engine.default_composer)
        ),
        source=source,
        mask=mask,
        strength=engine.kit.drawing.strength if options.strength is None else options.strength,
        control=control,
        style=style,
        settings=settings,
    )
    print_notes(engine, request.settings)
    result = engine.transfer(request, RunOptions(on_step=ProgressLine("step")))
    return save(result, paths, request, engine.kit.name, as_json=options.json)


def _check_domain(options: TransferOptions) -> None:
    """Check that the domain is named in one way.

    Raises:
        UsageError: It is named in none or in two.
    """
    if options.like and options.to.strip():
        raise UsageError("Name the domain with --to or show it with --like, not both.")
    if not options.like and not options.to.strip():
        raise UsageError(
            "Name the domain to move the image into, such as --to watercolour, or show it: "
            "--like PICTURES."
        )
    learning = options.learning
    if not options.like and (learning.inverts or learning.like_subject or options.save_token):
        raise UsageError(
            "--invert, --like-subject and --save-token are for a domain learned from pictures; "
            "give them: --like PICTURES."
        )


def _check_masking(options: TransferOptions) -> None:
    """Check that the mask is given in one way, and without what follows the whole image.

    Raises:
        UsageError: It is not.
    """
    check_mask(options.masking)
    masking = options.masking
    has_mask = any(one is not None for one in (masking.mask, masking.box, masking.where))
    if has_mask and (options.control_image is not None or options.control_from is not None):
        raise UsageError(
            "With a mask the lines follow from the marked part; leave out --control-image and "
            "--control-from."
        )


def _plan_token(options: TransferOptions) -> Path | None:
    """Return where the learned domain's tokens are kept; None where they are not."""
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


def _domain(
    engine: Engine, options: TransferOptions, given: tuple[AddedWord, ...], token_path: Path | None
) -> DomainWords:
    """Return the domain's words; one that is learned is saved first, before anything is drawn."""
    if not options.like:
        return words_of_domain(engine, options.to, given)
    name = LEARNED if token_path is None else name_of_file(token_path, LEARNED)
    learned = learn_from_files(engine, name, options.like, options.learning, "--like")
    word = domain_word(engine, learned)
    if token_path is not None:
        facts = {"examples": str(len(learned.examples))}
        save_all([token_path], [lambda file: write_token(file, word, TokenFormat.A1111, facts)])
        warn(f"The domain is kept as {token_path}; use it again: --to '{word.mark}' --token FILE")
    return DomainWords(text=word.mark, words=(word,))
