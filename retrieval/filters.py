"""Conditions on items: one small syntax tree, read from text and compiled for each engine."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A condition."""
