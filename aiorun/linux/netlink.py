"""Network devices through rtnetlink: find, move, rename, address, set up. rtnetlink(7), netlink(7).

Loaded for containers that take devices of the host's alone (linux.netDevices).
"""

from __future__ import annotations

import _socket
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ENODEV = 19
_NETLINK_ROUTE, _ERROR, _DONE = 0, 2, 3
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 1, 4, 0x300, 0x200, 0x400
_NEWLINK, _NEWADDR, _GETADDR = 16, 20, 22
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFF_UP, _IFA_F_PERMANENT, _RT_SCOPE_UNIVERSE = 1, 0x80, 0
_HEADER = 16  # sizeof(struct nlmsghdr): length, type, flags, sequence, port


def index_of(name: str) -> int:
    """The index of a device of our network namespace. Raises OSError ENODEV."""
    try:
        return _socket.if_nametoindex(name)
    except OSError:  # without an errno
        raise OSError(_ENODEV, os.strerror(_ENODEV), name) from None


class Routes:
    """A conversation with the kernel about the network namespace in which it was begun. Owns its socket: to be closed."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, _NETLINK_ROUTE)

    def close(self) -> None:
        self._socket.close()

    def move(self, index: int, namespace: int, name: str) -> None:
        """Move a device into the network namespace behind the fd, as `name`. It is down there, and without addresses."""
        self._ask(_NEWLINK, _link(index) + _text(_IFLA_IFNAME, name) + _attribute(_IFLA_NET_NS_FD, _u32(namespace)))

    def rename(self, index: int, name: str) -> None:
        """Call a device `name`, or with a `%d` in it the first free one of these names. Raises OSError EEXIST."""
        self._ask(_NEWLINK, _link(index) + _text(_IFLA_IFNAME, name))

    def set_up(self, index: int) -> None:
        """Set a device up."""
        self._ask(_NEWLINK, _link(index, flags=_IFF_UP, change=_IFF_UP))

    def add_address(self, index: int, address: str) -> None:
        """Give a device an address, as `addresses` has it."""
        local, prefix, more = _parsed(address)
        family = _socket.AF_INET6 if ":" in local else _socket.AF_INET
        body = bytes([family, prefix, 0, _RT_SCOPE_UNIVERSE]) + _u32(index)
        body += _attribute(_IFA_LOCAL, _socket.inet_pton(family, local))
        body += _attribute(_IFA_ADDRESS, _socket.inet_pton(family, more.get("peer", local)))
        if "brd" in more:
            body += _attribute(_IFA_BROADCAST, _socket.inet_pton(family, more["brd"]))
        self._ask(_NEWADDR, body, flags=_CREATE | _EXCL)

    def addresses(self, index: int) -> tuple[str, ...]:
        """The permanent addresses of global scope, as ip(8) writes them: "10.0.0.1/24 brd 10.0.0.255", "fd00::1/64"."""
        found = []
        for body in self._ask(_GETADDR, bytes(8), flags=_DUMP):
            family, prefix, few_flags, scope = body[:4]
            values = dict(_attributes(body[8:]))
            flags = int.from_bytes(values.get(_IFA_FLAGS, bytes([few_flags])), "little")
            if int.from_bytes(body[4:8], "little") == index and flags & _IFA_F_PERMANENT and scope == _RT_SCOPE_UNIVERSE:
                found.append(_written(family, prefix, values))
        return tuple(found)

    def _ask(self, kind: int, body: bytes, *, flags: int = 0) -> list[bytes]:
        """The bodies of the kernel's answers. Raises the OSError that it answers with."""
        flags |= _REQUEST | (0 if flags == _DUMP else _ACK)
        self._socket.send(_u32(_HEADER + len(body)) + kind.to_bytes(2, "little") + flags.to_bytes(2, "little") + bytes(8) + body)
        answers: list[bytes] = []
        while True:
            packet = self._socket.recv(1 << 16)
            while packet:
                length, answer = int.from_bytes(packet[:4], "little"), int.from_bytes(packet[4:6], "little")
                content, packet = packet[_HEADER:length], packet[_aligned(length) :]
                if answer == _ERROR:
                    errno = -int.from_bytes(content[:4], "little", signed=True)
                    if errno:
                        raise OSError(errno, os.strerror(errno))
                    return answers
                if answer == _DONE:
                    return answers
                answers.append(content)


def _link(index: int, *, flags: int = 0, change: int = 0) -> bytes:
    """struct ifinfomsg."""
    return bytes(4) + _u32(index) + _u32(flags) + _u32(change)


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _aligned(length: int) -> int:
    return length + 3 & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    """struct rtattr and its value."""
    length = 4 + len(value)
    return length.to_bytes(2, "little") + kind.to_bytes(2, "little") + value + bytes(_aligned(length) - length)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    while len(content) >= 4:
        length = int.from_bytes(content[:2], "little")
        yield int.from_bytes(content[2:4], "little") & 0x3FFF, content[4:length]
        content = content[_aligned(max(length, 4)) :]


def _written(family: int, prefix: int, values: dict[int, bytes]) -> str:
    address = values[_IFA_ADDRESS]
    local = values.get(_IFA_LOCAL, address)
    text = f"{_socket.inet_ntop(family, local)}/{prefix}"
    if address != local:
        text += f" peer {_socket.inet_ntop(family, address)}"
    if _IFA_BROADCAST in values:
        text += f" brd {_socket.inet_ntop(family, values[_IFA_BROADCAST])}"
    return text


def _parsed(address: str) -> tuple[str, int, dict[str, str]]:
    first, *words = address.split(" ")
    local, _, prefix = first.partition("/")
    return local, int(prefix), dict(zip(words[::2], words[1::2]))
