"""The error class of galleries and indexes."""


class GalleryError(ValueError):
    """Raised for a folder or an index that cannot be used; says what to do."""


class DamagedIndexError(GalleryError):
    """Raised for an index whose newest commit cannot be read; a repair keeps the earlier ones."""


class CalibrationError(ValueError):
    """Raised for a file of calibrations that cannot be used."""
