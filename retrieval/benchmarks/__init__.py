"""Benchmarks of retrieval: protocols, metrics and tables."""
