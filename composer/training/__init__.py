"""Training of the composers and of the small CLIP they stand on."""
