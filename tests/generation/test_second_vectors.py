"""Tokens for two text encoders: what diffusers reads, and what SDXL here reads."""

import pytest
import torch
from safetensors.torch import load_file

from composer.added_words import AddedWord, UsedWords
from composer.token_file import TokenFormat, write_token
from generation.model_files import PipelineSource
from generation.pipeline import ImagePipeline
from generation.request import RequestError
from tests.generation import tiny
from tests.replicas import clips, pipelines

pytestmark = pytest.mark.kits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    return pipelines.write_sdxl(folder / "sdxl", clips.write_clip_l14(folder / "clip"))


@pytest.fixture
def pipeline(folder):
    return ImagePipeline.load(PipelineSource(folder=folder, text_hash=tiny.TEXT_HASH))


def prompt_with(pipeline, word: AddedWord, *, added: bool):
    """The query "red <word> chair"."""
    tokenizer, table = pipeline.tokenizer, pipeline.text_encoder.get_input_embeddings().weight
    red, chair = (tokenizer(text, add_special_tokens=False).input_ids for text in ("red", "chair"))
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    tail = [*chair, *[end] * (76 - len(red) - len(chair) - len(word.vectors))]
    rows = [table[[start, *red]], word.vectors, table[tail]]
    first = 1 + len(red)
    positions = tuple(range(first, first + len(word.vectors)))
    used = UsedWords(files=(), second_positions=positions, second_vectors=word.second_vectors)
    return tiny.make_query(
        "red",
        prompt_embeddings=torch.cat(rows).detach(),
        pseudo_tokens=torch.zeros(0, table.shape[1]),
        pseudo_positions=(),
        end_position=first + len(word.vectors) + len(chair),
        added=used if added else None,
    )


def test_both_encoders_read_what_diffusers_reads(pipeline, folder, tmp_path):
    base = pipeline._base
    widths = [
        e.get_input_embeddings().weight.shape[1] for e in (base.text_encoder, base.text_encoder_2)
    ]
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(2, width, generator=generator) for width in widths)
    word = AddedWord(name="seat", vectors=first, second_vectors=second)
    ours = pipeline.condition(prompt_with(pipeline, word, added=True), "")
    mapped = pipeline.condition(prompt_with(pipeline, word, added=False), "")
    file = tmp_path / "seat.safetensors"
    write_token(file, word, TokenFormat.DIFFUSERS)
    tensors = load_file(file)
    stock = ImagePipeline.load(PipelineSource(folder=folder, text_hash=tiny.TEXT_HASH))._base
    for key, number in (("clip_l", ""), ("clip_g", "_2")):
        stock.load_textual_inversion(
            tensors[key], token="<seat>", text_encoder=getattr(stock, f"text_encoder{number}"),
            tokenizer=getattr(stock, f"tokenizer{number}"),
        )  # fmt: skip
    # The config of SDXL's second encoder says 2, for which transformers pools at the highest id:
    # the end of a text, but for added words, whose ids are higher.
    stock.text_encoder_2.text_model.eos_token_id = int(stock.tokenizer_2.eos_token_id)
    with torch.no_grad():
        hidden, _, pooled, _ = stock.encode_prompt(
            "red <seat> chair", device="cpu", num_images_per_prompt=1,
            do_classifier_free_guidance=True,
        )  # fmt: skip
    assert (hidden - ours["prompt_embeds"]).abs().max() < 1e-5
    assert (pooled - ours["pooled_prompt_embeds"]).abs().max() < 1e-5
    # As negative words, too.
    query = prompt_with(pipeline, word, added=False)
    against = pipeline.condition(query, prompt_with(pipeline, word, added=True))
    assert (against["negative_prompt_embeds"] - hidden).abs().max() < 1e-5
    assert (against["negative_pooled_prompt_embeds"] - pooled).abs().max() < 1e-5
    # Without vectors of its own the second encoder reads what follows from the first's.
    difference = (mapped["prompt_embeds"] - ours["prompt_embeds"]).abs()
    assert difference[..., : widths[0]].max() < 1e-5
    assert difference[..., widths[0] :].max() > 0.01


def test_what_follows_from_the_first_can_be_exported_and_reads_the_same(pipeline):
    width = pipeline.text_encoder.get_input_embeddings().weight.shape[1]
    vectors = torch.randn(3, width, generator=torch.Generator().manual_seed(1))
    second = pipeline.second_vectors(vectors)
    assert second is not None
    word = AddedWord(name="seat", vectors=vectors, second_vectors=second)
    given, mapped = (
        pipeline.condition(prompt_with(pipeline, word, added=added), "") for added in (True, False)
    )
    for name, states in given.items():
        torch.testing.assert_close(states, mapped[name], rtol=0, atol=1e-6)


def test_vectors_of_another_width_are_refused(pipeline):
    width = pipeline.text_encoder.get_input_embeddings().weight.shape[1]
    word = AddedWord(
        name="seat", vectors=torch.zeros(1, width), second_vectors=torch.zeros(1, 1280)
    )
    query = prompt_with(pipeline, word, added=True)
    pipeline.check_query(prompt_with(pipeline, word, added=False))
    with pytest.raises(RequestError, match=r"second text encoder must have its width .*got 1280"):
        pipeline.check_query(query)
