"""Expressions of nf_tables rules (linux/netfilter/nf_tables.h; Linux ≥5.15), each as the bytes of one list element.

A rule is expressions in order; the first that does not match ends the rule (NFT_BREAK). Registers are `R[0]` … `R[15]`,
4 bytes each. Functions that are named like nft's own words read like nft(8): `daddr(R[0])`, `cmp(R[0], …)`.
"""

from __future__ import annotations

import struct

from groundplane.kernel.netlink.attributes import attr, be32, be64, nest, text, u8

R = tuple(range(8, 24))  # NFT_REG32_00 … NFT_REG32_15
VERDICT = 0  # NFT_REG_VERDICT

EQ, NEQ = 0, 1

_NETWORK, _TRANSPORT = 1, 2
_META_MARK, _META_IIFNAME, _META_OIFNAME, _META_L4PROTO = 3, 6, 7, 16
_CT_STATE, _CT_STATUS, _CT_DST_IP = 0, 2, 20
_ORIGINAL = 0
_FIB_ADDRTYPE, _FIB_SADDR, _FIB_DADDR = 3, 1, 2
LOCAL = 2  # RTN_LOCAL, what `fib … type` gives for an address of this host
CT_STATUS_DNAT = 0x20  # IPS_DST_NAT
CT_NEW = 1 << 3  # NF_CT_STATE_BIT(IP_CT_NEW)

_ACCEPT, _DROP, _JUMP, _GOTO, _RETURN = 1, 0, -3, -4, -5
_HOST32 = struct.Struct("=I")


def host32(value: int) -> bytes:
    """A number as it stands in a register that meta, ct, fib or numgen filled."""
    return _HOST32.pack(value)


def expression(name: str, *members: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *members))  # NFTA_LIST_ELEM {NFTA_EXPR_NAME, NFTA_EXPR_DATA}


def value(data: bytes) -> bytes:
    return attr(1, data)  # NFTA_DATA_VALUE


# Loading registers


def _payload(register: int, base: int, offset: int, size: int) -> bytes:
    return expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, size))


def saddr(register: int) -> bytes:
    """IPv4 source address."""
    return _payload(register, _NETWORK, 12, 4)


def daddr(register: int) -> bytes:
    """IPv4 destination address."""
    return _payload(register, _NETWORK, 16, 4)


def dport(register: int) -> bytes:
    """Destination port of TCP, UDP and SCTP. No match for a packet without a transport header."""
    return _payload(register, _TRANSPORT, 2, 2)


def l4proto(register: int) -> bytes:
    return _meta(register, _META_L4PROTO)


def iifname(register: int) -> bytes:
    return _meta(register, _META_IIFNAME)


def oifname(register: int) -> bytes:
    return _meta(register, _META_OIFNAME)


def mark(register: int) -> bytes:
    return _meta(register, _META_MARK)


def _meta(register: int, key: int) -> bytes:
    return expression("meta", be32(1, register), be32(2, key))


def set_mark(register: int) -> bytes:
    return expression("meta", be32(2, _META_MARK), be32(3, register))


def ct_state(register: int) -> bytes:
    return expression("ct", be32(1, register), be32(2, _CT_STATE))


def ct_status(register: int) -> bytes:
    return expression("ct", be32(1, register), be32(2, _CT_STATUS))


def ct_original_daddr(register: int) -> bytes:
    """Where the connection's first packet was sent to, before any translation. (NFT_CT_DST_IP, Linux ≥4.17)"""
    return expression("ct", be32(1, register), be32(2, _CT_DST_IP), u8(3, _ORIGINAL))


def fib_daddr_type(register: int) -> bytes:
    return expression("fib", be32(1, register), be32(2, _FIB_ADDRTYPE), be32(3, _FIB_DADDR))


def fib_saddr_type(register: int) -> bytes:
    return expression("fib", be32(1, register), be32(2, _FIB_ADDRTYPE), be32(3, _FIB_SADDR))


def immediate(register: int, data: bytes) -> bytes:
    return expression("immediate", be32(1, register), nest(2, value(data)))


def random(register: int, modulus: int) -> bytes:
    """A random number below `modulus`, in host order."""
    return expression("numgen", be32(1, register), be32(2, modulus), be32(3, 1))


