"""What an init may be asked to do, as data. A plan is a list of these; `aiorun.init` has one function for each.

`at` is the JSON path of config.json that an operation comes from; empty where it comes from the specification itself.
Paths named `target` are the container's and are resolved inside its root; paths named `source` are the host's.
Files of the caller go by name (`fd`): the names are keys of the files that are handed to the init with the plan.
"""

from __future__ import annotations

from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Operation(Record):
    """One step of an init. `describe()` is a line of `aiorun plan`, `complaint()` the first half of an error's sentence."""

    sentence = ""  # with fields' names in braces

    def describe(self) -> str:
        return self.sentence.format_map(self.__dict__)

    def complaint(self) -> str:
        """The same words, but where engines and people match others."""
        return self.describe()


class Trace(Operation):
    """Write each step that follows to the log behind file `fd` before it is taken: `json` or text, one line, one write.

    `offset` is that of the caller's time zone, in seconds east of UTC. Made by `--debug`, and not by a config.json.
    """

    fd: str
    json: bool
    offset: int

    sentence = "write the steps to the log"


# --- namespaces and the process's surroundings


class JoinNamespace(Operation):
    """setns to the namespace behind file `fd`; `flag` is its CLONE_NEW*."""

    kind: str
    flag: int
    fd: str
    path: str
    at: str

    sentence = 'join the {kind} namespace "{path}" ({at})'


class MakeTimeNamespace(Operation):
    """A time namespace whose clocks differ from the host's by `offsets`: (clock, seconds, nanoseconds). time_namespaces(7)."""

    offsets: tuple[tuple[str, int, int], ...]
    at: str

    sentence = "make a time namespace ({at})"


class BecomeRoot(Operation):
    """Become user and group 0 of the user namespace that we are in, with no other groups."""

    at: str

    sentence = "become root of the user namespace ({at})"


class CopyPages(Operation):
    """Have every page that we share with our parent as a copy of our own, charged to its cgroup and not to the container's.

    For a memory limit in which there's no room for those that an init touches.
    """

    at: str = "linux.resources.memory.limit"

    sentence = "copy the memory of the init ({at})"


class JoinCgroup(Operation):
    """Move ourselves into a cgroup of the host's: a v1 one, or a v2 one so small that we can't be born into it.

    By ourselves, with `0` to v1's `tasks`: a move by somebody else, and one by v2's `cgroup.procs`, takes a lock for which the
    kernel waits an RCU grace period, some 15 ms. kernel/cgroup/cgroup.c, cgroup_procs_write_start.
    """

    source: str
    file: str = "tasks"
    at: str = "linux.cgroupsPath"

    sentence = 'join the cgroup "{source}" ({at})'


class SetAffinity(Operation):
    """The CPUs that the process may run on, before it joins its cgroup and after. sched_setaffinity(2)."""

    cpus: tuple[int, ...]
    at: str

    sentence = "set the CPU affinity ({at})"


class UnshareCgroup(Operation):
    """A cgroup namespace whose root is the cgroup that we are in by now."""

    sentence = "make a cgroup namespace"


class UnshareIpc(Operation):
    """An IPC namespace that belongs to the user namespace's root: its message queues show who made it."""

    sentence = "make an ipc namespace"


class NewSession(Operation):
    """setsid: no terminal, a process group of our own."""

    sentence = "make a session"


class JoinKeyring(Operation):
    """A session keyring of the container's own."""

    name: str

    sentence = 'make the session keyring "{name}"'


class LoopbackUp(Operation):
    """Set `lo` of a new network namespace up."""

    sentence = "set the loopback interface up"


class TakeDevice(Operation):
    """Take over the host's network device `source`, which the parent has moved here as `moved_as`: rename it, give it its
    addresses, set it up."""

    source: str
    index: int  # on the host; 0 where there's none
    moved_as: str
    name: str
    addresses: tuple[str, ...]
    at: str

    sentence = 'take the network device "{source}" as "{name}" ({at})'


class SetHostname(Operation):
    name: str
    at: str = "hostname"

    sentence = 'set the host name "{name}" ({at})'


class SetDomainname(Operation):
    name: str
    at: str = "domainname"

    sentence = 'set the domain name "{name}" ({at})'


class WriteSysctl(Operation):
    """Write `value` to /proc/sys/`path`, through a procfs that nothing can be mounted over."""

    path: str
    value: str
    at: str

    sentence = 'set the sysctl "{path}" to "{value}" ({at})'


# --- the file system


class SetPropagation(Operation):
    """Change the propagation of `/` as it is now. `flags` are MS_SHARED … with MS_REC. mount_namespaces(7)."""

    flags: int
    at: str = ""

    def describe(self) -> str:
        return f"set the mount propagation of / ({self.at or 'before the mounts'})"


