"""The Services' nf_tables table of this node, `ground-<instance>-services`.

    prerouting, output (nat)   ──► dispatch ── (destination . protocol . port) in `services`  ──► a shape's chain
                                            └─ sent to an address of this host, not a virtual one:
                                               (protocol . port) in `nodeports`               ──► a shape's chain
    postrouting (nat)          ──► masquerade: what was marked (node ports), and what does not come from a pod
    input (filter)             ──► virtual addresses end here ("local" route): refuse all but cluster DNS

A packet of an established connection sees none of it: conntrack translates it. The number of Services is felt nowhere:
lookups are hashes, and an endpoint's change is two elements. (A change of a *verdict* makes the kernel check the
table's chains again, 80 ns per Service: half a millisecond with five thousand.)

The kernel's table is the only durable state. After a start it is read back and one transaction sends the difference,
which is nothing where nothing changed: traffic does not notice a restart. Affinity is kept, too.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network

from groundplane.dataplane.services import elements as e
from groundplane.dataplane.services import shapes, stale
from groundplane.dataplane.services.plan import Backend, Front, ServicePlan, Shape, Slots
from groundplane.kernel.netlink.channel import NETFILTER, Channel
from groundplane.kernel.nftables import expressions as x
from groundplane.kernel.nftables import listing
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction

R = x.R
_FORMAT = "2"  # to be raised when rules or maps below change: a table of another format is replaced
_BASE_CHAINS = {"prerouting", "output", "postrouting", "input", "dispatch", "masquerade", "reject", "drop"}
_UNUSED_KEPT = 32  # chains of shapes that nobody has now but somebody had; more than so many are removed


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What the static rules depend on. `pod_links`: how the names of this node's pod links begin."""

    instance: str
    node_ip: str
    services: IPv4Network
    pods: IPv4Network
    pod_links: str
    dns_ip: str = ""  # cluster DNS listens on this virtual address itself

    @property
    def table(self) -> str:
        return f"ground-{self.instance}-services"

    @property
    def digest(self) -> str:
        return sha256(f"{_FORMAT} {self}".encode()).hexdigest()[:16]