def jhash(register: int, source: int, size: int, modulus: int, seed: int = 0) -> bytes:
    """A hash of `size` bytes of registers from `source` on, below `modulus`, in host order."""
    return expression("hash", be32(1, source), be32(2, register), be32(3, size), be32(4, modulus), be32(5, seed))


def mask(register: int, bits: bytes, xor: bytes | None = None) -> bytes:
    """register = register & bits ^ xor."""
    return expression(
        "bitwise",
        be32(1, register),
        be32(2, register),
        be32(3, len(bits)),
        nest(4, value(bits)),
        nest(5, value(xor or bytes(len(bits)))),
    )


# Deciding


def cmp(register: int, data: bytes, operation: int = EQ) -> bytes:
    """Go on where the register begins with `data` (or does not: NEQ)."""
    return expression("cmp", be32(1, register), be32(2, operation), nest(3, value(data)))


def lookup(name: str, register: int, into: int | None = None, *, set_id: int = 0) -> bytes:
    """Go on where the key is in the set; a map's data go `into` a register, a verdict map's `into` VERDICT."""
    members = [text(1, name), be32(2, register)]
    if into is not None:
        members.append(be32(3, into))
    if set_id:
        members.append(be32(4, set_id))
    return expression("lookup", *members)


def not_in(name: str, register: int) -> bytes:
    return expression("lookup", text(1, name), be32(2, register), be32(5, 1))  # NFT_LOOKUP_F_INV


def remember(name: str, key: int, data: int | None = None, *, seconds: int = 0) -> bytes:
    """Add or refresh an element of a dynamic set or map from registers; it is forgotten after `seconds`."""
    members = [text(1, name), be32(3, 1), be32(4, key)]  # NFT_DYNSET_OP_UPDATE
    if data is not None:
        members.append(be32(5, data))
    if seconds:
        members.append(be64(6, seconds * 1000))
    return expression("dynset", *members)


# Acting


def counter() -> bytes:
    return expression("counter", be64(1, 0), be64(2, 0))


def dnat(address: int, port: int | None = None) -> bytes:
    """Send the connection to the address (and port) in registers."""
    return _nat(1, address, port)


def snat(address: int) -> bytes:
    """Let the connection come from the address in a register, from its own port where that is free, else another.

    Not `fully-random`, as kube-proxy has it: a random port soon meets one that the endpoint still holds in TIME_WAIT,
    and then the client's SYN is answered a second later (measured: 36 times in 22,000 connections; without it, never).
    """
    return _nat(0, address, None)


def _nat(kind: int, address: int, port: int | None) -> bytes:
    members = [be32(1, kind), be32(2, 2), be32(3, address)]  # family: NFPROTO_IPV4
    if port is not None:
        members.append(be32(5, port))
    return expression("nat", *members)


def masquerade() -> bytes:
    """Let the connection come from the outgoing link's address; the port as with `snat`."""
    return expression("masq")


def reject() -> bytes:
    """Drop and answer with ICMP port unreachable, which TCP's connect reports as a refused connection."""
    return expression("reject", be32(1, 0), u8(2, 3))


def reset() -> bytes:
    """Drop and answer with a TCP reset; only for TCP."""
    return expression("reject", be32(1, 1), u8(2, 0))


def log(prefix: str) -> bytes:
    return expression("log", text(2, prefix))


def verdict_data(code: int, chain: str = "") -> bytes:
    """The payload of a verdict: for `immediate` and for elements of verdict maps."""
    members = [be32(1, code & 0xFFFFFFFF)]
    if chain:
        members.append(text(2, chain))
    return nest(2, *members)  # NFTA_DATA_VERDICT


def goto_data(chain: str) -> bytes:
    return verdict_data(_GOTO, chain)


def _verdict(code: int, chain: str = "") -> bytes:
    return expression("immediate", be32(1, VERDICT), nest(2, verdict_data(code, chain)))


def accept() -> bytes:
    return _verdict(_ACCEPT)


def drop() -> bytes:
    return _verdict(_DROP)


def jump(chain: str) -> bytes:
    return _verdict(_JUMP, chain)


def goto(chain: str) -> bytes:
    return _verdict(_GOTO, chain)


def leave() -> bytes:
    """nft's `return`: back to the chain that jumped here."""
    return _verdict(_RETURN)
