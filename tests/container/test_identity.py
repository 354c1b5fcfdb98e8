"""Who the program is: ids, capabilities, names, environment, working directory. config.md, "Process"."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Change, CommandLine, Config
from tests.container.configs import both, writable
from tests.container.conftest import Sandbox

STATUS = "grep -h '^{}:' /proc/self/status"


def process(**members: Any) -> Change:
    return writable({"process": members})


# --- user


USERS: dict[str, tuple[Config, list[str]]] = {
    "root": ({"uid": 0, "gid": 0}, ["0 0 0 0", "0 0 0 0", ""]),
    "ids": ({"uid": 1000, "gid": 1001}, ["1000 1000 1000 1000", "1001 1001 1001 1001", ""]),
    "groups": (
        {"uid": 1000, "gid": 1001, "additionalGids": [5, 1001, 6]},
        ["1000 1000 1000 1000", "1001 1001 1001 1001", "5 6 1001"],
    ),
    "root in groups": ({"uid": 0, "gid": 0, "additionalGids": [0, 7]}, ["0 0 0 0", "0 0 0 0", "0 7"]),
}


@pytest.mark.parametrize("case", USERS)
def test_the_program_has_the_ids_and_groups_asked_for_and_no_others(sandbox: Sandbox, case: str) -> None:
    user, expected = USERS[case]
    seen = sandbox(process(user=user), "grep -E '^(Uid|Gid|Groups)' /proc/self/status | cut -f2- | tr '\\t' ' ' | sed 's/ *$//'")
    assert f"{seen}\n".split("\n")[:3] == expected


def test_ids_of_32_bits_are_possible(ours: Sandbox) -> None:
    """runc takes 31 of them."""
    user = {"uid": 4294967294, "gid": 4294967293, "additionalGids": [4294967292]}
    assert ours(process(user=user), "id -u; id -g; id -G") == "4294967294\n4294967293\n4294967293 4294967292"


@pytest.mark.parametrize(("umask", "seen"), [(None, "0022 644"), (0o077, "0077 600"), (0, "0000 666"), (0o027, "0027 640")])
def test_the_umask_is_the_one_asked_for_or_0022(sandbox: Sandbox, umask: int | None, seen: str) -> None:
    user = {"uid": 0, "gid": 0} if umask is None else {"uid": 0, "gid": 0, "umask": umask}
    old = os.umask(0o077)
    try:
        assert sandbox(process(user=user), "touch /tmp/x; echo $(umask) $(stat -c %a /tmp/x)") == seen
    finally:
        os.umask(old)


def test_the_program_may_open_its_standard_streams_again(ours: Sandbox, tmp_path: Path) -> None:
    """Beside runc, which has pipes of its own between a `run` and its container, only `create` compares."""
    script = "stat -L -c %u /proc/self/fd/1; echo out >> /dev/stdout; echo err >> /dev/stderr"
    ended = ours.run(process(user={"uid": 1000, "gid": 1000}), script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1000\nout\n", "err\n")


# --- capabilities


def sets(**names: str) -> Change:
    """The five sets, as words without CAP_, in place of the default document's."""
    capabilities = {name: [f"CAP_{word}" for word in words.split()] for name, words in names.items()}
    return both(process(capabilities=None), process(capabilities=capabilities))


CHOWN, KILL, SETUID, DEFAULT = 1 << 0, 1 << 5, 1 << 7, 1 << 29 | 1 << 10 | 1 << 5

# (inheritable, permitted, effective, bounding, ambient)
CAPABILITIES: dict[str, tuple[Change, tuple[int, int, int, int, int]]] = {
    "the default document": (writable(), (0, DEFAULT, DEFAULT, DEFAULT, 0)),
    "none": (sets(), (0, 0, 0, 0, 0)),
    "unset": (process(capabilities=None), (0, 0, 0, 0, 0)),  # as runc up to 1.1 and crun
    "bounding alone": (sets(bounding="CHOWN KILL"), (0, 0, 0, CHOWN | KILL, 0)),
    "all five": (
        sets(bounding="CHOWN KILL SETUID", permitted="CHOWN KILL", effective="CHOWN", inheritable="KILL", ambient="KILL"),
        (KILL, CHOWN | KILL, CHOWN | KILL, CHOWN | KILL | SETUID, KILL),
    ),
    "unknown": (
        sets(bounding="CHOWN NOSUCH", permitted="CHOWN NOSUCH", effective="NOSUCH CHOWN"),
        (0, CHOWN, CHOWN, CHOWN, 0),
    ),
    "ambient but not inheritable": (sets(bounding="CHOWN", permitted="CHOWN", ambient="CHOWN"), (0, CHOWN, CHOWN, CHOWN, 0)),
    "inheritable but not permitted": (sets(bounding="KILL", inheritable="KILL"), (KILL, 0, 0, KILL, 0)),
}


