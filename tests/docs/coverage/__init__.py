"""What docs/spec.md says, property by property: the rules are in `row.py`, the rows in a module for each section."""

from __future__ import annotations

from tests.docs.coverage import features, lifecycle, linux, mounts, process, resources, seccomp, top
from tests.docs.coverage.row import Row

SECTIONS: dict[str, tuple[Row, ...]] = {
    "lifecycle": lifecycle.ROWS,
    "top": top.ROWS,
    "process": process.ROWS,
    "mounts": mounts.ROWS,
    "linux": linux.ROWS,
    "seccomp": seccomp.ROWS,
    "resources": resources.ROWS,
    "features": features.ROWS,
}
