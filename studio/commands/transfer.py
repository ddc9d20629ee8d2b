"""`duet transfer`."""

from composer.images import open_image
from composer.query import Query
from generation.request import TransferRequest
from generation.sample import RunOptions
from studio.commands.adapters import parse_loras, read_style, read_tokens, style_file
from studio.commands.controls import ControlChoice, read_control
from studio.commands.generate import (
    drawing_settings,
    num_files,
    output_rules,
    print_notes,
    save,
)
from studio.commands.options import TransferOptions
from studio.commands.outputs import plan_batch
from studio.commands.shared import ProgressLine, open_engine
from studio.engine import ComposeOptions
from studio.errors import UsageError
from studio.vocabulary import knows_any_word


def run(options: TransferOptions) -> int:
    """Move an image into another domain and save it with its provenance.

    Raises:
        UsageError: The domain is empty, or has no word that the kit knows.
    """
    if not options.to.strip():
        raise UsageError("Name the domain to move the image into, such as --to watercolour.")
    style_path = style_file(options.style_image)
    inputs = (options.source, options.control_image, style_path)
    rules = output_rules(*inputs, overwrite=options.overwrite)
    paths = plan_batch(options.output, num_files(options.drawing), rules)
    words = read_tokens(options.tokens)
    engine = open_engine(options.kit, parse_loras(options.loras)).with_words(words)
    style = read_style(options.style_image, engine.kit)
    source = open_image(options.source)
    domains = engine.kit.domains
    if domains and not knows_any_word(engine.backbone, options.to):
        raise UsageError(
            f"The kit {engine.kit.name!r} does not know the domain {options.to!r}; "
            f"choose one of {', '.join(domains)}, or other words it was trained on."
        )
    settings = drawing_settings(options.drawing, engine.kit.drawing)
    choice = ControlChoice(
        image=options.control_image, detector=options.control_from, photo=options.source
    )
    control = read_control(choice, engine, settings)
    query = Query(image=source, text=options.to)
    request = TransferRequest(
        query=engine.compose(
            query, ComposeOptions(composer=options.composer or engine.default_composer)
        ),
        source=source,
        strength=engine.kit.drawing.strength if options.strength is None else options.strength,
        control=control,
        style=style,
        settings=settings,
    )
    print_notes(engine, request.settings)
    result = engine.transfer(request, RunOptions(on_step=ProgressLine("step")))
    return save(result, paths, request, engine.kit.name, as_json=options.json)
