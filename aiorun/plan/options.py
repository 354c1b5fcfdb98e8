"""The mount options of config.json as the kernel's flags. runtime-spec, config.md, "Linux mount options"; mount(8)."""

from __future__ import annotations

from aiorun.errors import InvalidSpec

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, NODIRATIME = 1, 2, 4, 8, 0x10, 0x20, 0x80  # MOUNT_ATTR_*
NOSYMFOLLOW = 0x200000
ATIME = 0x70  # MOUNT_ATTR__ATIME: the one choice among relatime (0), noatime and strictatime

# option → (set, clear) of MOUNT_ATTR_*; each also with an "r" before it, for the whole tree: mount_setattr(2)
ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (RDONLY, 0), "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0), "suid": (0, NOSUID),
    "nodev": (NODEV, 0), "dev": (0, NODEV),
    "noexec": (NOEXEC, 0), "exec": (0, NOEXEC),
    "noatime": (NOATIME, ATIME), "atime": (0, ATIME),
    "relatime": (0, ATIME), "norelatime": (0, 0),
    "strictatime": (STRICTATIME, ATIME), "nostrictatime": (0, ATIME),
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
_MS_RELATIME = 1 << 21
_MS_OF_ATTRIBUTES = (
    (RDONLY, 1), (NOSUID, 2), (NODEV, 4), (NOEXEC, 8), (NOATIME, 1024), (STRICTATIME, 1 << 24), (NODIRATIME, 2048),
    (NOSYMFOLLOW, 256),
)  # fmt: skip
_MS_OF_FILE_SYSTEM = {"sync": 16, "mand": 64, "dirsync": 128, "lazytime": 1 << 25}
_WITHDRAWS = {"async": "sync", "nolazytime": "lazytime", "nomand": "mand"}


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
        for index, option in enumerate(options):
            if not self._take(option) and not self._leave(option):
                raise InvalidSpec(f"{at}.options[{index}]", f'unknown option "{option}" of a bind mount')
        if self.copy_up and (kind != "tmpfs" or self.bind or self.remount):
            at = f"{at}.options[{options.index('tmpcopyup')}]"
            raise InvalidSpec(at, "only a new tmpfs can begin with a copy of what it covers")

    def _take(self, option: str) -> bool:
        """One of the options that mean the same for every file system."""
        if option in PROPAGATION:
            self.propagation.append(PROPAGATION[option])
        elif option in ATTRIBUTES:
            self.set, self.clear = _taken(option, self.set, self.clear)
            if option in ("ro", "rw") and not self.bind:
                self.parameters = [(key, value) for key, value in self.parameters if key != "ro"]
                self.parameters += [("ro", None)] if option == "ro" else []
        elif option[:1] == "r" and option[1:] in ATTRIBUTES:
            self.set_all, self.clear_all = _taken(option[1:], self.set_all, self.clear_all)
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
            self.parameters = [item for item in self.parameters if item[0] != _WITHDRAWS.get(option)]
            return True
        key, equals, value = option.partition("=")
        if key.endswith("context"):
            value = value.strip('"')  # SELinux's: quotes keep the commas together for mount(2); fsconfig(2) has none
        self.parameters.append((key, value if equals else None))
        return not self.bind or option in SUPERBLOCK

    @property
    def flags(self) -> int:
        """All of them as mount(2) takes them for a remount, which keeps the atime that it isn't told."""
        flags = sum(flag for attribute, flag in _MS_OF_ATTRIBUTES if self.set & attribute)
        flags |= sum(_MS_OF_FILE_SYSTEM.get(key, 0) for key in {key for key, _ in self.parameters})
        return flags | (_MS_RELATIME if self.clear & ~self.set & ATIME == ATIME else 0)

    @property
    def text(self) -> str:
        """The file system's own options as mount(2) takes them."""
        return ",".join(_word(key, value) for key, value in self.parameters if key not in SUPERBLOCK)


def _taken(option: str, set_: int, clear: int) -> tuple[int, int]:
    """What is to be set and cleared after one more option, which takes back what contradicts it.

    `atime` and `nostrictatime` take back `noatime` and `strictatime`, and not the other one of the two.
    """
    other = {"atime": STRICTATIME, "nostrictatime": NOATIME}.get(option, 0)
    if set_ & other:
        return set_, clear
    sets, clears = ATTRIBUTES[option]
    return set_ & ~clears | sets, clear & ~sets | clears


def _word(key: str, value: str | None) -> str:
    if value is None:
        return key
    return f'{key}="{value}"' if key.endswith("context") else f"{key}={value}"
