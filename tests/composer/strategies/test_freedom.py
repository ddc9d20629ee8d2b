import pytest
import torch
from torch.nn.functional import normalize

from composer.kit_parts import ComposerFiles
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies import load_composer
from composer.strategies.freedom import FreedomComposer, FreedomSettings
from composer.strategies.protocol import ComposerError, WeightedWord
from composer.strategies.untrained import drawing_mean
from composer.word_lists import SUBJECTS
from tests.composer.tiny import tiny_backbone
from tests.pictures import noise

SKETCH = Query(sketch=Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]]]))
PHOTO = Query(image=noise((64, 64), 90).convert("RGB"))


@pytest.fixture(scope="module")
def composer():
    return FreedomComposer(tiny_backbone(), FreedomSettings(num_words=3))


def test_the_words_are_those_nearest_to_the_centred_reference(composer):
    backbone = tiny_backbone()
    vocabulary = backbone.encode_text([f"a photo of a {subject}" for subject in SUBJECTS])
    vocabulary = normalize(vocabulary - vocabulary.mean(dim=0), dim=-1)
    bare = load_composer("slerp", backbone, ComposerFiles(settings={"moves_sketches": False}))
    drawn = bare.encode(SKETCH).image_feature - drawing_mean(backbone)
    cosines = vocabulary @ normalize(drawn, dim=-1)
    words = composer.encode(SKETCH).words
    assert [named.word for named in words] == [SUBJECTS[i] for i in cosines.topk(3).indices]
    weights = (cosines.topk(3).values / 0.1).softmax(dim=0)
    assert [named.weight for named in words] == pytest.approx(weights.tolist(), abs=1e-4)
    assert sum(named.weight for named in words) == pytest.approx(1)


def test_the_feature_is_the_weighted_mean_of_the_combinations(composer):
    words = (WeightedWord(word="chair", weight=0.75), WeightedWord(word="dog", weight=0.25))
    reference = composer.encode(PHOTO)
    query = composer.compose(
        type(reference)(image_feature=reference.image_feature, words=words), "red oak"
    )
    backbone = tiny_backbone()

    def both(word):
        prompts = [f"a photo of a {word} red oak", f"red oak of a {word}"]
        return torch.stack([backbone.encode_text([prompt])[0] for prompt in prompts]).mean(dim=0)

    expected = normalize(0.75 * both("chair") + 0.25 * both("dog"), dim=-1)
    torch.testing.assert_close(query.feature, expected, atol=1e-5, rtol=0)
    assert query.fusion is None


def test_a_cold_softmax_leaves_the_nearest_word_alone():
    settings = FreedomSettings(num_words=5, temperature=1e-6)
    words = FreedomComposer(tiny_backbone(), settings).encode(PHOTO).words
    assert words[0].weight == pytest.approx(1)


def test_without_a_reference_there_are_no_words(composer):
    assert composer.encode(Query(text="red")).words == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_words": 0}, "`num_words` must lie between 1 and"),
        ({"temperature": 0.0}, "`temperature` must be above 0"),
    ],
)
def test_wrong_settings_are_reported(settings, message):
    with pytest.raises(ComposerError, match=message):
        load_composer("freedom", tiny_backbone(), ComposerFiles(settings=settings))
