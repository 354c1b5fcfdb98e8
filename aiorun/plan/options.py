"""The mount options of config.json as the kernel's flags. runtime-spec, config.md, "Linux mount options"; mount(8)."""

from __future__ import annotations

from aiorun.errors import InvalidSpec

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, NODIRATIME = 1, 2, 4, 8, 0x10, 0x20, 0x80  # MOUNT_ATTR_*
NOSYMFOLLOW = 0x200000
_ATIME = 0x70  # MOUNT_ATTR__ATIME: the one choice among relatime (0), noatime and strictatime

# option → (set, clear) of MOUNT_ATTR_*; each also with an "r" before it, for the whole tree: mount_setattr(2)
ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (RDONLY, 0), "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0), "suid": (0, NOSUID),
    "nodev": (NODEV, 0), "dev": (0, NODEV),
    "noexec": (NOEXEC, 0), "exec": (0, NOEXEC),
    "noatime": (NOATIME, _ATIME), "atime": (0, _ATIME),
    "relatime": (0, _ATIME), "norelatime": (0, 0),
    "strictatime": (STRICTATIME, _ATIME), "nostrictatime": (0, _ATIME),
    "nodiratime": (NODIRATIME, 0), "diratime": (0, NODIRATIME),
    "nosymfollow": (NOSYMFOLLOW, 0), "symfollow": (0, NOSYMFOLLOW),
}  # fmt: skip

# option → flags of the file system itself that fsconfig(2) takes by name
SUPERBLOCK = frozenset({"ro", "rw", "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"})
NO_EFFECT = frozenset({"defaults", "silent", "loud", "iversion", "noiversion", "nolazytime", "nomand", "async"})

_REC = 16384
PROPAGATION: dict[str, int] = {
    prefix + name: flag | (_REC if prefix else 0)
    for name, flag in (("unbindable", 1 << 17), ("private", 1 << 18), ("slave", 1 << 19), ("shared", 1 << 20))
    for prefix in ("", "r")
}
MS_BIND = 4096
_MS = {"sync": 16, "mand": 64, "dirsync": 128, "noatime": 1024, "nodiratime": 2048, "lazytime": 1 << 25,
       "strictatime": 1 << 24, "relatime": 1 << 21, "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8}  # fmt: skip


def known() -> set[str]:
    """Every option that `Options` sorts by its name: all but those of the file systems themselves."""
    recursive = {f"r{name}" for name in ATTRIBUTES}
    ours = {"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"}
    return ours | ATTRIBUTES.keys() | recursive | SUPERBLOCK | NO_EFFECT | PROPAGATION.keys()


class Options:
    """The options of one mount, sorted by who takes them."""

    def __init__(self, options: list[str], at: str, *, kind: str) -> None:
        self.set = self.clear = self.set_all = self.clear_all = 0
        self.propagation: list[int] = []
        self.parameters: list[tuple[str, str | None]] = []
        self.remount = "remount" in options
        self.bind = kind in ("bind", "rbind") or not {"bind", "rbind"}.isdisjoint(options)
        self.copy_up = False
        self.map_ids = ""  # idmap, ridmap
        self.recursive = kind == "rbind" or "rbind" in options
        self.flags = 0  # MS_*, for a remount
        for index, option in enumerate(options):
            if not self._take(option) and not self._leave(option):
                raise InvalidSpec(f"{at}.options[{index}]", f'unknown option "{option}" of a bind mount')
        if self.copy_up and (kind != "tmpfs" or self.bind or self.remount):
            at = f"{at}.options[{options.index('tmpcopyup')}]"
            raise InvalidSpec(at, "only a new tmpfs can begin with a copy of what it covers")

    def _take(self, option: str) -> bool:
        """One of the options that mean the same for every file system."""
        self.flags |= _MS.get(option, 0)
        if option in PROPAGATION:
            self.propagation.append(PROPAGATION[option])
        elif option in ATTRIBUTES:
            set_, clear = ATTRIBUTES[option]
            self.set, self.clear = self.set & ~clear | set_, self.clear & ~set_ | clear
            if option in ("ro", "rw") and not self.bind:
                self.parameters = [(key, value) for key, value in self.parameters if key != "ro"]
                self.parameters += [("ro", None)] if option == "ro" else []
        elif option[:1] == "r" and option[1:] in ATTRIBUTES:
            set_, clear = ATTRIBUTES[option[1:]]
            self.set_all, self.clear_all = self.set_all & ~clear | set_, self.clear_all & ~set_ | clear
        elif option == "tmpcopyup":
            self.copy_up = True
        elif option in ("idmap", "ridmap"):
            self.map_ids = option
        else:
            return option in ("bind", "rbind", "remount")
        return True

    def _leave(self, option: str) -> bool:
        """One that is the file system's own; a bind mount has none."""
        if option in NO_EFFECT:
            return True
        key, equals, value = option.partition("=")
        self.parameters.append((key, value if equals else None))
        return not self.bind or option in SUPERBLOCK

    @property
    def text(self) -> str:
        """The file system's own options as mount(2) takes them."""
        return ",".join(key if value is None else f"{key}={value}" for key, value in self.parameters if key not in SUPERBLOCK)
