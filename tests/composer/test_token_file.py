"""Textual inversion files: what is written, what other programs make of it, what is refused."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from composer.added_words import AddedWord, check_space
from composer.errors import InputError
from composer.token_file import MAX_VECTORS, TokenFormat, read_token, write_token
from composer.weights import WeightsError
from tests import loaders
from tests.loaders import RefusedError

SD, SDXL = {"l": 768}, {"l": 768, "g": 1280}
ONE_TENSOR = (TokenFormat.A1111, TokenFormat.COMFYUI, TokenFormat.INVOKEAI)


def vectors(num: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, width, generator=torch.Generator().manual_seed(seed))


def make_word(num: int = 5, *, pair: bool = False, **changes) -> AddedWord:
    values = {
        "name": "chair", "vectors": vectors(num, 768),
        "second_vectors": vectors(num, 1280) if pair else None, "kit": "sd15", "text_hash": "ab12",
    }  # fmt: skip
    return AddedWord(**(values | changes))


def written(folder, word, layout=TokenFormat.A1111):
    file = folder / "chair.safetensors"
    write_token(file, word, layout, {"text": "red"})
    return file


@pytest.mark.parametrize("layout", TokenFormat)
def test_no_layout_has_a_tensor_beside_the_vectors_and_all_else_is_metadata(tmp_path, layout):
    file = written(tmp_path, make_word(), layout)
    key = "<chair>" if layout is TokenFormat.DIFFUSERS else "emb_params"
    assert {name: one.shape for name, one in load_file(file).items()} == {key: (5, 768)}
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {
            "schema": "duet-token/1", "name": "chair", "kit": "sd15", "text_hash": "ab12",
            "opens_prompt": "no", "text": "red",
        }  # fmt: skip
    assert file.stat().st_size < 5 * 768 * 4 + 1000


@pytest.mark.parametrize("layout", TokenFormat)
def test_two_encoders_give_two_tensors_in_every_layout(tmp_path, layout):
    tensors = load_file(written(tmp_path, make_word(pair=True), layout))
    assert {name: one.shape for name, one in tensors.items()} == {
        "clip_l": (5, 768), "clip_g": (5, 1280),
    }  # fmt: skip


@pytest.mark.parametrize("layout", ONE_TENSOR)
def test_every_loader_reads_the_default_layout_of_one_encoder(tmp_path, layout):
    word = make_word()
    tensors = load_file(written(tmp_path, word, layout))
    table = {
        "<chair>": loaders.diffusers(tensors, token="<chair>"),
        "chair": loaders.a1111(tensors, "chair"),
        "embedding:chair": loaders.comfyui(tensors, "chair", SD),
    }
    for name, loaded in table.items():
        assert loaded.name == name
        assert torch.equal(loaded.vectors["l"], word.vectors)
    invoked = loaders.invokeai(tensors, "chair")
    assert (invoked.name, invoked.base) == ("chair", 768)
    # Without `token=` diffusers would call it so.
    assert loaders.diffusers(tensors).name == "emb_params"


def test_the_layout_for_diffusers_needs_no_name_there_and_misleads_invokeai_alone(tmp_path):
    tensors = load_file(written(tmp_path, make_word(), TokenFormat.DIFFUSERS))
    assert loaders.diffusers(tensors).name == "<chair>"
    assert loaders.a1111(tensors, "chair").name == "chair"
    assert "l" in loaders.comfyui(tensors, "chair", SD).vectors
    assert loaders.invokeai(tensors, "chair").base == 5


@pytest.mark.parametrize("layout", TokenFormat)
def test_the_layout_of_two_encoders_fills_both_everywhere(tmp_path, layout):
    word = make_word(pair=True)
    tensors = load_file(written(tmp_path, word, layout))
    with pytest.raises(RefusedError):
        loaders.diffusers(tensors, token="<chair>")
    for loaded in (
        loaders.diffusers_by_encoder(tensors, token="<chair>"),
        loaders.a1111(tensors, "chair"),
        loaders.comfyui(tensors, "chair", SDXL),
        loaders.invokeai(tensors, "chair"),
    ):
        assert word.second_vectors is not None
        assert torch.equal(loaded.vectors["l"], word.vectors)
        assert torch.equal(loaded.vectors["g"], word.second_vectors)
    assert loaders.invokeai(tensors, "chair").base == 1280


def test_a_tensor_more_would_be_refused_by_two_loaders():
    tensors = {"emb_params": vectors(1, 768), "kit": torch.zeros(1)}
    for refusing in (
        lambda: loaders.a1111(tensors, "chair"),
        lambda: loaders.diffusers(tensors, token="<chair>"),
    ):
        with pytest.raises(RefusedError):
            refusing()


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("layout", TokenFormat)
def test_a_word_comes_back_equal(tmp_path, layout, pair):
    word = make_word(pair=pair, opens_prompt=True)
    back = read_token(written(tmp_path, word, layout))
    assert torch.equal(back.vectors, word.vectors)
    if pair:
        assert back.second_vectors is not None
        assert word.second_vectors is not None
        assert torch.equal(back.second_vectors, word.second_vectors)
    else:
        assert back.second_vectors is None
    assert (back.name, back.kit, back.text_hash, back.opens_prompt) == (
        "chair",
        "sd15",
        "ab12",
        True,
    )
    assert len(back.sha256) == 64


def test_files_of_other_programs_are_read(tmp_path):
    file = tmp_path / "EasyNegative.v2.safetensors"
    save_file({"anything": vectors(1, 768)[0].half()}, file, metadata={"kit": "forged"})
    word = read_token(file)
    assert (word.name, word.vectors.shape) == ("EasyNegative.v2", (1, 768))
    assert (word.kit, word.text_hash, word.opens_prompt) == ("", "", False)
    assert read_token(file, "bad").mark == "<bad>"


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".PT"])
def test_a_pickle_is_refused_with_how_to_convert_it_even_where_it_is_none(tmp_path, suffix):
    file = tmp_path / f"style{suffix}"
    file.write_bytes(b"anything")
    with pytest.raises(WeightsError, match=r"is a pickle.*convert it to safetensors with: python"):
        read_token(file)


def test_the_conversion_that_is_advised_works(tmp_path):
    import re
    import subprocess
    import sys

    file, rows = tmp_path / "style.pt", vectors(2, 768)
    torch.save({"string_to_param": {"*": torch.nn.Parameter(rows)}, "name": "style"}, file)
    with pytest.raises(WeightsError) as caught:
        read_token(file)
    advised = re.search(r'python -c "(.*)" style.pt (\S+)$', str(caught.value))
    assert advised is not None
    target = tmp_path / advised[2]
    subprocess.run([sys.executable, "-c", advised[1], file, target], check=True, cwd=tmp_path)
    assert torch.equal(read_token(target).vectors, rows)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {f"t{i}": vectors(1, 768) for i in range(40)},
            "holds 40 tensors; a textual inversion has",
        ),
        ({}, "holds 0 tensors"),
        ({"clip_l": vectors(1, 768), "clip_x": vectors(1, 768)}, "holds 2 tensors"),
        ({"a": torch.zeros(1, 2, 768)}, r"\(vectors, width\), got F32 of shape \(1, 2, 768\)"),
        ({"a": torch.tensor(1.0)}, r"of shape \(\)"),
        ({"a": torch.zeros(1, 768, dtype=torch.long)}, "must be floating point"),
        ({"a": torch.zeros(0, 768)}, "must have 1 to 128 vectors, got 0"),
        ({"a": torch.zeros(MAX_VECTORS + 1, 4)}, "must have 1 to 128 vectors, got 129"),
        ({"a": torch.zeros(1, 9000)}, "no textual inversion"),
        ({"a": torch.full((1, 768), torch.nan)}, "not finite"),
        ({"clip_l": vectors(1, 768), "clip_g": vectors(2, 1280)}, "got 2 and 1"),
    ],
)
def test_what_is_no_textual_inversion_is_one_sentence(tmp_path, tensors, sentence):
    file = tmp_path / "bad.safetensors"
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=sentence):
        read_token(file)


def test_a_damaged_or_missing_file_is_one_sentence(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 200)
    for name, sentence in (("bad", "is damaged"), ("none", "cannot be read; check the path")):
        with pytest.raises(WeightsError, match=sentence):
            read_token(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("name", ["", "a b", "<a>", "ä", "-a", ".", "a" * 61, "a\nb", "a:b"])
def test_a_name_that_a_text_cannot_hold_is_refused(name):
    with pytest.raises(InputError, match="1 to 60 Latin letters"):
        make_word(name=name)


def test_a_word_of_another_space_is_refused_with_both_names():
    kit = {"kit": "mini", "text_hash": "cd34", "width": 256}
    with pytest.raises(InputError, match=r"for the kit 'sd15' \(text tower ab12\); the kit 'mini'"):
        check_space(make_word(), **kit)
    foreign = make_word(kit="", text_hash="")
    with pytest.raises(InputError, match=r"width 768 \(CLIP ViT-L/14.*; the kit 'mini'.*width 256"):
        check_space(foreign, **kit)
    check_space(foreign, **(kit | {"width": 768}))
    # The same text tower under the name of another kit is the same space.
    check_space(make_word(), kit="sdxl", text_hash="ab12", width=768)
    with pytest.raises(InputError, match="text tower cd34"):
        check_space(make_word(), **(kit | {"width": 768}))
