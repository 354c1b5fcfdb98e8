"""The archive: the compiled code of all modules that a command may load, in one file.

    python -m aiorun.launch.archive        makes it, for the interpreter that runs this

It lies beside the .pyc files that it stands for, and is no more to be trusted, or less. Python's path finder takes four
system calls and 60 µs for each of a command's sixty modules, `aiorun/__main__.py` from here one and 20 µs. A module whose
source was changed since is imported in the usual way, and so are all where the archive is missing or another Python's.

    magic of the interpreter's bytecode (4 bytes), length of the whole (4), of the index (4), index, code, code, …

The index is (directory of the package, {module: (source, is a package, mtime in ns, size, start, end)}). The lengths are
little-endian; index and codes are marshalled, one by one.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER

from aiorun.errors import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
            # Without docstrings, which nobody reads here, and the asserts that are the type checker's.
            code = marshal.dumps(compile(file.read(), source, "exec", dont_inherit=True, optimize=2))
        is_package = source.endswith("/__init__.py")
        entries[name] = (source, is_package, status.st_mtime_ns, status.st_size, len(codes), len(codes) + len(code))
        codes += code
    index = marshal.dumps((_PACKAGE, entries))
    lengths = (12 + len(index) + len(codes), len(index))
    return b"".join((MAGIC_NUMBER, *(length.to_bytes(4, "little") for length in lengths), index, codes))


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
