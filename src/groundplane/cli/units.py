"""Sizes and durations as docker prints and reads them (docker/go-units)."""

from __future__ import annotations

from groundplane.base.errors import UsageError

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_LETTERS = "kmgtp"


class BadValue(UsageError):
    """A flag's value is wrong; docker's exit code for that."""

    exit_code = 125


def human_size(size: float, precision: int = 3) -> str:
    """`49.6MB`: powers of 1000."""
    return _scaled(size, 1000.0, _DECIMAL, precision)


def human_binary(size: float, precision: int = 4) -> str:
    """`47.27MiB`: powers of 1024."""
    return _scaled(size, 1024.0, _BINARY, precision)


def _scaled(size: float, base: float, words: tuple[str, ...], precision: int) -> str:
    at = 0
    while size >= base and at < len(words) - 1:
        size /= base
        at += 1
    return f"{size:.{precision}g}{words[at]}"


def parse_size(text: str, name: str) -> int:
    """`512m` in bytes; powers of 1024. Raises BadValue."""
    digits = text.lower().removesuffix("b").removesuffix("i")
    letter = digits[-1:] if digits[-1:] in _LETTERS else ""
    whole, point, fraction = digits.removesuffix(letter).rstrip(" ").partition(".")
    if not _is_number(whole) or (point and not _is_number(fraction)):
        raise BadValue(f'ground: invalid argument "{text}" for "{name}" flag: invalid size: \'{text}\'')
    return int(float(f"{whole}.{fraction or 0}") * 1024 ** (_LETTERS.index(letter) + 1 if letter else 0))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def human_duration(seconds: float) -> str:
    """`About an hour`: the words of docker's listings."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return f"{whole} second{'s' if whole > 1 else ''}"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    for limit, unit, word in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if days < limit:
            return f"{days // unit} {word}"
    return f"{days // 365} years"
