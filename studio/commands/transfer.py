"""`duet transfer`."""

from composer.images import open_image
from generation.sample import RunOptions
from studio.best_of import draw_best
from studio.commands.adapters import style_file
from studio.commands.generate import output_rules, plan_images, print_notes, save, save_ranked
from studio.commands.mask_choice import check_mask
from studio.commands.options import TransferOptions
from studio.commands.shared import ProgressLine
from studio.commands.transfer_folder import transfer_folder
from studio.commands.transfer_setup import domain_of, plan_token, set_up
from studio.commands.transfer_sweep import sweep
from studio.errors import UsageError


def run(options: TransferOptions) -> int:
    """Move an image, or every image of a folder, into another domain.

    Raises:
        UsageError: The domain is empty, or has no word that the kit knows.
    """
    _check_masking(options)
    if options.best_of is not None and (options.sweeps or options.source.is_dir()):
        raise UsageError(
            "--best-of is for one picture in one domain; leave it out for a folder or with --sweep."
        )
    if options.sweeps:
        return sweep(options)
    _check_domain(options)
    return transfer_folder(options) if options.source.is_dir() else _transfer_one(options)


def _transfer_one(options: TransferOptions) -> int:
    """Move an image and save it with its provenance."""
    style_path = style_file(options.style_image)
    inputs = (
        options.source, options.control_image, style_path, options.masking.mask, *options.like,
    )  # fmt: skip
    rules = output_rules(*inputs, overwrite=options.overwrite)
    paths = plan_images(options.output, options.drawing, options.best_of, rules)
    token_path = plan_token(options)
    setup = set_up(options)
    source = open_image(options.source)
    domain = domain_of(setup, token_path)
    setup = setup.with_words(domain.words)
    request = setup.request(source, options.source, domain.text)
    print_notes(setup.engine, request.settings)
    run_options = RunOptions(on_step=ProgressLine("step"))
    if options.best_of is not None:
        ranked = draw_best(setup.engine, request, options.best_of, run_options)
        return save_ranked(ranked, paths, setup.engine.kit.name, options)
    result = setup.engine.transfer(request, run_options)
    return save(result, paths, request, setup.engine.kit.name, options)


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
