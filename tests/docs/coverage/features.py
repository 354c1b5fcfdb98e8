"""features.md: the document that `features` prints."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (Row("`features`", "not yet"),)
