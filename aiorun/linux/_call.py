"""The one place that touches ctypes: syscall(2), with errno turned into OSError.

`_ctypes` itself is used, since `import ctypes` costs 3 ms where `_ctypes` costs 1.3.
"""

from __future__ import annotations

import _ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Argument: TypeAlias = "int | bytes | Buffer | None"

_CDECL, _PYTHONAPI, _USE_ERRNO = 0x1, 0x4, 0x8  # ctypes' FUNCFLAG_*; PYTHONAPI: the GIL is kept across the call
_RTLD_NOW = 2


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"  # takes int, bytes, None and Buffer, each as wide as a register


class _Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "B"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _CDECL | _PYTHONAPI | _USE_ERRNO
    _restype_ = _Long


_libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # what is loaded already: dlopen(3), NULL
set_errno = _ctypes.set_errno


def _syscall_with(number_of_arguments: int) -> Any:
    function = _Function(_ctypes.dlsym(_libc, "syscall"))
    function.argtypes = (_Long, *(_Pointer,) * number_of_arguments)
    return function


_SYSCALL = tuple(_syscall_with(number) for number in range(7))  # converting arguments that aren't there costs time


_Nothing = _Byte * 0  # one type for all buffers: ctypes makes one for each length, in 40 µs


class Buffer:
    """Memory that the kernel writes into, or whose address it is given. `address` stays valid while the object lives."""

    def __init__(self, content: int | bytes) -> None:
        self._memory = bytearray(content)
        self._view = _Nothing.from_buffer(self._memory)  # keeps it in its place
        self.address: int = _ctypes.addressof(self._view)
        self._as_parameter_ = self.address

    def __bytes__(self) -> bytes:
        return bytes(self._memory)

    def integer(self, offset: int = 0, size: int = 4) -> int:
        """The signed little-endian integer at `offset`."""
        return int.from_bytes(bytes(self)[offset : offset + size], "little", signed=True)


class Library:
    """A shared library, by its name or path. Raises OSError where it can't be loaded. dlopen(3)."""

    def __init__(self, name: str) -> None:
        self._handle = _ctypes.dlopen(name, _RTLD_NOW)

    def function(self, name: str, number_of_arguments: int) -> Any:
        """Its function `name`, which takes integers and pointers; returning a register. AttributeError: it has none."""
        try:
            function = _Function(_ctypes.dlsym(self._handle, name))
        except OSError:
            raise AttributeError(name) from None
        function.argtypes = (_Pointer,) * number_of_arguments
        return function


def libc_function(name: str) -> int:
    """The address of a function of the C library, for those who hand it on (a signal handler)."""
    return int(_ctypes.dlsym(_libc, name))


def call(number: int, *arguments: Argument, path: str | bytes | None = None) -> int:
    """syscall(2). Raises OSError with errno and `path`. EINTR is retried, as PEP 475 has it.

    What isn't given is whatever the register holds: zeros that the kernel checks (prctl's) have to be passed.
    """
    syscall = _SYSCALL[len(arguments)]
    while True:
        result: int = syscall(number, *arguments)
        if result != -1:
            return result
        errno = _ctypes.get_errno()
        if errno != 4:  # EINTR
            raise OSError(errno, os.strerror(errno), path)


def encode(path: str) -> bytes:
    """str to the kernel's bytes, refusing what the kernel would cut off."""
    encoded = path.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise OSError(22, os.strerror(22), path)
    return encoded
