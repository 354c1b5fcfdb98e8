"""What makes something registers its undoing on the next line: ExitStack without its import."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Undo:
    """Runs what was registered, last first, on leaving the block, unless `commit` was called.

    An undoing that fails doesn't keep the others from running, nor hide the error that is on its way.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def add(self, step: Callable[[], object]) -> None:
        self._steps.append(step)

    def commit(self) -> None:
        """All went well: nothing is undone."""
        self._steps.clear()

    def run(self) -> None:
        while self._steps:
            step = self._steps.pop()
            try:
                step()
            except Exception:  # noqa: BLE001, S110 - the error that made us undo is the one to report
                pass

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.run()
