"""Protocols and tables: how well the composed query finds what was meant."""
