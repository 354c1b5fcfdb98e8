"""The archive: the compiled code of all modules that a command may load, in one file.

    python -m aiorun.launch.archive        makes it, for the interpreter that runs this

It lies beside the .pyc files that it stands for, and is no more to be trusted, or less. Python's path finder makes ten
system calls for each of a command's sixty modules, `aiorun/__main__.py` from here two. A module whose source was changed
since is imported in the usual way, and so are all where the archive is missing or another Python's.

    magic of the interpreter's bytecode (4 bytes), length of the whole (4), of the index (4), index, code, code, …

The index is (directory of the package, {module: (source, is a package, mtime in ns, size, start, length)}), `start` counted
from the first code. The lengths are little-endian; index and codes are marshalled, one by one.
"""

from __future__ import annotations
import __future__

import ast
import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER

from aiorun.errors import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
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
    entries: dict[str, tuple[str, bool, int, int, int, int]] = {}
    codes = bytearray()
    for name, source in _modules():
        status = os.stat(source)  # first: an edit between the two shows as one
        with open(source, "rb") as file:
            code = marshal.dumps(_compiled(file.read(), source))
        is_package = source.endswith("/__init__.py")
        entries[name] = (source, is_package, status.st_mtime_ns, status.st_size, len(codes), len(code))
        codes += code
    index = marshal.dumps((_PACKAGE, entries))
    lengths = (12 + len(index) + len(codes), len(index))
    return b"".join((MAGIC_NUMBER, *(length.to_bytes(4, "little") for length in lengths), index, codes))


def _compiled(text: bytes, source: str) -> CodeType:
    """As Python compiles it, but for docstrings, which nobody reads here, and asserts, which are the type checker's.

    `from __future__ import annotations` is done by a flag: as an import it would cost a command 0.2 ms.
    """
    tree = ast.parse(text, source)
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
