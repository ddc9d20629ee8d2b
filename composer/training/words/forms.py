"""Ways to ask for a thing: forms that mean the same."""

from typing import Final

from composer.data.wording import with_article

# {} is the bare noun, {a} the noun with its article.
PHOTO: Final = "a photo of {a}"
BARE: Final = "{}"
PLAIN: Final = (PHOTO, BARE, "a picture of {a}")
PARAPHRASES: Final = (
    "{a}",
    "one {}",
    "the {}",
    "a photo of one {}",
    "a photo of the {}",
    "a picture showing {a}",
    "an image of {a}",
    "there is {a} in the photo",
    "{a} in the picture",
    "{} in a photo",
    "a close photo of {a}",
    "a close-up of {a}",
    "a photograph with {a}",
    "this is {a}",
    "something like {a}",
    "i am looking for {a}",
    "find {a}",
    "show me {a}",
)
DRAWINGS: Final = (
    "a drawing of {a}",
    "a sketch of {a}",
    "a painting of {a}",
    "a cartoon of {a}",
    "a line drawing of {a}",
    "an icon of {a}",
)
# Of PACS' four media.
MEDIA: Final = {
    "photo": PLAIN,
    "art_painting": ("a painting of {a}", "{a} in a painting", "an oil painting of {a}"),
    "cartoon": ("a cartoon of {a}", "{a} as a cartoon", "a cartoon picture of {a}"),
    "sketch": ("a sketch of {a}", "a drawing of {a}", "a pencil drawing of {a}"),
}


def say(form: str, noun: str) -> str:
    """Put a noun into a form."""
    return form.replace("{a}", with_article(noun)).replace("{}", noun)