class OpenRoot(Operation):
    """The root file system, in which targets are resolved from here on; bound on itself unless the mounts are the host's.

    `shared`: the tree is (SetPropagation), so that the mount which it lies on has to be made private first.
    """

    source: str
    bind: bool = True
    shared: bool = False
    at: str = "root.path"

    sentence = 'open the root file system "{source}" ({at})'


class Mount(Operation):
    """A new file system of type `kind`.

    `parameters` go to the file system: (key, value), or (key, None) for a flag. `set` and `clear` are MOUNT_ATTR_* of this mount,
    `set_all` and `clear_all` those of the whole tree below it, `propagation` the MS_* flags applied after it is in place.
    """

    kind: str
    source: str
    target: str
    at: str
    parameters: tuple[tuple[str, str | None], ...] = ()
    set: int = 0
    clear: int = 0
    set_all: int = 0
    clear_all: int = 0
    propagation: tuple[int, ...] = ()
    no_symlinks: bool = False  # /proc and /sys: CVE-2019-19921, CVE-2023-27561

    sentence = 'mount "{source}" on "{target}" ({at})'


class CopyUp(Mount):
    """A tmpfs that begins with a copy of the directory that it covers."""


class Bind(Operation):
    """A part of the host's tree; with `tree` the copy of it that is this file (Plan.trees). The other fields are Mount's."""

    source: str
    target: str
    at: str
    recursive: bool = False
    set: int = 0
    clear: int = 0
    set_all: int = 0
    clear_all: int = 0
    propagation: tuple[int, ...] = ()
    no_symlinks: bool = False
    tree: str = ""

    sentence = 'mount "{source}" on "{target}" ({at})'


class Remount(Operation):
    """mount(2) with MS_REMOUNT of what is on `target` already; `parameters` go to its file system."""

    target: str
    at: str
    flags: int
    parameters: str
    set_all: int = 0
    clear_all: int = 0
    propagation: tuple[int, ...] = ()

    sentence = 'remount "{target}" ({at})'


class MakeDirectory(Operation):
    target: str
    at: str

    sentence = 'make the directory "{target}" ({at})'


class MakeSymlink(Operation):
    """A symbolic link. What is there already is left alone, or with `replace` removed."""

    text: str
    target: str
    replace: bool = False

    sentence = 'make the symbolic link "{target}" to "{text}"'


class MakeDevice(Operation):
    """A device node or fifo; `mode` has the type's bits (S_IFCHR …). One of the same kind and number is left alone."""

    target: str
    mode: int
    major: int
    minor: int
    uid: int
    gid: int
    at: str

    sentence = 'make the device "{target}" ({at})'


class PivotRoot(Operation):
    """Make the root file system `/` and detach the host's. pivot_root(2)."""

    sentence = "pivot to the root file system"


class MoveRoot(Operation):
    """The same where the host's root is an initramfs (--no-pivot): MS_MOVE and chroot."""

    sentence = "move the root file system to /"


class ChangeRoot(Operation):
    """chroot alone, where the container shares its mounts with the host."""

    sentence = "change the root to the root file system"


class SealMount(Operation):
    """Make the mount that is on `target` read-only, now that everything in it is made."""

    target: str
    at: str

    sentence = 'make the mount on "{target}" read-only ({at})'


class MakeReadonly(Operation):
    """Bind `target` on itself, read-only. A missing one is skipped."""

    target: str
    at: str

    sentence = 'make "{target}" read-only ({at})'


class Mask(Operation):
    """Cover a file with /dev/null, a directory with an empty read-only tmpfs, of SELinux's `label`. A missing one is skipped."""

    target: str
    at: str
    label: str = ""

    sentence = 'mask "{target}" ({at})'


class MakeConsole(Operation):
    """A pty from the container's own devpts, on /dev/console and 0, 1, 2; its master goes to the socket `fd`."""

    fd: str
    rows: int
    columns: int
    uid: int
    mount: bool
    at: str = "process.terminal"

    sentence = "make the terminal ({at})"


# --- the parent's turn


class AskForHooks(Operation):
    """Let the parent run the prestart and createRuntime hooks, and wait for it."""

    sentence = "wait for the runtime's hooks"


class RunHook(Operation):
    """Run a program with the container's state on its standard input."""

    kind: str
    index: int
    path: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    timeout: int  # seconds; 0: none
    state: dict[str, Any]  # without the pid, which the init knows

    sentence = 'run the {kind} hook "{path}" (hooks.{kind}[{index}])'

    def complaint(self) -> str:
        return f"error running {self.kind} hook #{self.index}"


# --- who the process is


class SetNoNewPrivileges(Operation):
    at: str = "process.noNewPrivileges"

    sentence = "set no_new_privs ({at})"


class SetScheduler(Operation):
    """The scheduling policy `number`; `times` are runtime, deadline and period in nanoseconds. sched_setattr(2)."""

    name: str
    number: int
    nice: int
    priority: int
    flags: int
    times: tuple[int, ...]
    at: str = "process.scheduler"

    sentence = "set the scheduler {name} ({at})"


