"""A hundred wrong documents beside runc: the same exit status, or a row of docs/differences.md that says otherwise.

And whatever aiorun says of one names the property that it is about.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.cli.test_errors import sentence_of
from tests.conftest import CHECKOUT, Bundles, Change, CommandLine, Config

# The JSON path; a hook has its number in runc's words, a missing program its name in Go's.
_PATH = re.compile(
    r"\b(?:mounts\[|linux\.|process[.:]|root[.:]|hooks\.|hostname|annotations|ociVersion)| hook #\d|\$PATH|\btty\b"
)


def put(path: str, value: object) -> Change:
    """The value at "linux.resources.memory", None to remove it; a number is an index."""

    def change(config: Config) -> None:
        *before, last = path.split(".")
        holder: Any = config
        for step in before:
            holder = holder.setdefault(step, {})
        if value is None:
            del holder[last]
        else:
            holder[last] = value

    return change


def mount(**members: object) -> Change:
    return lambda config: config["mounts"].append({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", **members})


def namespaces(*more: Config) -> Change:
    return put("linux.namespaces", [{"type": "mount"}, *more])


def without_hostname(change: Change) -> Change:
    def both(config: Config) -> None:
        config.pop("hostname")
        assert callable(change)
        change(config)

    return both


HOOK = {"path": "/bin/false"}

# name: change. Both refuse it, or both take it.
ALIKE: dict[str, Change] = {
    "no root": put("root", None),
    "an empty root": put("root.path", ""),
    "no process": put("process", None),
    "no args": put("process.args", []),
    "an empty cwd": put("process.cwd", ""),
    "a relative cwd": put("process.cwd", "x"),
    "a variable without a value": put("process.env", ["PATH=/bin", "X"]),
    "a variable without a name": put("process.env", ["PATH=/bin", "=x"]),
    "a variable with NUL": put("process.env", ["PATH=/bin", "A=\0"]),
    "an unknown limit": put("process.rlimits", [{"type": "RLIMIT_X", "hard": 1, "soft": 1}]),
    "a soft limit above the hard one": put("process.rlimits", [{"type": "RLIMIT_CPU", "hard": 1, "soft": 2}]),
    "an unknown capability": put("process.capabilities.bounding", ["CAP_X"]),
    "a negative user": put("process.user.uid", -1),
    "a user beyond 32 bits": put("process.user.uid", 2**32),
    "an oom score beyond all": put("process.oomScoreAdj", 2000),
    "a host name without a namespace for it": namespaces(),
    "a namespace twice": namespaces({"type": "uts"}, {"type": "mount"}),
    "an unknown namespace": namespaces({"type": "uts"}, {"type": "x"}),
    "a namespace's path that is not there": namespaces({"type": "uts", "path": "/nowhere"}),
    "a namespace's path that is relative": namespaces({"type": "uts", "path": "x"}),
    "a namespace of another type": namespaces({"type": "uts", "path": "/proc/self/ns/net"}),
    "a file that is no namespace": namespaces({"type": "uts", "path": "/etc/passwd"}),
    "a user namespace without maps": namespaces({"type": "uts"}, {"type": "user"}),
    "an unknown file system": mount(type="nosuchfs"),
    "a mount without a type": lambda config: config["mounts"].append({"destination": "/mnt", "source": "x"}),
    "an unknown option": mount(options=["nosuch=1"]),
    "a relative destination": mount(destination="x"),
    "a destination above the root": mount(destination="/../../x"),
    "a mount on the root": mount(destination="/"),
    "a bind mount of nothing": mount(type="bind", source="/nowhere", options=["bind"]),
    "a file on a directory": mount(destination="/bin", type="bind", source="/etc/passwd", options=["bind"]),
    "a directory on a file": mount(destination="/bin/busybox", type="bind", source="/etc", options=["bind"]),
    "a bind mount on /proc": mount(destination="/proc", type="bind", source="/etc", options=["bind"]),
    "a bind mount in /proc": mount(destination="/proc/net", type="bind", source="/etc", options=["bind"]),
    "a sysctl of the host": put("linux.sysctl", {"kernel.panic": "1"}),
    "an unknown sysctl": put("linux.sysctl", {"net.nosuch": "1"}),
    "a sysctl's wrong value": put("linux.sysctl", {"net.ipv4.ip_forward": "x"}),
    "the host name as a sysctl": put("linux.sysctl", {"kernel.hostname": "x"}),
    "an unknown device": put("linux.devices", [{"type": "x", "path": "/dev/x", "major": 1, "minor": 1}]),
    "a device twice": put("linux.devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}] * 2),
    "next to no memory": put("linux.resources.memory", {"limit": 1}),
    "memory below unlimited": put("linux.resources.memory", {"limit": -2}),
    "one cpu share": put("linux.resources.cpu", {"shares": 1}),
    "a quota of a microsecond": put("linux.resources.cpu", {"quota": 1}),
    "a processor that is not there": put("linux.resources.cpu", {"cpus": "999"}),
    "processors that are none": put("linux.resources.cpu", {"cpus": "x"}),
    "a limit that is a string": put("linux.resources.pids", {"limit": "x"}),
    "an unknown kind of a device rule": put("linux.resources.devices", [{"allow": True, "type": "x", "access": "r"}]),
    "an unknown propagation": put("linux.rootfsPropagation", "x"),
    "an unknown action": put("linux.seccomp", {"defaultAction": "X"}),
    "a relative masked path": put("linux.maskedPaths", ["proc"]),
    "a relative hook": put("hooks", {"prestart": [{"path": "x"}]}),
    "a hook that is not there": put("hooks", {"prestart": [{"path": "/nowhere"}]}),
    "a hook without time": put("hooks", {"prestart": [{"path": "/bin/true", "timeout": 0}]}),
    "a prestart hook that fails": put("hooks", {"prestart": [HOOK]}),
    "a createRuntime hook that fails": put("hooks", {"createRuntime": [HOOK]}),
    "a createContainer hook that fails": put("hooks", {"createContainer": [HOOK]}),
    "a startContainer hook that is not there": put("hooks", {"startContainer": [{"path": "/nowhere"}]}),
    "a poststart hook that fails": put("hooks", {"poststart": [HOOK]}),
    "a poststop hook that fails": put("hooks", {"poststop": [HOOK]}),
    "an annotation that is a number": put("annotations", {"a": 1}),
    "a terminal, and none at hand": put("process.terminal", True),
}

# name: (change, words of the row in docs/differences.md). runc 1.1.5 takes it, and aiorun does not.
REFUSED_BY_US: dict[str, tuple[Change, str]] = {
    "no version": (put("ociVersion", None), "`ociVersion`"),
    "a version that is none": (put("ociVersion", "x"), "`ociVersion`"),
    "a version of the future": (put("ociVersion", "2.0.0"), "`ociVersion`"),
    "a limit twice": (put("process.rlimits", [{"type": "RLIMIT_CPU", "hard": 1000, "soft": 1000}] * 2), "a limit twice"),
    "half a console size": (put("process.consoleSize", {"height": 1}), "half a `consoleSize`"),
    "a relative device": (put("linux.devices", [{"type": "c", "path": "dev/x", "major": 1, "minor": 3}]), "relative paths"),
    "a relative read-only path": (put("linux.readonlyPaths", ["proc"]), "relative paths"),
    "a device without numbers": (put("linux.devices", [{"type": "c", "path": "/dev/x"}]), "a device without numbers"),
    "a rule about unknown access": (
        put("linux.resources.devices", [{"allow": True, "access": "x"}]),
        "access that is none of r, w, m",
    ),
    "an option of no file system": (
        mount(type="bind", source="/etc", options=["bind", "x=1"]),
        "an unknown option of a bind mount",
    ),
    "half a mapping": (
        mount(type="bind", source="/etc", options=["bind"], uidMappings=[{"containerID": 0, "hostID": 0, "size": 1}]),
        "half a mapping",
    ),
    "an annotation without a name": (put("annotations", {"": "x"}), "an annotation without a name"),
    "offsets without a time namespace": (put("linux.timeOffsets", {"monotonic": {"secs": 1}}), "a property that isn't done"),
    "an unknown personality": (put("linux.personality", {"domain": "X"}), "a property that isn't done"),
    "an unknown scheduler": (put("process.scheduler", {"policy": "X"}), "a property that isn't done"),
    "an unknown I/O priority": (
        put("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 9}),
        "a property that isn't done",
    ),
    "a network device that is not there": (put("linux.netDevices", {"nosuch0": {}}), "a property that isn't done"),
}


def told(ended: Any) -> str:
    """What aiorun said, if it failed; it says nothing else."""
    said = sentence_of(ended.stderr) if ended.returncode else ""
    return said.replace("unable to start container process:", "")


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in ALIKE.items()])
def test_a_document_ends_with_runcs_exit_status(aiorun: CommandLine, runc: CommandLine, bundle: Bundles, change: Change) -> None:
    made = bundle(change)
    ours, theirs = aiorun("run", "--bundle", made, "box"), runc("run", "--bundle", made, "box")
    assert ours.returncode == theirs.returncode, (ours.stderr, theirs.stderr)
    said = told(ours)
    assert not said or _PATH.search(said), said
    assert "unexpected error" not in said


@pytest.mark.parametrize(
    ("change", "words"), [pytest.param(change, words, id=name) for name, (change, words) in REFUSED_BY_US.items()]
)
def test_a_document_that_runc_takes_and_we_refuse_is_a_documented_difference(
    aiorun: CommandLine, bundle: Bundles, change: Change, words: str
) -> None:
    ended = aiorun("run", "--bundle", bundle(change), "box")
    said = told(ended)
    assert ended.returncode == 1
    assert _PATH.search(said), said
    assert words in (CHECKOUT / "docs" / "differences.md").read_text()
