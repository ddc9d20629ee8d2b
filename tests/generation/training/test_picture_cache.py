from dataclasses import replace

import numpy as np
import pytest
import torch

from composer.data.catalogue import CataloguePack, PackError
from generation.control import CONTROL_LINE_SHARE
from generation.training.command import Pixels
from generation.training.conditions import Conditioner, Shares, collect_tokens, usable_rows
from generation.training.inputs import load_autoencoder
from generation.training.loop import step_generator
from generation.training.picture_cache import CacheSources, Drops, PictureCache, build_cache
from generation.training.stock import encode_mean
from tests.generation.training import world

SHARES = Shares(caption=0.5, token_words=0.4, token=0.1, empty=0.0)
NEVER = Drops(words=0.0, drawing=0.0)


@pytest.fixture(scope="module")
def viewed(tmp_path_factory):
    return CataloguePack.open(world.write_pack(tmp_path_factory.mktemp("viewed"), has_views=True))


@pytest.fixture(scope="module")
def tokens(composer, viewed):
    return collect_tokens(composer, viewed, "train")


@pytest.fixture(scope="module")
def from_pack(composer, viewed, sources, tokens):
    return CacheSources(
        pack=viewed,
        rows=usable_rows(viewed, "train"),
        vae=load_autoencoder(sources.vae, torch.device("cpu")),
        conditioner=Conditioner(composer.backbone, viewed, tokens, SHARES),
        size_px=128,
        num_conditions=3,
    )


@pytest.fixture(scope="module")
def cache(from_pack, tmp_path_factory):
    return build_cache(tmp_path_factory.mktemp("cache"), from_pack)


def test_a_batch_is_made_of_what_was_cached(cache, from_pack):
    batch = cache.draw(6, NEVER, step_generator(0, 0))
    pictures = Pixels(from_pack.pack, from_pack.rows, torch.device("cpu"))
    with torch.no_grad():
        latents = encode_mean(from_pack.vae, pictures.take(torch.arange(len(pictures))))
    for cached in batch.latents:
        assert float((latents - cached).abs().amax((1, 2, 3)).min()) < 5e-3
    lines = from_pack.pack.view(0).drawing.lines(128, CONTROL_LINE_SHARE * 128) > 127
    assert batch.lines.shape == (6, 1, 128, 128)
    np.testing.assert_array_equal(batch.lines[0, 0].numpy(), lines)
    assert batch.has_words.all()
    assert batch.has_drawing.all()
    assert batch.states.shape[1:] == from_pack.conditioner.encode_texts([""]).shape[1:]


def test_states_are_those_of_the_pictures_own_conditions(cache, from_pack):
    rows = from_pack.rows[:16]  # the first chunk, whose steps are 0 to 2
    drawn = [from_pack.conditioner.draw(rows, step_generator(0, step)) for step in range(3)]
    expected = torch.stack(drawn, dim=1)
    cached = torch.from_numpy(np.array(cache._states[:16])).float()
    torch.testing.assert_close(cached, expected, atol=5e-3, rtol=1e-2)


def test_studio_numbers_are_centred_and_of_unit_size_where_they_vary(from_pack, cache):
    assert len(cache.studio_mean) == 9
    raw = cache.draw(4, NEVER, step_generator(0, 0)).studio * torch.from_numpy(cache.studio_std)
    expected = torch.tensor(from_pack.pack.view(0).studio).expand(4, -1)
    torch.testing.assert_close(raw + torch.from_numpy(cache.studio_mean), expected)


def test_words_and_drawing_are_left_out_apart(cache, from_pack):
    empty = from_pack.conditioner.encode_texts([""])
    wordless = cache.draw(8, Drops(words=1.0, drawing=0.0), step_generator(0, 1))
    torch.testing.assert_close(wordless.states, empty.expand(8, -1, -1), atol=5e-3, rtol=1e-2)
    assert float(wordless.lines.sum()) > 0
    lineless = cache.draw(8, Drops(words=0.0, drawing=1.0), step_generator(0, 1))
    assert float(lineless.lines.sum()) == 0
    assert not torch.allclose(lineless.states, empty.expand(8, -1, -1), atol=1e-2)
    batch = cache.draw(400, Drops(words=0.5, drawing=0.5), step_generator(0, 2))
    both = (batch.has_words & batch.has_drawing).float().mean()
    assert 0.15 < float(both) < 0.35
    is_drawn = batch.lines.flatten(1).sum(1) > 0
    assert torch.equal(is_drawn, batch.has_drawing)


def test_a_stopped_cache_goes_on_and_ends_the_same(from_pack, cache, tmp_path, monkeypatch):
    calls, draw = [], Conditioner.draw

    def stopping(self, rows, generator, is_mirrored):
        calls.append(rows)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return draw(self, rows, generator, is_mirrored)

    monkeypatch.setattr(Conditioner, "draw", stopping)
    with pytest.raises(KeyboardInterrupt):
        build_cache(tmp_path, from_pack)
    build_cache(tmp_path, from_pack)
    assert len(calls) == 5 + 3  # the second chunk alone, in three conditions
    again = PictureCache(tmp_path).draw(16, Drops(), step_generator(0, 3))
    whole = cache.draw(16, Drops(), step_generator(0, 3))
    for name in ("latents", "states", "lines", "studio", "has_words", "has_drawing"):
        assert torch.equal(getattr(again, name), getattr(whole, name)), name
    build_cache(tmp_path, from_pack)
    assert len(calls) == 8