@pytest.mark.parametrize("case", CAPABILITIES)
def test_root_has_the_capabilities_asked_for_and_no_others(sandbox: Sandbox, case: str) -> None:
    """execve(2) makes all that root is permitted effective; beyond that noNewPrivileges lets nothing come back."""
    change, expected = CAPABILITIES[case]
    seen = sandbox(change, "grep ^Cap /proc/self/status | cut -f2")
    assert tuple(int(word, 16) for word in seen.split()) == expected


def test_without_no_new_privs_roots_programs_have_all_of_the_bounding_set_again(sandbox: Sandbox) -> None:
    change = both(sets(bounding="CHOWN KILL", permitted="CHOWN"), process(noNewPrivileges=False))
    assert [int(word, 16) for word in sandbox(change, "grep ^CapEff /proc/self/status | cut -f2").split()] == [CHOWN | KILL]


FOR_A_USER: dict[str, tuple[str, tuple[int, int, int, int, int]]] = {
    "ambient": ("bounding permitted effective inheritable ambient", (CHOWN,) * 5),
    "no ambient": ("bounding permitted effective", (0, 0, 0, CHOWN, 0)),
    "inheritable": ("bounding permitted inheritable", (CHOWN, 0, 0, CHOWN, 0)),
}


@pytest.mark.parametrize("case", FOR_A_USER)
def test_a_user_keeps_through_execve_only_what_is_ambient(sandbox: Sandbox, case: str) -> None:
    names, expected = FOR_A_USER[case]
    change = both(sets(**dict.fromkeys(names.split(), "CHOWN")), process(user={"uid": 1000, "gid": 1000}))
    seen = sandbox(change, "grep ^Cap /proc/self/status | cut -f2")
    assert tuple(int(word, 16) for word in seen.split()) == expected


def test_capabilities_that_cannot_be_granted_are_left_out_with_a_warning(ours: Sandbox, tmp_path: Path) -> None:
    """Since 1.1 of the specification; runc refuses them."""
    held = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line).split()[1], 16)
    change = sets(
        bounding="CHOWN SYS_RESOURCE",
        permitted="CHOWN SYS_RESOURCE",
        effective="CHOWN KILL",  # KILL isn't permitted
        inheritable="CHOWN SETUID",  # SETUID isn't bounding
        ambient="NOSUCH",
    )
    bundle = ours.bundle(change, args=["grep", "^Cap", "/proc/self/status"])
    aiorun = CommandLine(ours.command_line.command, ours.command_line.root)
    ended = aiorun("--debug", "run", "--bundle", bundle, "left-out", check=True)
    assert [int(line.split()[1], 16) & ~(1 << 24) for line in ended.stdout.splitlines()] == [CHOWN, CHOWN, CHOWN, CHOWN, 0]
    warnings = [line.replace('\\"', '"') for line in ended.stderr.splitlines() if "level=warning" in line]
    for sentence in (
        'process.capabilities.effective[1]: capability "CAP_KILL" cannot be granted',
        'process.capabilities.inheritable[1]: capability "CAP_SETUID" cannot be granted',
        'process.capabilities.ambient[0]: capability "CAP_NOSUCH" is unknown',
        *(() if held & 1 << 24 else ('process.capabilities.permitted[1]: capability "CAP_SYS_RESOURCE" cannot be granted',)),
    ):
        assert any(sentence in line for line in warnings), (sentence, ended.stderr)
    assert "CAP_CHOWN" not in ended.stderr
    assert aiorun("run", "--bundle", bundle, "silent", check=True).stderr == ""


@pytest.mark.parametrize(("asked", "seen"), [(True, "1"), (False, "0"), (None, "0")])
def test_no_new_privs_is_set_where_it_is_asked_for(sandbox: Sandbox, asked: bool | None, seen: str) -> None:
    assert sandbox(process(noNewPrivileges=asked), STATUS.format("NoNewPrivs") + " | cut -f2") == seen


