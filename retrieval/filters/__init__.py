"""Conditions on items: their language, their tree, and its translation for each engine."""