class ServiceTable:
    """The table as it is in the kernel, and the plans that it shows. Used by one thread at a time."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._plans: dict[str, ServicePlan] = {}
        self._chains: set[str] = set()
        self._shapes: Counter[Shape] = Counter()
        self._channel = Channel(NETFILTER)
        name = config.table
        front = (o.IPV4_TYPE, o.PROTO_TYPE, o.PORT_TYPE)
        self._sets = shapes.Sets(
            services=o.Set(name, e.SERVICES, front, verdicts=True),
            nodeports=o.Set(name, e.NODEPORTS, front[1:], verdicts=True),
            backends=o.Set(name, e.BACKENDS, (*front, o.MARK_TYPE), data=(o.IPV4_TYPE, o.PORT_TYPE)),
            affinity=o.Set(
                name, "affinity", (*front, o.IPV4_TYPE, o.MARK_TYPE), dynamic=True, timeout=10800, size=1 << 20
            ),
        )

    def close(self) -> None:
        self._channel.close()

    @property
    def plans(self) -> Mapping[str, ServicePlan]:
        return self._plans

    def remembered_slots(self) -> Slots:
        """The backends that the kernel has now: what a first plan after a start keeps its slots by."""
        if not self.is_there():
            return {}
        found: dict[Front, dict[Backend, int]] = {}
        for element in listing.elements(self._channel, self._config.table, e.BACKENDS):
            found.setdefault(e.front_of(element.key), {})[e.backend_of(element.data)] = e.slot_of(element.key)
        return found

    def reconcile(self, plans: Mapping[str, ServicePlan]) -> None:
        """Make the kernel's table show exactly these plans, in one transaction, whatever is there now."""
        transaction = Transaction()
        present: e.Elements = {}
        self._chains = set()
        if self.is_there():
            present = self._read()
            self._chains = set(listing.chains(self._channel, self._config.table)) - _BASE_CHAINS
        else:
            self._add_table(transaction)
        wanted: e.Elements = {}
        for plan in plans.values():
            wanted.update(e.render(plan))
        self._shapes = Counter(shape for plan in plans.values() for shape in plan.shapes.values())
        change = e.difference(present, wanted)
        self._fill(transaction, change, e.all_shapes(plans.values()), unused_kept=0)
        transaction.commit(self._channel)
        self._plans = dict(plans)
        stale.forget(self._channel, self._sets.affinity, change)

    def apply(self, plans: Mapping[str, ServicePlan]) -> None:
        """Show these plans instead of the ones with the same keys; one transaction of what changed.

        Raises NetlinkError where the table is not as we left it (someone flushed the ruleset): then `reconcile`.
        """
        old: e.Elements = {}
        new: e.Elements = {}
        for key, plan in plans.items():
            old.update(e.render(self._plans.get(key, ServicePlan())))
            new.update(e.render(plan))
        transaction = Transaction()
        change = e.difference(old, new)
        self._fill(transaction, change, e.all_shapes(plans.values()), unused_kept=_UNUSED_KEPT)
        transaction.commit(self._channel)
        for key, plan in plans.items():
            self._shapes.subtract(self._plans.get(key, ServicePlan()).shapes.values())
            self._shapes.update(plan.shapes.values())
            self._plans[key] = plan
            if not plan.shapes:
                del self._plans[key]
        stale.forget(self._channel, self._sets.affinity, change)

    def teardown(self) -> None:
        """Remove the table."""
        Transaction([o.add_table(self._config.table), o.delete_table(self._config.table)]).commit(self._channel)
        self._plans, self._chains = {}, set()
        self._shapes.clear()

    def is_there(self) -> bool:
        """Whether the kernel has our table, of this format and configuration."""
        return listing.tables(self._channel).get(self._config.table) == self._config.digest

    def _read(self) -> e.Elements:
        found: e.Elements = {}
        for name in (e.SERVICES, e.NODEPORTS, e.BACKENDS):
            for element in listing.elements(self._channel, self._config.table, name):
                found[name, element.key] = element.verdict or element.data
        return found

    def _fill(self, t: Transaction, change: e.Change, wanted: Iterable[Shape], *, unused_kept: int) -> None:
        """Chains first, then elements, then the chains that nothing leads to any more.

        `_chains` runs ahead of the commit: where that is refused, `reconcile` reads the kernel's chains again.
        """
        for shape in sorted(wanted):
            for name, rules in shapes.chains(shape, self._sets, self._config.pods):
                if name not in self._chains and name not in _BASE_CHAINS:
                    t.add(o.add_chain(self._config.table, name))
                    t.extend(o.add_rule(self._config.table, name, *rule) for rule in rules(t))
                    self._chains.add(name)
        for s in (self._sets.services, self._sets.nodeports, self._sets.backends):
            gone = (o.Element(key) for (name, key), _ in change.gone if name == s.name)
            t.extend(o.delete_elements(s, gone))
            new = (_element(s, key, data) for (name, key), data in change.new if name == s.name)
            t.extend(o.add_elements(s, new))
        self._remove_unused(t, set(wanted), unused_kept)

    def _remove_unused(self, t: Transaction, wanted: set[Shape], kept: int) -> None:
        if len(self._chains) <= kept:
            return
        # A shape that only the replaced plans had still counts here; it goes with a later change.
        used = wanted | {shape for shape, count in self._shapes.items() if count > 0}
        needed = {name for shape in used for name, _ in shapes.chains(shape, self._sets, self._config.pods)}
        unused = sorted(self._chains - needed)
        if len(unused) <= kept:
            return
        t.extend(o.flush_chain(self._config.table, name) for name in unused)  # they may lead to each other
        t.extend(o.delete_chain(self._config.table, name) for name in unused)
        self._chains -= set(unused)

    def _add_table(self, t: Transaction) -> None:
        c = self._config
        t.add(o.add_table(c.table), o.delete_table(c.table), o.add_table(c.table, c.digest))
        t.extend(o.add_set(s) for s in self._sets)
        for name in ("dispatch", "masquerade", "reject", "drop"):
            t.add(o.add_chain(c.table, name))
        t.add(
            o.add_base_chain(c.table, "prerouting", "nat", o.PREROUTING, o.DSTNAT),
            o.add_base_chain(c.table, "output", "nat", o.OUTPUT, o.DSTNAT),
            o.add_base_chain(c.table, "postrouting", "nat", o.POSTROUTING, o.SRCNAT),
            o.add_base_chain(c.table, "input", "filter", o.INPUT, o.FILTER),
        )
        for chain, rule in self._static_rules():
            t.add(o.add_rule(c.table, chain, *rule))

    def _static_rules(self) -> list[tuple[str, tuple[bytes, ...]]]:
        c = self._config
        node_ip, links = socket.inet_aton(c.node_ip), c.pod_links.encode()
        front = (x.daddr(R[0]), x.l4proto(R[1]), x.dport(R[2]))
        virtual = (x.mask(R[0], c.services.netmask.packed), x.cmp(R[0], c.services.network_address.packed))
        real = (x.daddr(R[0]), virtual[0], x.cmp(R[0], c.services.network_address.packed, x.NEQ))
        to_host = (x.fib_daddr_type(R[0]), x.cmp(R[0], x.host32(x.LOCAL)))
        port = (x.l4proto(R[0]), x.dport(R[1]), x.lookup(e.NODEPORTS, R[0], x.VERDICT))
        marked = (x.mark(R[0]), x.mask(R[0], x.host32(shapes.MARK)), x.cmp(R[0], x.host32(shapes.MARK)))
        translated = (x.ct_status(R[0]), x.mask(R[0], x.host32(x.CT_STATUS_DNAT)), x.cmp(R[0], x.host32(0), x.NEQ))
        no_pod = (
            x.saddr(R[0]),
            x.mask(R[0], c.pods.netmask.packed),
            x.cmp(R[0], c.pods.network_address.packed, x.NEQ),
        )
        clear = (x.mark(R[0]), x.mask(R[0], x.host32(~shapes.MARK & 0xFFFFFFFF)), x.set_mark(R[0]))
        rules = [
            ("reject", (x.reject(),)),
            ("drop", (x.drop(),)),
            ("prerouting", (x.jump("dispatch"),)),
            ("output", (x.jump("dispatch"),)),
            ("dispatch", (*front, x.lookup(e.SERVICES, R[0], x.VERDICT))),
            ("dispatch", (*real, *to_host, *port)),
            ("postrouting", (*marked, x.goto("masquerade"))),
            ("postrouting", (x.ct_original_daddr(R[0]), *virtual, *translated, *no_pod, x.goto("masquerade"))),
            ("masquerade", clear),
            ("masquerade", (x.saddr(R[0]), x.cmp(R[0], node_ip), x.accept())),
            (
                "masquerade",
                (x.oifname(R[0]), x.cmp(R[0], links), x.immediate(R[0], node_ip), x.snat(R[0])),
            ),
            ("masquerade", (x.masquerade(),)),
        ]
        if c.dns_ip:
            dns = (x.daddr(R[0]), x.cmp(R[0], socket.inet_aton(c.dns_ip)), x.dport(R[0]), x.cmp(R[0], b"\0\x35"))
            rules.append(("input", (*dns, x.accept())))
        rules.append(("input", (x.daddr(R[0]), *virtual, x.reject())))
        return rules


def is_lost(error: int) -> bool:
    """Errors of `apply` that mean: the kernel's table is not as we left it."""
    return error in (errno.ENOENT, errno.EEXIST)


def _element(s: o.Set, key: bytes, data: bytes) -> o.Element:
    return o.Element(key, verdict=x.goto_data(data.decode())) if s.verdicts else o.Element(key, data)
