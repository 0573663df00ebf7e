"""What is wrong with a text that is not JSON, in the words of Go's encoding/json, which clients and people know.

A scanner as encoding/json/scanner.go describes it: one state per byte, a stack of open objects and arrays. It is only
asked once the fast parser has refused a text, so it may be slow.
"""

from __future__ import annotations

from collections.abc import Iterator

_SPACE = b" \t\r\n"
_END = "unexpected end of JSON input"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_HEX = b"0123456789abcdefABCDEF"
_DIGITS = b"0123456789"


class _Wrong(Exception):
    """The scanner's end: a sentence."""


def syntax_error(text: bytes) -> str:
    """Why `text` is not one JSON value; empty where Go would take it."""
    try:
        _scan(_Reader(text))
    except _Wrong as wrong:
        return str(wrong)
    return ""


class _Reader:
    """A position in the text; every way past its end is the same error."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def peek(self, *, end_allowed: bool = False) -> int:
        """The next byte; -1 at an end that is allowed."""
        if self._at < len(self._text):
            return self._text[self._at]
        if end_allowed:
            return -1
        raise _Wrong(_END)

    def take(self) -> int:
        byte = self.peek()
        self._at += 1
        return byte

    def skip_space(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _SPACE:
            self._at += 1


def _bad(byte: int, where: str) -> _Wrong:
    return _Wrong(f"invalid character {_quoted(byte)} {where}")


def _quoted(byte: int) -> str:
    """quoteChar of scanner.go: a byte is shown as the character of that number."""
    special = {ord("'"): r"'\''", ord('"'): "'\"'", 9: r"'\t'", 10: r"'\n'", 13: r"'\r'", ord("\\"): r"'\\'"}
    if byte in special:
        return special[byte]
    if byte < 0x20 or byte == 0x7F:
        return rf"'\x{byte:02x}'"
    return rf"'\u{byte:04x}'" if 0x80 <= byte <= 0xA0 or byte == 0xAD else f"'{chr(byte)}'"


def _scan(reader: _Reader) -> None:
    open_: list[str] = []  # "object" or "array", outermost first
    for _ in _values(reader, open_):
        while True:  # a value has ended: what may follow it
            reader.skip_space()
            byte = reader.peek(end_allowed=not open_)
            if not open_:
                if byte >= 0:
                    raise _bad(byte, "after top-level value")
                return
            reader.take()
            inner = open_[-1]
            if byte == ord(","):
                if inner == "object":
                    reader.skip_space()
                    _key(reader)
                break
            if byte != ord("}" if inner == "object" else "]"):
                raise _bad(byte, "after object key:value pair" if inner == "object" else "after array element")
            open_.pop()


def _values(reader: _Reader, open_: list[str]) -> Iterator[None]:
    """One step for each scalar and each empty object or array; others are opened on the way."""
    while True:
        reader.skip_space()
        byte = reader.take()
        if byte == ord("{"):
            reader.skip_space()
            if reader.peek() != ord("}"):
                _key(reader)
                open_.append("object")
                continue
            reader.take()
        elif byte == ord("["):
            reader.skip_space()
            if reader.peek() != ord("]"):
                open_.append("array")
                continue
            reader.take()
        elif byte == ord('"'):
            _string(reader)
        elif byte in _LITERALS:
            _literal(reader, _LITERALS[byte])
        elif byte == ord("-") or byte in _DIGITS:
            _number(reader, byte)
        else:
            raise _bad(byte, "looking for beginning of value")
        yield


def _key(reader: _Reader) -> None:
    byte = reader.take()
    if byte != ord('"'):
        raise _bad(byte, "looking for beginning of object key string")
    _string(reader)
    reader.skip_space()
    byte = reader.take()
    if byte != ord(":"):
        raise _bad(byte, "after object key")


def _string(reader: _Reader) -> None:
    while (byte := reader.take()) != ord('"'):
        if byte < 0x20:
            raise _bad(byte, "in string literal")
        if byte == ord("\\"):
            _escape(reader)


def _escape(reader: _Reader) -> None:
    byte = reader.take()
    if byte == ord("u"):
        for _ in range(4):
            if (byte := reader.take()) not in _HEX:
                raise _bad(byte, r"in \u hexadecimal character escape")
    elif byte not in b'"\\/bfnrt':
        raise _bad(byte, "in string escape code")


def _literal(reader: _Reader, word: bytes) -> None:
    for expected in word[1:]:
        if (byte := reader.take()) != expected:
            raise _bad(byte, f"in literal {word.decode()} (expecting '{chr(expected)}')")


def _number(reader: _Reader, first: int) -> None:
    if first == ord("-"):
        first = reader.take()
        if first not in _DIGITS:
            raise _bad(first, "in numeric literal")
    if first != ord("0"):
        _digits(reader)
    if reader.peek(end_allowed=True) == ord("."):
        reader.take()
        _digits(reader, "after decimal point in numeric literal")
    if reader.peek(end_allowed=True) in (ord("e"), ord("E")):
        reader.take()
        if reader.peek() in b"+-":
            reader.take()
        _digits(reader, "in exponent of numeric literal")


def _digits(reader: _Reader, required: str = "") -> None:
    if required and (byte := reader.take()) not in _DIGITS:
        raise _bad(byte, required)
    while (byte := reader.peek(end_allowed=True)) >= 0 and byte in _DIGITS:
        reader.take()
