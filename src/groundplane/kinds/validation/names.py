"""Forms of names and other strings, each with upstream's complaint (k8s.io/apimachinery/pkg/util/validation).

Every check returns the complaints, an empty tuple where the value is fine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from groundplane.base.caching import remember_short

Messages = tuple[str, ...]
Check = Callable[[str], Messages]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"({_QUALIFIED})?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_HEADER = r"[-A-Za-z0-9]+"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_PERCENT = r"[0-9]+%"

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_CONFIG_KEY_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_ENV_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)


def _regex_text(text: str, pattern: str, *examples: str) -> str:
    """validation.RegexError."""
    if not examples:
        return f"{text} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{one}', " for one in examples)[:-2]
    return f"{text} (e.g. {shown}, regex used for validation is '{pattern}')"


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def _checker(pattern: str, limit: int, text: str, *examples: str) -> Check:
    match = re.compile(pattern).fullmatch
    complaint = _regex_text(text, pattern, *examples)

    @remember_short(1024)
    def check(value: str) -> Messages:
        found = [_too_long(limit)] if limit and len(value) > limit else []
        if not match(value):
            found.append(complaint)
        return tuple(found)

    return check


subdomain = _checker(_SUBDOMAIN, 253, _SUBDOMAIN_TEXT, "example.com")
label = _checker(_LABEL, 63, _LABEL_TEXT, "my-name", "123-abc")
label_1035 = _checker(_LABEL_1035, 63, _LABEL_1035_TEXT, "my-name", "abc-123")
label_value = _checker(_LABEL_VALUE, 63, _LABEL_VALUE_TEXT, "MyValue", "my_value", "12345")
wildcard_subdomain = _checker(_WILDCARD, 253, _WILDCARD_TEXT, "*.example.com")
_HEADER_TEXT = "a valid HTTP header must consist of alphanumeric characters or '-'"
http_header = _checker(_HEADER, 0, _HEADER_TEXT, "X-Header-Name")
percent = _checker(
    _PERCENT, 0, "a valid percent string must be a numeric string followed by an ending '%'", "1%", "93%"
)
_config_key = _checker(_CONFIG_KEY, 253, _CONFIG_KEY_TEXT, "key.name", "KEY_NAME", "key-name")


@remember_short(4096)
def qualified_name(value: str) -> Messages:
    """`name` or `prefix.example/name`: label keys, finalizers, resource names."""
    parts = value.split("/")
    found: list[str] = []
    if len(parts) == 2:
        if not parts[0]:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {message}" for message in subdomain(parts[0])]
    elif len(parts) > 2:
        return (f"a qualified name {_QUALIFIED_FULL}",)
    name = parts[-1]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append(f"name part {_too_long(63)}")
    if not _QUALIFIED_MATCH(name):
        found.append(f"name part {_regex_text(_QUALIFIED_TEXT, _QUALIFIED, *_QUALIFIED_EXAMPLES)}")
    return tuple(found)


_QUALIFIED_EXAMPLES = ("MyName", "my.name", "123-abc")
_QUALIFIED_FULL = (
    _regex_text(_QUALIFIED_TEXT, _QUALIFIED, *_QUALIFIED_EXAMPLES)
    + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
_QUALIFIED_MATCH = re.compile(_QUALIFIED).fullmatch


def path_segment(value: str) -> Messages:
    """Names that only have to fit in a URL: RBAC."""
    if value in (".", ".."):
        return (f"may not be '{value}'",)
    return tuple(f"may not contain '{bad}'" for bad in "/%" if bad in value)


def config_key(value: str) -> Messages:
    """Keys of ConfigMaps and Secrets."""
    found = _config_key(value)
    if value == ".":
        return (*found, "must not be '.'")
    return (*found, *_dots(value))


def env_name(value: str) -> Messages:
    """Names of environment variables, as relaxed by KEP-4369 (GA)."""
    if value and all(" " <= letter <= "~" and letter != "=" for letter in value):
        return ()
    return (_ENV_TEXT,)


def _dots(value: str) -> Messages:
    if value == "..":
        return ("must not be '..'",)
    return ("must not start with '..'",) if value.startswith("..") else ()


@remember_short(1024)
def port_name(value: str) -> Messages:
    """IANA service names: `http`, `my-port`."""
    found: list[str] = []
    if len(value) > 15:
        found.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        found.append("must not begin or end with a hyphen")
    return tuple(found)


def port_number(value: object) -> Messages:
    if isinstance(value, int) and 1 <= value <= 65535:
        return ()
    return ("must be between 1 and 65535, inclusive",)


def ip_address(value: str) -> Messages:
    """An IPv4 or IPv6 address in its usual form."""
    return () if parse_ip(value) else ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)


@remember_short(4096)
def parse_ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, None where it is none (netutils.ParseIPSloppy also takes leading zeros in IPv4)."""
    try:
        if ":" not in value and value.count(".") == 3:
            value = ".".join(part.lstrip("0") or "0" if part.isdigit() else part for part in value.split("."))
        found = ipaddress.ip_address(value)
    except ValueError:
        return None
    return None if "%" in value else found


def cidr(value: str) -> Messages:
    return () if parse_cidr(value) else ("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",)


def parse_cidr(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network of a CIDR text, also where host bits are set."""
    address, slash, length = value.partition("/")
    if not slash or not length.isdigit() or (len(length) > 1 and length[0] == "0") or parse_ip(address) is None:
        return None
    try:
        return ipaddress.ip_network(f"{parse_ip(address)}/{length}", strict=False)
    except ValueError:
        return None


def prefix_of(check: Check) -> Check:
    """The check for a generateName: what is cut off after a trailing dash does not count (maskTrailingDash)."""

    def masked(value: str) -> Messages:
        return check(value[:-2] + "a" if len(value) > 1 and value.endswith("-") else value)

    return masked
