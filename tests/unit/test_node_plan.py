"""What the node does next for a pod, as a table: pod and observation in, plan out."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.node_builders import NOW, SANDBOX, container, ended, observed, pod, running

from groundplane.node.plan import Plan, backoff_of, plan
from groundplane.node.views import Failure, Observed, Verdict

SIDECAR = container("side", restartPolicy="Always")


def planned(a_pod: dict[str, Any], seen: Observed) -> Plan:
    return plan(a_pod, seen, NOW, 100.0)


def started(todo: Plan) -> list[tuple[str, int]]:
    return [(s.container["name"], s.attempt) for s in todo.start]


def test_a_new_pod_gets_its_sandbox_first() -> None:
    todo = planned(pod(), observed(sandbox=""))
    assert todo.create_sandbox
    assert not todo.start


STARTS: list[tuple[str, dict[str, Any], Observed, list[tuple[str, int]]]] = [
    ("containers start together", pod(container("a"), container("b")), observed(), [("a", 0), ("b", 0)]),
    ("nothing to do", pod(), observed(running()), []),
    ("first restart is at once", pod(), observed(ended(code=1)), [("web", 1)]),
    ("second restart waits 10 s", pod(), observed(ended(code=1, backoff=1, ago=9)), []),
    ("and then comes", pod(), observed(ended(code=1, attempt=1, backoff=1, ago=10)), [("web", 2)]),
    ("a long run forgets", pod(), observed(ended(code=1, attempt=7, backoff=7, ran=601)), [("web", 8)]),
    ("Always restarts success too", pod(), observed(ended(code=0)), [("web", 1)]),
    ("OnFailure leaves success", pod(restartPolicy="OnFailure"), observed(ended(code=0)), []),
    ("OnFailure restarts failure", pod(restartPolicy="OnFailure"), observed(ended(code=2)), [("web", 1)]),
    ("Never leaves failure", pod(restartPolicy="Never"), observed(ended(code=2)), []),
    ("init first", pod(init=(container("i"), container("j"))), observed(), [("i", 0)]),
    ("one init after the other", pod(init=(container("i"), container("j"))), observed(ended("i")), [("j", 0)]),
    ("apps wait for init", pod(init=(container("i"),)), observed(running("i")), []),
    ("apps after init", pod(init=(container("i"),)), observed(ended("i")), [("web", 0)]),
    ("failed init again", pod(init=(container("i"),)), observed(ended("i", 1)), [("i", 1)]),
    ("init is not repeated", pod(init=(container("i"),)), observed(running()), []),
    ("but in a new sandbox it is", pod(init=(container("i"),)), observed(ended("i", sandbox="old")), [("i", 1)]),
    ("where nothing of the former one waits", pod(), observed(ended(code=1, backoff=4, sandbox="old")), [("web", 1)]),
    ("a sidecar is passed by", pod(init=(SIDECAR, container("i"))), observed(running("side")), [("i", 0)]),
    ("a sidecar restarts", pod(init=(SIDECAR,)), observed(ended("side", 0), running()), [("side", 1)]),
    (
        "what is done is done, in a new sandbox too",
        pod(container("a"), container("b"), restartPolicy="OnFailure"),
        observed(ended("a", sandbox="old"), ended("b", 137, sandbox="old")),
        [("b", 1)],
    ),
    (
        "a changed image waits for nothing",
        pod(container(image="web:2")),
        observed(ended(code=1, backoff=9)),
        [("web", 1)],
    ),
    ("nor an end that the clock says is to come", pod(), observed(ended(code=1, backoff=9, ago=-3600)), [("web", 1)]),
    (
        "a failure is waited for",
        pod(),
        observed(failures={"web": Failure("ErrImagePull", "m", retry_at=101.0)}),
        [],
    ),
    (
        "but not with another image",
        pod(),
        observed(failures={"web": Failure("ErrImagePull", "m", retry_at=101.0, image="web:0")}),
        [("web", 0)],
    ),
    ("and tried again", pod(), observed(failures={"web": Failure("ErrImagePull", "m", retry_at=99.0)}), [("web", 0)]),
]


@pytest.mark.parametrize(("a_pod", "seen", "expected"), [s[1:] for s in STARTS], ids=[s[0] for s in STARTS])
def test_what_is_started(a_pod: dict[str, Any], seen: Observed, expected: list[tuple[str, int]]) -> None:
    assert started(planned(a_pod, seen)) == expected


def test_waiting_says_how_long() -> None:
    assert planned(pod(), observed(ended(code=1, backoff=1, ago=4))).wait == pytest.approx(6.0)


@pytest.mark.parametrize(("ends", "seconds"), [(0, 0), (1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (50, 300)])
def test_back_off_doubles_up_to_five_minutes(ends: int, seconds: float) -> None:
    assert backoff_of(ended(code=1, backoff=ends)) == seconds


def test_a_changed_image_ends_the_container_first() -> None:
    todo = planned(pod(container(image="web:2")), observed(running()))
    assert [k.reason for k in todo.kill] == ["Container web definition changed, will be restarted"]
    assert not todo.start


def test_a_failed_liveness_probe_ends_the_container() -> None:
    liveness = {"terminationGracePeriodSeconds": 3}
    seen = observed(running(), verdicts={"web-0": Verdict(unhealthy="liveness")})
    todo = planned(pod(container(livenessProbe=liveness)), seen)
    assert [(k.reason, k.grace) for k in todo.kill] == [("Container web failed liveness probe, will be restarted", 3.0)]


def test_a_failed_probe_in_upstreams_words() -> None:
    probe = container(livenessProbe={})
    seen = observed(running(), verdicts={"web-0": Verdict(unhealthy="liveness")})
    [kill] = planned(pod(probe, restartPolicy="Never"), seen).kill
    assert kill.reason == "Container web failed liveness probe"
    seen = observed(running("side"), running(), verdicts={"side-0": Verdict(unhealthy="startup")})
    [kill] = planned(pod(init=({**SIDECAR, "startupProbe": {}},)), seen).kill
    assert kill.reason == "Init container side failed startup probe"


def test_an_init_container_ends_with_the_image_it_began_with() -> None:
    assert not planned(pod(init=(container("i", image="i:2"),)), observed(running("i"))).kill


def test_sidecars_outlive_the_others_and_end_in_reverse_order() -> None:
    other = {**SIDECAR, "name": "other"}
    deleted = {"deletionTimestamp": "2023-11-14T22:13:27Z", "deletionGracePeriodSeconds": 10}  # 3 s of it are over
    a_pod = pod(init=(SIDECAR, other), meta=deleted)
    seen = observed(running("side"), running("other"), running())
    assert [(k.view.name, k.grace) for k in planned(a_pod, seen).kill] == [("web", 10.0)]
    seen = observed(running("side"), running("other"), ended())
    assert [(k.view.name, k.grace) for k in planned(a_pod, seen).kill] == [("other", 7.0)]
    seen = observed(running("side"), ended("other"), ended())
    assert [(k.view.name, k.grace) for k in planned(a_pod, seen).kill] == [("side", 7.0)]
    late = {**deleted, "deletionTimestamp": "2023-11-14T22:13:10Z"}
    assert [k.grace for k in planned(pod(init=(SIDECAR, other), meta=late), seen).kill] == [2.0]


def test_deletion_ends_everything_with_the_deletions_grace() -> None:
    deleted = {"deletionTimestamp": "2023-11-14T22:13:20Z", "deletionGracePeriodSeconds": 5}
    todo = planned(pod(meta=deleted), observed(running()))
    assert [(k.view.name, k.grace) for k in todo.kill] == [("web", 5.0)]
    assert todo.terminate
    assert not todo.finished
    assert planned(pod(meta=deleted), observed(ended())).finished
    assert planned(pod(meta=deleted), observed(sandbox="")).finished


def test_a_pod_at_its_end_ends_its_sidecars() -> None:
    todo = planned(pod(init=(SIDECAR,), restartPolicy="Never"), observed(ended(), running("side")))
    assert [k.view.name for k in todo.kill] == ["side"]
    assert todo.terminate


def test_an_end_in_the_cluster_is_final() -> None:
    over = {**pod(), "status": {"phase": "Succeeded"}}
    todo = planned(over, observed(sandbox=""))
    assert todo.terminate
    assert not todo.create_sandbox


def test_the_active_deadline_ends_a_pod() -> None:
    late = {**pod(activeDeadlineSeconds=10), "status": {"startTime": "2023-11-14T22:13:05Z"}}  # 15 s before NOW
    assert planned(late, observed(running())).terminate
    soon = {**pod(activeDeadlineSeconds=20), "status": {"startTime": "2023-11-14T22:13:05Z"}}
    assert planned(soon, observed(running())).wait == pytest.approx(5.0)


def test_older_attempts_are_removed() -> None:
    seen = observed(running(attempt=3), ended(attempt=2), ended(attempt=1), ended(attempt=0))
    assert [v.attempt for v in planned(pod(), seen).remove] == [1, 0]


def test_init_restarts_from_scratch_only_in_a_new_sandbox() -> None:
    seen = observed(running(attempt=0), ended("i"), sandbox=SANDBOX)
    assert started(planned(pod(init=(container("i"),)), seen)) == []
