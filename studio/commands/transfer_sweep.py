"""`duet transfer --sweep`: one image in every domain, on a sheet."""

from composer.images import open_image
from generation.provenance import describe, write_png
from studio.commands.generate import output_rules, print_notes
from studio.commands.options import TransferOptions
from studio.commands.outputs import picture_writer, plan_output, save_all
from studio.commands.shared import ProgressLine, print_json, print_line
from studio.commands.transfer_setup import set_up
from studio.domains import PRESETS, fitting_domains, words_of_domain
from studio.errors import UsageError
from studio.sheet import Tile, contact_sheet

NUM_COLUMNS = 4


def sweep(options: TransferOptions) -> int:
    """Draw an image in every domain of the kit and every saved one, and save a sheet of them.

    Each picture is also saved beside the sheet, with its provenance.

    Raises:
        UsageError: The options do not fit a sweep.
    """
    if options.to.strip() or options.like:
        raise UsageError("--sweep draws every domain; leave out --to and --like.")
    if options.source.is_dir() or options.drawing.num_images != 1:
        raise UsageError("--sweep takes one picture, and draws one image in each domain.")
    rules = output_rules(
        options.source, options.control_image, options.masking.mask, overwrite=options.overwrite
    )
    sheet_path = plan_output(options.output, rules)
    setup = set_up(options)
    engine, source = setup.engine, open_image(options.source)
    names = (*(engine.kit.domains or PRESETS[1:]), *fitting_domains(engine))
    paths = {
        name: plan_output(sheet_path.with_stem(f"{sheet_path.stem}-{name}"), rules)
        for name in names
    }
    print_notes(engine, setup.settings)
    tiles, progress = list[Tile](), ProgressLine("domains drawn")
    about = f"seed {setup.settings.seed}, strength {setup.strength:g}"
    for number, name in enumerate(names, start=1):
        domain = words_of_domain(engine, name, setup.words)
        reading = setup.with_words(domain.words)
        request = reading.request(source, options.source, domain.text)
        result = reading.engine.transfer(request)
        image, facts = result.images[0].image, describe(result, 0, kit=engine.kit.name)
        (paths[name],) = save_all(
            [paths[name]],
            [lambda path, i=image, f=facts: write_png(path, i, f)],
            overwrite=options.overwrite,
        )
        tiles.append(Tile(image=image, title=name, subtitle=about))
        progress(number, len(names))
    sheet = contact_sheet(tiles, query=Tile(image=source, title="source"), num_columns=NUM_COLUMNS)
    (sheet_path,) = save_all([sheet_path], [picture_writer(sheet)], overwrite=options.overwrite)
    if options.json:
        images = [{"domain": name, "path": str(path)} for name, path in paths.items()]
        print_json({"sheet": str(sheet_path), "images": images})
    else:
        for path in (sheet_path, *paths.values()):
            print_line(str(path))
    return 0
