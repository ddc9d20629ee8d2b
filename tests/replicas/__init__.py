"""Tiny models with random weights, saved as the public repositories save theirs.

File names, variants, configs and names of tensors are those of the repositories that the shipped
kits name; only widths and depths are small. The vocabulary is the full one.
"""