def test_other_contents_are_made_anew(from_pack, tmp_path):
    few = replace(from_pack, rows=from_pack.rows[:4], num_conditions=1)
    build_cache(tmp_path, few)
    assert len(build_cache(tmp_path, replace(few, rows=from_pack.rows[4:10]))) == 6
    assert replace(few, seed=1).key() != few.key()


def test_another_encoder_makes_a_cache_anew_and_another_decoder_does_not(from_pack, sources):
    for part, is_same in (("decoder", True), ("encoder", False)):
        vae = load_autoencoder(sources.vae, torch.device("cpu"))
        with torch.no_grad():
            getattr(vae, part).conv_in.weight.mul_(1.1)
        assert (replace(from_pack, vae=vae).key() == from_pack.key()) == is_same


def test_tokens_of_another_processor_do_not_make_a_cache_anew(from_pack, tokens):
    def key(**changes):
        other = replace(tokens, **changes)
        conditioner = Conditioner(from_pack.conditioner.backbone, from_pack.pack, other, SHARES)
        return replace(from_pack, conditioner=conditioner).key()

    assert key(tokens=tokens.tokens * (1 + 1e-6)) == from_pack.key()
    assert key(composer_hash="another") != from_pack.key()


def test_each_picture_is_followed_by_its_mirror_image(from_pack, tmp_path, monkeypatch):
    texts, spliced = [], []
    encode = Conditioner._encode

    def listening(self, count, plain, pairs):
        texts.append(plain)
        spliced.append(pairs)
        return encode(self, count, plain, pairs)

    monkeypatch.setattr(Conditioner, "_encode", listening)
    few = replace(from_pack, rows=from_pack.rows[:3], num_conditions=1, has_mirrored=True)
    cache = build_cache(tmp_path, few)
    assert len(cache) == 6
    for row in range(3):
        own, mirrored = (cache._lines[2 * row + i] for i in range(2))
        np.testing.assert_array_equal(
            np.unpackbits(mirrored, axis=1),
            from_pack.pack.view(int(few.rows[row]))
            .mirrored()
            .drawing.lines(128, CONTROL_LINE_SHARE * 128)
            > 127,
        )
        assert (own != mirrored).any()
    pictures = Pixels(few.pack, few.rows, torch.device("cpu")).take(torch.arange(3)).flip(-1)
    with torch.no_grad():
        expected = encode_mean(few.vae, pictures) * few.vae.config["scaling_factor"]
    latents = torch.from_numpy(np.array(cache._latents[1::2])).float()
    torch.testing.assert_close(latents, expected, atol=5e-3, rtol=1e-2)
    studio = cache._studio * cache.studio_std + cache.studio_mean
    signs = np.array([1, 1, 1, -1, 1, -1, 1, 1, 1])
    np.testing.assert_allclose(studio[1::2], studio[::2] * signs, atol=1e-3)
    assert few.key() != replace(few, has_mirrored=False).key()


def test_words_of_a_mirrored_picture_swap_left_and_right(from_pack, monkeypatch):
    said: list[str] = []
    encode = Conditioner._encode

    def listening(self, count, plain, pairs):
        said.extend((*plain.values(), *(words for _, words in pairs.values())))
        return encode(self, count, plain, pairs)

    monkeypatch.setattr(Conditioner, "_encode", listening)
    rows = np.repeat(from_pack.rows[:1], 40)
    views = replace(from_pack.conditioner.shares, view_caption=1.0)
    conditioner = Conditioner(
        from_pack.conditioner.backbone, from_pack.pack, from_pack.conditioner.tokens, views
    )
    conditioner.draw(rows, step_generator(0, 0))
    assert any("left" in words for words in said)
    assert not any("right" in words for words in said)
    said.clear()
    conditioner.draw(rows, step_generator(0, 0), np.ones(40, bool))
    assert any("right" in words for words in said)
    assert not any("left" in words for words in said)


def test_packs_without_views_are_refused(from_pack, pack, tmp_path):
    with pytest.raises(PackError, match="does not tell how its pictures were taken"):
        build_cache(tmp_path, replace(from_pack, pack=pack))


def test_half_of_the_captions_say_the_view_where_the_pack_does(composer, viewed, pack, tokens):
    rng = np.random.default_rng(0)
    row = int(viewed.rows(split="train")[0])
    told = Conditioner(composer.backbone, viewed, tokens, SHARES)
    texts = [told._caption(row, rng) for _ in range(200)]
    assert 70 < sum("seen from the left" in text for text in texts) < 130
    silent = Conditioner(composer.backbone, pack, tokens, SHARES)
    assert not any("seen" in silent._caption(row, rng) for _ in range(50))
