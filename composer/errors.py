"""Error class of values that a user gave."""


class InputError(ValueError):
    """A value that cannot be used, with one sentence that says why."""
