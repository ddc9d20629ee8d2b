"""Indexing: files to rows of a store, on one machine or a cluster."""
