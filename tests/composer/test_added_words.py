"""Words of token files in the texts of a CLIP."""

from dataclasses import replace

import pytest
import torch

from composer.added_words import MAX_WORDS, AddedWord, UsedWords, WordFile
from composer.backbone import NUM_BESIDE
from composer.composed import ComposedQuery
from composer.errors import InputError
from composer.prompt import build_prompt, text_parts
from composer.strategies.duet import DuetComposer, DuetModel
from composer.strategies.protocol import EncodedReference, with_backbone
from composer.strategies.reference import encode_words
from tests.composer.tiny import CONTEXT, TEXT_WIDTH, tiny_backbone


def make_word(name="seat", num=3, seed=1, **changes):
    generator = torch.Generator().manual_seed(seed)
    return AddedWord(
        name=name, vectors=torch.randn(num, TEXT_WIDTH, generator=generator), **changes
    )


def word_of(text: str, **changes) -> AddedWord:
    """A word whose vectors are those of plain words."""
    backbone = tiny_backbone()
    ids = [i for word in backbone.word_ids(text) for i in word]
    return AddedWord(name="w", vectors=backbone.token_table()[ids].clone(), **changes)


def test_a_word_of_plain_vectors_reads_as_these_words():
    backbone = tiny_backbone()
    reader = backbone.with_words([word_of("red chair")])
    for text, plain in (("<w>", "red chair"), ("a <W>, oak", "a red chair, oak"), ("x<w>y", None)):
        expected = backbone.encode_text([plain or "x red chair y"])
        assert torch.equal(reader.encode_text([text]), expected)
    assert torch.equal(encode_words(reader, "<w>"), encode_words(backbone, "red chair"))


def test_a_word_is_one_word_of_several_tokens():
    reader = tiny_backbone().with_words([make_word(num=3)])
    first = len(reader.token_table())
    assert reader.word_ids("<seat>") == [[first, first + 1, first + 2]]
    assert reader.words("Red <SEAT> oak") == ["red", "<seat>", "oak"]
    prompt = build_prompt(reader, "", None, "red <seat>")
    assert prompt.word_positions[1] == (2, 3, 4)
    assert torch.equal(prompt.token_embeddings[2:5], make_word(num=3).vectors)
    assert reader.without_added_words("red <seat> <dog>").split() == ["red", "<dog>"]
    parts = text_parts(reader, "<seat> " * 12, 0)
    assert [part.num_tokens for part in parts] == [21, 15]


def test_the_word_stays_with_the_copy_and_weights_are_shared():
    backbone = tiny_backbone()
    plain = backbone.word_ids("<seat>")
    one, other = backbone.with_words([make_word()]), backbone.with_words([make_word(seed=2)])
    assert not torch.equal(one.encode_text(["<seat>"]), other.encode_text(["<seat>"]))
    assert backbone.word_ids("<seat>") == plain
    assert backbone.added_words == ()
    assert one.model is backbone.model
    assert one._fast_tower() is backbone._fast_tower()
    assert one.text_hash == backbone.text_hash
    # Without words a copy reads as before.
    assert backbone.with_words([]).word_ids("<seat>") == plain


def test_words_of_another_space_are_left_out():
    backbone = tiny_backbone()
    foreign = replace(make_word(), vectors=torch.zeros(1, 768))
    named = replace(make_word(), text_hash="1234")
    assert backbone.with_words([foreign, named]).added_words == ()
    own = replace(make_word(), text_hash=backbone.text_hash)
    assert backbone.with_words([own]).added_words == (own,)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([make_word(), make_word("SEAT", seed=2)], "Two tokens are called <SEAT>"),
        (
            [make_word(f"w{i}") for i in range(MAX_WORDS + 1)],
            "at most 16 tokens from files, got 17",
        ),
        ([make_word(num=CONTEXT - NUM_BESIDE + 1)], "has 15 vectors, and a prompt .* room for 14"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words, sentence):
    with pytest.raises(InputError, match=sentence):
        tiny_backbone().with_words(words)


