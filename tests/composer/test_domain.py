"""Files of learned domains: a round trip, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from composer.domain import (
    MAX_EXAMPLES,
    THUMBNAIL_PX,
    Domain,
    check_domain_space,
    read_domain,
    write_domain,
)
from composer.errors import InputError
from composer.weights import WeightsError

DIGEST = "a" * 64


def make_domain(**changes):
    rng = np.random.default_rng(0)
    values = {
        "name": "pastel",
        "difference": torch.randn(24, generator=torch.Generator().manual_seed(1)),
        "tokens": torch.randn(4, 32, generator=torch.Generator().manual_seed(2)),
        "thumbnail": rng.integers(0, 256, (THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8),
        "examples": (DIGEST, "b" * 64),
        "kit": "tiny",
        "text_hash": "1111",
        "gallery_hash": "2222",
    }
    return Domain(**{**values, **changes})


@pytest.mark.parametrize("tokens", [None, torch.ones(2, 32)])
def test_a_domain_comes_back_whole(tmp_path, tokens):
    domain = make_domain(tokens=tokens)
    write_domain(tmp_path / "a.safetensors", domain)
    back = read_domain(tmp_path / "a.safetensors")
    assert (back.name, back.examples, back.kit) == ("pastel", domain.examples, "tiny")
    assert (back.text_hash, back.gallery_hash) == ("1111", "2222")
    assert torch.equal(back.difference, domain.difference)
    assert (back.thumbnail == domain.thumbnail).all()
    assert (back.tokens is None) if tokens is None else torch.equal(back.tokens, tokens)
    assert len(back.sha256) == 64
    assert read_domain(tmp_path / "a.safetensors", "other").name == "other"
    assert (tmp_path / "a.safetensors").stat().st_size < 40_000


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", "x" * 61, "naïve", "a/b", "a\n"])
def test_a_name_that_a_text_cannot_hold_is_refused(name):
    with pytest.raises(InputError, match="1 to 60 Latin letters"):
        make_domain(name=name)


def test_a_domain_of_another_space_names_both_kits():
    here = {"kit": "mini", "text_hash": "1111", "gallery_hash": "2222"}
    check_domain_space(make_domain(), **here)
    for changed in ("text_hash", "gallery_hash"):
        with pytest.raises(InputError, match=r"with the kit 'tiny'.*; the kit 'mini' has another"):
            check_domain_space(make_domain(), **{**here, changed: "3333"})


def write(path, changes=(), metadata=()):
    domain = make_domain()
    tensors = {"difference": domain.difference, "thumbnail": torch.from_numpy(domain.thumbnail)}
    facts = {
        "schema": "duet-domain/1", "name": "pastel", "kit": "tiny", "text_hash": "1",
        "gallery_hash": "2", "examples": json.dumps([DIGEST]),
    }  # fmt: skip
    facts |= dict(metadata)
    tensors |= dict(changes)
    save_file(
        {name: tensor for name, tensor in tensors.items() if tensor is not None},
        path,
        {name: value for name, value in facts.items() if value is not None},
    )
    return path


@pytest.mark.parametrize(
    ("changes", "metadata"),
    [
        ({"difference": torch.zeros(2, 2)}, {}),
        ({"difference": None}, {}),
        ({"difference": torch.full((3,), torch.nan)}, {}),
        ({"difference": torch.zeros(3, dtype=torch.int64)}, {}),
        ({"thumbnail": torch.zeros(2, 2, 3, dtype=torch.uint8)}, {}),
        ({"tokens": torch.zeros(33, 8)}, {}),
        ({"tokens": torch.zeros(8)}, {}),
        ({"tokens_more": torch.zeros(1, 8)}, {}),
        ({}, {"examples": "[]"}),
        ({}, {"examples": "["}),
        ({}, {"examples": "[" * 100_000}),
        ({}, {"examples": json.dumps(["a"])}),
        ({}, {"examples": json.dumps([DIGEST] * (MAX_EXAMPLES + 1))}),
        ({}, {"kit": None}),
        ({}, {"schema": "duet-token/1"}),
    ],
)
def test_what_is_no_domain_is_refused_in_one_sentence(tmp_path, changes, metadata):
    path = write(tmp_path / "a.safetensors", changes, metadata)
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        read_domain(path)


def test_a_hostile_name_in_a_file_is_refused_and_another_may_be_given(tmp_path):
    path = write(tmp_path / "a.safetensors", metadata={"name": "../../etc/passwd"})
    with pytest.raises(InputError, match="Latin letters"):
        read_domain(path)
    assert read_domain(path, "mine").name == "mine"


def test_the_word_has_the_domain_s_space():
    domain = replace(make_domain(), sha256="c" * 64)
    word = domain.word(torch.ones(3, 32))
    assert (word.mark, word.text_hash, word.sha256) == ("<pastel>", "1111", "c" * 64)
    assert word.vectors.shape == (3, 32)
