"""Splicing of vectors into sequences of token embeddings."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def splice(
    embeddings: Float[Tensor, "n l w"],
    positions: Int[Tensor, "n k"],
    vectors: Float[Tensor, "n k w"],
) -> Float[Tensor, "n l w"]:
    """Replace the token embeddings at the given positions; gradients reach both inputs.

    Args:
        embeddings: Token embeddings before positions are added; left unchanged.
        positions: Indices to replace in each row, all different within a row.
        vectors: The replacements, in the same order.

    Raises:
        ValueError: A position lies outside the sequence.
    """
    if positions.numel() == 0:
        return embeddings
    if int(positions.min()) < 0 or int(positions.max()) >= embeddings.shape[1]:
        raise ValueError(
            f"Positions must lie in a sequence of {embeddings.shape[1]} tokens, "
            f"got {int(positions.min())} to {int(positions.max())}."
        )
    index = positions.unsqueeze(-1).expand(-1, -1, embeddings.shape[2])
    return embeddings.scatter(1, index, vectors.to(embeddings.dtype))


def take_positions(
    sequence: Float[Tensor, "n l w"], positions: Int[Tensor, " n"]
) -> Float[Tensor, "n w"]:
    """Take one vector of each row."""
    return sequence[torch.arange(len(sequence), device=sequence.device), positions]
