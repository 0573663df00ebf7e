"""A pod's status from what is observed: phases, conditions, container states, in upstream's words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.node_builders import NOW, container, ended, observed, pod, running

from groundplane.node.status import pod_status
from groundplane.node.views import Failure, Observed, Verdict


def status_of(a_pod: dict[str, Any], seen: Observed) -> dict[str, Any]:
    return pod_status(a_pod, seen, "192.0.2.1", NOW)


SIDECAR = container("side", restartPolicy="Always")
DELETED = {"deletionTimestamp": "2023-11-14T22:13:50Z", "deletionGracePeriodSeconds": 30}

PHASES: list[tuple[dict[str, Any], Observed, str]] = [
    (pod(), observed(), "Pending"),
    (pod(), observed(running()), "Running"),
    (pod(), observed(ended(code=1)), "Running"),
    (pod(restartPolicy="Never"), observed(ended(code=1)), "Failed"),
    (pod(restartPolicy="Never"), observed(ended(code=0)), "Succeeded"),
    (pod(restartPolicy="Never"), observed(ended(code=None)), "Failed"),
    (pod(container("a"), container("b"), restartPolicy="Never"), observed(ended("a"), running("b")), "Running"),
    (pod(container("a"), container("b")), observed(running("a")), "Pending"),
    (pod(init=(container("i"),)), observed(running("i")), "Pending"),
    (pod(init=(container("i"),), restartPolicy="Never"), observed(ended("i", 1)), "Failed"),
    (pod(init=(container("i"),)), observed(ended("i", 1)), "Pending"),
    (pod(init=(SIDECAR,), restartPolicy="Never"), observed(running("side"), ended()), "Running"),
    (pod(init=(SIDECAR,), restartPolicy="Never"), observed(ended("side", 143), ended()), "Succeeded"),
    (pod(init=(SIDECAR, container("i")), restartPolicy="Never"), observed(running("side"), ended("i", 1)), "Pending"),
    (pod(meta=DELETED), observed(running()), "Running"),
    (pod(meta=DELETED), observed(ended(code=0)), "Succeeded"),
    (pod(meta=DELETED), observed(ended(code=143)), "Failed"),
    (pod(meta=DELETED), observed(), "Failed"),
]


@pytest.mark.parametrize(("a_pod", "seen", "phase"), PHASES)
def test_phase(a_pod: dict[str, Any], seen: Observed, phase: str) -> None:
    assert status_of(a_pod, seen)["phase"] == phase


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


def test_a_ready_pod() -> None:
    status = status_of(pod(), observed(running()))
    assert set(conditions(status).values()) == {"True"}
    assert status["podIP"] == "10.244.0.5"
    assert status["hostIPs"] == [{"ip": "192.0.2.1"}]
    one = status["containerStatuses"][0]
    assert (one["ready"], one["started"], one["containerID"]) == (True, True, "groundplane://web-0")


def test_an_unready_probe_shows_in_both_conditions() -> None:
    seen = observed(running(), verdicts={"web-0": Verdict(ready=False)})
    ready = next(c for c in status_of(pod(), seen)["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [web]"


def test_crash_loop_back_off_in_upstreams_words() -> None:
    seen = observed(ended(code=3, attempt=2, backoff=2, ago=1))
    one = status_of(pod(), seen)["containerStatuses"][0]
    assert one["state"]["waiting"] == {
        "reason": "CrashLoopBackOff",
        "message": "back-off 20s restarting failed container=web pod=p_default(u1)",
    }
    assert one["lastState"]["terminated"]["exitCode"] == 3
    assert one["restartCount"] == 2


def test_a_missing_image_is_a_waiting_reason() -> None:
    seen = observed(failures={"web": Failure("ImagePullBackOff", "Back-off pulling", 1.0)})
    waiting = status_of(pod(), seen)["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "ImagePullBackOff", "message": "Back-off pulling"}


def test_transition_times_stay_while_the_status_does() -> None:
    old = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    foreign = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2019-01-01T00:00:00Z"}
    before = {**pod(), "status": {"conditions": [old, foreign]}}
    found = {c["type"]: c for c in status_of(before, observed(running()))["conditions"]}
    assert found["Ready"]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert found["Initialized"]["lastTransitionTime"] == "2023-11-14T22:13:20Z"
    assert "DisruptionTarget" not in found  # it is not ours to say, nor to say again


def test_an_end_is_final() -> None:
    over = {**pod(), "status": {"phase": "Failed", "reason": "Evicted", "message": "m"}}
    status = status_of(over, observed(ended()))
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")


def test_the_deadlines_failure_is_told_once_nothing_runs() -> None:
    late = {**pod(activeDeadlineSeconds=10, restartPolicy="Never"), "status": {"startTime": "2023-11-14T22:13:05Z"}}
    assert status_of(late, observed(running()))["phase"] == "Running"
    killed = status_of(late, observed(ended(code=0)))  # 5 s after the deadline
    assert (killed["phase"], killed["reason"]) == ("Failed", "DeadlineExceeded")
    in_time = status_of(late, observed(ended(code=0, ago=6)))
    assert in_time["phase"] == "Succeeded"
    assert "reason" not in in_time
    beside = {**late, "spec": {**late["spec"], "initContainers": [SIDECAR]}}
    assert status_of(beside, observed(ended("side", 143), ended(code=0, ago=6)))["phase"] == "Succeeded"


def test_what_is_known_of_an_end_stays_when_its_container_is_gone() -> None:
    over = pod(restartPolicy="Never", meta={**DELETED, "finalizers": ["a/b"]})
    over["status"] = status_of(over, observed(ended(code=7)))
    assert status_of(over, observed(sandbox=""))["containerStatuses"] == over["status"]["containerStatuses"]


def test_sidecars_in_conditions() -> None:
    both = pod(container("b"), container("a"), init=(SIDECAR,))
    seen = observed(running("side"), verdicts={"side-0": Verdict(started=True, ready=False)})
    found = {c["type"]: c for c in status_of(both, seen)["conditions"]}
    assert found["Initialized"]["status"] == "True"  # it has started: more is not asked of it
    assert found["Ready"]["message"] == "containers with unready status: [side b a]"
    crashing = {c["type"]: c for c in status_of(both, observed(ended("side", 1, backoff=3)))["conditions"]}
    assert crashing["Initialized"]["status"] == "False"
    ended_well = status_of(both, observed(ended("side", 0), running("a"), running("b")))
    assert not ended_well["initContainerStatuses"][0]["ready"]
    assert {c["type"]: c["status"] for c in ended_well["conditions"]}["Initialized"] == "True"


def test_every_readiness_gate_that_fails_is_named() -> None:
    gated = pod(readinessGates=[{"conditionType": "a/x"}, {"conditionType": "a/y"}])
    gated["status"]["conditions"] = [{"type": "a/y", "status": "False"}]
    ready = next(c for c in status_of(gated, observed(running()))["conditions"] if c["type"] == "Ready")
    assert ready["message"] == (
        'corresponding condition of pod readiness gate "a/x" does not exist., '
        'the status of pod readiness gate "a/y" is not "True", but False'
    )


def test_a_container_that_vanished_says_so() -> None:
    terminated = status_of(pod(restartPolicy="Never"), observed(ended(code=None)))["containerStatuses"][0]["state"]
    assert terminated["terminated"]["reason"] == "ContainerStatusUnknown"
    assert terminated["terminated"]["exitCode"] == 137


def test_init_containers_hold_back_the_condition() -> None:
    status = status_of(pod(init=(container("i"),)), observed(running("i")))
    initialized = next(c for c in status["conditions"] if c["type"] == "Initialized")
    assert (initialized["status"], initialized["message"]) == ("False", "containers with incomplete status: [i]")
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


def test_what_a_container_was_given() -> None:
    amounts = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}
    mounts = [
        {"name": "work", "mountPath": "/work"},
        {"name": "sec", "mountPath": "/sec", "readOnly": True, "subPath": "a"},
    ]
    shown = [
        {"name": "work", "mountPath": "/work"},
        {"name": "sec", "mountPath": "/sec", "readOnly": True, "recursiveReadOnly": "Disabled"},
    ]
    a_pod = pod(container(resources=amounts, volumeMounts=mounts))
    waiting = status_of(a_pod, observed())["containerStatuses"][0]
    assert "resources" not in waiting
    assert waiting["volumeMounts"] == shown
    one = status_of(a_pod, observed(running()))["containerStatuses"][0]
    assert (one["resources"], one["allocatedResources"]) == (amounts, amounts["requests"])
    assert one["volumeMounts"] == shown
    plain = status_of(pod(), observed(running()))["containerStatuses"][0]
    assert plain["resources"] == {}
    assert not {"allocatedResources", "volumeMounts"} & plain.keys()


def test_a_container_keeps_what_it_was_started_with() -> None:
    small, large = ({"limits": {"cpu": n}, "requests": {"cpu": n}} for n in ("1", "2"))
    before = status_of(pod(container(resources=small)), observed(running()))
    resized = {**pod(container(resources=large)), "status": before}
    status = status_of(resized, observed(running()))
    assert status["containerStatuses"][0]["resources"] == small
    assert status["allocatedResources"] == {"cpu": "1"}
    again = status_of({**resized, "status": status}, observed(running(attempt=1)))
    assert again["containerStatuses"][0]["resources"] == large


def test_what_a_pod_was_given() -> None:
    small = {"requests": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "1Gi"}, "limits": {"memory": "1Gi"}}
    a_pod = pod(container("a", resources=small), container("b", resources=small))
    seen = observed(running("a"), running("b"))
    asked = {"cpu": "100m", "ephemeral-storage": "2Gi", "memory": "128Mi"}
    status = status_of(a_pod, seen)
    assert status["allocatedResources"] == asked
    assert status["resources"] == {"requests": asked, "limits": {"memory": "2Gi"}}
    status = status_of({**a_pod, "status": {"phase": "Running"}}, seen)  # now from its cgroup
    assert status["allocatedResources"] == asked
    assert status["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}
    assert status_of(pod(), observed())["resources"] == {}


def test_what_could_not_be_started_in_the_words_of_containerd() -> None:
    seen = observed(replace(ended(code=127), error="exec: no such file", started_at=0))
    one = status_of(pod(restartPolicy="Never"), seen)["containerStatuses"][0]["state"]["terminated"]
    assert (one["exitCode"], one["reason"], one["startedAt"]) == (128, "StartError", "1970-01-01T00:00:00Z")
