"""The lines of /proc/PID/mountinfo. proc(5)."""

from __future__ import annotations

_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


def lines(text: str) -> list[str]:
    """One a mount. Not `splitlines`, which also ends a line at a form feed or U+2028: anybody's FUSE mount may have these."""
    return [line for line in text.split("\n") if line]


def fields(line: str) -> tuple[list[str], list[str]]:
    """What a line says of the mount (number, parent's number, device, root, mount point, options, tags…) and of its file system
    (type, source, options), without escapes."""
    mount, _, filesystem = line.partition(" - ")
    return [_unescaped(word) for word in mount.split(" ")], filesystem.split(" ")


def _unescaped(word: str) -> str:
    if "\\" in word:
        for escape, character in _ESCAPES:
            word = word.replace(escape, character)
    return word
