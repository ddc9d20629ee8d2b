"""Token files that a visitor adds to the page: words of that visitor alone."""

from pathlib import Path

import gradio as gr
import pytest
import torch
from safetensors.torch import save_file

from composer.query import Query
from generation.provenance import read_png
from studio.ui.security import LOCAL_CAPS, PUBLIC_CAPS
from studio.ui.word_files import HOW
from tests.pictures import noise
from tests.studio.page import make_handlers, shared_world, visitor
from tests.studio.test_ui_handlers import silent


@pytest.fixture(scope="module")
def handlers(tmp_path_factory):
    return make_handlers(shared_world(tmp_path_factory), tmp_path_factory.mktemp("served"))


def upload(handlers, name="fog", *, seed=0, width=32, folder="up") -> str:
    place = handlers.context.folder / folder
    place.mkdir(exist_ok=True)
    rows = torch.randn(2, width, generator=torch.Generator().manual_seed(seed))
    save_file({"emb_params": rows}, place / f"{name}.safetensors")
    return str(place / f"{name}.safetensors")


def add(handlers, *files):
    words, line = (), ""
    for file in files:
        words, line = handlers.word_files.add(file, words)
    return words, line


def hits(handlers, text, words=()):
    answer = handlers.retrieval.retrieve("", text, 0.5, added_words=words)
    return [dict(picture.facts.rows)["Similarity"] for picture in answer[1]], answer[4]


def test_a_file_becomes_a_word_of_this_visit_and_can_be_forgotten(handlers):
    words, line = add(handlers, upload(handlers))
    assert line == "Your words: <fog>. Write them among the others."
    ours, note = hits(handlers, "red <fog>", words)
    assert note == ""
    theirs, note = hits(handlers, "red <fog>")
    assert "“<fog>” is read as plain words" in note
    assert ours != theirs
    engine = handlers.context.engine
    composed = engine.with_words(words).compose(Query(text="red <fog>"))
    ranking = engine.search(composed, handlers.context.index, 12)
    assert ours == [f"{hit.score:.3f}" for hit in ranking.hits]
    assert handlers.word_files.clear() == ((), HOW)
    assert "<chair>" in HOW


def test_a_word_has_the_name_that_the_visitor_gave(handlers):
    file = upload(handlers)
    words, line = handlers.word_files.add(file, (), " mist ")
    assert line == "Your words: <mist>. Write them among the others."
    assert hits(handlers, "<mist>", words) == hits(handlers, "<fog>", add(handlers, file)[0])
    both, _ = handlers.word_files.add(file, words, "")
    assert [word.mark for word in both] == ["<mist>", "<fog>"]
    odd = Path(file).rename(Path(file).with_name("my token (1).safetensors"))
    assert handlers.word_files.add(str(odd), (), "seat")[0][0].mark == "<seat>"
    for name in ("a b", "<x>", "x" * 61, 5):
        with pytest.raises(gr.Error, match="The name"):
            handlers.word_files.add(str(odd), (), name)


def test_two_visitors_have_words_of_one_name(handlers):
    one, _ = add(handlers, upload(handlers, seed=1, folder="one"))
    other, _ = add(handlers, upload(handlers, seed=2, folder="two"))
    assert hits(handlers, "<fog>", one) != hits(handlers, "<fog>", other)
    assert hits(handlers, "<fog>", one) == hits(handlers, "<FOG>", one)


def test_a_file_of_a_known_name_takes_its_place(handlers):
    first, second = upload(handlers, seed=1, folder="one"), upload(handlers, seed=2, folder="two")
    words, line = add(handlers, first, second)
    assert [word.mark for word in words] == ["<fog>"]
    assert hits(handlers, "<fog>", words) == hits(handlers, "<fog>", add(handlers, second)[0])
    assert line.count("<fog>") == 1


def test_pictures_are_drawn_and_transferred_with_the_word(handlers, tmp_path):
    words, _ = add(handlers, upload(handlers))
    dials = (0.5, 7, 2, 3.0, 1, None, False)
    made = handlers.generate("", "red <fog>", *dials, (), words, request=visitor(), progress=silent)
    fields = read_png(made[1][0].file).fields
    assert fields["query"]["added_words"][0]["name"] == "fog"
    assert "plain words" not in made[2]
    source = handlers.context.folder / "photo.png"
    noise((70, 70), 80).save(source)
    moved = handlers.transfer(
        str(source), "night", "<fog>", 0.6, 0, False, "", words, "", False, False, "", 1,
        request=visitor(), progress=silent,
    )  # fmt: skip
    fields = read_png(Path(moved[0][1])).fields
    assert fields["query"]["added_words"][0]["name"] == "fog"


@pytest.mark.parametrize("caps", [LOCAL_CAPS, PUBLIC_CAPS])
def test_a_visitor_has_a_bounded_number_of_words(handlers, caps):
    before = handlers.context.caps
    object.__setattr__(handlers.context, "caps", caps)
    try:
        files = [upload(handlers, f"w{number}") for number in range(caps.num_added_words + 1)]
        words, _ = add(handlers, *files[:-1])
        assert len(words) == caps.num_added_words
        with pytest.raises(gr.Error, match=f"You have {len(words)} words already"):
            handlers.word_files.add(files[-1], words)
    finally:
        object.__setattr__(handlers.context, "caps", before)


def test_what_is_no_token_file_of_this_kit_is_a_sentence(handlers, tmp_path):
    foreign = upload(handlers, "sd15", width=768)
    with pytest.raises(gr.Error, match="for a text encoder of width 768"):
        handlers.word_files.add(foreign, ())
    folder = handlers.context.folder / "up"
    (folder / "bad.safetensors").write_bytes(b"x" * 100)
    (folder / "style.pt").write_bytes(b"x")
    large = folder / "large.safetensors"
    large.write_bytes(b"\0" * (handlers.context.caps.token_bytes + 1))
    odd = Path(upload(handlers)).rename(folder / "my token (1).safetensors")
    for file, sentence in (
        (folder / "bad.safetensors", "is damaged"),
        (folder / "style.pt", "is a pickle"),
        (large, "at most 2 MiB here"),
        (odd, "1 to 60 Latin letters"),
    ):
        with pytest.raises(gr.Error, match=sentence) as caught:
            handlers.word_files.add(str(file), ())
        assert "<" not in caught.value.message


@pytest.mark.parametrize("sent", [None, "", 5, ["a"], {"path": "a"}, "/etc/passwd", "work/x"])
def test_only_uploads_to_this_page_are_read(handlers, tmp_path, sent):
    with pytest.raises(gr.Error, match="was not uploaded to this page"):
        handlers.word_files.add(sent, ())


def test_a_file_elsewhere_is_not_read(handlers, tmp_path):
    file = tmp_path / "fog.safetensors"
    file.write_bytes(Path(upload(handlers)).read_bytes())
    with pytest.raises(gr.Error, match="was not uploaded to this page"):
        handlers.word_files.add(str(file), ())
