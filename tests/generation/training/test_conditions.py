import pytest
import torch

from composer.query import Query
from generation.conditioning import encode_token_embeddings
from generation.training.conditions import Conditioner, Shares, collect_tokens, usable_rows
from generation.training.loop import step_generator
from generation.training.text_export import export_text_encoder, export_tokenizer


@pytest.fixture(scope="module")
def tokens(composer, pack):
    return collect_tokens(composer, pack, "train")


def test_the_text_encoder_is_the_clip_text_tower(composer, sources):
    backbone = composer.backbone
    model = export_text_encoder(backbone)  # compares hidden states itself
    assert model.config.duet_text_hash == backbone.text_hash
    table = backbone.token_table()
    assert torch.equal(model.get_input_embeddings().weight, table)
    tokenizer = export_tokenizer(backbone, sources.clip)
    assert tokenizer("red chair").input_ids == [
        i for i in backbone.tokenize(["red chair"])[0].tolist() if i != backbone.end_id
    ] + [backbone.end_id]


def test_training_prompts_are_the_composers_prompts(composer, pack, tokens):
    conditioner = Conditioner(composer.backbone, pack, tokens, Shares())
    sketch = next(s for s in pack.sketches if s.split == "train")
    query = composer.compose(composer.encode(Query(sketch=sketch.sketch)), "red oak chair")
    row = tokens.of_sketches[sketch.design][0]
    ours = conditioner.splice(tokens.tokens[row][None], ["red oak chair"])[0]
    torch.testing.assert_close(ours, query.prompt_embeddings, atol=1e-6, rtol=0)


def test_hidden_states_in_training_are_those_of_the_pipeline(composer, pack, tokens):
    backbone = composer.backbone
    conditioner = Conditioner(backbone, pack, tokens, Shares())
    embeddings = conditioner.splice(tokens.tokens[:2], ["red", ""])
    ends = torch.tensor([0, 0])
    theirs = backbone.encode_embeddings(embeddings, ends).hidden
    ours = encode_token_embeddings(export_text_encoder(backbone), embeddings)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_conditions_keep_their_shares(composer, pack, tokens):
    counts = {"plain": 0, "empty": 0, "token": 0, "words": 0}

    class Counting(Conditioner):
        def _encode(self, count, plain, spliced):
            counts["empty"] += sum(text == "" for text in plain.values())
            counts["plain"] += sum(text != "" for text in plain.values())
            counts["token"] += sum(words == "" for _, words in spliced.values())
            counts["words"] += sum(words != "" for _, words in spliced.values())
            return torch.zeros(count, 1, 1)

    conditioner = Counting(composer.backbone, pack, tokens, Shares())
    rows = pack.rows(split="train", domain="photo")
    for step in range(60):
        conditioner.draw(rows, step_generator(0, step))
    total = sum(counts.values())
    assert counts["empty"] / total == pytest.approx(0.1, abs=0.03)
    assert counts["plain"] / total == pytest.approx(0.4, abs=0.04)
    assert counts["words"] / total == pytest.approx(0.4, abs=0.04)
    assert counts["token"] / total == pytest.approx(0.1, abs=0.03)


def test_only_train_designs_are_used(pack, tokens):
    rows = usable_rows(pack, "train")
    assert {pack.items[row].split for row in rows} == {"train"}
    assert set(tokens.of_sketches) == {f"design-{n}" for n in range(8)}
    assert set(tokens.of_photos) == set(tokens.of_sketches)
