"""`python -m composer.training.words.run FOLDER ...`: teaches the kit's text tower its words.

Every stage writes into the folder and is skipped where its files are there; a stopped run goes on
where it was. Delete a stage's files to have it made again, and with them those of the later ones:
`sentences/` (sentence features), `teacher.safetensors`, `lessons/`, `text/merges.txt`, `state/`,
`text/text.safetensors`.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from composer.clip_files import MERGES_NAME
from composer.data import heldout
from composer.data.catalogue import CataloguePack, PackItem
from composer.data.tree import DatasetError
from composer.errors import InputError
from composer.files import write_bytes
from composer.hardware import resolve_device
from composer.learned import FILE_NAME
from composer.training.loop import fast_precision
from composer.training.words.bank import CATALOGUE, PhotoHead, PooledSet, read_bank
from composer.training.words.concepts import (
    Concepts,
    TextSources,
    read_captions,
    read_concepts,
    read_keywords,
)
from composer.training.words.corpus import CorpusRecipe, build_corpus
from composer.training.words.distil import Distiller, DistilRecipe, LessonTokens, turn_towards
from composer.training.words.heads import TeacherHead
from composer.training.words.imagenet import imagenet_classes
from composer.training.words.learned_table import learned_names
from composer.training.words.lessons import Lessons, ask_teacher
from composer.training.words.nouns import Noun, count_uses, read_nouns, split_words
from composer.training.words.sentence_encoder import SentenceEncoder
from composer.training.words.teacher import TeacherRecipe, fit_teacher
from composer.training.words.text_cache import TextCache
from composer.training.words.tower import (
    WEIGHTS_NAME,
    TextTower,
    learn_words,
    read_tokenizer,
    start_words,
    text_encoder,
)
from composer.training.words.withheld import held_out_names
from composer.training.words.wordnet import WordNet

log = logging.getLogger(__name__)
TEACHER_NAME = "teacher.safetensors"
NUM_TURNING = 8000
WORDNET_FOLDER = Path("/usr/share/wordnet")
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class WordsRun:
    """What a run reads and how it is made.

    Attributes:
        folder: Where everything is written.
        bank: Pooled features of pictures.
        head: The photo head that puts them into the joint space.
        archives: Folder of the data archives.
        data: Folder of the catalogue's training pack, where the bank has its pictures.
        wordnet: Folder of WordNet's database files.
        encoder: Archive of the sentence encoder; None for the installed package.
        start: Folder of a trained tower of the same vocabulary to go on from, whatever head it was
            trained for; None for a new one.
        device: Where the encoder answers and the tower trains, as `composer.hardware` names it.
    """

    folder: Path
    bank: Path
    head: Path
    archives: Path
    data: Path | None = None
    wordnet: Path = WORDNET_FOLDER
    encoder: Path | None = None
    start: Path | None = None
    device: str = "auto"
    corpus: CorpusRecipe = field(default_factory=CorpusRecipe)
    teacher: TeacherRecipe = field(default_factory=TeacherRecipe)
    distil: DistilRecipe = field(default_factory=DistilRecipe)


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What the stages share once it is read."""

    wordnet: WordNet
    nouns: list[Noun]
    captions: tuple[str, ...]
    concepts: Concepts
    sentences: TextCache


def read_material(run: WordsRun) -> Material:
    """Read everything a run stands on.

    Raises:
        FileNotFoundError: WordNet, an archive or the sentence encoder is missing.
    """
    wordnet = WordNet(run.wordnet)
    sources = TextSources(
        archives=run.archives,
        wordnet=wordnet,
        withheld=held_out_names(wordnet),
        catalogue={} if run.data is None else pack_items(run.data),
    )
    bank = {name: trained_part(name, s) for name, s in read_bank(run.bank).items()}
    return Material(
        wordnet=wordnet,
        nouns=read_nouns(wordnet),
        captions=trained_captions(run.archives),
        concepts=read_concepts(bank, PhotoHead.load(run.head), sources),
        sentences=TextCache(
            sentence_encoder(run.encoder, resolve_device(run.device)), run.folder / "sentences"
        ),
    )


