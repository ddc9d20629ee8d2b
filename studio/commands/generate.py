"""`duet generate`."""

import argparse
from pathlib import Path

from generation.provenance import describe, write_png
from generation.request import DrawingSettings, GenerateRequest
from generation.sample import Result, RunOptions
from studio.commands.shared import (
    ProgressLine,
    compose_query,
    open_engine,
    print_json,
    saving,
    say,
)
from studio.errors import UsageError


def run(arguments: argparse.Namespace) -> int:
    """Generate images and save each with its provenance."""
    check_output(arguments.output)
    engine = open_engine(arguments)
    query, composed = compose_query(engine, arguments)
    request = GenerateRequest(
        query=composed,
        control_sketch=query.sketch if query else None,
        settings=drawing_settings(arguments),
    )
    result = engine.generate(request, RunOptions(on_step=ProgressLine("step")))
    return save(result, arguments, engine.kit.name)


def drawing_settings(arguments: argparse.Namespace) -> DrawingSettings:
    """Read the drawing options, which generation and transfer share."""
    return DrawingSettings(
        seed=arguments.seed,
        num_images=arguments.num_images,
        num_inference_steps=arguments.num_inference_steps,
        guidance_scale=arguments.guidance_scale,
        controlnet_conditioning_scale=arguments.controlnet_conditioning_scale,
        negative_text=arguments.negative_text,
    )


def check_output(path: Path) -> None:
    """Check before any work that the result can be saved.

    Raises:
        UsageError: It is no PNG, or its folder does not exist.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"--output must end in .png, which keeps how it was made; got {path}.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} to save {path.name} in.")


def save(result: Result, arguments: argparse.Namespace, kit: str) -> int:
    """Save the images of a result: one as `--output`, several numbered beside it."""
    output: Path = arguments.output
    paths: list[Path] = []
    for number, picture in enumerate(result.images):
        several = len(result.images) > 1
        path = output.with_stem(f"{output.stem}-{number}") if several else output
        with saving(path):
            write_png(path, picture.image, describe(result, number, kit=kit))
        paths.append(path)
    if arguments.json:
        images = [{"path": str(path), "seed": arguments.seed + i} for i, path in enumerate(paths)]
        print_json({"images": images})
    else:
        for path in paths:
            say(str(path))
    return 0
