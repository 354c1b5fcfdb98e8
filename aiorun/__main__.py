"""The start of the command line: `python -I -S -X utf8 …/aiorun/__main__.py ARGUMENTS`.

Kept small, since Python compiles a script anew at each start.
"""

import gc
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# A command is over before there is garbage to speak of: looking for it would cost a millisecond.
gc.disable()

PACKAGE = __file__.rpartition("/")[0]


class Archive:
    """The finder of the modules in the file that aiorun.launch.archive makes. Raises OSError if that isn't for us."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        magic, length, index = (os.read(self.fd, 4) for _ in range(3))
        # Below 3 it would pass for a standard stream that the caller has closed.
        if self.fd < 3 or magic != MAGIC_NUMBER or int.from_bytes(length, "little") != os.fstat(self.fd).st_size:
            os.close(self.fd)
            raise OSError
        package, self.modules = marshal.loads(os.read(self.fd, int.from_bytes(index, "little")))
        if package != PACKAGE:  # it was moved
            os.close(self.fd)
            raise OSError
        self.codes = 12 + int.from_bytes(index, "little")

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in self.modules:
            return None
        source, is_package, changed, size, start, length = self.modules[name]
        try:
            found = os.stat(source)
        except OSError:
            return None
        if (found.st_mtime_ns, found.st_size) != (changed, size):
            return None  # edited since: for the path finder
        spec = ModuleSpec(name, self, origin=source, loader_state=(length, self.codes + start))  # type: ignore[arg-type]
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module."""

    def exec_module(self, module: "ModuleType") -> None:
        spec = module.__spec__
        assert spec is not None and spec.loader_state
        module.__file__ = spec.origin
        exec(marshal.loads(os.pread(self.fd, *spec.loader_state)), module.__dict__)


try:
    sys.meta_path.insert(0, Archive(f"{PACKAGE}/__pycache__/commands.{sys.implementation.cache_tag}.archive"))
except OSError:
    pass  # then all goes as usual, 2 ms later

# -I leaves the script's directory out. At the end, so that what lies beside aiorun never shadows the standard library.
sys.path.append(PACKAGE.rpartition("/")[0] or "/")

from aiorun.cli.main import main  # noqa: E402

# All is written by then. The interpreter's own clearing up would cost a sixth of the command's time.
os._exit(main(sys.argv[1:]))
