"""Docker's command lines: flags as its own tool reads them, with its messages and exit codes.

A command is a value; `parse` reads its words; `help_text` is its help. Written by hand because `argparse` knows neither
these rules (flags end at the image's name; `--flag=false`) nor these words, and costs 6 ms.
"""

from __future__ import annotations

from groundplane.base.errors import UsageError

FLAG, TEXT, MANY, NUMBER = "flag", "text", "many", "number"


class FlagError(UsageError):
    """Wrong flags: docker's own exit code for them."""

    exit_code = 125


class ArgumentError(UsageError):
    """The wrong number of arguments."""

    exit_code = 1


class Option:
    """`--long`, `-s`; `value` names the argument in the help. MANY may be repeated and gives a list."""

    __slots__ = ("default", "help", "kind", "long", "short", "value")

    def __init__(self, long: str, short: str, kind: str, value: str, help: str, default: object = None) -> None:
        self.long = long
        self.short = short
        self.kind = kind
        self.value = value
        self.help = help
        self.default = default


def flag(long: str, short: str, help: str) -> Option:
    return Option(long, short, FLAG, "", help)


def text(long: str, short: str, value: str, help: str, default: str = "") -> Option:
    return Option(long, short, TEXT, value, help, default)


def many(long: str, short: str, value: str, help: str) -> Option:
    return Option(long, short, MANY, value, help)


def number(long: str, short: str, help: str, default: int | None = None) -> Option:
    return Option(long, short, NUMBER, "int", help, default)


class Parsed:
    """The options' values by their long names, and the words that are none. Absent flags are False, lists empty."""

    __slots__ = ("_values", "given", "words")

    def __init__(self, values: dict[str, object], words: list[str], given: set[str]) -> None:
        self._values = values
        self.words = words
        self.given = given

    def on(self, name: str) -> bool:
        return bool(self._values[name])

    def text(self, name: str) -> str:
        return str(self._values[name])

    def many(self, name: str) -> list[str]:
        value = self._values[name]
        return list(value) if isinstance(value, list) else []

    def number(self, name: str) -> int | None:
        value = self._values[name]
        return value if isinstance(value, int) else None


class Command:
    """A verb's form: its usage line, what it does, its options, how many words it takes."""

    __slots__ = ("aliases", "interspersed", "maximum", "minimum", "name", "note", "options", "summary", "usage")

    def __init__(
        self,
        name: str,
        usage: str,
        summary: str,
        options: tuple[Option, ...] = (),
        minimum: int = 0,
        maximum: int | None = None,
        *,
        interspersed: bool = True,
        aliases: dict[str, str] | None = None,
        note: str = "",
    ) -> None:
        self.name = name
        self.usage = usage
        self.summary = summary
        self.options = options
        self.minimum = minimum
        self.maximum = maximum
        self.interspersed = interspersed  # whether flags may follow the first word
        self.aliases = aliases or {}
        self.note = note

    def parse(self, args: list[str]) -> Parsed | None:
        """The values; None where help was asked for and printed. Raises FlagError, ArgumentError."""
        return _Parser(self, args).parse()

    @property
    def line(self) -> str:
        return f"ground {self.name} {self.usage}".rstrip()

    def help_text(self) -> str:
        rows = [_row(option) for option in sorted(self.options, key=lambda o: o.long)]
        width = max((len(left) for left, _ in rows), default=0) + 3
        lines = ["", f"Usage:  {self.line}", "", self.summary]
        if self.note:
            lines += ["", self.note]
        if rows:
            lines += ["", "Options:", *(f"{left:<{width}}{right}" for left, right in rows)]
        return "\n".join(lines) + "\n"


def _row(option: Option) -> tuple[str, str]:
    head = f"  -{option.short}, " if option.short else "      "
    shown = f' (default "{option.default}")' if option.default and option.kind == TEXT else ""
    shown = f" (default {option.default})" if option.default and option.kind == NUMBER else shown
    kind = "list" if option.kind == MANY and not option.value else option.value
    return f"{head}--{option.long} {kind}".rstrip(), option.help + shown


