"""Canaries: small checks of the library internals that this code relies on."""
