"""config-linux.md, "Seccomp"."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (Row("linux.seccomp", "not yet", "", "libseccomp"),)
