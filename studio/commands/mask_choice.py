"""The part of a picture that a command draws anew: painted, a box, or named by words."""

from PIL import Image

from composer.images import open_drawing
from generation.masking import Mask, mask_of_box, mask_of_image
from studio.commands.options import MaskOptions
from studio.engine import Engine
from studio.errors import UsageError
from studio.mask_words import mask_of_words


def check_mask(options: MaskOptions) -> None:
    """Check that a mask is given in one way at most.

    Raises:
        UsageError: It is given in several, or is to be inverted and is not given.
    """
    given = [one for one in (options.mask, options.box, options.where) if one is not None]
    if len(given) > 1:
        raise UsageError("Give one of --mask, --box and --where.")
    if options.is_inverted and not given:
        raise UsageError("--outside inverts a mask; give one with --mask, --box or --where.")


def read_mask(options: MaskOptions, engine: Engine, picture: Image.Image) -> Mask | None:
    """Return the mask of a picture; None for all of it.

    Raises:
        MaskError: It does not fit the picture, or marks nothing.
        ImageError: Its file cannot be read.
        UsageError: The words name nothing.
    """
    mask = None
    if options.mask is not None:
        name = options.mask.name
        mask = mask_of_image(open_drawing(options.mask), picture.width, picture.height, name)
    elif options.box is not None:
        mask = mask_of_box(options.box, picture.width, picture.height)
    elif options.where is not None:
        mask = mask_of_words(engine, picture, options.where)
    return mask.inverted() if mask is not None and options.is_inverted else mask
