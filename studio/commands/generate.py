"""`duet generate`."""

from dataclasses import asdict
from pathlib import Path

from generation.defaults import DrawingDefaults
from generation.provenance import describe, write_png
from generation.request import DrawingSettings, GenerateRequest
from generation.sample import Result, RunOptions
from studio.commands.options import DrawingOptions, GenerateOptions, TransferOptions
from studio.commands.shared import (
    ProgressLine,
    compose_query,
    open_engine,
    print_json,
    print_line,
    translate_save_errors,
    warn,
)
from studio.engine import Engine
from studio.errors import UsageError


def run(options: GenerateOptions) -> int:
    """Generate images and save each with its provenance."""
    check_output(options.output)
    engine = open_engine(options.kit)
    query, composed = compose_query(engine, options.query)
    request = GenerateRequest(
        query=composed,
        control_sketch=query.sketch if query else None,
        settings=drawing_settings(options.drawing, engine.kit.drawing),
    )
    print_notes(engine)
    result = engine.generate(request, RunOptions(on_step=ProgressLine("step")))
    return save(result, options, engine.kit.name)


def drawing_settings(options: DrawingOptions, defaults: DrawingDefaults) -> DrawingSettings:
    """Return the settings of a request from the options of the same names, or the kit's."""
    fields = asdict(options)
    missing = {name: getattr(defaults, name) for name, value in fields.items() if value is None}
    return DrawingSettings(**{**fields, **missing})


def print_notes(engine: Engine) -> None:
    """Print on stderr what is approximate in the kit's pipeline, if anything is."""
    for note in engine.pipeline.notes:
        warn(note)


def check_output(path: Path) -> None:
    """Check that the result can be saved.

    Raises:
        UsageError: The path is no PNG, or its folder does not exist.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"--output must end in .png, as a PNG stores how it was made; got {path}.")
    if not path.parent.is_dir():
        raise UsageError(f"The folder of --output does not exist: {path.parent}.")


def save(result: Result, options: GenerateOptions | TransferOptions, kit: str) -> int:
    """Save the images of a result as `--output`; several get a number each."""
    output = options.output
    paths: list[Path] = []
    for number, picture in enumerate(result.images):
        is_batch = len(result.images) > 1
        path = output.with_stem(f"{output.stem}-{number}") if is_batch else output
        with translate_save_errors(path):
            write_png(path, picture.image, describe(result, number, kit=kit))
        paths.append(path)
    if options.json:
        images = [
            {"path": str(path), "seed": options.drawing.seed + i} for i, path in enumerate(paths)
        ]
        print_json({"images": images})
    else:
        for path in paths:
            print_line(str(path))
    return 0
