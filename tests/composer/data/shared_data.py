"""Where the natural archives lie, and the mark of tests that need them."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not (SHARED / "sketchy_subset.tar").exists(),
    reason="the natural archives are not beside the repository",
)
