"""Readers of the training data."""
