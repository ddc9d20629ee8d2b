"""Indexing: from files to rows of the store, on one machine or a cluster."""