class SetIoPriority(Operation):
    name: str
    number: int
    priority: int
    at: str = "process.ioPriority"

    sentence = "set the I/O priority {priority} of {name} ({at})"


class SetPersonality(Operation):
    name: str
    number: int
    at: str = "linux.personality"

    sentence = "set the execution domain {name} ({at})"


class SetMemoryPolicy(Operation):
    """The NUMA policy `number`, flags included, for `nodes`. set_mempolicy(2)."""

    name: str
    number: int
    nodes: tuple[int, ...]
    at: str = "linux.memoryPolicy"

    sentence = "set the memory policy {name} ({at})"


class SetLabel(Operation):
    """Tell a security module what the program is to be, or with the kind "keyring" a keyring that is made. proc_pid_attr(5)."""

    kind: str  # "AppArmor", "SELinux", "keyring"
    label: str
    at: str

    def describe(self) -> str:
        return f'set the {self.kind} label "{self.label}" ({self.at})'


class SetUmask(Operation):
    mask: int
    at: str = "process.user.umask"

    sentence = "set the umask ({at})"


class DropBounding(Operation):
    """Take everything but `keep` (a bit mask) from the bounding set."""

    keep: int
    at: str = "process.capabilities.bounding"

    sentence = "limit the bounding set ({at})"


class ChangeDirectory(Operation):
    """chdir. One that root may not enter is tried again by VerifyDirectory."""

    target: str
    at: str = "process.cwd"

    sentence = 'change the directory to "{target}" ({at})'

    def complaint(self) -> str:
        return f'chdir to cwd ("{self.target}") set in config.json failed'


class VerifyDirectory(Operation):
    """As the user: enter what root could not, and see that it lies inside the root. CVE-2024-21626."""

    target: str
    at: str = "process.cwd"

    sentence = 'see that "{target}" lies inside the root ({at})'

    def complaint(self) -> str:
        return f'chdir to cwd ("{self.target}") set in config.json failed'


class SetIds(Operation):
    """setgroups, setgid, setuid, keeping the permitted capabilities for SetCapabilities."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    at: str = "process.user"

    sentence = "set the user and groups ({at})"


class SetCapabilities(Operation):
    """The four other sets, as bit masks."""

    effective: int
    permitted: int
    inheritable: int
    ambient: int
    at: str = "process.capabilities"

    sentence = "set the capabilities ({at})"


class SetRlimit(Operation):
    resource: int
    soft: int
    hard: int
    at: str

    sentence = "set the limit ({at})"


class LoadSeccomp(Operation):
    """Filter our system calls, from here on, with the BPF program in file `fd`. seccomp(2).

    `privileged`: without no_new_privs, with a capability that we still hold. `listener`: the parent gets the fd at which somebody
    answers for the calls that the filter hands on.
    """

    fd: str
    flags: tuple[str, ...]  # SECCOMP_FILTER_FLAG_*
    privileged: bool
    listener: bool
    at: str = "linux.seccomp"

    sentence = "load the seccomp filter ({at})"


# --- the program


class SetHome(Operation):
    """HOME of the program's environment from the container's /etc/passwd by `uid`, `/` where that has no entry."""

    uid: int

    sentence = "look the home directory up"


class FindProgram(Operation):
    """Look `name` up in `path` as execvp would, so that its absence is an error of create."""

    name: str
    path: str
    at: str = "process.args[0]"

    sentence = 'find the program "{name}" ({at})'

    def complaint(self) -> str:
        return f'exec: "{self.name}"'


class Report(Operation):
    """Tell the parent that all went well, and wait until it has recorded that."""

    sentence = "report to the parent"


class AwaitStart(Operation):
    """Block on the fifo until somebody opens it for reading, then write `0`."""

    fd: str

    sentence = "wait for start"


class ShedOurs(Operation):
    """Nothing of ours for the program: every signal at its default, and after execve no files but 0, 1, 2, `preserve` more."""

    preserve: int

    sentence = "reset the signals and close what is ours"


class Execute(Operation):
    """execve of what FindProgram found: this one call, since a filter may allow no other."""

    args: tuple[str, ...]
    env: tuple[str, ...]

    def describe(self) -> str:
        return f'exec "{self.args[0]}"'


# --- the restore of a checkpoint, after which criu is what the init becomes


class CloseRoot(Operation):
    """Take the root file system's mount away again, with all that was mounted on it; what was made in it stays."""

    source: str
    at: str = "root.path"

    def describe(self) -> str:
        return f'unmount the root file system "{self.source}" ({self.at})'


class HandOn(Operation):
    """Give the files `names` the numbers from 3 on, for the program that comes next. After Report, since all others move."""

    names: tuple[str, ...]

    def describe(self) -> str:
        return f"hand {', '.join(self.names)} on to the program"


OPERATIONS: dict[str, type[Operation]] = {
    kind.__name__: kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Operation) and kind is not Operation
}
