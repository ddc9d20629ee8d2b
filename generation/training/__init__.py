"""How the embedded kit's image models are trained: one recipe module per stage."""
