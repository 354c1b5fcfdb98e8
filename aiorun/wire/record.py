"""The base of operations, messages and values: fields from annotations, immutable, compared by value.

dataclasses would do, but its import costs as much as a whole command (docs/design.md, the import budget).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, dataclass_transform
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """Subclasses list their fields as annotations, defaults as class attributes, and nothing else."""

    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.fields += tuple(cls.__dict__.get("__annotations__", ()))

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self.__dict__
        fields.update(zip(self.fields, values))
        if len(values) > len(self.fields) or not fields.keys().isdisjoint(named):
            raise TypeError(f"{type(self).__name__}: too many values")
        fields.update(named)
        if len(fields) < len(self.fields) or named:
            for name in self.fields:
                if name not in fields:
                    fields[name] = getattr(type(self), name)  # AttributeError names a field without a value
        if len(fields) != len(self.fields):
            raise TypeError(f"{type(self).__name__} has no field {sorted(fields.keys() - set(self.fields))}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple([self.__dict__[name] for name in self.fields]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={self.__dict__[n]!r}' for n in self.fields)})"
