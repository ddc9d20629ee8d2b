"""The page's smaller parts: messages, examples, thumbnails, numbers, ports, the command."""

import asyncio
import dataclasses
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from composer.errors import InputError
from composer.learned import LearnedNames
from composer.prompt import MAX_PARTS
from composer.sketch import Sketch
from generation.request import RequestError
from retrieval.confidence import Confidence
from retrieval.search import Hit, Ranking
from studio.cli import main
from studio.commands.demo import free_port
from studio.errors import UsageError
from studio.ui.examples import load_examples
from studio.ui.inputs import UploadedImage, checked_float, checked_int, checked_text
from studio.ui.messages import INTERNAL_ERROR, translate_errors
from studio.ui.present import ranking_line
from studio.ui.thumbnails import SMALL_PX, Thumbnails
from studio.vocabulary import (
    UnknownWord,
    knows_any_word,
    script_line,
    syntax_line,
    unknown_words,
    unknown_words_line,
    unread_words,
    unread_words_line,
)
from tests.composer.tiny import tiny_backbone
from tests.studio.page import shared_world


def raiser(error: Exception):
    @translate_errors
    def handler(_value: str) -> None:
        raise error

    return handler


@pytest.mark.parametrize("error", [UsageError("Mend this."), InputError("Mend this.")])
def test_user_errors_are_displayed(error):
    with pytest.raises(gr.Error, match=r"^'Mend this\.'$") as caught:
        raiser(error)("x")
    assert not caught.value.print_exception


@pytest.mark.parametrize(
    "error", [kind("my secret drawing") for kind in (KeyError, OSError, ValueError)]
)
def test_a_bug_is_logged_without_what_was_typed(error, caplog):
    with pytest.raises(gr.Error) as caught:
        raiser(error)("my secret words")
    assert caught.value.message == INTERNAL_ERROR
    assert type(error).__name__ in caplog.text
    assert "secret" not in caplog.text


def test_a_full_disk_is_reported():
    with pytest.raises(gr.Error, match="disk of the server is full"):
        raiser(OSError(errno.ENOSPC, "No space left on device"))("x")


def test_the_signature_survives_the_wrapper():
    @translate_errors
    def handler(value: str, event: gr.SelectData) -> str:
        return value

    assert handler.__annotations__["event"] is gr.SelectData


def test_the_shipped_examples_are_small_drawings_with_words():
    examples = load_examples()
    assert len({example.title for example in examples}) == len(examples) >= 6
    for example in examples:
        sketch = Sketch.from_json(example.strokes)
        assert 4 <= len(sketch.strokes) <= 40
        assert len(example.words.split()) >= 4


def test_a_damaged_example_is_named(tmp_path):
    (tmp_path / "1.json").write_text('{"title": "x"}')
    with pytest.raises(ValueError, match=r"1\.json is damaged"):
        load_examples(tmp_path)
    assert load_examples(tmp_path / "nothing") == ()


def test_thumbnails_are_small_private_and_remembered(tmp_path):
    original = tmp_path / "<b>name.jpg"
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    Image.new("RGB", (900, 300), "red").save(original, exif=exif)
    cache = tmp_path / "cache"
    cache.mkdir()
    thumbnails = Thumbnails(cache, max_files=2)
    (made,) = thumbnails.small([original])
    with Image.open(made) as image:
        assert max(image.size) == SMALL_PX
        assert not image.getexif()
    assert b"a secret" not in made.read_bytes()
    assert "name" not in made.name
    before = made.stat().st_mtime_ns
    assert thumbnails.small([original]) == [made]
    assert made.stat().st_mtime_ns >= before
    made.unlink()
    assert thumbnails.small([original])[0].exists()
    others = []
    for number in range(3):
        other = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(other)
        others.append(other)
    thumbnails.small(others)
    assert len(list(cache.iterdir())) == 2


