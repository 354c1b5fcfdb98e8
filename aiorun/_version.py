"""Which aiorun this is. A release's build writes COMMIT; in a git checkout it is empty and read from .git."""

VERSION = "0.1.0"
COMMIT = ""
