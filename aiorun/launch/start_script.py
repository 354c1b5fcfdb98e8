"""The start script: `python -m aiorun.launch.start_script [--python PATH] > …/bin/aiorun` prints it.

A console script as pip makes it costs 14 ms of `site` alone; this one costs 1 ms. Engines call it without PATH, HOME and LANG,
so it holds absolute paths, and nothing of the environment has a say: no variable is read or set, no other program is run.
"""

from __future__ import annotations

import os
import sys

from aiorun.launch.sealed import PLACE, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SCRIPT = """\
#!/bin/sh
# Made by aiorun.launch.start_script. The sealed interpreter if a command has made it, else the plain one.
if [ -x {sealed} ]; then
    exec {sealed} -I -S -X utf8 {program} "$@"
fi
exec {plain} -I -S -X utf8 {program} "$@"
"""


def start_script(python: str) -> str:
    """The script for the interpreter at `python`, of which the real path is taken: a venv's is a link, and `-S` needs no venv."""
    plain = os.path.realpath(python)
    sealed = f"{PLACE}/{name_of(plain)}/bin/{os.path.basename(plain)}"
    program = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "__main__.py")
    return _SCRIPT.format(sealed=_quoted(sealed), plain=_quoted(plain), program=_quoted(program))


def _quoted(path: str) -> str:
    """One word for the shell, whatever is in it."""
    return "'" + path.replace("'", "'\\''") + "'"


def main(arguments: Sequence[str]) -> int:
    """Print the script. Exit status 1, with one line on stderr, for what isn't a program."""
    if arguments and (len(arguments) != 2 or arguments[0] != "--python"):
        os.write(2, b"usage: python -m aiorun.launch.start_script [--python PATH]\n")
        return 1
    python = arguments[1] if arguments else sys.executable
    if not (os.path.isfile(python) and os.access(python, os.X_OK)):
        os.write(2, os.fsencode(f'make the start script for "{python}": no program is there\n'))
        return 1
    sys.stdout.buffer.write(os.fsencode(start_script(python)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
