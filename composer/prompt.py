"""Prompts as token embeddings: start, prefix, pseudo-words, the user's words, end."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.splice import splice

MAX_PARTS = 12  # of a long text; a thousand letters fill nine contexts of forty tokens
_UNIT = re.compile(
    r"<[^<>\s]*>|[^\W_]+|[^\w\s]|_"
)  # the word of a token file, letters, another sign


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One prompt before positions are added, padded with end-of-text to the context length.

    The order is start, prefix, pseudo-words, words, end.

    Attributes:
        token_embeddings: The whole sequence.
        end_position: Index of the first end-of-text; the prompt is pooled there.
        pseudo_positions: Indices of the pseudo-word tokens.
        word_positions: Per word of the user's text the indices of its tokens; words that did not
            fit have none.
    """

    token_embeddings: Float[Tensor, "l w"]
    end_position: int
    pseudo_positions: tuple[int, ...]
    word_positions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPart:
    """A part of a text that one prompt has room for.

    Attributes:
        text: The part.
        num_tokens: Number of its tokens.
        num_words: Number of the words that begin in it.
    """

    text: str
    num_tokens: int
    num_words: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptBatch:
    """Prompts of one length, ready for `Backbone.encode_embeddings`."""

    embeddings: Float[Tensor, "n l w"]
    end_positions: Int[Tensor, " n"]


def build_prompt(
    backbone: Backbone,
    prefix: Float[Tensor, "k w"] | str,
    pseudo: Float[Tensor, "n w"] | None,
    text: str,
) -> Prompt:
    """Lay out one prompt of the full context length.

    Args:
        backbone: Gives the tokens.
        prefix: Learned vectors, or words such as "a photo of".
        pseudo: Pseudo-word tokens; None for none.
        text: The user's words; they are cut where they do not fit, the end never is.

    Raises:
        ValueError: Prefix and pseudo-words alone leave no room for an end.
    """
    words = backbone.word_ids(text)
    start = _flatten(backbone.word_ids(prefix)) if isinstance(prefix, str) else prefix
    num_pseudo = 0 if pseudo is None else len(pseudo)
    batch = assemble_prompts(
        backbone,
        prefix=start,
        pseudo=None if pseudo is None else pseudo.unsqueeze(0),
        word_ids=[_flatten(words)],
        length=backbone.context_length,
    )
    first_pseudo = 1 + len(start)
    end = int(batch.end_positions[0])
    return Prompt(
        token_embeddings=batch.embeddings[0],
        end_position=end,
        pseudo_positions=tuple(range(first_pseudo, first_pseudo + num_pseudo)),
        word_positions=_positions(words, first_pseudo + num_pseudo, end),
    )


def text_parts(backbone: Backbone, text: str, num_beside: int) -> tuple[TextPart, ...]:
    """Split a text by words into parts that a prompt has room for; one where all of it fits.

    Words that are joined by commas or other signs are split there where they do not fit together.

    Args:
        backbone: Gives the tokens.
        text: The user's words.
        num_beside: Tokens of each prompt beside start, end and words.

    Returns:
        At most `MAX_PARTS`; words beyond are left out (`words_beyond`).
    """
    return _all_parts(backbone, text, num_beside)[:MAX_PARTS]


def words_beyond(backbone: Backbone, text: str, num_beside: int) -> tuple[str, ...]:
    """Return the words that `text_parts` leaves out, in order."""
    left_out = _all_parts(backbone, text, num_beside)[MAX_PARTS:]
    return tuple(word for part in left_out for word in part.text.split())


def _all_parts(backbone: Backbone, text: str, num_beside: int) -> tuple[TextPart, ...]:
    def size(word: str) -> int:
        # Without token embeddings the ids of a backbone stand for words: two tokens on average.
        return len(_flatten(backbone.word_ids(word))) if backbone.has_tokens else 2

    parts = parts_of_size(text, max(1, backbone.context_length - 2 - num_beside), size)
    return (replace(parts[0], text=text),) if len(parts) == 1 else parts


def parts_of_size(text: str, room: int, size: Callable[[str], int]) -> tuple[TextPart, ...]:
    """Split a text between words, and words that are larger than a part within.

    Args:
        text: The text; white space is collapsed.
        room: Tokens of a part.
        size: Returns the number of tokens of a word.
    """
    texts, sizes, counts = [""], [0], [0]
    for word in text.split():
        glue, begins = " ", 1
        for unit, num_tokens in _units(word, room, size):
            if sizes[-1] and sizes[-1] + num_tokens > room:
                texts.append("")
                sizes.append(0)
                counts.append(0)
            texts[-1] += f"{glue}{unit}" if texts[-1] else unit
            sizes[-1] += num_tokens
            counts[-1] += begins
            glue, begins = "", 0
    return tuple(
        TextPart(text=part, num_tokens=num_tokens, num_words=num_words)
        for part, num_tokens, num_words in zip(texts, sizes, counts, strict=True)
    )


def _units(word: str, room: int, size: Callable[[str], int]) -> Iterator[tuple[str, int]]:
    """Yield a word and its size; one that is too large in pieces that are not, by its signs."""
    if (whole := size(word)) <= room:
        yield word, whole
        return
    for unit in _UNIT.findall(word):
        yield from _halves(unit, room, size)


def _halves(unit: str, room: int, size: Callable[[str], int]) -> Iterator[tuple[str, int]]:
    if (whole := size(unit)) <= room or len(unit) == 1 or unit.startswith("<"):
        yield unit, whole
        return
    middle = len(unit) // 2
    yield from _halves(unit[:middle], room, size)
    yield from _halves(unit[middle:], room, size)