def test_no_prompt_is_put_before_a_word_that_brings_one():
    backbone = tiny_backbone()
    opening = backbone.with_words([word_of("a photo of red chair", opens_prompt=True)])
    plain = backbone.with_words([word_of("red chair")])
    assert torch.equal(encode_words(opening, "<w> oak"), encode_words(plain, "<w> oak"))
    # Behind other words it is a word like others.
    assert not torch.equal(encode_words(opening, "oak <w>"), encode_words(plain, "oak <w>"))


@torch.no_grad()
def test_a_composer_reads_the_words_of_its_backbone():
    backbone = tiny_backbone()
    torch.manual_seed(0)
    composer = DuetComposer(DuetModel(backbone))
    tokens = torch.randn(4, TEXT_WIDTH)
    drawn = EncodedReference(pseudo_tokens=tokens)
    plain = composer.compose(drawn, "red chair")
    query = with_backbone(composer, backbone.with_words([word_of("red chair")])).compose(
        drawn, "<w>"
    )
    assert torch.equal(query.prompt_embeddings, plain.prompt_embeddings)
    assert torch.equal(query.feature, plain.feature)
    assert query.added is not None
    assert query.added.files == (WordFile(name="w", sha256=""),)
    assert plain.added is None
    assert composer.backbone is backbone


@torch.no_grad()
def test_vectors_of_a_second_encoder_travel_with_the_query(tmp_path):
    second = torch.randn(3, 9)
    word = make_word(second_vectors=second, sha256="a" * 64)
    reader = tiny_backbone().with_words([word, make_word("other")])
    query = with_backbone(DuetComposer(DuetModel(tiny_backbone())), reader).compose(
        EncodedReference(), "red <seat> oak chair <seat> " + "blue " * 30 + "<seat>"
    )
    assert query.added is not None
    assert query.added.files == (WordFile(name="seat", sha256="a" * 64),)
    positions = query.added.second_positions
    assert len(positions) == 9
    assert max(positions) > CONTEXT  # in a further prompt
    assert torch.equal(query.prompt_embeddings[list(positions)], word.vectors.repeat(3, 1))
    assert query.added.second_vectors is not None
    assert torch.equal(query.added.second_vectors, second.repeat(3, 1))
    query.save(tmp_path / "q.safetensors")
    loaded = ComposedQuery.load(tmp_path / "q.safetensors")
    assert loaded.digest == query.digest
    assert loaded.added is not None
    assert loaded.added.files == query.added.files
    without = replace(query, added=replace(query.added, second_positions=(), second_vectors=None))
    assert without.digest != query.digest


def test_a_part_of_a_prompt_has_its_share():
    used = UsedWords(
        files=(), second_positions=(3, 12, 14), second_vectors=torch.arange(6.0).reshape(3, 2)
    )
    part = used.between(12, 24)
    assert part.second_positions == (0, 2)
    assert part.second_vectors is not None
    assert part.second_vectors.tolist() == [[2, 3], [4, 5]]
    assert used.between(4, 12).second_vectors is None


@pytest.mark.parametrize(
    "damage",
    [
        {"second_positions": [1]},
        {"second_positions": ["a"]},
        {"added_words": [{"name": "a b", "sha256": ""}]},
        {"added_words": [{"name": "a", "sha256": "../"}]},
        {"added_words": [{"name": "a", "sha256": ""}] * 17},
        {"added_words": 3},
    ],
)
def test_damaged_words_of_a_saved_query_are_refused(tmp_path, damage):
    import json

    from composer.weights import WeightsError, read_safetensors, write_safetensors

    query = DuetComposer(DuetModel(tiny_backbone())).compose(EncodedReference(), "red")
    used = UsedWords(files=(WordFile(name="w", sha256=""),))
    file = tmp_path / "q.safetensors"
    replace(query, added=used).save(file)
    assert ComposedQuery.load(file).added is not None
    weights = read_safetensors(file)
    fields = {name: json.dumps(value) for name, value in damage.items()}
    write_safetensors(file, weights.tensors, weights.metadata | fields)
    with pytest.raises(WeightsError, match="is not a composed query"):
        ComposedQuery.load(file)
