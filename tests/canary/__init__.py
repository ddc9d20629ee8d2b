"""Canaries: the library internals we lean on, checked in small (R28)."""
