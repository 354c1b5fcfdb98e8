"""What is wrong with a document is said with its JSON path, and in runc's words where programs match them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiorun.errors import InvalidSpec
from aiorun.spec import check, default_document, parse, require_process, require_root
from tests.spec.documents import FULL, Place, changed

GONE = object()
RLIMIT = {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}
DEVICE = {"type": "c", "path": "/dev/x", "major": 1, "minor": 3}

# (where, what is put there, the path that the error names, its reason)
BAD: list[tuple[Place, object, str, str]] = [
    (("ociVersion",), GONE, "ociVersion", "is required"),
    (("ociVersion",), 1, "ociVersion", "must be a string, not an integer"),
    (("ociVersion",), "1.0", "ociVersion", 'must be a version such as 1.3.0, not "1.0"'),
    (("ociVersion",), "1.0.01", "ociVersion", 'must be a version such as 1.3.0, not "1.0.01"'),
    (("ociVersion",), "1.0.0-", "ociVersion", 'must be a version such as 1.3.0, not "1.0.0-"'),
    (("ociVersion",), "", "ociVersion", 'must be a version such as 1.3.0, not ""'),
    (("ociVersion",), "1.٢.0", "ociVersion", 'must be a version such as 1.3.0, not "1.\\u0662.0"'),
    (("ociVersion",), "2.0.0", "ociVersion", "version 2.0.0 of the specification is not supported (1.x is)"),
    (("root",), [], "root", "must be an object, not an array"),
    (("root", "path"), GONE, "root.path", "is required"),
    (("root", "path"), "", "root.path", "must not be empty"),
    (("root", "readonly"), 1, "root.readonly", "must be a boolean, not an integer"),
    (("hostname",), None, "hostname", "must be a string, not null"),
    (("hostname",), "a\0b", "hostname", "must not contain a NUL character"),
    (("hostname",), "\udc80", "hostname", "must not contain half of a surrogate pair"),
    (("annotations", ""), "x", "annotations", "each name in it must not be empty"),
    (("annotations", "a.b"), 1, 'annotations["a.b"]', "must be a string, not an integer"),
    (("annotations", "\x1b\u202e"), 1, 'annotations["\\u001b\\u202e"]', "must be a string, not an integer"),
    (("process",), None, "process", "must be an object, not null"),
    (("process", "terminal"), "yes", "process.terminal", "must be a boolean, not a string"),
    (("process", "cwd"), GONE, "process.cwd", "is required"),
    (("process", "cwd"), "", "process.cwd", "Cwd property must not be empty"),
    (("process", "cwd"), "tmp", "process.cwd", "Cwd must be an absolute path"),
    (("process", "args"), [], "process.args", "args must not be empty"),
    (("process", "args"), "sh", "process.args", "must be an array, not a string"),
    (("process", "args"), ["sh", 3], "process.args[1]", "must be a string, not an integer"),
    (("process", "args"), ["sh", "\0"], "process.args[1]", "must not contain a NUL character"),
    (("process", "args"), ["é", "\ud800"], "process.args[1]", "must not contain half of a surrogate pair"),
    (("process", "env"), ["A=b", "C"], "process.env[1]", "invalid environment variable: missing '=' in \"C\""),
    (("process", "env"), ["=b"], "process.env[0]", "invalid environment variable: name cannot be empty"),
    (("process", "env"), ["A=\0"], "process.env[0]", "must not contain a NUL character"),
    (("process", "user", "uid"), True, "process.user.uid", "must be an integer, not a boolean"),
    (("process", "user", "uid"), 1.0, "process.user.uid", "must be an integer, not a number with a fraction"),
    (("process", "user", "uid"), "0", "process.user.uid", "must be an integer, not a string"),
    (("process", "user", "uid"), -1, "process.user.uid", "must be from 0 to 4294967294"),
    (("process", "user", "gid"), 2**32 - 1, "process.user.gid", "must be from 0 to 4294967294"),
    (("process", "user", "gid"), 2**70, "process.user.gid", "must be from 0 to 4294967294"),
    (("process", "user", "additionalGids"), [5, 2**32 - 1], "process.user.additionalGids[1]", "must be from 0 to 4294967294"),
    (("process", "consoleSize"), {"height": 1}, "process.consoleSize.width", "is required"),
    (("process", "consoleSize"), {"height": 1, "width": 70000}, "process.consoleSize.width", "must be from 0 to 65535"),
    (("process", "oomScoreAdj"), 1001, "process.oomScoreAdj", "must be from -1000 to 1000"),
    (("process", "capabilities"), ["CAP_KILL"], "process.capabilities", "must be an object, not an array"),
    (("process", "rlimits"), [RLIMIT, RLIMIT], "process.rlimits[1].type", 'duplicated: "RLIMIT_NOFILE" is in the list already'),
    (("process", "rlimits"), [{**RLIMIT, "soft": 3}], "process.rlimits[0].soft", "must not be above hard"),
    (("process", "rlimits"), [{"type": "RLIMIT_AS", "soft": 1}], "process.rlimits[0].hard", "is required"),
    (("process", "rlimits"), [{**RLIMIT, "hard": 2**64}], "process.rlimits[0].hard", "must be from 0 to 18446744073709551615"),
    (("process", "ioPriority"), {"class": "RT"}, "process.ioPriority.class",
     'must be one of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE, not "RT"'),
    (("process", "execCPUAffinity"), {"final": "x"}, "process.execCPUAffinity.final",
     'must consist of the characters "0123456789, -" alone, not "x"'),
    (("mounts",), {}, "mounts", "must be an array, not an object"),
    (("mounts", 0, "destination"), GONE, "mounts[0].destination", "is required"),
    (("mounts", 0, "destination"), 3, "mounts[0].destination", "must be a string, not an integer"),
    (("mounts", 1, "destination"), "", "mounts[1].destination", "must not be empty"),
    (("mounts", 1, "options"), ["ro", []], "mounts[1].options[1]", "must be a string, not an array"),
    (("mounts", 0, "uidMappings"), [{"containerID": 0, "hostID": 0, "size": 1}], "mounts[0].gidMappings",
     "is required: uidMappings and gidMappings come together"),
    (("mounts", 0, "gidMappings"), [{"containerID": 0, "hostID": 0}], "mounts[0].gidMappings[0].size", "is required"),
    (("hooks",), {"prestart": [{}]}, "hooks.prestart[0].path", "is required"),
    (("hooks",), {"poststop": [{"path": "true"}]}, "hooks.poststop[0].path", "must be an absolute path"),
    (("hooks",), {"poststart": [{"path": "/a", "timeout": 0}]}, "hooks.poststart[0].timeout",
     "must be from 1 to 9223372036854775807"),
    (("linux", "namespaces"), [{"type": "pid"}, {"type": "zz"}], "linux.namespaces[1].type",
     'must be one of mount, pid, network, uts, ipc, user, cgroup, time, not "zz"'),
    (("linux", "namespaces"), [{"path": "/x"}], "linux.namespaces[0].type", "is required"),
    (("linux", "namespaces"), [{"type": "pid"}, {"type": "pid", "path": "/x"}], "linux.namespaces[1].type",
     'duplicated: "pid" is in the list already'),
    (("linux", "namespaces"), [{"type": "network", "path": "run/x"}], "linux.namespaces[0].path", "must be an absolute path"),
    (("linux", "uidMappings"), [{"containerID": 0, "hostID": -1, "size": 1}], "linux.uidMappings[0].hostID",
     "must be from 0 to 4294967295"),
    (("linux", "devices"), [{**DEVICE, "type": "z"}], "linux.devices[0].type", 'must be one of c, b, u, p, not "z"'),
    (("linux", "devices"), [{**DEVICE, "path": "dev/x"}], "linux.devices[0].path", "must be an absolute path"),
    (("linux", "devices"), [{**DEVICE, "fileMode": 0o1777}], "linux.devices[0].fileMode", "must be from 0 to 511 (octal 0777)"),
    (("linux", "devices"), [{"type": "b", "path": "/dev/x", "major": 1}], "linux.devices[0].minor",
     "is required for a device of type b"),
    (("linux", "maskedPaths"), ["/proc/x", "proc"], "linux.maskedPaths[1]", "must be an absolute path"),
    (("linux", "readonlyPaths"), [""], "linux.readonlyPaths[0]", "must be an absolute path"),
    (("linux", "sysctl"), {"net.a": 1}, 'linux.sysctl["net.a"]', "must be a string, not an integer"),
    (("linux", "rootfsPropagation"), "zz", "linux.rootfsPropagation",
     "must be one of private, shared, slave, unbindable, rprivate, rshared, rslave, runbindable, not \"zz\""),
    (("linux", "resources", "devices"), [{"access": "r"}], "linux.resources.devices[0].allow", "is required"),
    (("linux", "resources", "devices"), [{"allow": True}], "linux.resources.devices[0].access", "must not be empty"),
    (("linux", "resources", "devices"), [{"allow": True, "access": "rx"}], "linux.resources.devices[0].access",
     'must consist of the characters "rwm" alone, not "rx"'),
    (("linux", "resources", "devices"), [{"allow": True, "access": "r", "type": "p"}], "linux.resources.devices[0].type",
     'must be one of a, b, c, not "p"'),
    (("linux", "resources", "memory"), {"limit": 2**63}, "linux.resources.memory.limit",
     "must be from -9223372036854775808 to 9223372036854775807"),
    (("linux", "resources", "pids"), {}, "linux.resources.pids.limit", "is required"),
    (("linux", "resources", "unified"), {"../memory.max": "1"}, 'linux.resources.unified["../memory.max"]',
     "must be a file name (no slashes)"),
    (("linux", "resources", "unified"), {"..": "1"}, 'linux.resources.unified[".."]', "must be a file name (no slashes)"),
    (("linux", "resources", "hugepageLimits"), [{"pageSize": "64kB", "limit": 1}], "linux.resources.hugepageLimits[0].pageSize",
     'must be a page size such as 2MB, not "64kB"'),
    (("linux", "seccomp"), {}, "linux.seccomp.defaultAction", "is required"),
    (("linux", "seccomp"), {"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]},
     "linux.seccomp.syscalls[0].names", "must not be empty"),
    (("linux", "intelRdt"), {"memBwSchema": "MB:0=1\n"}, "linux.intelRdt.memBwSchema", 'must be one line that starts with "MB:"'),
    (("freebsd",), {"jail": {"vnet": "disable"}}, "freebsd.jail.vnet", 'must be one of new, inherit, not "disable"'),
    (("zos",), {"namespaces": [{"type": "user"}]}, "zos.namespaces[0].type", 'must be one of mount, pid, uts, ipc, not "user"'),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "path", "reason"), BAD)
def test_a_fault_is_named_with_its_path_and_reason(where: Place, value: object, path: str, reason: str) -> None:
    document = changed(default_document(), where, *(() if value is GONE else (value,)))
    with pytest.raises(InvalidSpec) as fault:
        parse(json.dumps(document))
    assert (fault.value.path, fault.value.reason) == (path, reason)
    assert str(fault.value) == f"{path}: {reason}"


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.3.0", "1.4.0-rc.1", "1.99.0", "0.5.0-dev"])
def test_every_1_x_and_the_drafts_before_are_versions(version: str) -> None:
    assert check({"ociVersion": version})["ociVersion"] == version


def test_unknown_members_are_ignored_everywhere() -> None:
    document: dict[str, Any] = changed(FULL, ("unknown",), {"x": ["\0", None, 1.5]})
    for holder in ("process", "linux", "root", "hooks"):
        document = changed(document, (holder, "unknown"), None)
    assert check(document) == document


def test_a_long_value_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidSpec) as fault:
        check(changed(default_document(), ("linux", "rootfsPropagation"), "x" * 1_000_000))
    assert len(str(fault.value)) < 250


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "config.json is not valid JSON: expecting value: line 1 column 1 (char 0)"),
        (b"{]", "config.json is not valid JSON: expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'{"ociVersion": "1.0.0"} x', "config.json is not valid JSON: extra data: line 1 column 25 (char 24)"),
        (b'{"ociVersion": NaN}', "config.json is not valid JSON: NaN is not JSON"),
        (b"[" * 1_000_000, "config.json is not valid JSON: nested too deep"),
        (b'{"a":' * 1_000_000, "config.json is not valid JSON: nested too deep"),
        (b"null", "config.json must hold a JSON object"),
        (b"[]", "config.json must hold a JSON object"),
        (b'"\xff"', "config.json is not valid JSON: 'utf-8' codec can't decode byte 0xff in position 1: invalid start byte"),
    ],
    ids=["empty", "broken", "more", "NaN", "nested arrays", "nested objects", "null", "array", "no UTF-8"],
)
def test_what_is_no_json_object_is_refused_in_one_line(text: bytes, reason: str) -> None:
    with pytest.raises(InvalidSpec) as fault:
        parse(text)
    assert fault.value.path == ""
    assert str(fault.value) == reason


def test_a_process_is_needed_only_where_it_is_asked_for() -> None:
    spec = check({"ociVersion": "1.3.0"})
    with pytest.raises(InvalidSpec, match="process property must not be empty"):
        require_process(spec)
    with pytest.raises(InvalidSpec, match="args must not be empty"):
        require_process(check({"ociVersion": "1.3.0", "process": {"cwd": "/"}}))
    document = default_document()
    assert require_process(check(document)) is document["process"]


def test_a_root_is_needed_only_where_it_is_asked_for() -> None:
    with pytest.raises(InvalidSpec, match="root must be specified"):
        require_root(check({"ociVersion": "1.3.0"}))
    assert require_root(check(default_document()))["path"] == "rootfs"


def test_a_number_of_a_million_digits_is_refused_in_one_line() -> None:
    with pytest.raises(InvalidSpec) as fault:
        parse(b'{"ociVersion": "1.0.0", "linux": {"resources": {"pids": {"limit": ' + b"9" * 1_000_000 + b"}}}}")
    assert str(fault.value).isprintable()
    assert len(str(fault.value)) < 250
