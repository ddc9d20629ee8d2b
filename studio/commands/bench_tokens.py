"""`duet bench tokens`: what a query keeps when it leaves as a textual inversion and comes back."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from composer.added_words import AddedWord
from composer.composed import ComposedQuery
from composer.exported import absorbing, word_of_query
from composer.feature_backbone import NO_TOKENS
from composer.query import Query
from composer.strategies.inversion import invert
from composer.token_file import TokenFormat, read_token, write_token
from retrieval.benchmarks import catalogue
from retrieval.benchmarks.metrics import bootstrap
from studio.commands.bench_gallery import shipped_gallery
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.engine import Engine
from studio.errors import UsageError
from studio.kit_file import assets_folder

NUM_QUERIES = 200
NUM_ABSORBED = 24
NUMS_OF_TOKENS = (1, 2, 4)
TOP_K = 10
_NAME = "token"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What two rankings of one query have in common.

    Attributes:
        ours: Ids of the first ten by the token.
        theirs: Ids of the first ten that it is compared with.
        num_bytes: Size of the token's file.
        cosine: Cosine of both features.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    num_bytes: int
    cosine: float


def bench_tokens(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Compare rankings by tokens that were in a file with those of the queries they are made of.

    Raises:
        GalleryError: The gallery is not there.
        UsageError: The kit draws with another tower than it searches with, or has no tokens.
    """
    if engine.backbone.text_hash != engine.search_backbone.text_hash:
        raise UsageError("Tokens are measured with a kit that searches and draws with one tower.")
    if not engine.backbone.has_tokens:
        raise UsageError(NO_TOKENS)
    gallery = shipped_gallery(engine)
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    count = min(options.count or NUM_QUERIES, len(protocol.cases))
    picked = np.random.default_rng(options.seed).permutation(len(protocol.cases))[:count]
    cases = [protocol.cases[number] for number in picked]
    queries = [Query(sketch=protocol.sketches[case.design], text=case.attributes) for case in cases]
    progress = ProgressLine("comparisons")
    rows = _drawn_rows(engine, queries)
    for done, num_tokens in enumerate(NUMS_OF_TOKENS):
        progress(done + 1, len(NUMS_OF_TOKENS) + 1)
        rows += _absorbed_rows(engine, queries[:NUM_ABSORBED], num_tokens)
    progress(len(NUMS_OF_TOKENS) + 1, len(NUMS_OF_TOKENS) + 1)
    return rows


def _drawn_rows(engine: Engine, queries: Sequence[Query]) -> list[dict[str, Any]]:
    """Return rows of drawings as words: beside the same prompt unsaved, and the whole query."""
    same: list[Comparison] = []
    alone: list[Comparison] = []
    both: list[Comparison] = []
    for query in queries:
        drawing = engine.compose(replace(query, text=""))
        drawn = engine.drawable(drawing)
        reader, num_bytes = _sent(engine, word_of_query(drawn, name=_NAME, kit=engine.kit.name))
        word = reader.compose(Query(text=f"<{_NAME}>"))
        same.append(_compare(engine, word, _by_prompt(engine, drawn), num_bytes))
        alone.append(_compare(engine, word, drawing, num_bytes))
        said = reader.compose(Query(text=f"<{_NAME}> {query.text}"))
        both.append(_compare(engine, said, engine.compose(query), num_bytes))
    return [
        _row("drawing", "the same prompt, unsaved", same),
        _row("drawing", "the whole query", alone),
        _row("drawing, words written after it", "the whole query", both),
    ]


def _absorbed_rows(
    engine: Engine, queries: Sequence[Query], num_tokens: int
) -> list[dict[str, Any]]:
    """Return rows of drawings and words as one word: beside the feature, and the whole query."""
    composed = [engine.compose(query) for query in queries]
    features = torch.stack([one.feature for one in composed])
    found = invert(engine.backbone, features, absorbing(num_tokens)).tokens
    feature_alone: list[Comparison] = []
    whole: list[Comparison] = []
    for query, vectors in zip(composed, found, strict=True):
        word = AddedWord(name=_NAME, vectors=vectors.detach().float().cpu())
        reader, num_bytes = _sent(engine, word)
        ours = reader.compose(Query(text=f"<{_NAME}>"))
        feature_alone.append(_compare(engine, ours, _by_feature(query, query.feature), num_bytes))
        whole.append(_compare(engine, ours, query, num_bytes))
    token = f"drawing and words in {num_tokens}"
    return [
        _row(token, "the composed feature, without layout", feature_alone),
        _row(token, "the whole query", whole),
    ]


def _sent(engine: Engine, word: AddedWord) -> tuple[Engine, int]:
    """Return an engine that read the word from a file, and the size of the file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{_NAME}.safetensors"
        write_token(file, word, TokenFormat.A1111)
        return engine.with_words([read_token(file)]), file.stat().st_size


def _by_prompt(engine: Engine, query: ComposedQuery) -> ComposedQuery:
    """Return a query that searches by the text feature of its prompt alone."""
    prompt = query.require_tokens()[None, : query.end_position + 1]
    end = torch.tensor([query.end_position], device=prompt.device)
    with torch.inference_mode():
        encoding = engine.search_backbone.encode_embeddings(prompt, end)
    return _by_feature(query, encoding.features[0])


def _by_feature(query: ComposedQuery, feature: Float[Tensor, " d"]) -> ComposedQuery:
    """Return a query that searches by one feature alone."""
    return replace(
        query, feature=feature, both_feature=feature, reference_feature=None, words_feature=None,
        patch_features=None, layout=None, fusion=None,
    )  # fmt: skip


def _compare(
    engine: Engine, ours: ComposedQuery, theirs: ComposedQuery, num_bytes: int
) -> Comparison:
    first, second = (
        tuple(hit.id for hit in engine.search(query, top_k=TOP_K).hits) for query in (ours, theirs)
    )
    cosine = float(ours.feature.float() @ theirs.feature.float())
    return Comparison(ours=first, theirs=second, num_bytes=num_bytes, cosine=cosine)


def _row(token: str, beside: str, compared: Sequence[Comparison]) -> dict[str, Any]:
    overlap = bootstrap(
        np.array([len(set(one.ours) & set(one.theirs)) / TOP_K for one in compared], float)
    )
    return {
        "token": token,
        "beside": beside,
        "num_queries": len(compared),
        "same_ten": float(np.mean([one.ours == one.theirs for one in compared])),
        "same_first": float(np.mean([one.ours[:1] == one.theirs[:1] for one in compared])),
        "overlap@10": overlap.mean,
        "overlap_low": overlap.low,
        "overlap_high": overlap.high,
        "cosine": float(np.mean([one.cosine for one in compared])),
        "bytes": int(np.mean([one.num_bytes for one in compared])),
    }
