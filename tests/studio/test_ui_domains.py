"""Domains on the page: saved ones beside the presets, and a visitor's own examples."""

from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone
from composer.strategies.converter import TextConverter
from generation.provenance import read_png
from studio.cli import parser
from studio.commands.demo import Server, context_of
from studio.commands.options import DemoOptions, make_options
from studio.domains import PRESETS, DomainStore
from studio.ui import domain_tab
from studio.ui.domain_tab import PageExamples, domain_inputs
from studio.ui.handlers import PageHandlers
from studio.ui.operation import Operation
from studio.ui.security import Access
from tests.studio.kit_world import duet
from tests.studio.page import World, make_handlers, visitor
from tests.studio.tiny_kit import write_gallery, write_kit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    kit = write_kit(folder / "kit")
    torch.manual_seed(0)
    TextConverter(Backbone.load(kit / "clip")).save(kit / "composers" / "converter.safetensors")
    converter = '[converter]\nweights = "composers/converter.safetensors"\n'
    (kit / "kit.toml").write_text((kit / "kit.toml").read_text() + converter)
    return World(kit=kit, index=write_gallery(folder / "gallery", kit))


@pytest.fixture
def handlers(world, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DUET_HOME", str(tmp_path_factory.mktemp("home")))
    page = make_handlers(world, tmp_path)
    for number in range(3):
        levels = np.zeros((80, 80, 3), np.uint8)
        levels[:, :: 4 + number] = (255, 60 * number, 0)
        Image.fromarray(levels).save(page.context.folder / f"{number}.png")
    return page


def file(handlers, number):
    return str(handlers.context.folder / f"{number}.png")


def move(handlers, *, domain="night", own="", words=()):
    return handlers.transfer(
        file(handlers, 0), domain, own, 0.6, 0, False, "", words, "", False, False, "", 1,
        request=visitor(), progress=lambda *_, **__: None,
    )  # fmt: skip


def test_saved_domains_of_the_kit_stand_beside_the_presets(world, handlers, monkeypatch):
    folder = handlers.context.folder
    for name in ("pastel", "Night"):
        assert duet("domains", "add", name, file(handlers, 1), "--kit", world.kit) == 0
    (DomainStore().folder / "bad.safetensors").write_bytes(b"x")
    with gr.Blocks(analytics_enabled=False):
        offered = [value for _, value in domain_inputs(handlers.context).domain.choices]
    assert offered == [*PRESETS, "pastel"]
    (_, after), line, _ = move(handlers, domain="pastel")
    assert line.startswith("<pastel>: strength 0.6")
    assert read_png(after).fields["query"]["added_words"][0]["name"] == "pastel"
    assert Path(after).is_relative_to(folder)
    monkeypatch.setattr(handlers.context.engine.backbone, "gallery_hash", "0" * 16, raising=True)
    with gr.Blocks(analytics_enabled=False):
        offered = [value for _, value in domain_inputs(handlers.context).domain.choices]
    assert offered == [*PRESETS]


def test_what_is_not_offered_is_neither_named_nor_used(world, handlers):
    assert duet("domains", "add", "secret", file(handlers, 1), "--kit", world.kit) == 0
    public = PageHandlers(replace(handlers.context, offers_saved=False))
    with gr.Blocks(analytics_enabled=False):
        offered = [value for _, value in domain_inputs(public.context).domain.choices]
    assert offered == [*PRESETS]
    with_names = replace(handlers.context.engine.kit, domains=("oak", "red"))
    handlers.context.engine.kit = with_names
    with pytest.raises(gr.Error, match="choose one of oak, red, secret, or"):
        move(handlers, own="zzz")
    with pytest.raises(gr.Error, match="choose one of oak, red, or"):
        move(public, own="zzz")
    for own in ("secret", "oak <secret>"):
        said = read_png(move(handlers, own=own)[0][1]).fields["query"]
        assert said["added_words"][0]["name"] == "secret"
    said = read_png(move(public, own="oak <secret>")[0][1]).fields["query"]
    assert not said.get("added_words")
    with pytest.raises(gr.Error, match="does not know the domain"):
        move(public, own="secret")


@pytest.mark.parametrize(
    ("flags", "is_offered"),
    [((), True), (("--public",), False), (("--public", "--saved-domains"), True)],
)
def test_saved_domains_are_offered_as_the_operator_says(handlers, tmp_path, flags, is_offered):
    options = make_options(DemoOptions, vars(parser().parse_args(["demo", *flags])))
    server = Server(
        access=Access(is_public=options.is_public), port=1, folder=tmp_path, operation=Operation()
    )
    context = context_of(handlers.context.engine, "duet", server, options)
    assert context.offers_saved is is_offered


def test_examples_become_a_word_of_the_visitor_and_are_forgotten(handlers):
    kept, words, line, own = handlers.add_example(
        file(handlers, 1), PageExamples(), (), request=visitor()
    )
    assert (len(kept.hashes), own) == (1, "<examples>")
    assert line.startswith("One example says little")
    first = words[0].vectors
    again = handlers.add_example(file(handlers, 1), kept, words, request=visitor())
    assert len(again[0].hashes) == 1
    kept, words, line, _ = handlers.add_example(file(handlers, 2), kept, words, request=visitor())
    assert (len(kept.hashes), len(words)) == (2, 1)
    assert line.startswith("2 examples are the word <examples>")
    assert (words[0].vectors != first).any()
    (_, after), line, _ = move(handlers, own="<examples>", words=words)
    assert line.startswith("<examples>: ")
    assert read_png(after).fields["query"]["added_words"][0]["name"] == "examples"
    kept, words, line, own = handlers.examples.clear(words)
    assert (kept.hashes, words, own) == ((), (), "")


def test_examples_are_uploads_of_the_page_and_few(handlers, tmp_path_factory, monkeypatch):
    foreign = tmp_path_factory.mktemp("foreign") / "a.png"
    Image.new("RGB", (8, 8)).save(foreign)
    with pytest.raises(gr.Error, match="not uploaded to this page"):
        handlers.add_example(str(foreign), PageExamples(), (), request=visitor())
    (handlers.context.folder / "text.png").write_text("no picture")
    with pytest.raises(gr.Error, match="The picture is not a PNG"):
        handlers.add_example(file(handlers, "text"), PageExamples(), (), request=visitor())
    monkeypatch.setattr(domain_tab, "MAX_SHOWN", 1)
    kept, words, *_ = handlers.add_example(file(handlers, 1), PageExamples(), (), request=visitor())
    with pytest.raises(gr.Error, match="1 examples already"):
        handlers.add_example(file(handlers, 2), kept, words, request=visitor())