class _Parser:
    def __init__(self, command: Command, args: list[str]) -> None:
        self._command = command
        self._rest = list(args)
        self._words: list[str] = []
        self._given: set[str] = set()
        self._long = {option.long: option for option in command.options}
        self._short = {option.short: option for option in command.options if option.short}
        self._values: dict[str, object] = {
            o.long: [] if o.kind == MANY else (False if o.kind == FLAG else o.default) for o in command.options
        }

    def parse(self) -> Parsed | None:
        import sys

        while self._rest:
            word = self._rest.pop(0)
            if word == "--":
                self._words += self._rest
                break
            if word == "--help" or (word == "-h" and "h" not in self._short):
                sys.stdout.write(self._command.help_text())
                return None
            if word.startswith("--"):
                self._long_flag(word)
            elif word.startswith("-") and len(word) > 1:
                self._short_flags(word)
            else:
                self._words.append(word)
                if not self._command.interspersed:
                    self._words += self._rest
                    break
        self._check_count()
        return Parsed(self._values, self._words, self._given)

    def _long_flag(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        option = self._long.get(self._command.aliases.get(name, name))
        if option is None:
            raise self._wrong(f"unknown flag: --{name}")
        if equals:
            self._set(option, value, f"--{name}")
        elif option.kind == FLAG:
            self._set(option, "true", f"--{name}")
        else:
            self._set(option, self._next(f"--{name}"), f"--{name}")

    def _short_flags(self, word: str) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self._short.get(letter)
            if option is None:
                raise self._wrong(f"unknown shorthand flag: '{letter}' in {word}")
            if option.kind != FLAG:
                value = letters.removeprefix("=") if letters else self._next(f"'{letter}' in {word}")
                self._set(option, value, f"-{letter}")
                return
            if letters.startswith("="):
                self._set(option, letters[1:], f"-{letter}")
                return
            self._set(option, "true", f"-{letter}")

    def _next(self, shown: str) -> str:
        if not self._rest:
            raise self._wrong(f"flag needs an argument: {shown}")
        return self._rest.pop(0)

    def _set(self, option: Option, value: str, shown: str) -> None:
        self._given.add(option.long)
        known = self._values[option.long]
        if option.kind == MANY and isinstance(known, list):
            known.append(value)
        elif option.kind == FLAG:
            if value.lower() not in ("true", "false", "1", "0", "t", "f"):
                raise self._wrong(f'invalid argument "{value}" for "{shown}" flag: parsing "{value}": invalid syntax')
            self._values[option.long] = value.lower() in ("true", "1", "t")
        elif option.kind == NUMBER:
            try:
                self._values[option.long] = int(value)
            except ValueError:
                sentence = f'invalid argument "{value}" for "{shown}" flag: parsing "{value}": invalid syntax'
                raise self._wrong(sentence) from None
        else:
            self._values[option.long] = value

    def _check_count(self) -> None:
        command, count = self._command, len(self._words)
        name = f"'ground {command.name}'"
        if count < command.minimum:
            exactly = "" if command.maximum == command.minimum else "at least "
            words = f"{exactly}{command.minimum} argument{'s' if command.minimum != 1 else ''}"
        elif command.maximum is not None and count > command.maximum:
            if command.maximum == 0:
                raise self._wrong(f"{name} accepts no arguments", ArgumentError)
            exactly = "" if command.maximum == command.minimum else "at most "
            words = f"{exactly}{command.maximum} argument{'s' if command.maximum != 1 else ''}"
        else:
            return
        raise self._wrong(f"{name} requires {words}", ArgumentError)

    def _wrong(self, sentence: str, kind: type[UsageError] = FlagError) -> UsageError:
        command = self._command
        return kind(
            f"ground: {sentence}\n\nUsage:  {command.line}\n\nRun 'ground {command.name} --help' for more information"
        )
