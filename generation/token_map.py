"""A linear map from one text encoder's token embeddings to another's, over a shared vocabulary.

SDXL reads a prompt with two text encoders. A pseudo-word is found in the space of the first; what
it is in the space of the second follows from how the vocabulary's rows correspond.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

PENALTIES: Final = (1e-3, 1e-2, 1e-1, 1.0)
"""Shares of the mean variance of the source's dimensions; the best on validation rows is taken."""

_VALIDATION, _HELD_OUT = 8, 9  # of every ten rows one validates, one is held out
_SAME_ROW = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenMap:
    """An affine map between token embeddings.

    Attributes:
        weight: applied on the right of centred rows.
        source_mean: mean row of the source's table.
        target_mean: mean row of the target's table.
        error: squared distance to the true rows over their variance, on rows that took no part in
            the fit: 0 is exact, 1 no better than the mean row.
        cosine: mean cosine between mapped and true rows, about the mean, on the same rows.
    """

    weight: Float[Tensor, "w v"]
    source_mean: Float[Tensor, " w"]
    target_mean: Float[Tensor, " v"]
    error: float
    cosine: float

    def __call__(self, rows: Float[Tensor, "n w"]) -> Float[Tensor, "n v"]:
        """Map rows of the source's space."""
        centred = rows.to(self.weight) - self.source_mean
        return centred @ self.weight + self.target_mean


@torch.no_grad()
def fit_token_map(source: Float[Tensor, "n w"], target: Float[Tensor, "m v"]) -> TokenMap:
    """Fit a ridge regression between two tables of one vocabulary, in closed form.

    Source: Hoerl and Kennard, "Ridge Regression", Technometrics 1970. The penalty is chosen on
    rows of their own; the error is measured on others again. Two seconds for SDXL's tables.

    Args:
        source: table of the encoder in whose space pseudo-words are found.
        target: table of the other encoder, the same words in the same rows.

    Raises:
        ValueError: the tables differ in length.
    """
    if len(source) != len(target):
        raise ValueError(
            f"The tables must share a vocabulary, got {len(source)} and {len(target)} rows."
        )
    x, y = source.float(), target.float()
    part = torch.arange(len(x), device=x.device) % 10
    fitted = part < _VALIDATION
    source_mean, target_mean = x[fitted].mean(dim=0), y[fitted].mean(dim=0)
    x, y = x - source_mean, y - target_mean
    square, cross = x[fitted].T @ x[fitted], x[fitted].T @ y[fitted]
    unit = torch.eye(len(square), device=x.device) * square.diagonal().mean()
    weights = [torch.linalg.solve(square + penalty * unit, cross) for penalty in PENALTIES]
    validation, held_out = part == _VALIDATION, part == _HELD_OUT
    weight = min(weights, key=lambda w: _error(x[validation] @ w, y[validation]))
    mapped = x[held_out] @ weight
    return TokenMap(
        weight=weight,
        source_mean=source_mean,
        target_mean=target_mean,
        error=_error(mapped, y[held_out]),
        cosine=float(functional.cosine_similarity(mapped, y[held_out], dim=-1).mean()),
    )


@torch.no_grad()
def find_rows(table: Float[Tensor, "v w"], rows: Float[Tensor, "n w"]) -> Int[Tensor, " n"]:
    """Return the vocabulary id of each row that is a row of the table, up to rounding; -1 else."""
    rows, table = rows.to(table.device).float(), table.float()
    distances, ids = torch.cdist(rows, table).min(dim=1)
    is_word = distances <= _SAME_ROW * table[ids].norm(dim=1)
    return torch.where(is_word, ids, -1)


def map_prompt(
    prompt: Float[Tensor, "l w"],
    ids: Int[Tensor, " l"],
    table: Float[Tensor, "v u"],
    token_map: TokenMap,
) -> Float[Tensor, "l u"]:
    """Return a prompt in another encoder's space: its words looked up, the other rows mapped."""
    words = functional.embedding(ids.clamp(min=0), table)
    mapped = token_map(prompt).to(words)
    return torch.where((ids >= 0).unsqueeze(1), words, mapped)


def _error(mapped: Float[Tensor, "n v"], true: Float[Tensor, "n v"]) -> float:
    return float((mapped - true).square().sum() / true.square().sum())
