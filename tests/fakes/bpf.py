"""An interpreter of classic BPF (Documentation/networking/filter.rst), as far as a seccomp filter may use it."""

from __future__ import annotations

import struct

_LD_ABS, _JA, _JEQ, _JGT, _JGE, _JSET, _AND, _RET = 0x20, 0x05, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06


def run(program: bytes, number: int, arch: int, arguments: tuple[int, ...] = ()) -> int:
    """The action for one call. Raises AssertionError for a program that the kernel would refuse."""
    padded = (*arguments, *([0] * (6 - len(arguments))))
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        assert at < len(code), "a jump beyond the end"
        operation, true, false, constant = code[at]
        at += 1
        if operation == _RET:
            return int(constant)
        if operation == _LD_ABS:
            assert constant % 4 == 0
            assert constant < 64
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif operation == _AND:
            accumulator &= constant
        elif operation == _JA:
            at += constant
        else:
            holds = {
                _JEQ: accumulator == constant,
                _JGT: accumulator > constant,
                _JGE: accumulator >= constant,
                _JSET: bool(accumulator & constant),
            }[operation]
            at += true if holds else false
