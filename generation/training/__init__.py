"""Training of the embedded kit's image models: one recipe module per stage."""
