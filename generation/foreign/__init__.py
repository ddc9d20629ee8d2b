"""Settings of pictures that other programs drew, read from the metadata of their PNGs."""
