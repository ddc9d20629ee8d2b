"""Held-out parts of the standard data sets, by one rule for every reader.

The held-out parts are measured on later: 20 of the 104 seen Sketchy classes (photos, sketches and
Tiny-ImageNet classes of the same name), 60 of ChairV2's 300 training photos with their sketches,
and a quarter of each PACS domain. Membership is a pure function of the upstream file name, so that
it is the same on every machine.
"""

import hashlib
import re

SKETCHY_CLASSES = frozenset(
    (
        "ape",
        "axe",
        "bell",
        "butterfly",
        "cannon",
        "church",
        "deer",
        "eyeglasses",
        "geyser",
        "hamburger",
        "hermit_crab",
        "jack-o-lantern",
        "lobster",
        "owl",
        "pineapple",
        "racket",
        "saxophone",
        "sheep",
        "trumpet",
        "umbrella",
    )
)


def sketchy_is_held_out(class_name: str) -> bool:
    """Tell whether a Sketchy class, spelled as in its folder name, is held out."""
    return class_name in SKETCHY_CLASSES


def tiny_imagenet_is_held_out(class_words: str) -> bool:
    """Tell whether a Tiny-ImageNet class names a held-out Sketchy class.

    `class_words` is the comma-separated line of `classes.json`. A class counts when one of its
    names is, or ends in, a held-out name ("spiny lobster" for "lobster").
    """
    names = {name.strip().lower().split(" ")[-1] for name in class_words.split(",")}
    return bool(names & {name.replace("_", " ").split(" ")[-1] for name in SKETCHY_CLASSES})


def chairv2_is_held_out(photo_stem: str) -> bool:
    """Tell whether a ChairV2 photo (and so each of its sketches) is held out: 60 of the 300."""
    return bucket(f"chairv2/{photo_stem}", 10_000) < 2190


def pacs_is_held_out(path: str) -> bool:
    """Tell whether a PACS file, as `domain/class/name`, is held out: a quarter of each domain.

    PACS' sketch domain repeats drawings of Sketchy: those of held-out classes carry that class in
    their folder, and PACS has none of them.
    """
    return bucket(f"pacs/{path}", 4) == 0


def flickr_is_held_out(name: str) -> bool:
    """Tell whether a Flickr8k photo is kept for validation: an eighth of them."""
    return bucket(f"flickr/{name}", 8) == 0


def sketchy_photo_stem(sketch_stem: str) -> str:
    """Return the photo a Sketchy sketch belongs to: "n02691156_10151-3" is of "n02691156_10151"."""
    return re.sub(r"-\d+$", "", sketch_stem)


def bucket(name: str, num_buckets: int) -> int:
    """Return the number that a name always falls on, from 0, evenly spread."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") % num_buckets
