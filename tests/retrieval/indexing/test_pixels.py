"""Different pictures are not hidden as near-duplicates of each other; real copies are folded."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from retrieval.indexing.encode import IndexOptions, index_folder
from retrieval.indexing.pixels import PixelComparison, are_copies, print_of
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture

WORDS = ("lease", "invoice", "total", "hotel", "map", "of", "and", "room", "due", "date", "name")


def page(seed):
    """A printed page with a title, paragraphs and gaps."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (496, 702), 255)
    pen = ImageDraw.Draw(image)
    pen.text((50, 40), " ".join(rng.choice(WORDS, 3)), font=ImageFont.load_default(22), fill=0)
    top = 90
    while top < 650:
        if rng.random() < 0.12:
            top += int(rng.integers(10, 40))
            continue
        text = " ".join(rng.choice(WORDS, int(rng.integers(4, 10))))
        pen.text((50, top), text, font=ImageFont.load_default(11), fill=0)
        top += 16
    return image.convert("RGB")


def invoice(number, rows):
    """A filled form: all have the same lines, logo and labels."""
    image = Image.new("RGB", (600, 780), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((40, 36, 180, 84), fill=(30, 60, 140))
    pen.text((350, 50), f"INVOICE No {number}", font=ImageFont.load_default(18), fill=0)
    for row in range(12):
        pen.line((40, 210 + row * 28, 560, 210 + row * 28), fill=(160, 160, 160))
    for row, (name, price) in enumerate(rows):
        pen.text((50, 214 + row * 28), name, font=ImageFont.load_default(16), fill=0)
        pen.text((480, 214 + row * 28), price, font=ImageFont.load_default(16), fill=0)
    pen.text((40, 720), "Bank 1234 5678 9012", font=ImageFont.load_default(13), fill=0)
    return image


def night(seed):
    """A dark picture with noise and a few lights."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(12, 3, (300, 400)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(levels).convert("RGB")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, radius = (int(rng.integers(0, most)) for most in (400, 300, 7))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(250, 230, 160))
    return image


def photo(seed):
    return picture(seed, (400, 300))


def resaved(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def scaled(image, factor):
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def cropped(image, share):
    x, y = round(share * image.width / 2), round(share * image.height / 2)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES = {
    "quality 40": lambda image: resaved(image, 40),
    "quality 15": lambda image: resaved(image, 15),
    "half": lambda image: scaled(image, 0.5),
    "double": lambda image: scaled(image, 2.0),
    "third, saved": lambda image: resaved(scaled(image, 1 / 3), 70),
    "brighter": lambda image: image.point(lambda level: min(255, round(level * 1.1))),
    "cropped": lambda image: cropped(image, 0.02),
}


def form(seed):
    rng = np.random.default_rng(seed)
    rows = [(str(rng.choice(WORDS)), f"{rng.integers(10, 99)}.50") for _ in range(6)]
    return int(rng.integers(1000, 9999)), rows


FORM = (("bolts", "12.00"), ("nuts", "7.50"), ("tape", "3.20"))
FORMS = {
    "form": (1000, FORM),
    "other number": (2714, FORM),
    "other rows": (1000, (*FORM[:1], ("glue", "9.80"), ("paint", "14.00"))),
    "other prices": (1000, tuple((name, f"8{price}") for name, price in FORM)),
    "another row": (1000, (*FORM, ("string", "4.10"))),
}
KINDS = {"form": lambda seed: invoice(*form(seed)), "page": page, "night": night, "photo": photo}


@pytest.mark.parametrize("name", list(FORMS)[1:])
@pytest.mark.parametrize("copy", [lambda image: image, COPIES["quality 40"], COPIES["half"]])
def test_filled_forms_of_one_template_are_no_copies(name, copy):
    first, other = (print_of(image) for image in (invoice(*FORMS["form"]), invoice(*FORMS[name])))
    assert not are_copies(first, other)
    assert not are_copies(first, print_of(copy(invoice(*FORMS[name]))))


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_copies_are_copies(make, copy):
    for seed in range(4):
        image = make(seed)
        assert are_copies(print_of(image), print_of(copy(image)))


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_different_pictures_of_a_kind_are_no_copies(make):
    prints = [print_of(make(seed)) for seed in range(12)]
    same = [
        (first, second)
        for second in range(12)
        for first in range(second)
        if are_copies(prints[first], prints[second])
    ]
    assert same == []


def test_the_same_shapes_in_another_colour_are_no_copy():
    red = picture(1, (200, 150))
    blue = Image.merge("RGB", red.split()[::-1])
    grey = np.asarray(red.convert("L"))
    tinted = [
        Image.fromarray(np.stack([grey, (grey * share).astype(np.uint8), grey], axis=2))
        for share in (1.0, 0.6)
    ]
    assert not are_copies(print_of(red), print_of(blue))
    assert not are_copies(print_of(tinted[0]), print_of(tinted[1]))


def test_pictures_without_contrast_are_compared_by_their_colour():
    prints = [
        print_of(Image.new("RGB", (90, 60), colour))
        for colour in ((20, 20, 22), (22, 21, 22), (90, 20, 20))
    ]
    assert are_copies(prints[0], prints[1])
    assert not are_copies(prints[0], prints[2])
    assert not are_copies(prints[0], print_of(photo(1)))


def test_files_that_cannot_be_read_are_no_copies(tmp_path):
    photo(1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    comparison = PixelComparison(tmp_path, ("a.png", "b.png", "none.png"))
    first, second = np.array([0, 0, 1, 0]), np.array([1, 2, 2, 0])
    assert comparison.confirm(first, second).tolist() == [False, False, False, True]


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_an_index_folds_copies_alone(tmp_path, make):
    """To this threshold all pictures are near by their features: their pixels alone decide."""
    for seed in range(5):
        make(seed).save(tmp_path / f"{seed}.png")
    resaved(make(2), 60).save(tmp_path / "copy-of-2.png")
    scaled(make(4), 0.5).save(tmp_path / "half-of-4.png")
    options = IndexOptions(near=-1.0)
    report = index_folder(
        tmp_path, tmp_path / ".duet", tiny_backbone(), kit="tiny", options=options
    )
    items = {item.path: item for item in Store.open(tmp_path / ".duet").items()}
    assert report.num_near == 2
    assert items["copy-of-2.png"].near == items["2.png"].id
    assert items["half-of-4.png"].near == items["4.png"].id
