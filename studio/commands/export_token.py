"""`duet export-token`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from composer.added_words import AddedWord, check_name, model_of
from composer.composed import ComposedQuery
from composer.emphasis import spell_emphasis
from composer.exported import absorb, word_of_query
from composer.token_file import TokenFormat, write_token
from generation.families import Family
from generation.model_files import family_of
from studio.commands.adapters import read_tokens, token_files
from studio.commands.options import ExportTokenOptions
from studio.commands.outputs import OutputRules, plan_output, save_all
from studio.commands.shared import (
    compose_options,
    compose_query,
    open_engine,
    print_json,
    print_line,
)
from studio.engine import Engine
from studio.errors import UsageError

NUM_TOKENS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """A word to be written.

    Attributes:
        word: The word.
        prompt: What to write in a program that has loaded it, to ask for the query.
        facts: What the file says of its query.
    """

    word: AddedWord
    prompt: str
    facts: Mapping[str, str]


def run(options: ExportTokenOptions) -> int:
    """Write the query's tokens to a file, and print how they are used.

    Raises:
        UsageError: The options contradict each other, or another kit composed the query.
        InputError: The name of the file cannot stand in a text, or the query has no drawing.
    """
    if options.num_tokens is not None and not options.absorb_text:
        raise UsageError("--tokens is the number of tokens that --absorb-text finds; give both.")
    given = (options.query.sketch, options.query.image, options.query.saved_query)
    rules = OutputRules(
        option="--output",
        suffix=".safetensors",
        why="as other programs refuse or distrust pickles",
        inputs=(
            *(path for path in given if path is not None),
            *token_files(options.query.tokens),
        ),
        overwrite=options.overwrite,
    )
    path = plan_output(options.output, rules)
    check_name(path.stem)
    engine = open_engine(options.kit).with_words(read_tokens(options.query.tokens))
    export = (_absorbed if options.absorb_text else _drawn)(engine, options, path.stem)
    word = _with_second(engine, export.word)
    facts = {**export.facts, "prompt": export.prompt}
    layout = TokenFormat(options.format)
    (path,) = save_all(
        [path],
        [lambda file: write_token(file, word, layout, facts)],
        overwrite=options.overwrite,
    )
    _report(path, replace(export, word=word), as_json=options.json)
    return 0


def _drawn(engine: Engine, options: ExportTokenOptions, name: str) -> Export:
    """Return the drawing as a word; the query's own words are to be written after it."""
    _, composed = compose_query(engine, options.query)
    _check_tower("text tower", composed.text_hash, engine.backbone.text_hash, engine)
    word = word_of_query(engine.drawable(composed), name=name, kit=engine.kit.name)
    facts = {**_facts(composed), "absorbs_text": "no"}
    words = spell_emphasis(composed.text, composed.word_weights)
    return Export(word=word, prompt=f"{word.mark} {words}".strip(), facts=facts)


def _absorbed(engine: Engine, options: ExportTokenOptions, name: str) -> Export:
    """Return drawing and words as one word."""
    query, composed = compose_query(engine, options.query)
    if query is not None:
        composed = engine.compose_to_draw(query, compose_options(engine, options.query))
    _check_tower("vision tower", composed.gallery_hash, engine.backbone.gallery_hash, engine)
    count = NUM_TOKENS if options.num_tokens is None else options.num_tokens
    found = absorb(engine.backbone, composed.feature, count, name=name, kit=engine.kit.name)
    facts = {**_facts(composed), "absorbs_text": "yes", "cosine": f"{found.cosine:.4f}"}
    return Export(word=found.word, prompt=f"a photo of {found.word.mark}", facts=facts)


def _facts(composed: ComposedQuery) -> dict[str, str]:
    return {"text": composed.text, "composer": composed.composer}


def _check_tower(what: str, composed_by: str, kit_has: str, engine: Engine) -> None:
    if composed_by != kit_has:
        raise UsageError(
            f"The query was composed with {what} {composed_by}, the kit {engine.kit.name!r} draws "
            f"with {kit_has}. Choose the kit that composed it, or give drawing and words anew."
        )


def _with_second(engine: Engine, word: AddedWord) -> AddedWord:
    """Add what the second text encoder of the kit's pipeline reads, if it has one."""
    folder = engine.kit.pipeline
    if folder is None or family_of(folder) is Family.SD:
        return word
    second = engine.pipeline.second_vectors(word.vectors)
    return replace(word, second_vectors=None if second is None else second.float().cpu())


def _report(path: Path, export: Export, *, as_json: bool) -> None:
    word, num_bytes = export.word, path.stat().st_size
    vectors = [word.vectors] if word.second_vectors is None else [word.vectors, word.second_vectors]
    if as_json:
        cosine = {"cosine": float(export.facts["cosine"])} if "cosine" in export.facts else {}
        print_json(
            {
                "path": str(path),
                "name": word.name,
                "prompt": export.prompt,
                "num_vectors": len(word.vectors),
                "widths": [rows.shape[1] for rows in vectors],
                "bytes": num_bytes,
                **cosine,
            }
        )
        return
    widths = " and ".join(str(rows.shape[1]) for rows in vectors)
    print_line(f"{path}: {len(word.vectors)} vectors of width {widths}, {num_bytes:,} bytes.")
    print_line(f"Write: {export.prompt}  (here with --token {path})")
    for line in _uses(word):
        print_line(line)


def _uses(word: AddedWord) -> tuple[str, ...]:
    """Return how other programs use a word."""
    load = f"load_textual_inversion(FILE, token={word.mark!r})"
    if not model_of(word.vectors.shape[1]):
        return (
            f"It opens with the kit {word.kit!r} alone; in diffusers, on its pipeline: {load}.",
        )
    if word.second_vectors is not None:
        load = "load_textual_inversion once with clip_l and once with clip_g and the second encoder"
    return (
        f"diffusers: {load}.",
        f"A1111 and Forge: put the file into embeddings and write {word.name} for {word.mark}; "
        f"ComfyUI: embedding:{word.name}; InvokeAI: {word.mark}.",
    )
