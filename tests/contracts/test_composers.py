"""What every composer must do, whatever its method."""

import pytest
import torch
from PIL import Image

from composer.composed import ComposedQuery, rebalance
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies import COMPOSERS, load_composer
from composer.strategies.duet import DuetModel
from composer.strategies.protocol import ComposerError
from tests.composer.tiny import JOINT_DIM, TEXT_WIDTH, tiny_backbone

SKETCH = Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]], [[0.2, 0.5], [0.7, 0.5]]])
OTHER = Sketch.from_strokes([[[0, 1], [0.5, 0], [1, 1], [0, 1]]])
PHOTO = Image.effect_noise((80, 60), 90).convert("RGB")
REFERENCES = {"sketch": Query(sketch=SKETCH), "photo": Query(image=PHOTO)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("kit") / "duet.safetensors"
    torch.manual_seed(0)
    model = DuetModel(tiny_backbone())
    with torch.no_grad():
        for tensor in model.trainable_state().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    model.save(path)
    return path


@pytest.fixture(params=[*COMPOSERS, "slerp without a converter"])
def composer(request, weights):
    name, _, bare = request.param.partition(" ")
    return load_composer(name, tiny_backbone(), None if bare else weights)


def compose(composer, query, text="", **options):
    return composer.compose(composer.encode(query), text, **options)


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
def test_the_result_is_complete(composer, reference):
    query = compose(composer, reference, "red oak")
    assert isinstance(query, ComposedQuery)
    assert (query.composer, query.text, query.balance) == (composer.name, "red oak", 0.5)
    assert query.gallery_hash == tiny_backbone().gallery_hash
    assert query.text_hash == tiny_backbone().text_hash
    features = (query.feature, query.both_feature, query.reference_feature, query.words_feature)
    for feature in features:
        assert feature.shape == (JOINT_DIM,)
        assert feature.norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(query.feature, query.both_feature)
    assert query.patch_features.shape == (16, JOINT_DIM)


def test_the_prompt_is_spliced_or_its_absence_is_explained(composer):
    query = compose(composer, REFERENCES["sketch"], "red oak")
    if query.missing_tokens:
        assert query.missing_tokens.endswith(".")
        assert query.prompt_embeddings.shape == (0, TEXT_WIDTH)
        return
    assert query.prompt_embeddings.shape == (tiny_backbone().context_length, TEXT_WIDTH)
    positions = list(query.pseudo_positions)
    assert len(positions) == len(query.pseudo_tokens) > 0
    assert torch.equal(query.prompt_embeddings[positions], query.pseudo_tokens)
    end = tiny_backbone().token_table()[tiny_backbone().end_id]
    assert torch.equal(query.prompt_embeddings[query.end_position], end)


def test_reference_and_words_both_matter(composer):
    query = compose(composer, REFERENCES["sketch"], "red oak")
    assert not torch.allclose(
        query.feature, compose(composer, Query(sketch=OTHER), "red oak").feature
    )
    assert not torch.allclose(
        query.feature, compose(composer, REFERENCES["sketch"], "blue").feature
    )


def test_the_ends_of_the_balance_are_the_one_sided_queries(composer):
    query = compose(composer, REFERENCES["sketch"], "red oak")
    sketch_only = compose(composer, REFERENCES["sketch"])
    words_only = compose(composer, Query(text="red oak"), "red oak")
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(rebalance(query, 0.0).feature, sketch_only.feature, **close)
    torch.testing.assert_close(rebalance(query, 1.0).feature, words_only.feature, **close)
    direct = compose(composer, REFERENCES["sketch"], "red oak", balance=0.3)
    torch.testing.assert_close(rebalance(query, 0.3).feature, direct.feature)


def test_a_missing_side_is_left_out(composer):
    sketch_only = compose(composer, REFERENCES["sketch"], "  ")
    assert sketch_only.words_feature is None
    assert torch.equal(sketch_only.feature, sketch_only.reference_feature)
    words_only = compose(composer, Query(text="red"), "red")
    assert words_only.reference_feature is None
    assert len(words_only.pseudo_tokens) == 0
    assert not words_only.missing_tokens
    with pytest.raises(ValueError, match="The query is empty"):
        compose(composer, Query(text="red"), "")


def test_the_text_of_an_encoded_query_plays_no_part(composer):
    silent, wordy = (composer.encode(Query(sketch=SKETCH, text=t)) for t in ("", "green"))
    assert torch.equal(silent.image_feature, wordy.image_feature)


def test_composing_is_deterministic_and_changes_nothing(composer):
    table = tiny_backbone().token_table().clone()
    first = compose(composer, REFERENCES["sketch"], "red oak")
    compose(composer, Query(sketch=OTHER), "blue " * 99)
    assert compose(composer, REFERENCES["sketch"], "red oak").digest == first.digest
    assert torch.equal(tiny_backbone().token_table(), table)


def test_nothing_carries_a_graph_and_everything_saves(composer, tmp_path):
    query = compose(composer, REFERENCES["sketch"], "red oak")
    assert not query.feature.requires_grad
    assert not query.prompt_embeddings.requires_grad
    query.save(tmp_path / "q.safetensors")
    assert ComposedQuery.load(tmp_path / "q.safetensors").digest == query.digest


@pytest.mark.parametrize("balance", [-1.0, 2.0, float("nan")])
def test_balances_outside_are_refused(composer, balance):
    with pytest.raises(ValueError, match="`balance` must lie between 0 and 1"):
        compose(composer, REFERENCES["sketch"], "red", balance=balance)


def test_unknown_names_are_refused_exactly(weights):
    with pytest.raises(ComposerError, match="no composer 'Duet'; choose one of: duet, slerp"):
        load_composer("Duet", tiny_backbone(), weights)
    with pytest.raises(ComposerError, match="needs its trained weights"):
        load_composer("duet", tiny_backbone(), None)
