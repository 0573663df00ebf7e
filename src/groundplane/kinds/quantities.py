"""Resource quantities: `500m`, `1.5Gi`, `1e3`, parsed exactly, compared as integers, printed canonically.

A quantity is held as a whole number of nano-units, upstream's finest grain, so that arithmetic is exact. The form it
was written in (decimal SI, binary SI, decimal exponent) decides how it is printed
(k8s.io/apimachinery/pkg/api/resource, "Quantity"; serialization format in its package documentation).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from groundplane.base.caching import remember_short
from groundplane.base.errors import GroundError

_SHAPE = r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_LONGEST = 1024  # upstream rounds longer ones; nobody writes them but to keep a server busy
_NANO = 10**9
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_NAMES = {exponent: name for name, exponent in _DECIMAL.items()}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BINARY_NAMES = {power: name for name, power in _BINARY.items()}
_EXPONENT = re.compile(r"^[eE][-+]?[0-9]+$")
_PARTS = re.compile(r"^([+-]?)([0-9]*)(?:\.([0-9]*))?(.*)$")


class QuantityError(GroundError):
    """The text is not a quantity; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """`nano` is the value × 10⁹; `form` is DecimalSI, BinarySI or DecimalExponent."""

    nano: int
    form: str = "DecimalSI"

    @property
    def value(self) -> int:
        """Whole units, rounded up as upstream's Value()."""
        return -(-self.nano // _NANO)

    @property
    def milli(self) -> int:
        """Thousandths, rounded up as upstream's MilliValue()."""
        return -(-self.nano // 10**6)

    def __str__(self) -> str:
        return _format(self.nano, self.form)


@remember_short(4096)
def _parse_text(text: str) -> Quantity:
    if not text:
        raise QuantityError("quantities must not be empty")
    if len(text) > _LONGEST:
        raise QuantityError(f"quantities must match the regular expression '{_SHAPE}'")
    match = _PARTS.match(text)
    assert match is not None  # the pattern matches any text
    sign, whole, fraction, suffix = match.groups()
    fraction = fraction or ""
    if not whole and not fraction:
        raise QuantityError(f"quantities must match the regular expression '{_SHAPE}'")
    form, base, exponent = _suffix(suffix, text)
    digits = int((whole + fraction) or "0")
    scale = exponent - len(fraction) if base == 10 else -len(fraction)
    nano = digits * _NANO * (1024**exponent if base == 1024 else 1)
    if scale >= 0:
        nano *= 10**scale
    else:
        nano = -(-nano // 10**-scale)  # finer than nano: rounded away from zero, as upstream
    return Quantity(-nano if sign == "-" else nano, form)


def _suffix(suffix: str, text: str) -> tuple[str, int, int]:
    if suffix in _DECIMAL:
        return "DecimalSI", 10, _DECIMAL[suffix]
    if suffix in _BINARY:
        return "BinarySI", 1024, _BINARY[suffix]
    if _EXPONENT.match(suffix) and len(suffix) < 5:
        return "DecimalExponent", 10, int(suffix[1:])
    if re.match(_SHAPE, text):
        raise QuantityError("unable to parse quantity's suffix")
    raise QuantityError(f"quantities must match the regular expression '{_SHAPE}'")


def parse(value: Any) -> Quantity:
    """A quantity from JSON: a string, or a number as YAML authors write it. Raises QuantityError."""
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise QuantityError(f"quantities must match the regular expression '{_SHAPE}'")
    return _parse_text(repr(value))


@remember_short(4096)
def canonical(text: str) -> str:
    """The one way upstream writes this quantity: `1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`."""
    return str(_parse_text(text))


def _format(nano: int, form: str) -> str:
    if nano == 0:
        return "0"
    sign, size = ("-", -nano) if nano < 0 else ("", nano)
    if form == "BinarySI" and size >= 1024 * _NANO and size % _NANO == 0:
        number, power = size // _NANO, 0
        while power < 6 and number % 1024 == 0:
            number, power = number // 1024, power + 1
        return f"{sign}{number}{_BINARY_NAMES.get(power, '')}"
    number, exponent = size, -9
    while number % 1000 == 0 and exponent < 18:
        number, exponent = number // 1000, exponent + 3
    if form == "DecimalExponent":
        return f"{sign}{number}" if exponent == 0 else f"{sign}{number}e{exponent}"
    return f"{sign}{number}{_DECIMAL_NAMES[exponent]}"
