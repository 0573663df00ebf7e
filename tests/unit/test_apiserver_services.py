"""Cluster IPs and node ports: given in the request, kept over updates, free again afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.fakes.machine import bench

from groundplane.apiserver import delivery
from groundplane.apiserver.services.ranges import Full, OutOfRange, Range, Taken, ip_band, port_band
from groundplane.apiserver.upkeep import OWN_EVERY, Upkeep
from groundplane.client.contract import MERGE_PATCH

SERVICES = "/api/v1/namespaces/default/services"


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def test_ranges() -> None:
    numbers = Range(10, 13, 2)
    assert sorted(numbers.take_any() for _ in range(2)) == [12, 13]  # the band at the front is for people
    numbers.take(10)
    assert numbers.take_any() == 11
    with pytest.raises(Full):
        numbers.take_any()
    with pytest.raises(Taken):
        numbers.take(10)
    with pytest.raises(OutOfRange):
        numbers.take(14)
    numbers.free(12)
    assert numbers.take_any() == 12


def test_bands() -> None:
    assert (ip_band(16), ip_band(254), ip_band(65534)) == (0, 16, 256)
    assert (port_band(16), port_band(2768)) == (0, 86)


def test_addresses_live_as_long_as_their_service() -> None:
    async def work() -> None:
        async with bench() as b:
            made = await b.ok("POST", SERVICES, service("a", type="NodePort"))
            ip, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
            assert made["spec"]["clusterIPs"] == [ip]
            taken = await b.refused("POST", SERVICES, service("b", clusterIP=ip))
            assert "provided IP is already allocated" in taken["message"]
            put = {**made, "spec": {"ports": [{"port": 81}], "type": "NodePort"}}
            put["spec"]["ports"][0]["name"] = ""
            kept = await b.ok("PUT", f"{SERVICES}/a", put)
            assert kept["spec"]["clusterIP"] == ip
            await b.ok("DELETE", f"{SERVICES}/a")
            again = await b.ok("POST", SERVICES, service("b", clusterIP=ip))
            assert again["spec"]["clusterIP"] == ip
            reuse = service("c", type="NodePort")
            reuse["spec"]["ports"][0]["nodePort"] = port
            await b.ok("POST", SERVICES, reuse)

    asyncio.run(work())


def test_a_second_family_is_refused_as_on_a_single_stack_cluster() -> None:
    async def work() -> None:
        async with bench() as b:
            both = ["IPv4", "IPv6"]
            refused = await b.refused("POST", SERVICES, service("a", ipFamilyPolicy="RequireDualStack"))
            assert refused["message"] == (
                'Service "a" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
                "this cluster is not configured for dual-stack services"
            )
            refused = await b.refused("POST", SERVICES, service("a", ipFamilies=["IPv6"]))
            assert 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster' in refused["message"]
            refused = await b.refused("POST", SERVICES, service("a", ipFamilies=both))
            assert "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP" in refused["message"]
            made = await b.ok("POST", SERVICES, service("a", ipFamilyPolicy="PreferDualStack"))
            assert (made["spec"]["ipFamilyPolicy"], made["spec"]["ipFamilies"]) == ("PreferDualStack", ["IPv4"])
            made = await b.ok("POST", SERVICES, service("b", clusterIP="None", selector={"a": "b"}))
            assert (made["spec"]["ipFamilyPolicy"], made["spec"]["ipFamilies"]) == ("SingleStack", ["IPv4"])
            made = await b.ok("POST", SERVICES, service("c", clusterIP="None"))
            assert (made["spec"]["ipFamilyPolicy"], made["spec"]["ipFamilies"]) == ("RequireDualStack", both)

    asyncio.run(work())


def test_the_clusters_own_service_comes_back() -> None:
    async def work() -> None:
        async with bench() as b:
            await delivery.deliver(b.machine, "10.0.0.1")
            before = await b.ok("GET", f"{SERVICES}/kubernetes")
            slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
            for path in (SERVICES, "/api/v1/namespaces/default/endpoints", slices):
                await b.ok("DELETE", f"{path}/kubernetes")
            upkeep = Upkeep(b.machine, "10.0.0.1")
            upkeep.start()
            await b.clock.advance(OWN_EVERY)
            after = await b.ok("GET", f"{SERVICES}/kubernetes")
            assert after["spec"] == before["spec"] and after["metadata"]["uid"] != before["metadata"]["uid"]
            [found] = (await b.ok("GET", slices))["items"]
            assert found["endpoints"][0]["addresses"] == ["10.0.0.1"]
            revision = b.machine.cache.revision
            await b.clock.advance(OWN_EVERY)
            assert b.machine.cache.revision == revision  # what is there is left alone
            await upkeep.stop()

    asyncio.run(work())


def test_what_comes_to_nothing_takes_nothing() -> None:
    async def work() -> None:
        async with bench() as b:
            wanted = service("a", clusterIP="10.96.0.77")
            await b.ok("POST", SERVICES, wanted, dryRun="All")
            await b.refused("POST", SERVICES, {**wanted, "spec": {**wanted["spec"], "ports": []}})
            await b.ok("POST", SERVICES, wanted)
            changed = await b.ok(
                "PATCH", f"{SERVICES}/a", {"spec": {"type": "ExternalName", "externalName": "x.y"}}, MERGE_PATCH
            )
            assert "clusterIP" not in changed["spec"] or not changed["spec"]["clusterIP"]
            await b.ok("POST", SERVICES, service("b", clusterIP="10.96.0.77"))

    asyncio.run(work())


def test_a_restart_knows_who_has_what() -> None:
    async def work() -> None:
        async with bench() as b:
            ip = (await b.ok("POST", SERVICES, service("a")))["spec"]["clusterIP"]
            async with bench(b.store) as again:
                refused = await again.refused("POST", SERVICES, service("b", clusterIP=ip))
                assert refused["code"] == 422

    asyncio.run(work())
