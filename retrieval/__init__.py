"""Tokens and a gallery to a ranking."""
