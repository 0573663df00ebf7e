"""What a Service becomes: kube-proxy's choices as a table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.net_services import endpoint, port, service, slice_of

from groundplane.dataplane.services import elements
from groundplane.dataplane.services.gate import EndpointGate
from groundplane.dataplane.services.plan import (
    ANY_NODE,
    DROP,
    REJECT,
    THIS_NODE,
    Backend,
    Front,
    ServicePlan,
    Shape,
    assign,
    plan_service,
)

WEB = Front("10.96.0.20", 6, 80)
LEAVING = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}


def plan(one: dict[str, Any], *slices: dict[str, Any], before: Any = None) -> ServicePlan:
    return plan_service(one, slices, "n1", before or {})


def test_a_service_with_two_endpoints() -> None:
    made = plan(service(), slice_of("web", endpoint("10.244.0.5"), endpoint("10.244.0.4")))
    assert made.shapes == {WEB: Shape("cluster", (0, 1))}
    assert made.backends == {WEB: {Backend("10.244.0.4", 8080): 0, Backend("10.244.0.5", 8080): 1}}
    assert made.active == {"10.244.0.4", "10.244.0.5"}


def test_endpoints_stand_in_several_slices_and_count_once() -> None:
    first = slice_of("web", endpoint("10.244.0.4", ready=False), endpoint("10.244.0.5"))
    second = slice_of("web", endpoint("10.244.0.4"))
    assert plan(service(), first, second).shapes[WEB] == Shape("cluster", (0, 1))


def test_ports_are_matched_by_name_and_protocol() -> None:
    one = service("dns", "10.96.0.20", port(53, "udp", "UDP"), port(53, "tcp", "TCP"))
    udp = slice_of("dns", endpoint("10.244.0.4"), to=5353, port_name="udp", protocol="UDP")
    made = plan(one, udp)
    assert made.shapes == {
        Front("10.96.0.20", 17, 53): Shape("cluster", (0,)),
        Front("10.96.0.20", 6, 53): REJECT,
    }


@pytest.mark.parametrize(
    ("endpoints", "shape"),
    [
        ([], REJECT),
        ([endpoint("10.244.0.4", ready=False)], REJECT),
        ([endpoint("10.244.0.4", **GONE)], REJECT),
        ([endpoint("10.244.0.4", **LEAVING)], Shape("cluster", (0,))),
        ([endpoint("10.244.0.4", **LEAVING), endpoint("10.244.0.5")], Shape("cluster", (0,))),
        ([{"addresses": ["10.244.0.4"]}], Shape("cluster", (0,))),
        ([{"addresses": []}, {"addresses": ["10.1"]}, {"addresses": ["web"]}, {"addresses": ["fd00::1"]}], REJECT),
    ],
    ids=["none", "unready", "gone", "only leaving", "leaving and ready", "no conditions", "no addresses"],
)
def test_which_endpoints_are_used(endpoints: list[dict[str, Any]], shape: Shape) -> None:
    assert plan(service(), slice_of("web", *endpoints)).shapes == {WEB: shape}


def test_an_endpoint_that_leaves_is_not_active_though_it_is_used() -> None:
    made = plan(service(), slice_of("web", endpoint("10.244.0.4", **LEAVING)))
    assert made.backends and made.active == frozenset()


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "ExternalName", "externalName": "example.org"},
        {"clusterIP": "None", "clusterIPs": ["None"]},
        {"clusterIP": "", "clusterIPs": []},
        {"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]},
    ],
)
def test_services_without_a_virtual_address_have_no_fronts(spec: dict[str, Any]) -> None:
    assert plan(service(**spec), slice_of("web", endpoint("10.244.0.4"))) == ServicePlan()


def test_a_service_of_another_proxy_is_left_alone() -> None:
    one = service()
    one["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "mine"}
    assert plan(one, slice_of("web", endpoint("10.244.0.4"))) == ServicePlan()


def test_internal_policy_local_uses_this_node_or_drops() -> None:
    one = service(internalTrafficPolicy="Local")
    here = plan(one, slice_of("web", endpoint("10.244.0.4"), endpoint("10.244.1.4", "n2")))
    assert list(here.backends[WEB]) == [Backend("10.244.0.4", 8080)]
    assert plan(one, slice_of("web", endpoint("10.244.1.4", "n2"))).shapes == {WEB: DROP}
    assert plan(one).shapes == {WEB: REJECT}


def node_service(**spec: Any) -> dict[str, Any]:
    return service("web", "10.96.0.20", port(80, node_port=30080), type="NodePort", **spec)


def test_a_node_port_has_its_own_front() -> None:
    made = plan(node_service(), slice_of("web", endpoint("10.244.0.4"), endpoint("10.244.1.4", "n2")))
    assert made.shapes == {WEB: Shape("cluster", (0, 1)), Front(ANY_NODE, 6, 30080): Shape("node", (0, 1))}
    assert plan(node_service()).shapes[Front(ANY_NODE, 6, 30080)] == REJECT


def test_external_policy_local_keeps_both_lists() -> None:
    one = node_service(externalTrafficPolicy="Local")
    made = plan(one, slice_of("web", endpoint("10.244.0.4"), endpoint("10.244.1.4", "n2")))
    assert made.shapes[Front(ANY_NODE, 6, 30080)] == Shape("node-local", (0, 1), (0,))
    assert list(made.backends[Front(THIS_NODE, 6, 30080)]) == [Backend("10.244.0.4", 8080)]
    away = plan(one, slice_of("web", endpoint("10.244.1.4", "n2")))
    assert away.shapes[Front(ANY_NODE, 6, 30080)] == Shape("node-local", (0,), ())


def test_session_affinity_has_a_timeout() -> None:
    sticky = service(sessionAffinity="ClientIP")
    assert plan(sticky, slice_of("web", endpoint("10.244.0.4"))).shapes[WEB].sticky == 10800
    short = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 5}})
    assert plan(short, slice_of("web", endpoint("10.244.0.4"))).shapes[WEB].sticky == 5


def test_a_sticky_endpoint_keeps_its_slot_when_another_leaves() -> None:
    one = service(sessionAffinity="ClientIP")
    before = plan(one, slice_of("web", *(endpoint(f"10.244.0.{i}") for i in (4, 5, 6))))
    after = plan(one, slice_of("web", endpoint("10.244.0.4"), endpoint("10.244.0.6")), before=before.backends)
    assert after.shapes[WEB] == Shape("cluster", (0, 2), sticky=10800)
    assert after.backends[WEB][Backend("10.244.0.6", 8080)] == 2


backends = st.lists(st.integers(1, 30), unique=True).map(lambda n: [Backend(f"10.0.0.{i}", 80) for i in n])


@given(backends, backends, st.booleans())
@settings(derandomize=True)
def test_slots_are_unique_and_move_only_where_they_must(old: list[Backend], new: list[Backend], sparse: bool) -> None:
    before = assign({}, old, sparse=sparse)
    after = assign(before, new, sparse=sparse)
    assert set(after) == set(new)
    assert len(set(after.values())) == len(new)
    if not sparse:
        assert sorted(after.values()) == list(range(len(new)))
    for backend in set(old) & set(new):
        if sparse or before[backend] < len(new):
            assert after[backend] == before[backend]


def test_one_changed_endpoint_is_one_changed_element() -> None:
    old = plan(service(), slice_of("web", endpoint("10.244.0.4"), endpoint("10.244.0.5")))
    new = plan(service(), slice_of("web", endpoint("10.244.0.4"), endpoint("10.244.0.9")), before=old.backends)
    change = elements.difference(elements.render(old), elements.render(new))
    assert [len(change.gone), len(change.new)] == [1, 1]
    [((name, key), _)] = change.gone
    assert (name, elements.front_of(key), elements.slot_of(key)) == (elements.BACKENDS, WEB, 1)


def test_the_gate_opens_when_no_service_sends_any_more(run: Any) -> None:
    async def work() -> None:
        gate = EndpointGate()
        assert await gate.endpoint_gone("10.244.0.4", 1)
        gate.change([], ["10.244.0.4"])
        gate.change([], ["10.244.0.4"])  # a second Service
        assert not await gate.endpoint_gone("10.244.0.4", 0.01)
        import asyncio

        waiting = asyncio.ensure_future(gate.endpoint_gone("10.244.0.4", 5))
        await asyncio.sleep(0)
        gate.change(["10.244.0.4"], [])
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.change(["10.244.0.4"], [])
        assert await waiting

    run(work())


def test_the_gate_does_not_open_for_the_next_owner_of_an_address(run: Any) -> None:
    """Whoever waited for the former one in vain must not have left the gate open."""

    async def work() -> None:
        gate = EndpointGate()
        gate.change([], ["10.244.0.4"])
        assert not await gate.endpoint_gone("10.244.0.4", 0.01)
        gate.change(["10.244.0.4"], [])
        gate.change([], ["10.244.0.4"])
        assert not await gate.endpoint_gone("10.244.0.4", 0.01)

    run(work())
