"""linux.netDevices: devices of the host that a container takes over. config-linux.md, "Network Devices". runc has them since 1.4.

The host is a network namespace of the test's own: nothing shows in the real one.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Change, CommandLine, need, need_root
from tests.container.configs import both, namespaces
from tests.container.conftest import Sandbox
from tests.container.users import MappedBundles
from tests.waiting import until

_CLONE_NEWNET = 0x40000000
# without what the kernel puts into every namespace
SHOW = (
    "ip -o link show | awk '$2 !~ /^(lo|tunl|sit|ip6tnl|gre|erspan|ip_vti|ip6_vti|ip6gre)/ { print $2, $3 }'; "
    "ip -o addr show scope global"
)


class Host:
    """A network namespace with devices, in which commands can be run."""

    def __init__(self, holder: int) -> None:
        self.path = Path(f"/proc/{holder}/ns/net")
        self._libc = ctypes.CDLL(None, use_errno=True)

    def enter(self) -> None:
        """For Popen's preexec_fn."""
        fd = os.open(self.path, os.O_RDONLY)
        if self._libc.setns(fd, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(fd)

    def ip(self, *arguments: str) -> str:
        command = [need("ip"), *arguments]
        return subprocess.run(command, preexec_fn=self.enter, check=True, capture_output=True, text=True).stdout

    def add(self, name: str, *addresses: str) -> None:
        """A virtual device, of whichever kind the kernel has."""
        for kind in ("dummy", "ifb"):
            command = [need("ip"), "link", "add", name, "type", kind]
            if subprocess.run(command, preexec_fn=self.enter, check=False, capture_output=True).returncode == 0:
                break
        else:
            pytest.skip("this kernel has no virtual network devices")
        self.ip("link", "set", name, "up")
        for address in addresses:
            self.ip("addr", "add", *address.split(), "dev", name)

    @property
    def names(self) -> list[str]:
        return [line.split()[1].rstrip(":") for line in self.ip("-o", "link", "show").splitlines()]


def new_network() -> subprocess.Popen[bytes]:
    """A process in a network namespace of its own."""
    holder = subprocess.Popen([need("unshare"), "--net", "cat"], stdin=subprocess.PIPE)
    own = os.readlink("/proc/self/ns/net")
    until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, "the namespace")
    return holder


@pytest.fixture
def host(leaves_nothing: None) -> Iterator[Host]:
    need_root()
    with new_network() as holder:
        yield Host(holder.pid)
        assert holder.stdin
        holder.stdin.close()


def taking(*names: str, **renamed: str) -> Change:
    """Devices to take over, some under another name."""
    devices: dict[str, Any] = {**{name: {} for name in names}, **{name: {"name": new} for name, new in renamed.items()}}
    return {"linux": {"netDevices": devices}}


def seen(ours: Sandbox, host: Host, change: Change) -> list[str]:
    """The devices in the container, and the global addresses: "out0: <BROADCAST,NOARP,UP,LOWER_UP>", "out0 inet 10.0.0.1/24"."""
    lines = ours(change, SHOW, preexec_fn=host.enter).splitlines()
    return [" ".join(line.split()[1:4]) if " inet" in line else line for line in lines]


def test_a_device_is_moved_with_its_permanent_global_addresses_and_set_up(ours: Sandbox, host: Host) -> None:
    host.add("out0", "10.5.0.1/24 broadcast 10.5.0.255", "10.6.0.1/32", "169.254.7.7/16 scope link", "fd00:5::1/64")
    host.ip("addr", "add", "10.7.0.1/24", "dev", "out0", "valid_lft", "1000", "preferred_lft", "1000")
    device, *addresses = seen(ours, host, taking("out0"))
    assert device.startswith("out0: <") and "UP" in device
    assert addresses == ["out0 inet 10.5.0.1/24", "out0 inet 10.6.0.1/32", "out0 inet6 fd00:5::1/64"]
    assert "out0" not in host.names


def test_broadcasts_and_peers_are_kept(ours: Sandbox, host: Host) -> None:
    host.add("out0", "10.5.0.1/24 broadcast 10.5.0.255", "10.6.0.1 peer 10.6.0.2/32")
    said = ours(taking("out0"), "ip -o -4 addr show dev out0", preexec_fn=host.enter)
    assert "inet 10.5.0.1/24 brd 10.5.0.255" in said
    assert "inet 10.6.0.1 peer 10.6.0.2/32" in said


