"""Package data: the catalogue and the code that makes it, the gallery, the embedded kit."""
