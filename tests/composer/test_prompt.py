import pytest
import torch

from composer.prompt import assemble_prompts, build_prompt, encode_by_length, stack_prompts
from tests.composer.tiny import CONTEXT, TEXT_WIDTH, tiny_backbone


@pytest.fixture
def backbone():
    return tiny_backbone()


def test_layout_is_start_prefix_pseudo_words_end(backbone):
    prefix, pseudo = torch.full((3, TEXT_WIDTH), 2.0), torch.full((2, TEXT_WIDTH), 3.0)
    prompt = build_prompt(backbone, prefix, pseudo, "red zq")
    table, sequence = backbone.token_table(), prompt.token_embeddings
    assert sequence.shape == (CONTEXT, TEXT_WIDTH)
    assert torch.equal(sequence[0], table[backbone.start_id])
    assert torch.equal(sequence[1:4], prefix)
    assert torch.equal(sequence[4:6], pseudo)
    assert prompt.pseudo_positions == (4, 5)
    assert prompt.word_positions == ((6,), (7, 8))
    ids = [i for word in backbone.word_ids("red zq") for i in word]
    assert torch.equal(sequence[6:9], table[ids])
    assert prompt.end_position == 9
    assert torch.equal(sequence[9:], table[backbone.end_id].expand(CONTEXT - 9, -1))


def test_words_alone_reproduce_the_plain_encoder(backbone):
    texts = ["a red chair", "blue oak chair with things", ""]
    prompts = [build_prompt(backbone, "", None, text) for text in texts]
    batch = stack_prompts(prompts)
    with torch.no_grad():
        features = backbone.encode_embeddings(batch.embeddings, batch.end_positions).features
        expected = backbone.encode_text(texts)
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=0)


def test_ordinary_tokens_as_pseudo_words_reproduce_the_text(backbone):
    ids = [i for word in backbone.word_ids("red chair") for i in word]
    spliced = build_prompt(backbone, "a", backbone.token_table()[ids], "oak")
    plain = build_prompt(backbone, "", None, "a red chair oak")
    assert torch.equal(spliced.token_embeddings, plain.token_embeddings)
    assert spliced.end_position == plain.end_position


def test_long_texts_are_cut_and_the_end_is_kept(backbone):
    prompt = build_prompt(
        backbone, torch.zeros(3, TEXT_WIDTH), torch.zeros(1, TEXT_WIDTH), "red " * 50
    )
    assert prompt.end_position == CONTEXT - 1
    assert torch.equal(prompt.token_embeddings[-1], backbone.token_table()[backbone.end_id])
    assert sum(map(len, prompt.word_positions)) == CONTEXT - 6
    assert len(prompt.word_positions) == 50


def test_a_word_that_is_cut_keeps_the_positions_that_fit(backbone):
    num_pseudo = CONTEXT - 3  # room for one token between start, pseudo-words and end
    prompt = build_prompt(backbone, "", torch.zeros(num_pseudo, TEXT_WIDTH), "zq red")
    assert prompt.end_position == CONTEXT - 1
    assert prompt.word_positions == ((CONTEXT - 2,), ())


def test_pseudo_words_may_fill_a_prompt_to_its_end(backbone):
    pseudo = torch.full((CONTEXT - 2, TEXT_WIDTH), 3.0)
    prompt = build_prompt(backbone, "", pseudo, "red")
    assert prompt.end_position == CONTEXT - 1
    assert torch.equal(prompt.token_embeddings[1:-1], pseudo)
    assert torch.equal(prompt.token_embeddings[-1], backbone.token_table()[backbone.end_id])
    with pytest.raises(ValueError, match=r"room for 22 tokens.*pseudo-words take 23"):
        build_prompt(backbone, "", torch.zeros(CONTEXT - 1, TEXT_WIDTH), "red")


def test_prompts_of_many_lengths_are_padded_to_the_longest_or_as_told(backbone):
    table, ids = backbone.token_table(), [[5, 6, 7], [], [8]]
    for length, expected in ((None, 6), (9, 9)):
        batch = assemble_prompts(backbone, prefix=(3,), pseudo=None, word_ids=ids, length=length)
        assert batch.embeddings.shape == (3, expected, TEXT_WIDTH)
        assert batch.end_positions.tolist() == [5, 2, 3]
        for row, words in zip(batch.embeddings, ids, strict=True):
            arguments = [backbone.start_id, 3, *words]
            padded = arguments + [backbone.end_id] * (expected - len(arguments))
            assert torch.equal(row, table[padded])


def test_words_are_cut_to_the_length_that_is_told(backbone):
    batch = assemble_prompts(backbone, prefix=(), pseudo=None, word_ids=[[5, 6, 7]], length=4)
    table = backbone.token_table()
    assert torch.equal(batch.embeddings[0], table[[backbone.start_id, 5, 6, backbone.end_id]])
    assert batch.end_positions.tolist() == [3]


def test_too_many_pseudo_words_are_refused(backbone):
    with pytest.raises(ValueError, match="room for 22 tokens beside start and end"):
        build_prompt(backbone, "", torch.zeros(CONTEXT, TEXT_WIDTH), "red")


def test_a_batch_equals_its_prompts(backbone):
    prefix, pseudo = torch.randn(3, TEXT_WIDTH), torch.randn(2, 1, TEXT_WIDTH)
    words = ["red", "blue oak chair"]
    ids = [[i for word in backbone.word_ids(text) for i in word] for text in words]
    batch = assemble_prompts(backbone, prefix=prefix, pseudo=pseudo, word_ids=ids)
    singles = stack_prompts(
        [build_prompt(backbone, prefix, p, text) for p, text in zip(pseudo, words, strict=True)]
    )
    assert torch.equal(batch.embeddings, singles.embeddings)
    assert torch.equal(batch.end_positions, singles.end_positions)


def test_gradients_reach_prefix_and_pseudo_words(backbone):
    prefix = torch.randn(3, TEXT_WIDTH, requires_grad=True)
    pseudo = torch.randn(2, 1, TEXT_WIDTH, requires_grad=True)
    batch = assemble_prompts(backbone, prefix=prefix, pseudo=pseudo, word_ids=[[], [5]])
    backbone.encode_embeddings(batch.embeddings, batch.end_positions).features.sum().backward()
    for leaf in (prefix, pseudo):
        assert leaf.grad is not None
        assert (leaf.grad.abs().sum(dim=-1) > 0).all()


def test_groups_hold_like_lengths_and_everything_once():
    lengths, groups = torch.tensor([5, 2, 9, 2, 7]), []

    def encode(group, most):
        groups.append(lengths[group].tolist())
        assert most == max(groups[-1])
        return lengths[group, None].float()

    assert encode_by_length(lengths, encode, 3).flatten().tolist() == lengths.tolist()
    assert groups == [[2, 2], [5, 7], [9]]
    groups.clear()
    encode_by_length(lengths[:2], encode, 4)
    assert len(groups) == 2
    groups.clear()
    encode_by_length(lengths, encode)
    assert groups == [[2, 2], [5], [7], [9]]  # four by default
