"""`LazyMapping`: values that are made when somebody asks for one, so that what nobody reads costs nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

V = TypeVar("V")
D = TypeVar("D")
_UNKNOWN: Any = object()


class LazyMapping(Mapping[str, V], Generic[V]):
    """A read-only mapping, whose values `make` makes: each once, when it is asked for, or all when somebody walks.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._made: dict[str, V | None] = {}
        self._whole: dict[str, V] | None = None

    @abstractmethod
    def names(self) -> Iterable[str]:
        """All names that may have a value, in order. Makes none."""

    @abstractmethod
    def make(self, name: str) -> V | None:
        """The value of a name, None where there is none; any name may be asked for."""

    @overload
    def get(self, key: str, /) -> V | None: ...

    @overload
    def get(self, key: str, /, default: V | D) -> V | D: ...

    def get(self, key: str, /, default: Any = None) -> Any:
        """The value of a name, or the default."""
        value = self._made.get(key, _UNKNOWN)
        if value is _UNKNOWN:
            value = self._made[key] = self.make(key)
        return default if value is None else value

    def __getitem__(self, name: str) -> V:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())

    def whole(self) -> dict[str, V]:
        """Everything that has a value, in order; do not change it."""
        if self._whole is None:
            pairs = [(name, self.get(name)) for name in self.names()]
            self._whole = {name: value for name, value in pairs if value is not None}
        return self._whole
