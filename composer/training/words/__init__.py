"""Words for the mini kit: a text tower that a packaged sentence encoder teaches."""
