"""The archive makes a command quicker and nothing else: where it doesn't fit, modules are imported as ever."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

PYTHON = [sys.executable, "-I", "-S", "-X", "utf8"]
ARCHIVED, FROM_FILES = {"Archive"}, {"SourceFileLoader"}

# A `main` that says of each of our modules which loader it came by, and from which file.
TELLING_MAIN = """\
import os, sys
from aiorun.errors import AiorunError
from aiorun.wire.record import Record
def main(argv):
    for name in sorted(sys.modules):
        if name.startswith("aiorun"):
            module = sys.modules[name]
            print(name, type(module.__spec__.loader).__name__, module.__file__, *getattr(module, "__path__", ()))
    sys.stdout.flush()
    return 0
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, of which the archive has been made; its `main` tells what was loaded how."""
    package = tmp_path / "aiorun"
    shutil.copytree(CHECKOUT / "aiorun", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "cli" / "main.py").write_text(TELLING_MAIN)
    make(package)
    return package


def make(package: Path) -> None:
    subprocess.run([sys.executable, "-m", "aiorun.launch.archive"], cwd=package.parent, check=True)


def archive(package: Path) -> Path:
    return package / "__pycache__" / f"commands.{sys.implementation.cache_tag}.archive"


def start(package: Path) -> dict[str, list[str]]:
    """{module: its loader, its file, its __path__}, told by a command that has nothing to say on stderr."""
    ended = subprocess.run([*PYTHON, str(package / "__main__.py")], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    return {name: rest for name, *rest in map(str.split, ended.stdout.splitlines())}


def loaders(package: Path) -> set[str]:
    return {told[0] for told in start(package).values()}


def test_modules_come_from_the_archive_as_from_their_files(package: Path) -> None:
    archived = start(package)
    archive(package).unlink()
    from_files = start(package)
    assert {told[0] for told in archived.values()} == ARCHIVED
    assert {told[0] for told in from_files.values()} == FROM_FILES
    assert [(name, *told[1:]) for name, told in archived.items()] == [(name, *told[1:]) for name, told in from_files.items()]
    assert archived["aiorun.wire"][1:] == [str(package / "wire" / "__init__.py"), str(package / "wire")]


def test_a_package_that_imports_its_modules_from_itself_is_loaded(package: Path) -> None:
    (package / "cli" / "own").mkdir()
    (package / "cli" / "own" / "__init__.py").write_text("from aiorun.cli.own import part\n")
    (package / "cli" / "own" / "part.py").write_text("")
    (package / "cli" / "main.py").write_text("import aiorun.cli.own\n" + TELLING_MAIN)
    make(package)
    told = start(package)
    assert {told["aiorun.cli.own"][0], told["aiorun.cli.own.part"][0]} == ARCHIVED


def test_an_edit_is_there_at_once(package: Path) -> None:
    errors = package / "errors.py"
    errors.write_text(errors.read_text() + "print('edited')\n")
    told = start(package)
    assert told.pop("edited") == []
    assert told.pop("aiorun.errors")[0] in FROM_FILES
    assert {rest[0] for rest in told.values()} == ARCHIVED


def test_an_edit_of_the_same_length_is_there_at_once(package: Path) -> None:
    record = package / "wire" / "record.py"
    text = record.read_text()
    before = record.stat()
    record.write_text(text.replace("is immutable", "IS IMMUTABLE"))
    os.utime(record, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert record.stat().st_size == before.st_size
    assert start(package)["aiorun.wire.record"][0] in FROM_FILES


def test_a_module_that_is_gone_is_not_found_in_the_archive(package: Path) -> None:
    (package / "errors.py").unlink()
    ended = subprocess.run([*PYTHON, str(package / "__main__.py")], capture_output=True, text=True, check=False)
    assert "No module named 'aiorun.errors'" in ended.stderr


@pytest.mark.parametrize("kept", [0, 3, 11, 100, -1])
def test_an_archive_that_was_cut_off_is_not_used(package: Path, kept: int) -> None:
    whole = archive(package).read_bytes()
    archive(package).write_bytes(whole[:kept])
    assert loaders(package) == FROM_FILES


def test_an_archive_of_another_python_is_not_used(package: Path) -> None:
    whole = archive(package).read_bytes()
    archive(package).write_bytes(b"\0" + whole[1:])
    assert loaders(package) == FROM_FILES


def test_the_archive_of_a_package_that_was_moved_is_not_used(package: Path) -> None:
    moved = package.parent / "elsewhere" / "aiorun"
    shutil.copytree(package, moved)
    told = start(moved)
    assert {rest[0] for rest in told.values()} == FROM_FILES
    assert all(rest[1].startswith(str(moved)) for rest in told.values())


def test_the_archive_is_replaced_as_a_whole(package: Path) -> None:
    with archive(package).open("rb") as before:
        content = before.read(100)
        make(package)
        before.seek(0)
        assert before.read(100) == content  # what a command has open stays what it was
        assert os.fstat(before.fileno()).st_nlink == 0
    assert [path.name for path in archive(package).parent.glob("commands*")] == [archive(package).name]
    assert loaders(package) == ARCHIVED


def test_a_traceback_names_file_and_line_of_an_archived_module(package: Path) -> None:
    main = package / "cli" / "main.py"
    main.write_text(main.read_text().replace("    return 0\n", "    raise RuntimeError\n"))
    make(package)
    ended = subprocess.run([*PYTHON, str(package / "__main__.py")], capture_output=True, text=True, check=False)
    line = main.read_text().splitlines().index("    raise RuntimeError") + 1
    assert f'File "{main}", line {line}, in main\n    raise RuntimeError' in ended.stderr