def test_a_missing_picture_is_a_blank(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    made = Thumbnails(cache).large(tmp_path / "gone.png")
    with Image.open(made) as image:
        levels = np.asarray(image.convert("RGB"))
    assert np.ptp(levels, axis=(0, 1)).max() <= 4


def test_numbers_are_numbers():
    assert checked_float(0.5, "It") == 0.5
    assert checked_int(3.0, "It") == 3
    assert checked_text(None, "It") == ""
    for value in (None, True, "1", [], {}, float("nan"), float("inf"), -float("inf")):
        with pytest.raises(RequestError, match="It must be"):
            checked_float(value, "It")
        with pytest.raises(RequestError, match="It must be"):
            checked_int(value, "It")
    with pytest.raises(RequestError, match="at most"):
        checked_int(1e300, "It")
    with pytest.raises(RequestError, match="It must be text"):
        checked_text(3, "It")


@pytest.mark.parametrize("address", ["http://127.0.0.1/x.png", "https://x", "file:///etc/passwd"])
def test_an_address_is_not_fetched(address):
    with pytest.raises(gr.Error, match="addresses are not fetched"):
        asyncio.run(UploadedImage().async_move_resource_to_block_cache(address))


def test_our_components_write_no_stub_files(repo_root):
    assert list((repo_root / "studio").rglob("*.pyi")) == []


def test_unknown_words_are_listed_whole():
    backbone = tiny_backbone()
    assert unknown_words(backbone, "Red chair, oak!") == ()
    assert knows_any_word(backbone, "zebra, oak")
    assert not knows_any_word(backbone, "zebra 42 xylophone")
    unknown = unknown_words(backbone, "red zebra chair zebra 42 xylophone")
    assert [word.word for word in unknown] == ["zebra", "xylophone"]
    assert unknown_words_line(()) == ""
    (spelled_apart,) = unknown_words(backbone, "cafe\N{COMBINING ACUTE ACCENT}")
    assert spelled_apart.word == "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    assert unknown_words_line(unknown).startswith("“zebra”, “xylophone” are unknown")
    assert "and 2 more" in unknown_words_line([UnknownWord(word=word) for word in "abcde"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a (red:40) chair", "“(red:40)” is read as plain words"),
        ("a (red:-1) chair", "“(red:-1)” is read as plain words"),
        ("a (red:1,3) chair", "“(red:1,3)” is read as plain words"),
        ("a [red|blue] chair", "“[red|blue]” is read as plain words"),
        ("a [red:blue:0.5] chair", "“[red:blue:0.5]” is read as plain words"),
        ("a {red} chair", "“{red}” is read as plain words"),
        ("red++ chair", "“red++” is read as plain words"),
        ("chair <lora:oak:0.8>", "“<lora:oak:0.8>” is left out: a LoRA is chosen by its file"),
    ],
)
def test_syntax_of_other_programs_is_told(text, said):
    assert said in syntax_line(text)


@pytest.mark.parametrize(
    "text",
    [
        *("a red chair", "chair (oak)", "50:50, 3:4", "a < b > c", "C+ grade"),
        *("a (red:1.3) chair", "((red)) chair", "a [red] chair"),
    ],
)
def test_plain_text_is_no_syntax(text):
    assert syntax_line(text) == ""


@pytest.mark.parametrize("text", ["a (red:1.3) chair", "((red)) chair", "a [red] chair"])
def test_emphasis_is_told_where_it_is_not_honoured(text):
    assert "is read as plain words" in syntax_line(text, weighs=False)


def test_other_scripts_are_told():
    backbone = tiny_backbone()
    assert script_line(backbone, "café Stuhl, 50 %, naïve, 45° ©") == ""
    for word in ("\N{CHAIR}", "красный", "赤い", "كرسي", "ξύλο"):
        assert f"“{word}” may mean nothing" in script_line(backbone, f"a {word} chair")
    line = script_line(backbone, "стул красный дерево стол")
    assert "“стул”, “красный”, “дерево” ..." in line


def test_words_beyond_the_context_are_named():
    backbone = tiny_backbone()
    text = " ".join(["red"] * MAX_PARTS * (backbone.context_length - 2))
    assert unread_words(backbone, text) == ()
    assert unread_words(backbone, f"{text} oak chair") == ("oak", "chair")
    assert unread_words(backbone, text, num_before=1) == ("red",) * MAX_PARTS
    assert unread_words_line(()) == ""
    line = unread_words_line(("oak", "chair", "red", "seat"))
    assert "from “oak chair red ...” on it is not read" in line


def test_an_unknown_word_is_named_with_what_is_closest():
    backbone = tiny_backbone()
    (dragon,) = backbone.encode_text(["a photo of dragon"])
    learned = LearnedNames(["lizard", "snake"], torch.stack([dragon, -dragon]), ["a", "red"])
    unknown = unknown_words(backbone, "a red dragon", learned)
    assert unknown == (UnknownWord(word="dragon", closest=("lizard", "snake")),)
    assert unknown_words_line(unknown, has_table=True) == (
        "This kit learned “dragon” (closest: lizard, snake) without pictures, "
        "so results may be off."
    )
    assert unknown_words(backbone, "red lizards", learned) == ()


def test_a_taken_port_gives_the_next_and_says_so(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        port = free_port("127.0.0.1", wanted)
    assert wanted < port < wanted + 20
    assert capsys.readouterr().out == f"Port {wanted} is taken; using {port}.\n"


@pytest.mark.slow
def test_the_command_serves_and_cleans_up(tmp_path_factory, tmp_path):
    world = shared_world(tmp_path_factory)
    code = (
        "import sys; from studio.cli import main; sys.exit(main(['demo', '--no-browser', "
        f"'--kit', {str(world.kit)!r}, '--index', {str(world.index.parent)!r}, '--port', '17860']))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, text=True, env=environment) as process:
        try:
            lines = iter(process.stdout.readline, "")
            address = next(line for line in lines if "is open at" in line).split()[5]
            assert httpx.get(address, timeout=60).status_code == 200
            (folder,) = tmp_path.glob("duet-*")
            assert Path(f"/proc/{process.pid}/cwd").resolve() == (folder / "work").resolve()
        finally:
            process.terminate()
        assert process.wait(60) == 0
    assert list(tmp_path.glob("duet-*")) == []


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(UsageError, match="no address of this machine"):
        free_port("203.0.113.7", 7860)


def test_another_host_is_refused_before_anything_loads(capsys):
    arguments = ["demo", "--host", "0.0.0.0", "--no-browser", "--kit", "no such kit"]
    assert main(arguments) == 2
    assert "add --public" in capsys.readouterr().err


def test_the_line_over_the_hits_says_what_is_left_out_and_what_is_weak():
    hit = Hit(
        rank=1, id="a", path="a.png", file=Path("a.png"), score=0.5, similarity=0.5,
        region_similarity=None, metadata={}, near_duplicates=("b", "c"),
    )  # fmt: skip
    alone = dataclasses.replace(hit, near_duplicates=())
    plain = ranking_line(Ranking(hits=(alone,), num_items=1200, standing=None), None)
    assert plain == "The closest 1 of 1,200 pictures, best first."
    folded = Ranking(hits=(hit,), num_items=1200, standing=None)
    assert ranking_line(folded, Confidence(probability=0.9, matches=True)) == (
        f"{plain} 2 near-duplicates of them are left out."
    )
    weak = ranking_line(folded, Confidence(probability=0.1, matches=False))
    assert weak.startswith("Nothing here matches well. The closest 1")
