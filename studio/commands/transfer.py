"""`duet transfer`."""

from composer.images import open_image
from generation.sample import RunOptions
from studio.commands.adapters import style_file
from studio.commands.generate import num_files, output_rules, print_notes, save
from studio.commands.mask_choice import check_mask
from studio.commands.options import TransferOptions
from studio.commands.outputs import plan_batch
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
    paths = plan_batch(options.output, num_files(options.drawing), rules)
    token_path = plan_token(options)
    setup = set_up(options)
    source = open_image(options.source)
    domain = domain_of(setup, token_path)
    setup = setup.with_words(domain.words)
    request = setup.request(source, options.source, domain.text)
    print_notes(setup.engine, request.settings)
    result = setup.engine.transfer(request, RunOptions(on_step=ProgressLine("step")))
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
