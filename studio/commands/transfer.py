"""`duet transfer`."""

import argparse

from composer.images import open_image
from composer.query import Query
from generation.request import TransferRequest
from generation.sample import RunOptions
from studio.commands.generate import check_output, drawing_settings, save
from studio.commands.shared import ProgressLine, open_engine
from studio.engine import Composition


def run(arguments: argparse.Namespace) -> int:
    """Move an image into another domain and save it with its provenance."""
    check_output(arguments.output)
    engine = open_engine(arguments)
    source = open_image(arguments.source)
    query = Query(image=source, text=arguments.to)
    request = TransferRequest(
        query=engine.compose(query, Composition(composer=arguments.composer)),
        source=source,
        strength=arguments.strength,
        **drawing_settings(arguments),
    )
    result = engine.transfer(request, RunOptions(on_step=ProgressLine("step")))
    return save(result, arguments, engine.kit.name)
