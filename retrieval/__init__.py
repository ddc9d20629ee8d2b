"""Retrieval: ranking of a gallery for a composed query."""
