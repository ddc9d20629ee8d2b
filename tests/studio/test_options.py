"""Typed options of the commands."""

from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from composer import names
from composer.strategies import COMPOSERS
from composer.training.run import TRAININGS
from studio import development_arguments
from studio.cli import parser
from studio.commands.bench import BENCHES
from studio.commands.options import (
    OPTIONS,
    DrawingOptions,
    GenerateOptions,
    IndexCommandOptions,
    KitOptions,
    SearchOptions,
    make_options,
)
from studio.commands.train import STAGES

LEAST = {
    "demo": [],
    "index": ["photos"],
    "search": [],
    "generate": ["--output", "a.png"],
    "transfer": ["photo.jpg", "--to", "night", "--output", "a.png"],
    "domains": [],
    "export-token": ["--output", "a.safetensors"],
    "rerun": ["a.png", "--output", "b.png"],
    "compare": ["a.png", "b.png"],
    "kits": [],
    "train": ["mini"],
    "bench": ["speed"],
    "password": ["somebody"],
    "doctor": [],
}


def test_the_choices_of_arguments_are_what_the_commands_know():
    assert tuple(STAGES) == development_arguments.STAGES
    assert set(BENCHES) == set(development_arguments.BENCHES)
    assert set(names.TRAINED) | set(names.TRAINING_FREE) == set(COMPOSERS)
    assert {names.CONVERTER, *names.TRAINED} == set(TRAININGS)


def names_of(kind):
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        yield from names_of(hint) if is_dataclass(hint) else [field.name]


@pytest.mark.parametrize("command", OPTIONS)
def test_every_argument_of_a_command_is_an_option_and_nothing_else(command):
    parsed = vars(parser().parse_args([command, *LEAST[command]]))
    assert parsed.pop("command") == command
    assert sorted(names_of(OPTIONS[command])) == sorted(parsed)
    make_options(OPTIONS[command], parsed)


def options_of(*arguments):
    parsed = vars(parser().parse_args(arguments))
    return make_options(OPTIONS[parsed["command"]], parsed)


def test_groups_are_made_from_the_same_values():
    options = options_of("generate", "--text", "red", "--seed", "7", "--output", "a.png")
    assert isinstance(options, GenerateOptions)
    assert options.kit == KitOptions(kit="mini", device="auto", dtype="auto")
    assert (options.query.text, options.output) == ("red", Path("a.png"))
    assert isinstance(options.drawing, DrawingOptions)
    assert options.drawing.seed == 7


def test_lists_become_tuples_and_options_cannot_be_changed():
    options = options_of("search", "--like", "a", "b", "--query", "q.safetensors")
    assert isinstance(options, SearchOptions)
    assert (options.like, options.unlike) == (("a", "b"), ())
    assert options.query.saved_query == Path("q.safetensors")
    with pytest.raises(FrozenInstanceError):
        options.top_k = 3


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("folder", Path("folder")),
        ("s3://bucket/gallery", "s3://bucket/gallery"),
        ("http://host:19530#part", "http://host:19530#part"),
        ("milvus.db", "milvus.db"),
    ],
)
def test_an_index_is_a_path_or_an_address(text, index):
    options = options_of("index", "photos", "--index", text)
    assert isinstance(options, IndexCommandOptions)
    assert (options.index, options.folders) == (index, (Path("photos"),))