def sentence_encoder(archive: Path | None = None, device: torch.device = _CPU) -> SentenceEncoder:
    """Load the packaged encoder, or another, in the precision that is fast on a device.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    encoder = SentenceEncoder.load(archive).to(device)
    is_bf16 = fast_precision(device) == "bf16"
    return encoder.bfloat16() if is_bf16 else encoder


def pack_items(folder: Path) -> dict[str, PackItem]:
    """Read the words of a training pack's pictures.

    Raises:
        PackError: The pack is missing or damaged.
    """
    return {item.id: item for item in CataloguePack.open(folder).items}


def trained_part(name: str, pictures: PooledSet) -> PooledSet:
    """Leave the held-out photos of Sketchy and Flickr and validation designs out of a set."""
    is_held_out = {
        "sketchy": lambda p: heldout.sketchy_is_held_out(p.parent.name),
        "flickr": lambda p: heldout.flickr_is_held_out(p.name),
        CATALOGUE: lambda p: p.parent.name != "train",
    }.get(name)
    if is_held_out is None:
        return pictures
    rows = [row for row, path in enumerate(pictures.names) if not is_held_out(Path(path))]
    return PooledSet(names=tuple(pictures.names[r] for r in rows), pooled=pictures.pooled[rows])


def trained_captions(archives: Path) -> tuple[str, ...]:
    """Return the captions that training may see."""
    captions = sorted(read_captions(archives).items())
    return tuple(
        text for name, said in captions if not heldout.flickr_is_held_out(name) for text in said
    )


def teach_words(run: WordsRun) -> TextTower:
    """Run every stage that is not done yet; return the trained tower."""
    material = read_material(run)
    teacher = _teacher(run, material)
    lessons = _lessons(run, material, teacher)
    text = run.folder / "text"
    if not (text / MERGES_NAME).exists():
        _make_vocabulary(run, material, text)
    if not (text / WEIGHTS_NAME).exists():
        _train(run, material, lessons).save(text)
    tower = TextTower.load(text)
    encode = text_encoder(tower, read_tokenizer(text))
    learned_names(material.concepts, encode).save(text / FILE_NAME)
    return tower


def _make_vocabulary(run: WordsRun, material: Material, text: Path) -> None:
    """Learn the vocabulary, or take that of the tower to go on from."""
    if run.start is None:
        learn_words(sorted(word_counts(run, material).items()), text)
        return
    text.mkdir(parents=True, exist_ok=True)
    write_bytes(text / MERGES_NAME, (run.start / MERGES_NAME).read_bytes())


def _teacher(run: WordsRun, material: Material) -> TeacherHead:
    path = run.folder / TEACHER_NAME
    if not path.exists():
        log.info("fitting the teacher")
        fit_teacher(material.concepts, material.sentences, run.teacher).save(path)
    return TeacherHead.load(path)


def _lessons(run: WordsRun, material: Material, teacher: TeacherHead) -> Lessons:
    folder = run.folder / "lessons"
    if not (folder / "lessons.safetensors").exists():
        corpus = build_corpus(material.wordnet, material.nouns, material.captions, run.corpus)
        log.info("asking the teacher about %d texts", len(corpus))
        ask_teacher(corpus, lambda texts: teacher(material.sentences(texts))).save(folder)
    return Lessons.load(folder)


def word_counts(run: WordsRun, material: Material) -> Counter[str]:
    """Count the words that the vocabulary is learned from."""
    counts = count_uses(material.wordnet)
    names = [name for item in imagenet_classes() for name in item.names]
    keywords = [word for words in read_keywords(run.archives).values() for word in words]
    for texts, weight in (
        ([noun.word for noun in material.nouns], 1),
        (material.captions, 3),
        (names, 3),
        (keywords, 2),
    ):
        for text in texts:
            counts.update({word: weight for word in split_words(text)})
    return counts


def _train(run: WordsRun, material: Material, lessons: Lessons) -> TextTower:
    tokenizer = read_tokenizer(run.folder / "text")
    texts = [t for c in material.concepts.items for t in (*c.texts, *c.glosses)]
    tokens = LessonTokens(tokenizer, lessons, texts)
    if run.start is None:
        tower = TextTower(tokenizer.vocab_size, dim=lessons.targets.shape[1], seed=run.distil.seed)
        num_words = start_words(tower, tokenizer, material.sentences)
        log.info("%d words start from the teacher's", num_words)
    else:
        tower = TextTower.load(run.start)
        step = max(1, len(lessons.texts) // NUM_TURNING)
        cosine = turn_towards(tower, tokens.lesson_ids[::step], lessons.targets[::step])
        log.info("a trained tower is turned to this head: cosine %.3f", cosine)
    tower = tower.to(resolve_device(run.device))
    distiller = Distiller(tower, tokens, material.concepts, run.distil, run.folder / "state")
    return distiller.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages from a shell; return the exit code, 2 where the user can mend it."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.words.run")
    parser.add_argument("folder", type=Path, help="where everything is written")
    parser.add_argument("--bank", type=Path, required=True, help="pooled features of pictures")
    parser.add_argument("--head", type=Path, required=True, help="the photo head")
    parser.add_argument("--natural", type=Path, required=True, help="folder of the data archives")
    parser.add_argument("--data", type=Path, help="folder of the catalogue's training pack")
    parser.add_argument("--wordnet", type=Path, default=WORDNET_FOLDER)
    parser.add_argument("--encoder", type=Path, help="model.zip of the sentence encoder")
    parser.add_argument("--start", type=Path, help="text folder of a tower to go on from")
    parser.add_argument("--steps", type=int, default=DistilRecipe().num_steps)
    parser.add_argument("--nouns", type=int, default=CorpusRecipe().num_nouns)
    parser.add_argument("--device", default="auto", help="where it runs")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = WordsRun(
        folder=chosen.folder,
        bank=chosen.bank,
        head=chosen.head,
        archives=chosen.natural,
        data=chosen.data,
        wordnet=chosen.wordnet,
        encoder=chosen.encoder,
        start=chosen.start,
        device=chosen.device,
        corpus=replace(CorpusRecipe(), num_nouns=chosen.nouns, seed=chosen.seed),
        teacher=replace(TeacherRecipe(), seed=chosen.seed),
        distil=replace(DistilRecipe(), num_steps=chosen.steps, seed=chosen.seed),
    )
    try:
        teach_words(run)
    except (FileNotFoundError, DatasetError, InputError) as error:
        print(error, file=sys.stderr)  # noqa: T201  what the user can mend
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
