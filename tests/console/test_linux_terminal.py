"""aiorun.linux.terminal on real ptys."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from collections.abc import Iterator

import pytest

from aiorun.linux import terminal


@pytest.fixture
def master() -> Iterator[int]:
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    yield master
    os.close(master)


@pytest.fixture
def peer(master: int) -> Iterator[int]:
    terminal.unlock(master)
    peer = terminal.open_peer(master)
    yield peer
    os.close(peer)


def test_a_locked_terminal_has_no_peer(master: int) -> None:
    with pytest.raises(OSError) as failure:
        terminal.open_peer(master)
    assert failure.value.errno == errno.EIO
    assert failure.value.filename == "the terminal's peer"


def test_the_peer_is_the_numbered_terminal_and_close_on_exec(master: int, peer: int) -> None:
    assert os.ttyname(peer) == f"/dev/pts/{terminal.number(master)}"
    assert fcntl.fcntl(peer, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_size_set_on_the_master_is_the_peers(master: int, peer: int) -> None:
    terminal.set_size(master, 24, 300)
    assert terminal.size(peer) == (24, 300)
    terminal.set_size(master, 65536 + 7, 8)
    assert terminal.size(peer) == (7, 8)


def test_raw_hands_on_every_byte_and_restore_brings_all_modes_back(master: int, peer: int) -> None:
    before = termios.tcgetattr(peer)
    old = terminal.make_raw(peer)
    every = bytes(range(256))
    os.write(master, every)
    received = b""
    while len(received) < 256:
        received += os.read(peer, 256)
    assert received == every
    terminal.restore(peer, old)
    assert termios.tcgetattr(peer) == before


def test_raw_leaves_output_processing_as_it_was(master: int, peer: int) -> None:
    terminal.make_raw(peer)
    os.write(peer, b"\n")
    assert os.read(master, 10) == b"\r\n"
    terminal.clear_onlcr(master)
    os.write(peer, b"\n")
    assert os.read(master, 10) == b"\n"


def test_only_a_master_is_one(master: int, peer: int) -> None:
    assert terminal.is_master(master)
    with open("/dev/null") as null:
        for other in (peer, null.fileno()):
            assert not terminal.is_master(other)
    assert terminal.is_terminal(peer)
    with pytest.raises(OSError) as failure:
        terminal.number(peer)
    assert failure.value.errno == errno.ENOTTY


def test_what_is_no_terminal_has_no_modes() -> None:
    with open("/dev/null") as null, pytest.raises(OSError) as failure:
        terminal.make_raw(null.fileno())
    assert failure.value.errno == errno.ENOTTY
    assert failure.value.filename == "the terminal's modes"
