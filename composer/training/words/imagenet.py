"""Names and definitions of ImageNet's thousand classes, as timm ships them: the one door to it."""

from dataclasses import dataclass

from timm.data import ImageNetInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageNetClass:
    """A class of the trunk's classifier.

    Attributes:
        wnid: "n" and the offset of its synset in WordNet 3.0.
        names: Its names, lower case, the usual one first.
        gloss: Its definition.
    """

    wnid: str
    names: tuple[str, ...]
    gloss: str


def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """Return the thousand classes in the order of the classifier."""
    info = ImageNetInfo()
    return tuple(_class(info, index) for index in range(info.num_classes()))


def _class(info: ImageNetInfo, index: int) -> ImageNetClass:
    names = info.index_to_description(index)
    gloss = info.index_to_description(index, detailed=True).removeprefix(names)
    return ImageNetClass(
        wnid=info.index_to_label_name(index),
        names=tuple(name.strip().lower() for name in names.split(",")),
        gloss=gloss.strip(" :").lower(),
    )
