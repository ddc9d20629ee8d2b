"""`duet generate`."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from composer.composed import ComposedQuery
from generation.defaults import DrawingDefaults
from generation.provenance import describe, write_png
from generation.request import DEFAULT_CAPS, DrawingSettings, GenerateRequest, Request
from generation.sample import Result, RunOptions
from generation.sizes import settings_of_size
from studio.best_of import RankedPicture, check_number, draw_best
from studio.commands.adapters import parse_loras, read_style, read_tokens, style_file
from studio.commands.controls import ControlChoice, read_control
from studio.commands.options import DrawingOptions, GenerateOptions, TransferOptions
from studio.commands.outputs import OutputRules, plan_batch, plan_ranked, save_all
from studio.commands.shared import (
    ProgressLine,
    compose_query,
    index_of_option,
    open_engine,
    print_json,
    print_line,
    warn,
)
from studio.engine import Engine
from studio.errors import UsageError
from studio.known_matches import find_known_match
from studio.vocabulary import syntax_line, unread_words, unread_words_line

NUM_RANDOM_SEEDS = 2**32


def run(options: GenerateOptions) -> int:
    """Generate images and save each with its provenance.

    Raises:
        UsageError: The options contradict each other.
    """
    query_files = options.query
    rules = output_rules(
        query_files.sketch,
        query_files.image,
        query_files.saved_query,
        options.control_image,
        style_file(options.style_image),
        overwrite=options.overwrite,
    )
    paths = plan_images(options.output, options.drawing, options.best_of, rules)
    words = read_tokens(options.query.tokens)
    engine = open_engine(options.kit, parse_loras(options.loras)).with_words(words)
    style = read_style(options.style_image, engine.kit)
    query, composed = compose_query(engine, options.query)
    settings = drawing_settings(options.drawing, engine.kit.drawing)
    if options.size is not None:
        settings = settings_of_size(engine.pipeline, settings, options.size)
    choice = ControlChoice(
        image=options.control_image,
        detector=options.control_from,
        photo=query_files.image or query_files.sketch,
    )
    control = read_control(choice, engine, settings)
    request = GenerateRequest(
        query=composed,
        control_sketch=query.sketch if query and control is None else None,
        control=control,
        style=style,
        settings=settings,
        enlarged_to=options.size if options.size != (settings.width, settings.height) else None,
    )
    _print_enlarged(request)
    print_notes(engine, request.settings)
    if (note := engine.note_on_own_drawings(request)) is not None:
        warn(f"{note} --controlnet-conditioning-scale 0 draws from the words alone.")
    _print_known_match(engine, composed, options)
    run_options = RunOptions(on_step=ProgressLine("step"))
    if options.best_of is not None:
        ranked = draw_best(engine, request, options.best_of, run_options)
        return save_ranked(ranked, paths, engine.kit.name, options)
    result = engine.generate(request, run_options)
    return save(result, paths, request, engine.kit.name, options)


def _print_enlarged(request: GenerateRequest) -> None:
    """Print on stderr that images will not be drawn at the size that was asked for."""
    if request.enlarged_to is not None:
        width, height = request.enlarged_to
        warn(
            f"Drawn at {request.settings.width} x {request.settings.height} pixels, about what "
            f"the kit has learned, and resized to {width} x {height}, which adds no detail."
        )


def plan_images(
    output: Path, drawing: DrawingOptions, best_of: int | None, rules: OutputRules
) -> tuple[Path, ...]:
    """Return where to write the images of one query.

    Args:
        output: As it was asked for.
        drawing: How images are drawn.
        best_of: How many are drawn and put in order; None for a batch without an order.
        rules: What they must be saved as.

    Raises:
        UsageError: Their number is out of range, or they could not be written there.
    """
    if best_of is None:
        return plan_batch(output, num_files(drawing), rules)
    check_number(best_of, "--best-of")
    if drawing.num_images != 1:
        raise UsageError("--best-of says how many images are drawn; leave out --num-images.")
    return plan_ranked(output, best_of, rules)


def _print_known_match(engine: Engine, query: ComposedQuery, options: GenerateOptions) -> None:
    """Print on stderr whether the gallery has a match, before anything is drawn."""
    match = find_known_match(engine, query, index_of_option(options.index))
    if match is not None:
        warn(match.sentence)


def drawing_settings(options: DrawingOptions, defaults: DrawingDefaults) -> DrawingSettings:
    """Return the settings of a request from the options of the same names, or the kit's.

    A random seed is printed, so that the images can be drawn again.
    """
    fields = asdict(options)
    if fields["seed"] is None:
        fields["seed"] = secrets.randbelow(NUM_RANDOM_SEEDS)
        warn(f"The seed is {fields['seed']}; --seed {fields['seed']} draws the same again.")
    missing = {name: getattr(defaults, name) for name, value in fields.items() if value is None}
    return DrawingSettings(**{**fields, **missing})


def print_notes(engine: Engine, settings: DrawingSettings) -> None:
    """Print on stderr what is approximate in the pipeline, and what negative words will not do."""
    known = engine.backbone.added_words
    syntax = syntax_line(settings.negative_text, weighs=False, known=known)
    unread = unread_words_line(unread_words(engine.backbone, settings.negative_text))
    for note in (*engine.pipeline.notes, *filter(None, (syntax, unread))):
        warn(note)


def num_files(options: DrawingOptions) -> int:
    """Return how many images are saved; a number that no request may have is left to its check."""
    return max(1, min(options.num_images, DEFAULT_CAPS.num_images))


def output_rules(*inputs: Path | None, overwrite: bool) -> OutputRules:
    """Return what the images of a command must be saved as.

    Args:
        inputs: Files that the command reads; None for those that are not given.
        overwrite: Whether files may be replaced.
    """
    return OutputRules(
        option="--output",
        suffix=".png",
        why="as a PNG stores how it was made",
        inputs=tuple(path for path in inputs if path is not None),
        overwrite=overwrite,
    )


def save(
    result: Result,
    paths: Sequence[Path],
    request: Request,
    kit: str,
    options: GenerateOptions | TransferOptions,
) -> int:
    """Save the images of a result, each with its provenance, and print their paths.

    Raises:
        UsageError: One could not be saved to its path; the message says where it is.
    """

    def writer(number: int) -> Callable[[Path], None]:
        image, facts = result.images[number].image, describe(result, number, kit=kit)
        return lambda path: write_png(path, image, facts)

    paths = save_all(
        paths, [writer(number) for number in range(len(paths))], overwrite=options.overwrite
    )
    if options.json:
        images = [
            {"path": str(path), "seed": request.settings.seed + i} for i, path in enumerate(paths)
        ]
        print_json({"images": images})
    else:
        for path in paths:
            print_line(str(path))
    return 0


def save_ranked(
    ranked: Sequence[RankedPicture],
    paths: Sequence[Path],
    kit: str,
    options: GenerateOptions | TransferOptions,
) -> int:
    """Save images with their provenance and place, and print a table of their agreement.

    Raises:
        UsageError: One could not be saved to its path; the message says where it is.
    """

    def writer(picture: RankedPicture) -> Callable[[Path], None]:
        return lambda path: write_png(path, picture.image, picture.describe(kit))

    paths = save_all(paths, [writer(picture) for picture in ranked], overwrite=options.overwrite)
    placed = list(zip(paths, ranked, strict=True))
    if options.json:
        print_json(
            {
                "images": [
                    {"path": str(path), "seed": picture.seed, **picture.selection.as_fields()}
                    for path, picture in placed
                ]
            }
        )
        return 0
    print_line(f"rank  reference  words  score  {'seed':>10}  file")
    for path, picture in placed:
        agreement = picture.selection.agreement
        reference, words = (
            "-" if cosine is None else f"{cosine:.3f}"
            for cosine in (agreement.reference, agreement.words)
        )
        print_line(
            f"{picture.selection.rank:4}  {reference:>9}  {words:>5}  {agreement.score:+5.2f}  "
            f"{picture.seed:10}  {path}"
        )
    return 0
