"""Network interfaces, as far as a container needs them. netdevice(7)."""

from __future__ import annotations

import _socket
import fcntl

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def set_up(name: str) -> None:
    """Set an interface of our network namespace up. Raises OSError."""
    with_flags = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        request = bytearray(name.encode().ljust(40, b"\0"))  # struct ifreq
        fcntl.ioctl(with_flags.fileno(), _SIOCGIFFLAGS, request)
        flags = int.from_bytes(request[16:18], "little") | _IFF_UP
        request[16:18] = flags.to_bytes(2, "little")
        fcntl.ioctl(with_flags.fileno(), _SIOCSIFFLAGS, request)
    finally:
        with_flags.close()
