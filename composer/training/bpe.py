"""Byte-level BPE vocabularies in CLIP's file format.

The merges are learned by the `tokenizers` library; the ids follow CLIP's order (256 bytes, 256
bytes that end a word, the merges, start of text, end of text), so that open_clip's
`SimpleTokenizer` and transformers' `CLIPTokenizer` read the two files alike.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

START = "<|startoftext|>"
END = "<|endoftext|>"
WORD_END = "</w>"
VERSION_LINE = "#version: 0.2"
# CLIP's own splitting rule; the library's Split keeps what matches.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_merges(texts: Iterable[str], *, vocab_size: int = 8192) -> list[tuple[str, str]]:
    """Learn the merges of a vocabulary of at most `vocab_size` ids, specials included.

    Texts are lower-cased. Frequent texts should be repeated as often as they should count.

    Raises:
        ValueError: `vocab_size` leaves no room beside the 512 byte symbols and two specials.
    """
    num_merges = vocab_size - 514
    if num_merges < 1:
        raise ValueError(f"`vocab_size` must be at least 515, got {vocab_size}.")
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, end_of_word_suffix=WORD_END, show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(str(left), str(right)) for left, right in merges[:num_merges]]


def vocabulary(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Number the symbols in CLIP's order; the end of text has the highest id."""
    symbols = list(bytes_to_unicode().values())
    tokens = [*symbols, *(symbol + WORD_END for symbol in symbols)]
    tokens += [left + right for left, right in merges]
    return {token: index for index, token in enumerate([*tokens, START, END])}


def bytes_to_unicode() -> dict[int, str]:
    """Map each byte to a printable character, in the order of GPT-2's table.

    Source: Radford et al. 2019; printable Latin-1 stands for itself, the rest is shifted by 256.
    """
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(256) if byte not in kept]
    table = {byte: chr(byte) for byte in kept}
    return table | {byte: chr(256 + index) for index, byte in enumerate(shifted)}


def write_merges(merges: Iterable[tuple[str, str]], path: Path) -> None:
    """Write `merges.txt`: a version line, then a merge a line.

    No newline ends the file: open_clip's tokenizer would read one more, empty merge, and every id
    after it would be off by one.
    """
    lines = [VERSION_LINE, *(f"{left} {right}" for left, right in merges)]
    path.write_text("\n".join(lines), encoding="utf-8")


def read_merges(path: Path) -> list[tuple[str, str]]:
    """Read `merges.txt`.

    Raises:
        ValueError: A line does not hold two symbols.
    """
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], start=2):
        pieces = line.split(" ")
        if len(pieces) != 2:
            raise ValueError(f"{path.name} line {number} must hold two symbols, got {line!r}.")
        merges.append((pieces[0], pieces[1]))
    return merges
