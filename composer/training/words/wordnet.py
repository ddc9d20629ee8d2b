"""Reader of the nouns of WordNet's database files (Debian package `wordnet-base`).

Source: the manual pages wndb(5WN) and cntlist(5WN) of WordNet 3.0 describe the formats.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Names of the lexicographer files of nouns that hold what pictures can show, by number.
LEXICOGRAPHER_FILES = {
    "03": "tops",
    "04": "act",
    "05": "animal",
    "06": "artifact",
    "07": "attribute",
    "08": "body",
    "09": "cognition",
    "10": "communication",
    "11": "event",
    "12": "feeling",
    "13": "food",
    "14": "group",
    "15": "location",
    "16": "motive",
    "17": "object",
    "18": "person",
    "19": "phenomenon",
    "20": "plant",
    "21": "possession",
    "22": "process",
    "23": "quantity",
    "24": "relation",
    "25": "shape",
    "26": "state",
    "27": "substance",
    "28": "time",
}
_NOUN = "1"  # the part of speech in a sense key


@dataclass(frozen=True, kw_only=True, slots=True)
class Synset:
    """A sense that several words share.

    Attributes:
        offset: Its identifier, eight digits.
        topic: Name of its lexicographer file ("animal").
        words: Its words, spaces for underscores, in the spelling of WordNet.
        parents: Identifiers of what it is a kind or an instance of.
        gloss: Its definition, without examples.
        examples: Sentences or phrases that use one of its words.
    """

    offset: str
    topic: str
    words: tuple[str, ...]
    parents: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]


class WordNet:
    """The nouns: synsets, the senses of each word, and how often texts used each sense."""

    def __init__(self, folder: Path) -> None:
        """Read `data.noun`, `index.noun` and, for the frequencies, `cntlist.rev`.

        Raises:
            FileNotFoundError: The folder has no WordNet.
        """
        needed = ("data.noun", "index.noun", "cntlist.rev")
        missing = [name for name in needed if not (folder / name).exists()]
        if missing:
            raise FileNotFoundError(
                f"{folder} must hold WordNet's database files, but has no {missing[0]}; install "
                "the package wordnet-base, or pass the folder that has them."
            )
        self.folder = folder
        self.synsets = {s.offset: s for s in _read_synsets(folder / "data.noun")}
        self.senses = dict(_read_senses(folder / "index.noun"))
        self._counts = dict(_read_counts(folder / "cntlist.rev"))
        self._children: dict[str, list[str]] = defaultdict(list)
        for synset in self.synsets.values():
            for parent in synset.parents:
                self._children[parent].append(synset.offset)

    def count(self, word: str, sense: int) -> int:
        """Return how often the tagged texts used a word (lower case) in a sense, counted from 0."""
        return self._counts.get((word, sense), 0)

    def below(self, offset: str) -> set[str]:
        """Return a synset and everything that is a kind or an instance of it."""
        return self._reach(offset, lambda o: self._children.get(o, ()))

    def above(self, offset: str) -> set[str]:
        """Return a synset and everything that it is a kind or an instance of."""
        return self._reach(offset, lambda o: self.synsets[o].parents)

    @staticmethod
    def _reach(offset: str, step: Callable[[str], Iterable[str]]) -> set[str]:
        reached, todo = {offset}, [offset]
        while todo:
            for near in step(todo.pop()):
                if near not in reached:
                    reached.add(near)
                    todo.append(near)
        return reached


def read_examples(folder: Path) -> list[str]:
    """Read the example sentences and phrases of verbs, adjectives and adverbs, where present."""
    paths = [folder / f"data.{part}" for part in ("verb", "adj", "adv")]
    synsets = (synset for path in paths if path.exists() for synset in _read_synsets(path))
    return [example for synset in synsets for example in synset.examples]


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines behind the licence, which is indented by two spaces."""
    with path.open(encoding="latin-1") as file:
        for line in file:
            if not line.startswith("  "):
                yield line


def _read_synsets(path: Path) -> Iterator[Synset]:
    for line in _lines(path):
        head, _, text = line.partition("|")
        fields = head.split()
        num_words = int(fields[3], 16)
        words = [word.partition("(")[0] for word in fields[4 : 4 + 2 * num_words : 2]]
        first = 4 + 2 * num_words
        pointers = fields[first + 1 : first + 1 + 4 * int(fields[first])]
        pairs = zip(pointers[0::4], pointers[1::4], strict=True)
        parents = [offset for symbol, offset in pairs if symbol in ("@", "@i")]
        gloss, *quoted = text.split('"')
        yield Synset(
            offset=fields[0],
            topic=LEXICOGRAPHER_FILES.get(fields[1], "other"),
            words=tuple(word.replace("_", " ") for word in words),
            parents=tuple(parents),
            gloss=gloss.strip(" ;\n"),
            examples=tuple(example.strip() for example in quoted[0::2]),
        )


def _read_senses(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for line in _lines(path):
        fields = line.split()
        yield fields[0].replace("_", " "), tuple(fields[-int(fields[2]) :])


def _read_counts(path: Path) -> Iterator[tuple[tuple[str, int], int]]:
    with path.open(encoding="latin-1") as file:
        for line in file:
            key, number, count = line.split()
            word, _, rest = key.partition("%")
            if rest.startswith(_NOUN):
                yield (word.replace("_", " "), int(number) - 1), int(count)
