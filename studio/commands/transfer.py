"""`duet transfer`."""

import argparse

from composer.images import open_image
from composer.query import Query
from generation.request import TransferRequest
from generation.sample import RunOptions
from studio.commands.generate import check_output, drawing_settings, save
from studio.commands.shared import ProgressLine, open_engine
from studio.engine import Composition
from studio.errors import UsageError
from studio.words import knows_any_word


def run(arguments: argparse.Namespace) -> int:
    """Move an image into another domain and save it with its provenance.

    Raises:
        UsageError: The domain is not named, or in no word that the kit knows.
    """
    check_output(arguments.output)
    if not arguments.to.strip():
        raise UsageError("Name the domain to move the image into, such as --to watercolour.")
    engine = open_engine(arguments)
    source = open_image(arguments.source)
    domains = engine.kit.domains
    if domains and not knows_any_word(engine.backbone, arguments.to):
        raise UsageError(
            f"The kit {engine.kit.name!r} knows no domain {arguments.to!r}; "
            f"choose one of {', '.join(domains)}, or other words it has seen."
        )
    query = Query(image=source, text=arguments.to)
    request = TransferRequest(
        query=engine.compose(
            query, Composition(composer=arguments.composer or engine.default_composer)
        ),
        source=source,
        strength=arguments.strength,
        settings=drawing_settings(arguments),
    )
    result = engine.transfer(request, RunOptions(on_step=ProgressLine("step")))
    return save(result, arguments, engine.kit.name)
