"""What `import aiorun` gives, and that the examples are whole programs which do what docs/library.md shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api as mypy

import aiorun
from tests.conftest import CHECKOUT

EXAMPLES = sorted((CHECKOUT / "docs" / "examples").glob("*.py"))
LIBRARY = CHECKOUT / "docs" / "library.md"
_QUOTED = re.compile(r"<!-- example (\w+\.py) -->\n```python\n(.*?)```\n", re.DOTALL)


def loaded_after(program: str) -> set[str]:
    """The modules that a program has loaded at its end."""
    code = f"import sys; sys.path[:0] = [{str(CHECKOUT)!r}]\n{program}\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


def test_the_import_brings_no_trio_and_neither_does_a_look_at_its_names() -> None:
    loaded = loaded_after("import aiorun; dir(aiorun); aiorun.InvalidSpec")
    assert "aiorun.errors" in loaded
    assert not {"trio", "aiorun.supervise", "typing", "dataclasses", "json"} & (loaded - loaded_after(""))
    assert "trio" in loaded_after("import aiorun; aiorun.Runtime")


def test_dir_and_star_are_the_public_names() -> None:
    public = {name for name in dir(aiorun) if not name.startswith("_")}
    assert public == set(aiorun.__all__)
    names: dict[str, object] = {}
    exec("from aiorun import *", names)
    assert {name for name in names if not name.startswith("_")} == public
    for name in public - {"DEVNULL", "PIPE", "STDOUT"}:
        assert getattr(aiorun, name).__doc__, name
    with pytest.raises(AttributeError, match="module 'aiorun' has no attribute 'nosuch'"):
        aiorun.nosuch  # type: ignore[attr-defined]  # noqa: B018


def test_every_error_is_an_aiorun_error_and_public() -> None:
    from aiorun import errors

    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert kinds == {name for name in aiorun.__all__ if isinstance(getattr(aiorun, name), type)} & kinds
    assert all(issubclass(getattr(errors, name), aiorun.AiorunError) for name in kinds)


def test_the_library_quotes_every_example_word_for_word() -> None:
    quoted = dict(_QUOTED.findall(LIBRARY.read_text()))
    assert quoted == {path.name: path.read_text() for path in EXAMPLES}


def write_quotes() -> None:
    """`python -m tests.test_library` writes the quotes anew."""

    def quote(place: re.Match[str]) -> str:
        code = (CHECKOUT / "docs" / "examples" / place[1]).read_text()
        return f"<!-- example {place[1]} -->\n```python\n{code}```\n"

    LIBRARY.write_text(_QUOTED.sub(quote, LIBRARY.read_text()))


def test_the_examples_type_check_and_a_wrong_name_does_not(tmp_path: Path) -> None:
    """Against the public API, strictly, as a user's own check does; scripts/test does it beside trio-typing too."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import aiorun\naiorun.nosuch\naiorun.Runtime().container('x', bundl='x')\n")
    said, _complaint, _status = mypy.run(["--strict", "--follow-imports", "silent", *map(str, EXAMPLES), str(wrong)])
    faults = [line.partition(" error: ")[2] for line in said.splitlines() if " error: " in line]
    assert len(faults) == 2, said
    assert faults[0] == 'Module has no attribute "nosuch"  [attr-defined]'
    assert '"bundl"' in faults[1]


if __name__ == "__main__":
    write_quotes()
