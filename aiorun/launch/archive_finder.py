"""Importing from the archive that aiorun.launch.archive makes. The archive has this module's code in front; `__main__` runs it.

A module that is asked for comes with all that it needs, loaded in order by a loop of ours: by the time that its own import
statements run, they find everything there. Of what an import costs, half is the import system's own locks and searches.
"""

from __future__ import annotations

import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import posix
    from types import ModuleType
    from typing import Any, TypeAlias

    # source, is a package, mtime in ns, size, start, length, what it imports
    Entry: TypeAlias = tuple[str, bool, int, int, int, int, tuple[str, ...]]
else:
    import posix

_Module: type[ModuleType] = type(sys)


class Archive:
    """The finder and loader of the modules in the archive that is open as `fd`, whose codes begin at `codes`."""

    def __init__(self, fd: int, codes: int, modules: dict[str, Entry]) -> None:
        self.fd, self.codes, self.modules = fd, codes, modules
        self._begun: set[str] = set()  # modules that import each other are left to their statements

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in self.modules:
            return None
        self._load_all(self.modules[name][-1])
        return self._spec(name)

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module."""

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        assert spec.loader_state
        module.__file__ = spec.origin
        exec(marshal.loads(posix.pread(self.fd, *spec.loader_state)), module.__dict__)

    def _spec(self, name: str) -> ModuleSpec | None:
        """None for what was edited or is gone since: that is for the path finder."""
        source, is_package, changed, size, start, length, _ = self.modules[name]
        try:
            found = posix.stat(source)
        except OSError:
            return None
        if (found.st_mtime_ns, found.st_size) != (changed, size):
            return None
        if not length:
            return ModuleSpec(name, ExtensionFileLoader(name, source), origin=source)
        spec = ModuleSpec(name, self, origin=source, loader_state=(length, self.codes + start))  # type: ignore[arg-type]
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def _load_all(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in sys.modules and name not in self._begun:
                self._begun.add(name)
                self._load(name)

    def _load(self, name: str) -> None:
        """As the import system would, in fewer steps. What isn't ours to load is left to the statement that imports it."""
        self._load_all(self.modules[name][-1])
        spec = self._spec(name)
        if spec is None or not spec.loader_state:
            return
        module = _Module(name)
        module.__spec__, module.__loader__, module.__package__ = spec, spec.loader, spec.parent
        if spec.submodule_search_locations is not None:
            module.__path__ = spec.submodule_search_locations
        sys.modules[name] = module
        try:
            self.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        package, _, child = name.rpartition(".")
        if package in sys.modules:
            setattr(sys.modules[package], child, module)


class _Mapping:
    """As much of collections.abc.MutableMapping as os.environ needs beside its own."""

    def __contains__(self: Any, key: object) -> bool:
        return key in list(self)

    def get(self: Any, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401

    def keys(self: Any) -> list[str]:
        return list(self)

    def items(self: Any) -> list[tuple[str, str]]:
        return [(key, self[key]) for key in self]

    def pop(self: Any, key: str, *default: Any) -> Any:
        if default and key not in self:
            return default[0]
        value = self[key]
        del self[key]
        return value


def _check_methods(cls: type, *methods: str) -> Any:
    from _collections_abc import _check_methods as check  # type: ignore[attr-defined]  # the real one, once somebody asks

    return check(cls, *methods)


def import_os() -> None:
    """`import os` without the abstract base classes of collections, two of which it takes: 0.5 ms of a command's 9.

    Who imports collections.abc later gets the real one.
    """
    stand_in: Any = _Module("_collections_abc")
    stand_in.Mapping = stand_in.MutableMapping = _Mapping
    stand_in._check_methods, stand_in.GenericAlias = _check_methods, type(list[int])
    sys.modules["_collections_abc"] = stand_in
    try:
        import os  # noqa: F401
    finally:
        del sys.modules["_collections_abc"]