# --- environment


ENVIRONMENTS: dict[str, tuple[list[str], int, list[str]]] = {
    "nothing but what is given": (["PATH=/bin", "HOME=/x", "A=1", "EMPTY="], 0, ["A=1", "EMPTY=", "HOME=/x", "PATH=/bin"]),
    "the last of two": (["PATH=/bin", "HOME=/x", "A=1", "B=2", "A=3"], 0, ["A=3", "B=2", "HOME=/x", "PATH=/bin"]),
    "an equals sign": (["PATH=/bin", "HOME=/x", "A=b=c"], 0, ["A=b=c", "HOME=/x", "PATH=/bin"]),
    "UTF-8": (["PATH=/bin", "HOME=/x", "A=ü€"], 0, ["A=ü€", "HOME=/x", "PATH=/bin"]),
    "root's home": (["PATH=/bin"], 0, ["HOME=/root", "PATH=/bin"]),
    "a user's home": (["PATH=/bin"], 1000, ["HOME=/tmp", "PATH=/bin"]),
    "an unknown user's home": (["PATH=/bin"], 1234, ["HOME=/", "PATH=/bin"]),
    "an empty home": (["PATH=/bin", "HOME="], 1000, ["HOME=/tmp", "PATH=/bin"]),
    "a home that ends up empty": (["PATH=/bin", "HOME=/x", "HOME="], 1000, ["HOME=/tmp", "PATH=/bin"]),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_the_environment_is_the_one_given_and_a_home(sandbox: Sandbox, case: str) -> None:
    env, uid, expected = ENVIRONMENTS[case]
    bundle = sandbox.bundle({"process": {"env": env, "user": {"uid": uid, "gid": 0}}}, args=["env"])
    ended = sandbox.run_bundle(bundle, env={"PATH": os.environ["PATH"], "LEAK": "1"})
    assert sorted(ended.stdout.splitlines()) == expected, ended.stderr


@pytest.mark.parametrize("content", ["", "root:x:0:0:root\n", "no colons at all\n", "root:x:zero:0:root:/nowhere:/bin/sh\n"])
def test_a_passwd_without_the_users_line_gives_it_the_root_as_its_home(ours: Sandbox, content: str) -> None:
    """runc takes a number that is none for 0, and a field that is missing for an empty one."""
    bundle = ours.bundle({"process": {"env": ["PATH=/bin"]}}, args=["sh", "-c", "echo $HOME"])
    (bundle / "rootfs" / "etc" / "passwd").write_text(content)
    assert ours.run_bundle(bundle).stdout == "/\n"


def test_arguments_reach_the_program_as_they_are(sandbox: Sandbox) -> None:
    args = ["printf", "%s|", "a b", "", "c\nd", "ü", "'\"\\"]
    assert sandbox.run_bundle(sandbox.bundle(args=args)).stdout == "a b||c\nd|ü|'\"\\|"


# --- working directory


def test_a_working_directory_that_is_missing_is_made(ours: Sandbox) -> None:
    """0755 whatever the caller's umask, which runc 1.1.5 lets through."""
    old = os.umask(0o077)
    try:
        assert ours(process(cwd="/new/dir"), "pwd; stat -c %a . ..") == "/new/dir\n755\n755"
    finally:
        os.umask(old)


WORKING: dict[str, tuple[str, str]] = {
    "a directory": ("/tmp", "/tmp"),
    "with dots": ("/tmp/../etc/.", "/etc"),
    "above the root": ("/../../..", "/"),
    "by a link": ("/link", "/tmp"),
    "by a link that leads out": ("/out", "/tmp"),
}


@pytest.mark.parametrize("case", WORKING)
def test_the_program_begins_in_its_working_directory(sandbox: Sandbox, case: str) -> None:
    cwd, expected = WORKING[case]
    bundle = sandbox.bundle(process(cwd=cwd), args=["sh", "-c", "pwd -P; readlink /proc/self/cwd"])
    (bundle / "rootfs" / "link").symlink_to("tmp")
    (bundle / "rootfs" / "out").symlink_to("../../../../tmp")
    ended = sandbox.run_bundle(bundle)
    assert ended.stdout.splitlines() == [expected, expected], ended.stderr


def test_a_directory_that_only_the_user_may_not_enter_was_entered_by_root(sandbox: Sandbox) -> None:
    bundle = sandbox.bundle(process(cwd="/private", user={"uid": 1000, "gid": 1000}), args=["readlink", "/proc/self/cwd"])
    (bundle / "rootfs" / "private").mkdir(mode=0o700)
    assert sandbox.run_bundle(bundle).stdout == "/private\n"


def test_a_working_directory_that_is_a_file_is_refused(sandbox: Sandbox) -> None:
    assert "not a directory" in sandbox.refuses(process(cwd="/etc/passwd"))


# --- names


def test_hostname_and_domainname_are_the_containers_own(ours: Sandbox) -> None:
    """runc 1.1.5 has no domainname."""
    here = os.uname().nodename
    seen = ours(writable({"hostname": "inside", "domainname": "example.org"}), "hostname; cat /proc/sys/kernel/domainname")
    assert seen == "inside\nexample.org"
    assert os.uname().nodename == here


def test_without_a_hostname_the_callers_is_kept(sandbox: Sandbox) -> None:
    assert sandbox(writable({"hostname": None}), "hostname") == os.uname().nodename


def test_a_hostname_of_64_characters_fits_and_a_longer_one_is_an_error(sandbox: Sandbox) -> None:
    assert sandbox(writable({"hostname": "h" * 64}), "hostname") == "h" * 64
    assert "invalid argument" in sandbox.refuses(writable({"hostname": "h" * 65}))


# --- what else the program is born with


def test_oom_score_adj_is_set_where_asked_for_and_else_inherited(sandbox: Sandbox) -> None:
    own = Path("/proc/self/oom_score_adj").read_text().strip()
    assert sandbox(process(oomScoreAdj=300), "cat /proc/self/oom_score_adj") == "300"
    assert sandbox(writable(), "cat /proc/self/oom_score_adj") == own
    raised = int(own) + 5

    def raise_it() -> None:
        Path("/proc/self/oom_score_adj").write_text(str(raised))

    bundle = sandbox.bundle(args=["cat", "/proc/self/oom_score_adj"])
    assert sandbox.run_bundle(bundle, preexec_fn=raise_it).stdout.strip() == str(raised)


def test_the_program_leads_a_session_and_has_no_terminal(sandbox: Sandbox) -> None:
    bundle = sandbox.bundle(args=["cat", "/proc/self/stat"])
    pid, _name, _state, _parent, group, session, terminal = sandbox.run_bundle(bundle).stdout.split()[:7]
    assert (pid, group, session, terminal) == ("1", "1", "1", "0")


def test_signals_are_at_their_defaults_and_none_is_blocked_whatever_the_caller_has(ours: Sandbox) -> None:
    """nohup ignores HUP, CPython PIPE and XFSZ, and a caller may block what it likes (which runc lets through)."""
    bundle = ours.bundle(args=["grep", "-E", "^(Sig|Shd)(Blk|Ign|Cgt|Pnd)", "/proc/self/status"])
    argv = ours.command_line.argv("run", "--bundle", bundle, "signals")
    wrapped = ["env", "--ignore-signal=HUP,PIPE,XFSZ,USR1,CHLD", "--block-signal=USR2,RTMIN", *argv]
    ended = subprocess.run(wrapped, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert [line.split()[1] for line in ended.stdout.splitlines()] == ["0" * 16] * 5, ended


def test_nothing_but_the_standard_streams_reaches_the_program(sandbox: Sandbox) -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)
    os.set_inheritable(write, True)
    try:
        bundle = sandbox.bundle(args=["ls", "/proc/self/fd"])
        seen = sandbox.run_bundle(bundle, close_fds=False).stdout.split()
    finally:
        os.close(read)
        os.close(write)
    assert seen == ["0", "1", "2", "3"]  # 3 is ls's own, of the directory


def test_dev_null_as_a_standard_stream_is_the_containers_own(ours: Sandbox) -> None:
    """Not the host's, which is on none of its mounts: no checkpoint could keep that. (A `runc run` hands pipes on instead.)"""
    find = r"id=$(sed -n 's/^mnt_id:[^0-9]*//p' /proc/self/fdinfo/$fd)"
    script = f'for fd in 0 2; do {find}; grep -c "^$id " /proc/self/mountinfo; done'
    assert ours({}, script, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == "1\n1"
