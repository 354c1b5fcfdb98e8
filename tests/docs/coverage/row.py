"""A row of docs/spec.md: one property of the specification, what aiorun does with it, and the test that shows it.

Rules for whoever makes a property work, or changes what aiorun does with it:

1. Find its row (one file a section of the specification), write what aiorun does, name the test, say what it needs of the kernel
   and what happens without it. `python -m tests.docs.tables` writes docs/spec.md anew.
2. One test is enough where it is the test: on a real container wherever the promise is about the kernel. Name several where a row
   has several promises. `test_spec.py` fails for a test that doesn't exist.
3. No row is without a test.
4. Every property of `aiorun/spec/shapes.py` stands in a row, itself or as a part of the object that the row names. In names `[]`
   is each item of an array, `{}` each name in an object; `values` are those of the values that the row is about, if not all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str  # properties, with commas between: "linux.uidMappings, linux.gidMappings"; or words, where it's about none
    does: str  # what aiorun does with it
    tests: str = ""  # "container/test_mounts.py::test_this cgroups/test_cgroup.py::test_that": below tests/
    needs: str = ""  # of the kernel or the host, and what happens without it; empty: nothing beyond Linux 5.4
    values: str = ""  # "ro rw noatime"

    @property
    def properties(self) -> list[str]:
        """The properties that it names; none where the name is words."""
        return [part for part in self.name.split(", ") if " " not in part and "`" not in part]

    @property
    def subjects(self) -> list[tuple[str, str]]:
        """(property, value) of all that it is about."""
        return [(name, value) for name in self.properties for value in self.values.split() or [""]]

    @property
    def test_names(self) -> list[tuple[str, str]]:
        """(file below tests/, function) of each test."""
        return [(file, function) for file, _, function in (test.partition("::") for test in self.tests.split())]
