"""The error class of galleries and indexes."""


class GalleryError(ValueError):
    """A folder or an index that cannot be used, and what to do."""
