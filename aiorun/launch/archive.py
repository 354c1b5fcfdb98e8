"""The archive: the compiled code of all modules that a command may load, in one file.

    python -m aiorun.launch.archive        makes it, for the interpreter that runs this

It lies beside the .pyc files that it stands for, and is no more to be trusted, or less. Python's path finder makes ten
system calls for each of a command's sixty modules, the archive's two. A module whose source was changed since is imported in
the usual way, and so are all where the archive is missing or another Python's.

    magic of the interpreter's bytecode (4 bytes), length of the whole (4), of the index (4), index, code, code, …

The index is (code of aiorun.launch.archive_finder, directory of the package, {module: (source, is a package, mtime in ns, size,
start, length, what it imports)}), `start` counted from the first code. An extension module of Python's has no code, only its
place, so that nobody has to search for it. The lengths are little-endian; index and codes are marshalled, one by one.
"""

from __future__ import annotations
import __future__

import ast
import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec

from aiorun.errors import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_FINDER = f"{_PACKAGE}/launch/archive_finder.py"
_LEFT_OUT = ("aiorun.trio_waiter", "aiorun.supervise")  # what no command may load; scripts import themselves


def path() -> str:
    """Where `__main__` looks for the archive."""
    return f"{_PACKAGE}/__pycache__/commands.{sys.implementation.cache_tag}.archive"


def write() -> None:
    """Make the archive, whole or not at all. Raises OSError, SyntaxError."""
    temporary = f"{path()}.{os.getpid()}"
    os.makedirs(os.path.dirname(temporary), exist_ok=True)
    try:
        with open(temporary, "wb") as file:
            file.write(content())
        os.rename(temporary, path())
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def content() -> bytes:
    """The archive of the sources as they are now. Raises OSError, SyntaxError."""
    sources = dict(_modules())
    imports: dict[str, tuple[str, ...]] = {}
    entries: dict[str, tuple[str, bool, int, int, int, int]] = {}
    codes = bytearray()
    for name, source in sources.items():
        status = os.stat(source)  # first: an edit between the two shows as one
        with open(source, "rb") as file:
            tree = ast.parse(file.read(), source)
        is_package = source.endswith("/__init__.py")
        # A package has to be there before what is in it, and what is in it may be what its own statements lead to.
        imports[name] = tuple(dict.fromkeys(_imports(name, [] if is_package else tree.body, sources)))
        code = marshal.dumps(_compiled(tree, source))
        entries[name] = (source, is_package, status.st_mtime_ns, status.st_size, len(codes), len(code))
        codes += code
    for name in sorted({name for names in imports.values() for name in names} - sources.keys()):
        if place := _extension(name):
            status = os.stat(place)
            entries[name] = (place, False, status.st_mtime_ns, status.st_size, 0, 0)
    modules = {name: (*entry, tuple(filter(entries.__contains__, imports.get(name, ())))) for name, entry in entries.items()}
    with open(_FINDER, "rb") as file:
        finder = _compiled(ast.parse(file.read(), _FINDER), _FINDER)
    index = marshal.dumps((finder, _PACKAGE, modules))
    lengths = (12 + len(index) + len(codes), len(index))
    return b"".join((MAGIC_NUMBER, *(length.to_bytes(4, "little") for length in lengths), index, codes))


def _imports(name: str, body: list[ast.stmt], sources: Mapping[str, str]) -> Iterator[str]:
    """The modules that these statements of `name` import, packages before what is in them. Not what its functions import."""
    yield name.rpartition(".")[0]
    for step in body:
        if isinstance(step, ast.Import):
            yield from (alias.name for alias in step.names)
        elif isinstance(step, ast.ImportFrom) and step.module:
            yield step.module
            yield from (inner for alias in step.names if (inner := f"{step.module}.{alias.name}") in sources)


def _extension(name: str) -> str | None:
    """Where an extension module is that isn't built into the interpreter."""
    spec = None if "." in name else find_spec(name)
    return spec.origin if spec is not None and isinstance(spec.loader, ExtensionFileLoader) else None


def _compiled(tree: ast.Module, source: str) -> CodeType:
    """As Python compiles it, but for docstrings, which nobody reads here, and asserts, which are the type checker's.

    `from __future__ import annotations` is done by a flag: as an import it would cost a command 0.2 ms.
    """
    imports = [step for step in tree.body if isinstance(step, ast.ImportFrom) and step.module == "__future__"]
    tree.body = [step for step in tree.body if step not in imports]
    flags = __future__.annotations.compiler_flag if imports else 0
    code: CodeType = compile(tree, source, "exec", flags, dont_inherit=True, optimize=2)
    return code


def _modules() -> Iterator[tuple[str, str]]:
    """(name, source) of each module that a command may load."""
    above = len(os.path.dirname(_PACKAGE).rstrip("/")) + 1
    for directory, _, names in os.walk(_PACKAGE):
        for name in sorted(names):
            source = f"{directory}/{name}"
            module = source[above:].removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            if name.endswith(".py") and name != "__main__.py" and module not in _LEFT_OUT:
                yield module, source


def main() -> int:
    try:
        write()
    except OSError as error:  # a read-only installation: commands are slower, and else as always
        os.write(2, os.fsencode(f'write the archive "{path()}": {reason(error)}\n'))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
