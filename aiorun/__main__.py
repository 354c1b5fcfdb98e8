"""The start of the command line: `python -I -S -X utf8 …/aiorun/__main__.py ARGUMENTS`.

Kept small, since Python compiles a script anew at each start.
"""

import gc
import posix
import sys
from _frozen_importlib_external import MAGIC_NUMBER
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A command is over before there is garbage to speak of: looking for it would cost a millisecond.
gc.disable()

package = __file__.rpartition("/")[0]
try:
    archive = posix.open(
        f"{package}/__pycache__/commands.{sys.implementation.cache_tag}.archive", posix.O_RDONLY | posix.O_CLOEXEC
    )
except OSError:
    pass  # then all goes as usual, 3 ms later
else:
    magic, length, index = (posix.read(archive, 4) for _ in range(3))
    used = False
    # Below 3 it would pass for a standard stream that the caller has closed.
    if archive > 2 and magic == MAGIC_NUMBER and int.from_bytes(length, "little") == posix.fstat(archive).st_size:
        content = loads(posix.read(archive, int.from_bytes(index, "little")))
        if len(content) == 3 and content[1] == package:  # neither of an earlier form nor moved
            finder: "dict[str, Any]" = {"__name__": "aiorun.launch.archive_finder"}
            exec(content[0], finder)
            finder["import_os"]()
            sys.meta_path.insert(0, finder["Archive"](archive, 12 + int.from_bytes(index, "little"), content[2]))
            used = True
    if not used:
        posix.close(archive)

# -I leaves the script's directory out. At the end, so that what lies beside aiorun never shadows the standard library.
sys.path.append(package.rpartition("/")[0] or "/")

from aiorun.cli.main import main  # noqa: E402

# All is written by then. The interpreter's own clearing up would cost a sixth of the command's time.
posix._exit(main(sys.argv[1:]))
