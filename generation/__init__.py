"""From a composed query to images."""
