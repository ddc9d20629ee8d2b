"""The whole way on a tiny world: run teaches a tower, bench measures it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from composer.clip_files import MERGES_NAME
from composer.learned import FILE_NAME, LearnedNames
from composer.training.words import bench, run
from composer.training.words.bank import PhotoHead, write_bank
from composer.training.words.corpus import CorpusRecipe
from composer.training.words.distil import DistilRecipe
from composer.training.words.run import WordsRun, teach_words, trained_captions
from composer.training.words.teacher import TeacherRecipe
from composer.training.words.tower import TextTower
from tests.composer.training.words.tiny_archives import tiny_bank, tiny_head, write_archives
from tests.composer.training.words.tiny_encoder import tiny_bert, write_encoder
from tests.composer.training.words.tiny_wordnet import write_wordnet


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> WordsRun:
    tmp_path = tmp_path_factory.mktemp("words")
    write_bank(tiny_bank(), tmp_path / "bank.safetensors")
    tiny_head().save(tmp_path / "head.safetensors")
    return WordsRun(
        folder=tmp_path / "run",
        bank=tmp_path / "bank.safetensors",
        head=tmp_path / "head.safetensors",
        archives=write_archives(tmp_path),
        wordnet=write_wordnet(tmp_path / "wordnet"),
        encoder=write_encoder(tmp_path / "model.zip", tiny_bert()),
        corpus=CorpusRecipe(
            num_phrases=8, num_media=4, num_scenes=4, num_captions=2, num_lacking=2
        ),
        teacher=TeacherRecipe(num_steps=2, max_centres=64),
        distil=DistilRecipe(num_steps=2),
    )


@pytest.fixture(scope="module")
def tower(tiny_run: WordsRun) -> TextTower:
    """The tower that the run leaves."""
    return teach_words(tiny_run)


def _arguments(tiny_run: WordsRun) -> list[str]:
    paths = {
        "--bank": tiny_run.bank,
        "--head": tiny_run.head,
        "--natural": tiny_run.archives,
        "--wordnet": tiny_run.wordnet,
        "--encoder": tiny_run.encoder,
    }
    return [str(tiny_run.folder), *(str(part) for pair in paths.items() for part in pair)]


def _is_kept(path: Path) -> bool:
    """Whether a file is made once; the table of names is written by every run."""
    return path.is_file() and path.name != FILE_NAME


def test_a_run_leaves_a_tower_and_a_bench_measures_it(
    tiny_run: WordsRun, tower: TextTower, capsys: pytest.CaptureFixture[str]
):
    text = tiny_run.folder / "text"
    assert TextTower.load(text).state_dict().keys() == tower.state_dict().keys()
    assert LearnedNames.load(text / FILE_NAME).knows("tench")
    written = {p: p.stat().st_mtime_ns for p in tiny_run.folder.rglob("*") if _is_kept(p)}
    teach_words(replace(tiny_run, distil=DistilRecipe(num_steps=9)))
    again = {p: p.stat().st_mtime_ns for p in tiny_run.folder.rglob("*") if _is_kept(p)}
    assert again == written  # what is there is not made again

    capsys.readouterr()
    assert bench.main([*_arguments(tiny_run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    whats = {(row["encoder"], row["what"]) for row in figures["rows"]}
    assert ("teacher", "class names to photos, mAP@200") in whats
    assert ("student", "captions, R@1 of 3 photos") in whats
    assert set(figures["classes"]["student"]) == {"owl"}
    assert "dragon" in figures["closest"]


@pytest.mark.usefixtures("tower")
def test_a_run_goes_on_from_a_tower_of_another_head(tiny_run: WordsRun, tmp_path: Path):
    head = tiny_head()
    PhotoHead(weight=head.weight.flip(0), bias=head.bias).save(tmp_path / "other.safetensors")
    start = tiny_run.folder / "text"
    other = replace(
        tiny_run, folder=tmp_path / "other", head=tmp_path / "other.safetensors", start=start
    )
    turned = teach_words(other)
    ours, theirs = (run.folder / "text" / MERGES_NAME for run in (other, tiny_run))
    assert ours.read_bytes() == theirs.read_bytes()
    table = TextTower.load(start).transformer.token_embedding.weight
    moved = (turned.transformer.token_embedding.weight - table).abs().mean()
    assert moved < 0.1 * table.abs().mean()  # two steps away from the tower it began with


def test_a_missing_wordnet_is_one_sentence(
    tiny_run: WordsRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = _arguments(replace(tiny_run, wordnet=tmp_path / "nowhere"))
    assert run.main(arguments) == 2
    error = capsys.readouterr().err
    assert "install the package wordnet-base" in error
    assert error.count("\n") == 1


def test_no_held_out_caption_is_trained_on(tiny_run: WordsRun):
    assert "a girl" not in trained_captions(tiny_run.archives)
    assert "a dog runs" in trained_captions(tiny_run.archives)