def test_a_device_is_renamed(ours: Sandbox, host: Host) -> None:
    host.add("out0", "10.5.0.1/24")
    device, *addresses = seen(ours, host, taking(out0="eth0"))
    assert device.startswith("eth0: <")
    assert addresses == ["eth0 inet 10.5.0.1/24"]


def test_a_template_takes_the_first_free_name(ours: Sandbox, host: Host) -> None:
    for name in ("out0", "out1", "out2"):
        host.add(name)
    devices = seen(ours, host, taking("out2", out0="eth%d", out1="eth%d"))
    assert sorted(line.split(":")[0] for line in devices) == ["eth0", "eth1", "out2"]


def test_names_may_be_exchanged(ours: Sandbox, host: Host) -> None:
    host.add("out0", "10.5.0.1/24")
    host.add("out1", "10.6.0.1/24")
    assert seen(ours, host, taking(out0="out1", out1="out0"))[2:] == ["out1 inet 10.5.0.1/24", "out0 inet 10.6.0.1/24"]


def test_a_name_that_is_taken_is_an_error(ours: Sandbox, host: Host) -> None:
    host.add("out0")
    host.add("out1")
    said = ours.refuses(taking(out0="lo"), preexec_fn=host.enter)
    assert 'take the network device "out0" as "lo" (linux.netDevices["out0"]): file exists' in said
    host.add("out0")
    said = ours.refuses(taking(out0="x", out1="x"), preexec_fn=host.enter)
    assert 'take the network device "out1" as "x" (linux.netDevices["out1"]): file exists' in said


def test_a_device_that_is_not_there_is_an_error_and_nothing_is_left(ours: Sandbox, host: Host) -> None:
    said = ours.refuses(taking("nosuch"), preexec_fn=host.enter)
    assert 'move the network device "nosuch" (linux.netDevices["nosuch"]): no such device' in said


def test_a_device_goes_to_a_namespace_that_is_joined(ours: Sandbox, host: Host) -> None:
    """Where there may be a device of that name, and one of that number."""
    with new_network() as holder:
        joined = Host(holder.pid)
        host.add("out0", "10.5.0.1/24")
        joined.add("out0", "10.9.0.1/24")
        change = both(namespaces(network=str(joined.path)), taking(out0="eth0"))
        assert sorted(seen(ours, host, change)[2:]) == ["eth0 inet 10.5.0.1/24", "out0 inet 10.9.0.1/24"]
        assert sorted(set(joined.names) & {"out0", "eth0"}) == ["eth0", "out0"]
        assert holder.stdin
        holder.stdin.close()


def test_a_device_that_cannot_have_its_name_keeps_its_own_in_a_namespace_that_is_joined(ours: Sandbox, host: Host) -> None:
    with new_network() as holder:
        joined = Host(holder.pid)
        host.add("out0")
        change = both(namespaces(network=str(joined.path)), taking(out0="lo"))
        assert "file exists" in ours.refuses(change, preexec_fn=host.enter)
        assert "out0" in joined.names
        assert holder.stdin
        holder.stdin.close()


def test_a_container_in_a_user_namespace_takes_one_too(aiorun: CommandLine, cgroup_parent: str, host: Host) -> None:
    host.add("out0", "10.5.0.1/24")
    with tempfile.TemporaryDirectory(prefix="aiorun-test-") as directory:
        os.chmod(directory, 0o755)  # pytest's own is root's alone
        sandbox = Sandbox(aiorun, MappedBundles(Path(directory), cgroup_parent))
        assert seen(sandbox, host, taking(out0="eth0"))[1:] == ["eth0 inet 10.5.0.1/24"]


def test_without_a_network_namespace_there_is_nowhere_to_move_it(ours: Sandbox, host: Host) -> None:
    host.add("out0")
    said = ours.refuses(both(namespaces(network=None), taking("out0")), preexec_fn=host.enter)
    assert "linux.netDevices: not possible without a network namespace of the container's own" in said
    assert "out0" in host.names


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:b", "a b", "a%sb", "%d%d", "a" * 16, "größe"])
def test_what_is_no_name_of_a_device_is_refused(ours: Sandbox, host: Host, name: str) -> None:
    host.add("out0")
    if name:
        said = ours.refuses(taking(out0=name), preexec_fn=host.enter)
        assert 'linux.netDevices["out0"].name:' in said and "is no name of a network device" in said
    said = ours.refuses(taking(name or "%d"), preexec_fn=host.enter)
    assert "is no name of a network device" in said
    assert "out0" in host.names
