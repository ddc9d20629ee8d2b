"""What an operator's content check holds back."""

from dataclasses import replace

import gradio as gr
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone
from composer.medium import Medium
from composer.vision import ImageEncoding
from studio.content_check import REFUSAL, load_check
from studio.errors import UsageError
from studio.ui.handlers import PageHandlers
from tests.studio.kit_world import duet
from tests.studio.page import HOUSE, QUEUE_STATISTICS, make_handlers, shared_world, visitor

pytestmark = [*QUEUE_STATISTICS]
NO_FUNCTION = "a text"


def bright(image: Image.Image) -> bool:
    """A check of an operator's: nothing dark."""
    return image.getpixel((0, 0))[0] > 100


def untrue(image: Image.Image) -> str:
    return "yes"


class SeeingRed(Backbone):
    """A CLIP whose first axis is red, the second all else."""

    def __init__(self):
        """Load nothing."""

    def encode_text(self, texts):
        is_red = [float("red" in text.split()) for text in texts]
        return torch.tensor([[red, 1 - red] for red in is_red])

    def preprocess(self, images):
        return torch.tensor([image.getpixel((0, 0)) for image in images]).float()

    def encode_image(self, pixels, medium=Medium.PHOTO):
        red = (pixels[:, 0] > 2 * pixels[:, 1]).float()
        nothing = torch.zeros(len(pixels), 1, 2)
        return ImageEncoding(
            features=torch.stack([red, 1 - red], dim=1), patch_features=nothing, hidden=nothing
        )


def test_a_picture_that_fits_a_description_best_is_held_back(tmp_path):
    file = tmp_path / "refused.txt"
    file.write_text("# nothing of this\n\nsomething red\n  more red things  \n", encoding="utf-8")
    check = load_check(str(file), SeeingRed)
    assert not check(Image.new("RGB", (8, 8), "red"))
    assert check(Image.new("RGB", (8, 8), "green"))  # which a neutral one fits better


def test_a_function_of_the_operator_s_is_asked_and_must_say_true():
    check = load_check(f"{__name__}:bright", SeeingRed)
    assert check(Image.new("RGB", (8, 8), "white"))
    assert not check(Image.new("RGB", (8, 8), "black"))
    assert not load_check(f"{__name__}:untrue", SeeingRed)(Image.new("RGB", (8, 8)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.txt", "there is no file 'nowhere.txt'"),
        ("no.such.module:check", "cannot be loaded: No module named 'no'"),
        (f"{__name__}:missing", "cannot be loaded"),
        (f"{__name__}:NO_FUNCTION", "is no function"),
    ],
)
def test_a_check_that_is_not_there_is_refused(name, message):
    with pytest.raises(UsageError, match=message):
        load_check(name, SeeingRed)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"# only a comment\n\n", "has no description"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"a line\n" * 20_000, "larger than 100 KB"),
        ("\N{EURO SIGN}".encode() * 40_000, "larger than 100 KB"),  # cut within a character
    ],
)
def test_a_file_without_descriptions_is_refused(tmp_path, data, message):
    (tmp_path / "refused.txt").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        load_check(str(tmp_path / "refused.txt"), SeeingRed)


def test_the_command_names_a_wrong_check_before_it_serves(capsys):
    assert duet("demo", "--no-browser", "--content-check", "nowhere.txt") == 2
    assert "there is no file 'nowhere.txt'" in capsys.readouterr().err


def generate(handlers: PageHandlers, num_images: int):
    return handlers.generate(
        HOUSE, "red", 0.5, 3, 2, 1.0, num_images, None, False, (), (), request=visitor(),
        progress=lambda *_, **__: None,
    )  # fmt: skip


@pytest.fixture
def page(tmp_path_factory):
    return make_handlers(shared_world(tmp_path_factory), tmp_path_factory.mktemp("page"))


def checked(page: PageHandlers, answers: list[bool]) -> PageHandlers:
    given = iter(answers)
    return PageHandlers(replace(page.context, may_show=lambda _: next(given)))


def test_what_is_refused_is_neither_shown_nor_kept(page):
    handlers = checked(page, [True, False])
    gallery, kept, line, *_ = generate(handlers, 2)
    assert [label for _, label in gallery["value"]] == ["seed 3"]
    assert [picture.file.name for picture in kept] == ["duet-3.png"]
    assert [file.name for file in kept[0].file.parent.iterdir()] == ["duet-3.png"]
    assert line.startswith("1 drawn in ")
    assert "1 held back by the content check." in line


def test_a_page_whose_every_picture_is_refused_says_so(page):
    with pytest.raises(gr.Error, match="did not pass the page's content check"):
        generate(checked(page, [False]), 1)
    assert "content check" in REFUSAL


def test_an_error_in_the_check_shows_nothing(page):
    def broken(_):
        raise RuntimeError("the check is broken")

    handlers = PageHandlers(replace(page.context, may_show=broken))
    with pytest.raises(gr.Error) as raised:
        generate(handlers, 1)
    assert "the check is broken" not in str(raised.value)
    assert not list(handlers.sessions.folder("one").glob("*.png"))