def mean_of_parts(
    parts: Sequence[TextPart], features: Sequence[Float[Tensor, " d"]]
) -> Float[Tensor, " d"]:
    """Return the unit mean of the features of a text's parts, weighed by their tokens."""
    if len(parts) == 1:
        return features[0]
    weighed = [part.num_tokens * one for part, one in zip(parts, features, strict=True)]
    return functional.normalize(torch.stack(weighed).sum(dim=0), dim=-1)


def build_prompts(
    backbone: Backbone,
    prefix: Float[Tensor, "k w"] | str,
    pseudo: Float[Tensor, "n w"] | None,
    text: str,
) -> tuple[Prompt, ...]:
    """Lay out as many prompts as a text needs; prefix and pseudo-words are in the first.

    Args:
        backbone: As for `build_prompt`.
        prefix: As for `build_prompt`.
        pseudo: As for `build_prompt`.
        text: The user's words, of any length.
    """
    first, *others = text_parts(backbone, text, num_beside(backbone, prefix, pseudo))
    return (
        build_prompt(backbone, prefix, pseudo, first.text),
        *(build_prompt(backbone, "", None, part.text) for part in others),
    )


def num_beside(
    backbone: Backbone, prefix: Float[Tensor, "k w"] | str, pseudo: Float[Tensor, "n w"] | None
) -> int:
    """Return the number of tokens that prefix and pseudo-words take."""
    num_prefix = len(_flatten(backbone.word_ids(prefix)) if isinstance(prefix, str) else prefix)
    return num_prefix + (0 if pseudo is None else len(pseudo))


def assemble_prompts(
    backbone: Backbone,
    *,
    prefix: Float[Tensor, "k w"] | Sequence[int],
    pseudo: Float[Tensor, "n p w"] | None,
    word_ids: Sequence[Sequence[int]],
    length: int | None = None,
) -> PromptBatch:
    """Lay out n prompts with a common prefix; gradients reach the prefix and the pseudo-words.

    Args:
        backbone: Gives token table, start and end.
        prefix: Learned vectors, or vocabulary ids.
        pseudo: p pseudo-word tokens for each prompt; None for none.
        word_ids: Vocabulary ids of each prompt's words, cut where they do not fit.
        length: Length to pad to; by default that of the longest prompt, which is cheaper.

    Raises:
        ValueError: Prefix and pseudo-words alone leave no room for an end.
    """
    device = backbone.token_table().device
    vectors = [] if not isinstance(prefix, Tensor) else [prefix.expand(len(word_ids), -1, -1)]
    if pseudo is not None:
        vectors.append(pseudo)
    num_prefix, num_pseudo = len(prefix), 0 if pseudo is None else pseudo.shape[1]
    head = 1 + num_prefix + num_pseudo
    room = (length or backbone.context_length) - head - 1
    if room < 0:
        raise ValueError(
            f"A prompt has room for {head + room - 1} tokens beside start and end, "
            f"but prefix and pseudo-words take {head - 1}."
        )
    rows = [list(ids[:room]) for ids in word_ids]
    ends = torch.tensor([head + len(row) for row in rows], device=device)
    template = torch.full((len(rows), length or int(ends.max()) + 1), backbone.end_id)
    template[:, 0] = backbone.start_id
    if not isinstance(prefix, Tensor):
        template[:, 1 : 1 + num_prefix] = torch.tensor(list(prefix), dtype=torch.long)
    for target, row in zip(template, rows, strict=True):
        target[head : head + len(row)] = torch.tensor(row, dtype=torch.long)
    embeddings = backbone.embed(template.to(device))
    if vectors:
        spliced = torch.cat(vectors, dim=1)
        first = head - spliced.shape[1]
        positions = torch.arange(first, head, device=device).expand(len(rows), -1)
        embeddings = splice(embeddings, positions, spliced)
    return PromptBatch(embeddings=embeddings, end_positions=ends)


def stack_prompts(prompts: Sequence[Prompt]) -> PromptBatch:
    """Stack prompts and cut what follows the last end; the features stay the same."""
    ends = [prompt.end_position for prompt in prompts]
    embeddings = torch.stack([prompt.token_embeddings for prompt in prompts])
    return PromptBatch(
        embeddings=embeddings[:, : max(ends) + 1],
        end_positions=torch.tensor(ends, device=embeddings.device),
    )


def _flatten(words: Sequence[Sequence[int]]) -> list[int]:
    return [i for word in words for i in word]


def _positions(words: Sequence[Sequence[int]], first: int, end: int) -> tuple[tuple[int, ...], ...]:
    positions: list[tuple[int, ...]] = []
    for word in words:
        positions.append(tuple(i for i in range(first, first + len(word)) if i < end))
        first += len(word)
    return tuple(positions)


def encode_by_length(
    lengths: Int[Tensor, " n"],
    encode: Callable[[Int[Tensor, " k"], int], Float[Tensor, "k d"]],
    num_groups: int = 4,
) -> Float[Tensor, "n d"]:
    """Encode sequences in groups of like length, so that little of the work is padding.

    Args:
        lengths: Of each sequence.
        encode: Given the indices of a group and its greatest length, encodes the group.
        num_groups: How many groups at most; none is empty.

    Returns:
        What `encode` returned, in the order of `lengths`.
    """
    groups = [group for group in lengths.argsort().tensor_split(num_groups) if len(group)]
    encoded = [encode(group, int(lengths[group].max())) for group in groups]
    return torch.cat(encoded)[torch.cat(groups).argsort()]
