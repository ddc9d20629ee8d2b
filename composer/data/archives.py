"""File names of the archives of natural pictures and drawings."""

from typing import Final

TINY_IMAGENET: Final = "tiny_imagenet.zip"
SKETCHY: Final = "sketchy_subset.tar"
CHAIRV2: Final = "chairv2_train.tar"
SHOEV2: Final = "shoev2_photos.tar"
PACS: Final = "pacs_half.tar"
FLICKR: Final = "flickr_captions.tar"
NOTO: Final = "noto_emoji.tar"
PHOSPHOR: Final = "phosphor_icons.tar"
