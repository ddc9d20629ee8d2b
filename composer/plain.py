"""Plain words as a composed query: what the words of token files need where nothing is composed."""

from torch import cat

from composer.backbone import Backbone
from composer.composed import BALANCED, ComposedQuery
from composer.prompt import build_prompts, mean_of_parts, stack_prompts, text_parts

PLAIN = "plain"


def names_added_words(backbone: Backbone, text: str) -> bool:
    """Tell whether a text names a word of a token file that the CLIP was given."""
    if not backbone.added_words:
        return False
    marks = {word.mark.lower() for word in backbone.added_words}
    return not marks.isdisjoint(backbone.words(text))


def compose_plain(backbone: Backbone, text: str) -> ComposedQuery:
    """Return words as a query without a reference, its prompt start, words, end and nothing else.

    Args:
        backbone: The CLIP, with words of token files.
        text: The words, of any length.
    """
    prompts = build_prompts(backbone, "", None, text)
    batch = stack_prompts(prompts)
    features = backbone.encode_embeddings(batch.embeddings, batch.end_positions).features
    feature = mean_of_parts(text_parts(backbone, text, 0), list(features))
    prompt = cat([one.token_embeddings for one in prompts])
    return ComposedQuery(
        pseudo_tokens=prompt[:0],
        prompt_embeddings=prompt,
        end_position=prompts[0].end_position,
        pseudo_positions=(),
        feature=feature,
        both_feature=feature,
        reference_feature=None,
        words_feature=feature,
        patch_features=None,
        balance=BALANCED,
        composer=PLAIN,
        text=text,
        gallery_hash=backbone.gallery_hash,
        text_hash=backbone.text_hash,
        added=backbone.used_words(text, prompt),
    )
