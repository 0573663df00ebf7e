"""Flags as runc's command line takes them: `--name value`, `--name=value`, one dash or two, single letters as names."""

from __future__ import annotations

from groundplane.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# How a flag behaves: with no value, with one, with a whole number, or with one each time it is given.
SWITCH, VALUE, NUMBER, MANY = "switch", "value", "number", "many"

# Go's strconv.ParseBool
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Flags:
    """The flags of one command: their kinds by name, and other names for them."""

    __slots__ = ("aliases", "kinds")

    def __init__(self, kinds: dict[str, str], aliases: dict[str, str] | None = None) -> None:
        self.kinds = kinds
        self.aliases = aliases or {}


class Parsed:
    """What was given: values by flag name, and the words that are no flags."""

    __slots__ = ("_values", "words")

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self.words: list[str] = []

    def add(self, name: str, value: str) -> None:
        self._values.setdefault(name, []).append(value)

    def switch(self, name: str) -> bool:
        return self._values.get(name, ["false"])[-1] in _TRUE

    def given(self, name: str) -> bool:
        return name in self._values

    def value(self, name: str, default: str = "") -> str:
        return self._values.get(name, [default])[-1]

    def many(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def number(self, name: str, default: int = 0) -> int:
        """The value of a NUMBER."""
        number = whole_number(self.value(name))
        return default if number is None else number


def whole_number(text: str) -> int | None:
    """A decimal number of 64 bits with or without a sign; None for anything else (which int() may well take)."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def parse(arguments: Sequence[str], flags: Flags, *, mixed: bool = False) -> Parsed:
    """Read flags up to the first word that is none; with `mixed`, also behind words. `--` ends the flags.

    Raises UsageError with the words of the parser that runc uses.
    """
    parsed = Parsed()
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        index += 1
        if argument == "--":
            parsed.words += arguments[index:]
            break
        if argument == "-" or not argument.startswith("-"):
            parsed.words.append(argument)
            if mixed:
                continue
            parsed.words += arguments[index:]
            break
        name, equals, value = argument[2 if argument.startswith("--") else 1 :].partition("=")
        name = flags.aliases.get(name, name)
        kind = flags.kinds.get(name)
        if kind is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        if kind == SWITCH:
            if equals and value not in _TRUE + _FALSE:
                raise UsageError(f'invalid boolean value "{value}" for -{name}: parse error')
            parsed.add(name, value if equals else "true")
            continue
        if not equals:
            if index == len(arguments):
                raise UsageError(f"flag needs an argument: -{name}")
            value = arguments[index]
            index += 1
        if kind == NUMBER and whole_number(value) is None:
            raise UsageError(f'invalid value "{value}" for flag -{name}: parse error')
        parsed.add(name, value)
    return parsed
