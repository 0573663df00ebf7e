"""How a runtime document is read: a cursor on a decoded JSON object that knows its own place, for errors that name it.

Absent and `null` are the same, as they are to Go's decoder, which every other runtime reads with; unknown members are
passed over, because the specification says so (config.md, "Extensibility").
"""

from __future__ import annotations

from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

MAX_INT64 = 2**63 - 1
MAX_UINT32 = 2**32 - 1
MAX_UINT64 = 2**64 - 1


class RuntimeDocumentError(GroundError):
    """The document is not what runtime-spec 1.2 says: the sentence names the member."""


_KINDS = {str: "a string", bool: "true or false", int: "a whole number", list: "a list", dict: "an object"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a number")


class Reader:
    """A JSON object at `where` (`config.json: linux.resources`)."""

    __slots__ = ("_data", "_where")

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise RuntimeDocumentError(f"{where.rstrip(':')}: an object is expected, not {_kind(value)}")
        self._data = value
        self._where = where

    def error(self, name: str, problem: str) -> RuntimeDocumentError:
        """To raise: `config.json: process.cwd: PROBLEM`."""
        return RuntimeDocumentError(f"{self.at(name)}: {problem}")

    def at(self, name: str) -> str:
        return f"{self._where}.{name}" if not self._where.endswith(":") else f"{self._where} {name}"

    def _get(self, name: str, kind: type) -> Any:
        value = self._data.get(name)
        if value is not None and (type(value) is not kind):
            raise self.error(name, f"{_KINDS[kind]} is expected, not {_kind(value)}")
        return value

    def has(self, name: str) -> bool:
        return self._data.get(name) is not None

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        value: str | None = self._get(name, str)
        if required and not value:
            raise self.error(name, "must not be empty")
        if value is None:
            return default
        if "\0" in value:
            raise self.error(name, "a NUL byte is not allowed")
        return value

    def flag(self, name: str) -> bool:
        return bool(self._get(name, bool))

    def optional_flag(self, name: str) -> bool | None:
        value: bool | None = self._get(name, bool)
        return value

    def optional_number(self, name: str, low: int = -MAX_INT64 - 1, high: int = MAX_INT64) -> int | None:
        value: int | None = self._get(name, int)
        if value is not None and not low <= value <= high:
            raise self.error(name, f"{value} is not between {low} and {high}")
        return value

    def number(self, name: str, low: int = -MAX_INT64 - 1, high: int = MAX_INT64, default: int = 0) -> int:
        value = self.optional_number(name, low, high)
        return default if value is None else value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._get(name, list) or ()
        for index, value in enumerate(values):
            if type(value) is not str:
                raise self.error(f"{name}[{index}]", f"a string is expected, not {_kind(value)}")
            if "\0" in value:
                raise self.error(f"{name}[{index}]", "a NUL byte is not allowed")
        return tuple(values)

    def numbers(self, name: str, low: int, high: int) -> tuple[int, ...]:
        values = self._get(name, list) or ()
        for index, value in enumerate(values):
            if type(value) is not int or not low <= value <= high:
                raise self.error(f"{name}[{index}]", f"a number between {low} and {high} is expected")
        return tuple(values)

    def text_map(self, name: str) -> dict[str, str]:
        values: dict[str, str] = self._get(name, dict) or {}
        for key, value in values.items():
            if type(value) is not str:
                raise self.error(f"{name}[{key!r}]", f"a string is expected, not {_kind(value)}")
            if "\0" in key or "\0" in value:
                raise self.error(f"{name}[{key!r}]", "a NUL byte is not allowed")
        return values

    def child(self, name: str, read: Callable[[Reader], T]) -> T | None:
        """The object `name` as `read` makes it; None where it is absent."""
        value = self._data.get(name)
        return None if value is None else read(Reader(value, self.at(name)))

    def children(self, name: str, read: Callable[[Reader], T]) -> tuple[T, ...]:
        values = self._get(name, list) or ()
        return tuple([read(Reader(value, f"{self.at(name)}[{index}]")) for index, value in enumerate(values)])

    def child_map(self, name: str, read: Callable[[Reader], T]) -> dict[str, T]:
        values = self._get(name, dict) or {}
        return {key: read(Reader(value, f"{self.at(name)}[{key!r}]")) for key, value in values.items()}

    def raw(self, name: str) -> Any:
        return self._data.get(name)
