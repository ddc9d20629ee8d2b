"""Filters on items: language, syntax tree, and compilation for each engine."""
