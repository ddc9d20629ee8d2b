"""The map between token spaces."""

import pytest
import torch

from generation.token_map import find_rows, fit_token_map, map_prompt


def tables(noise: float, num: int = 2000):
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(num, 12, generator=generator) + 3.0
    truth = torch.randn(12, 20, generator=generator)
    target = source @ truth - 1.0
    scale = noise * (target - target.mean(dim=0)).std()
    return source, target + scale * torch.randn(num, 20, generator=generator)


def test_a_linear_relation_is_found_and_its_error_is_nearly_nothing():
    source, target = tables(noise=0.0)
    token_map = fit_token_map(source, target)
    assert token_map.error < 1e-4
    assert token_map.cosine > 0.999
    fresh = torch.randn(5, 12, generator=torch.Generator().manual_seed(1)) + 3.0
    truth = torch.linalg.lstsq(source - source.mean(0), target - target.mean(0)).solution
    expected = (fresh - source.mean(0)) @ truth + target.mean(0)
    torch.testing.assert_close(token_map(fresh), expected, rtol=0.02, atol=0.05)


def test_the_error_is_that_of_rows_which_took_no_part():
    source, target = tables(noise=1.0)
    honest = fit_token_map(source, target).error
    assert 0.4 < honest < 0.65  # half of the variance is noise
    generator = torch.Generator().manual_seed(2)
    unrelated = fit_token_map(source, torch.randn(len(source), 20, generator=generator))
    assert unrelated.error == pytest.approx(1.0, abs=0.03)
    # Rows that are held out may be anything without changing the map.
    poisoned = target.clone()
    poisoned[9::10] += 100.0
    spoilt = fit_token_map(source, poisoned)
    torch.testing.assert_close(spoilt.weight, fit_token_map(source, target).weight)
    assert spoilt.error > 0.9


def test_tables_of_two_vocabularies_are_refused():
    with pytest.raises(ValueError, match="share a vocabulary, got 10 and 11 rows"):
        fit_token_map(torch.randn(10, 4), torch.randn(11, 4))


def test_words_are_looked_up_and_other_rows_are_mapped():
    source, target = tables(noise=0.3)
    token_map = fit_token_map(source, target)
    strange = source[3] * 0.5 + source[8] * 0.5
    prompt = torch.stack([source[7].half().float(), strange, source[1999]])
    ids = find_rows(source, prompt)
    assert ids.tolist() == [7, -1, 1999]
    mapped = map_prompt(prompt, ids, target, token_map)
    assert torch.equal(mapped[[0, 2]], target[[7, 1999]])
    torch.testing.assert_close(mapped[1], token_map(strange[None])[0])
