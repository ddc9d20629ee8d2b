import pytest
import torch

from generation.conditioning import (
    encode_token_embeddings,
    guidance_pair,
    token_table,
    tokenize,
)
from tests.generation import tiny


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_manual_path_equals_the_plain_forward(base_pipeline, attention):
    encoder, tokenizer = tiny.make_text_encoder(), base_pipeline.tokenizer
    encoder.set_attn_implementation(attention)
    ids = tokenize(tokenizer, ["a red chair", "", "red " * 40])
    with torch.no_grad():
        plain = encoder(input_ids=ids).last_hidden_state
        ours = encode_token_embeddings(encoder, token_table(encoder)[ids])
        assert (plain - ours).abs().max().item() == 0.0


def test_tokens_are_padded_with_end_of_text_and_cut_to_the_context(base_pipeline):
    ids = tokenize(base_pipeline.tokenizer, ["red", "red " * 40])
    assert ids[0].tolist() == [514, 513] + [515] * 10
    assert ids[1].tolist() == [514] + [513] * 10 + [515]


def test_hidden_states_see_only_earlier_tokens(base_pipeline):
    encoder = base_pipeline.text_encoder
    embeddings = torch.randn(1, 12, 32, generator=torch.Generator().manual_seed(0))
    changed = embeddings.clone()
    changed[:, 6, :3] += 1
    with torch.no_grad():
        before = encode_token_embeddings(encoder, embeddings)
        after = encode_token_embeddings(encoder, changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_the_negative_half_comes_first(base_pipeline):
    encoder, tokenizer = base_pipeline.text_encoder, base_pipeline.tokenizer
    table = token_table(encoder)
    prompt = table[tokenize(tokenizer, ["red"])[0]]
    pair = guidance_pair(encoder, tokenizer, prompt, "ugly")
    with torch.no_grad():
        texts = encoder(input_ids=tokenize(tokenizer, ["ugly", "red"])).last_hidden_state
    assert pair.shape == (2, 12, 32)
    torch.testing.assert_close(pair, texts, rtol=0, atol=1e-6)
