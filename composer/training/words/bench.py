"""`python -m composer.training.words.bench FOLDER ...`: measures the taught text tower.

Everything is measured on what no training paired with words: Sketchy's held-out classes and the
held-out captions of Flickr. The teacher stands beside the tower.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from composer.learned import FILE_NAME, LearnedNames
from composer.training.words import forms
from composer.training.words.bank import PhotoHead, read_bank
from composer.training.words.concepts import read_captions
from composer.training.words.corpus import commonest
from composer.training.words.heads import TeacherHead
from composer.training.words.lessons import Lessons
from composer.training.words.nouns import read_nouns
from composer.training.words.report import (
    Encode,
    HeldOutPhotos,
    WordsRow,
    caption_rows,
    class_rows,
    frequency_rows,
    score_words,
)
from composer.training.words.run import (
    TEACHER_NAME,
    WORDNET_FOLDER,
    sentence_encoder,
    trained_captions,
)
from composer.training.words.text_cache import TextCache
from composer.training.words.tower import TextTower, read_tokenizer, text_encoder
from composer.training.words.withheld import class_word
from composer.training.words.wordnet import WordNet

ODD_WORDS = ("dragon", "castle", "sofa", "kitten", "vehicle", "fruit", "robot", "wizard")


def tower_encoder(text_folder: Path) -> Encode:
    """Return how a trained tower encodes texts."""
    return text_encoder(TextTower.load(text_folder), read_tokenizer(text_folder))


def teacher_encoder(folder: Path, archive: Path | None = None) -> Encode:
    """Return how the teacher of a run's folder encodes texts."""
    head = TeacherHead.load(folder / TEACHER_NAME)
    sentences = TextCache(sentence_encoder(archive))
    return lambda texts: head(sentences(texts))


def measure(
    encoders: Mapping[str, Encode], photos: HeldOutPhotos
) -> tuple[list[WordsRow], dict[str, dict[str, float]]]:
    """Measure every encoder; return the rows, and per class the precision of its name."""
    rows: list[WordsRow] = []
    per_class: dict[str, dict[str, float]] = {}
    for name, encode in encoders.items():
        rows += class_rows(name, encode, photos) + caption_rows(name, encode, photos)
        asked = {c: forms.say(forms.PHOTO, class_word(c)) for c in sorted(set(photos.labels))}
        scores = score_words(encode, asked, photos)
        per_class[name] = {s.name: round(100 * s.average_precision, 1) for s in scores}
    return rows, per_class


def closest_names(encode: Encode, table: LearnedNames) -> dict[str, tuple[str, ...]]:
    """Return what odd words come closest to; a "-" before a word that the table knows."""
    features = encode([forms.say(forms.PHOTO, word) for word in ODD_WORDS])
    return {
        word if table.unknown_words(word) else f"-{word}": table.closest(feature, count=3)
        for word, feature in zip(ODD_WORDS, features, strict=True)
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit code, 2 where the user can mend it."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.words.bench")
    parser.add_argument("folder", type=Path, help="what composer.training.words.run wrote")
    parser.add_argument("--bank", type=Path, required=True, help="pooled features of pictures")
    parser.add_argument("--head", type=Path, required=True, help="the photo head")
    parser.add_argument("--natural", type=Path, required=True, help="folder of the data archives")
    parser.add_argument("--wordnet", type=Path, default=WORDNET_FOLDER)
    parser.add_argument("--encoder", type=Path, help="model.zip of the sentence encoder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    try:
        print(_report(chosen))  # noqa: T201  what the command is for
    except FileNotFoundError as error:
        print(error, file=sys.stderr)  # noqa: T201  what the user can mend
        return 2
    return 0


def _report(chosen: argparse.Namespace) -> str:
    text = chosen.folder / "text"
    bank, head = read_bank(chosen.bank), PhotoHead.load(chosen.head)
    photos = HeldOutPhotos.read(bank, head, read_captions(chosen.natural))
    student = tower_encoder(text)
    rows, per_class = measure(
        {"student": student, "teacher": teacher_encoder(chosen.folder, chosen.encoder)}, photos
    )
    wordnet = WordNet(chosen.wordnet)
    nouns = read_nouns(wordnet)
    ranked = commonest(wordnet, nouns, trained_captions(chosen.natural), len(nouns))
    lessons = Lessons.load(chosen.folder / "lessons")
    rows += frequency_rows(student, lessons, [noun.word for noun in ranked])
    closest = closest_names(student, LearnedNames.load(text / FILE_NAME))
    if chosen.json:
        figures = {"rows": [asdict(row) for row in rows], "classes": per_class, "closest": closest}
        return json.dumps(figures, indent=1)
    lines = [str(row) for row in rows]
    for name in per_class["student"]:
        each = "  ".join(f"{who} {scores[name]:5.1f}" for who, scores in per_class.items())
        lines.append(f"{name:20} {each}")
    lines += [f"{word}: {', '.join(names)}" for word, names in closest.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
