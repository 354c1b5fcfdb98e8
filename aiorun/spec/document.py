"""config.json: read once, parsed, checked."""

from __future__ import annotations

import os
import stat

from aiorun.errors import AiorunError, InvalidSpec, reason
from aiorun.spec.checks import members
from aiorun.spec.shapes import DOCUMENT, RESOURCES
from aiorun.wire.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aiorun.spec.checks import Rule
    from aiorun.spec.types import Process, Resources, Root, Spec

CONFIG = "config.json"
LARGEST = 16 * 2**20
"""The most bytes that a config.json may have. What engines write has some ten thousand."""

_OTHER_PLATFORMS = ("freebsd", "solaris", "vm", "windows", "zos")


def parse(text: bytes | str) -> Spec:
    """The checked document that `text` (str, or UTF-8 bytes) is the JSON of.

    Raises InvalidSpec, with the JSON path of the first fault, or with none where the text isn't JSON.
    """
    return check(value_of(text, CONFIG))


def value_of(text: bytes | str, name: str) -> object:
    """What `text` is the JSON of; `name` is that of its file. Raises InvalidSpec."""
    try:
        value: object = loads(text)
    except ValueError as error:
        message = str(error)
        if not message.startswith(("NaN", "Infinity")):
            message = message[:1].lower() + message[1:]
        raise InvalidSpec("", f"{name} is not valid JSON: {message}") from None
    return value


def check(document: object) -> Spec:
    """The same document, if it's one that the runtime specification 1.3 allows: its schema, and what its prose adds.

    Raises InvalidSpec, with the JSON path of the first fault. Members that the specification doesn't have are left
    unread. `process` and `root` may be missing, as the schema has it: `require_process`, `require_root`.
    """
    if not isinstance(document, dict):
        raise InvalidSpec("", f"{CONFIG} must hold a JSON object")
    table: Mapping[str, Rule] = DOCUMENT
    if any(name in document for name in _OTHER_PLATFORMS):
        from aiorun.spec.platforms import table_for

        table = table_for(document)
    members(document, (table, ("ociVersion",), None))
    checked: Any = document
    spec: Spec = checked
    return spec


def check_resources(document: object) -> Resources:
    """The same document, if it's a `linux.resources` that says what is to be changed: an object without a member changes nothing.

    Raises InvalidSpec, with the JSON path below linux.resources.
    """
    if document is not None and not isinstance(document, dict):
        raise InvalidSpec("", "the resources must be a JSON object")
    asked = {name: group for name, group in (document or {}).items() if group or name not in RESOURCES}
    members(asked, (RESOURCES, (), None))
    checked: Any = asked
    resources: Resources = checked
    return resources


def require_process(spec: Spec) -> Process:
    """The process of a checked document, with something to run. Raises InvalidSpec, in runc's words."""
    if "process" not in spec:
        raise InvalidSpec("process", "process property must not be empty")
    if not spec["process"].get("args"):
        raise InvalidSpec("process.args", "args must not be empty")
    return spec["process"]


def require_root(spec: Spec) -> Root:
    """The root of a checked document. Raises InvalidSpec, in runc's words."""
    if "root" not in spec:
        raise InvalidSpec("root", "root must be specified")
    return spec["root"]


def read(bundle: str) -> Spec:
    """The checked config.json of the bundle, which is read once and never again: runtime.md, "Lifecycle".

    Raises AiorunError where it can't be read (not there, no regular file, more than LARGEST bytes), else as `parse`.
    """
    return parse(content_of(os.path.join(bundle, CONFIG), CONFIG, missing=f"JSON specification file {CONFIG} not found"))


def content_of(path: str, name: str, *, missing: str = "") -> bytes:
    """The file at `path`, of which errors speak as `name`; `missing` is what they say where there is none. Raises AiorunError."""
    try:
        # O_NONBLOCK: a fifo must not make us wait for a writer
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the bundle's name
        if missing and isinstance(error, FileNotFoundError):
            raise AiorunError(missing) from None
        raise AiorunError(f"open {path!a}: {reason(error) if isinstance(error, OSError) else error}") from None
    try:
        return _content(fd, name)
    except OSError as error:
        raise AiorunError(f"read {name}: {reason(error)}") from None
    finally:
        os.close(fd)


def _content(fd: int, name: str) -> bytes:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise AiorunError(f"{name} is not a regular file")
    content = bytearray()
    while chunk := os.read(fd, LARGEST + 1 - len(content)):
        content += chunk
    if len(content) > LARGEST:
        raise AiorunError(f"{name} is larger than {LARGEST >> 20} MiB")
    return bytes(content)
