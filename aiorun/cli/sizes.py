"""Numbers on the command line as runc reads them: Go's strconv, and sizes such as 64M."""

from __future__ import annotations

from aiorun.wire.text import quote

_UNITS = {letter: 1024**power for power, letter in enumerate("kmgtp", 1)}


def ram_in_bytes(text: str) -> int:
    """docker/go-units' RAMInBytes: "64M", "1.5g", "64 MiB", "4096". Raises ValueError in its words."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :].lower()
    number = number.removesuffix(" ")
    if not number or number.startswith("-"):
        raise ValueError(f"invalid size: '{text}'")
    if not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise ValueError(f"strconv.ParseFloat: parsing {quote(number)}: invalid syntax")
    unit, rest = suffix[:1], suffix[1:]
    if (unit == "b" and rest) or (unit not in ("", "b") and (unit not in _UNITS or rest not in ("", "b", "ib"))):
        raise ValueError(f"invalid suffix: '{text[len(text) - len(suffix) :]}'")
    return int(float(number) * _UNITS.get(unit, 1))


def decimal(text: str, *, signed: bool = False) -> int:
    """strconv.ParseInt or, not `signed`, ParseUint with base 10 and 64 bits. Raises ValueError in its words."""
    function, least, most = ("ParseInt", -(2**63), 2**63 - 1) if signed else ("ParseUint", 0, 2**64 - 1)
    digits = text[1:] if signed and text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: invalid syntax")
    value = int(text)
    if not least <= value <= most:
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: value out of range")
    return value
