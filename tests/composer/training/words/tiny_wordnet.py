"""A WordNet of a dozen synsets, written in its own file format."""

from pathlib import Path

LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by\n"

# offset, lexicographer file, words, parents (symbol, offset), gloss with examples
NOUNS = (
    ("00000001", "03", ("entity",), (), "that which is perceived to exist"),
    ("00000002", "05", ("animal", "beast"), (("@", "00000001"),), 'a living thing; "wild animals"'),
    ("00000003", "05", ("owl", "bird_of_night"), (("@", "00000002"),), "a night bird of prey"),
    ("00000004", "05", ("barn_owl",), (("@", "00000003"),), "an owl that nests in barns"),
    ("00000005", "05", ("crane",), (("@", "00000002"),), "a long-legged wading bird"),
    ("00000006", "06", ("crane",), (("@", "00000001"),), "lifts and moves heavy objects"),
    ("00000007", "18", ("Crane", "Stephen_Crane"), (("@i", "00000001"),), "a writer"),
    ("00000008", "06", ("cabin",), (("@", "00000001"),), "a small room on a ship (for sleeping)"),
    ("00000009", "06", ("cabin",), (("@", "00000001"),), "a small house built of wood"),
    ("00000010", "09", ("idea",), (("@", "00000001"),), "the content of thinking"),
    ("00000011", "18", ("baddie",), (("@", "00000001"),), "offensive term for a person"),
    ("00000012", "07", ("blue",), (("@", "00000001"),), "the colour of a clear sky"),
    ("00000013", "05", ("blue",), (("@", "00000003"),), "a blue owl"),
    ("00000014", "18", ("sailor",), (("@", "00000001"),), "a man who serves on a ship"),
)
SENSES = {
    "entity": ("00000001",),
    "animal": ("00000002",),
    "beast": ("00000002",),
    "owl": ("00000003",),
    "bird_of_night": ("00000003",),
    "barn_owl": ("00000004",),
    "crane": ("00000007", "00000006", "00000005"),
    "stephen_crane": ("00000007",),
    "cabin": ("00000008", "00000009"),
    "idea": ("00000010",),
    "baddie": ("00000011",),
    "blue": ("00000012", "00000013"),
    "sailor": ("00000014",),
}
COUNTS = ("cabin%1:06:01:: 1 5", "cabin%1:06:02:: 2 3", "cabin%2:30:00:: 1 9", "owl%1:05:00:: 1 2")
VERBS = 'use the wind to move; "the sailor waits"; "the sailor works on a ship"'


def write_wordnet(folder: Path) -> Path:
    """Writes data.noun, index.noun, data.verb and cntlist.rev."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [_data(*noun) for noun in NOUNS]
    (folder / "data.noun").write_text(LICENCE + "".join(lines), encoding="latin-1")
    index = [
        f"{word} n {len(offsets)} 1 @ {len(offsets)} 0 {' '.join(offsets)}  \n"
        for word, offsets in sorted(SENSES.items())
    ]
    (folder / "index.noun").write_text(LICENCE + "".join(index), encoding="latin-1")
    verb = _data("00000001", "38", ("sail",), (), VERBS).replace(" n 01", " v 01", 1)
    (folder / "data.verb").write_text(LICENCE + verb, encoding="latin-1")
    (folder / "cntlist.rev").write_text("\n".join(COUNTS) + "\n", encoding="latin-1")
    return folder


def _data(
    offset: str, file: str, words: tuple[str, ...], parents: tuple[tuple[str, str], ...], gloss: str
) -> str:
    named = " ".join(f"{word} 0" for word in words)
    pointers = "".join(f"{symbol} {parent} n 0000 " for symbol, parent in parents)
    return f"{offset} {file} n {len(words):02x} {named} {len(parents):03d} {pointers}| {gloss}  \n"
