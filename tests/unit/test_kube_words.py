"""`ground kube`'s pure parts: rollout sentences, what --for asks, which pods are meant, JSONPath."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.base.errors import UsageError
from groundplane.cli import kube
from groundplane.cli.kube import pods
from groundplane.cli.kube.jsonpath import JsonPath
from groundplane.cli.kube.rollout_words import history, owned, progress, template_to_restore
from groundplane.cli.kube.session import KubeError, seconds_of, targets
from groundplane.cli.kube.wait import test_of as asked


def deployment(generation: int = 1, size: int = 3, **status: Any) -> dict[str, Any]:
    meta = {"name": "web", "uid": "d", "generation": generation}
    return {"metadata": meta, "spec": {"replicas": size, "template": {}}, "status": status}


@pytest.mark.parametrize(
    ("found", "sentence", "over"),
    [
        (deployment(generation=2, observedGeneration=1), "Waiting for deployment spec update to be observed...", False),
        (
            deployment(observedGeneration=1, updatedReplicas=1),
            'Waiting for deployment "web" rollout to finish: 1 out of 3 new replicas have been updated...',
            False,
        ),
        (
            deployment(observedGeneration=1, updatedReplicas=3, replicas=4),
            'Waiting for deployment "web" rollout to finish: 1 old replicas are pending termination...',
            False,
        ),
        (
            deployment(observedGeneration=1, updatedReplicas=3, replicas=3, availableReplicas=2),
            'Waiting for deployment "web" rollout to finish: 2 of 3 updated replicas are available...',
            False,
        ),
        (
            deployment(observedGeneration=1, updatedReplicas=3, replicas=3, availableReplicas=3),
            'deployment "web" successfully rolled out',
            True,
        ),
        (deployment(size=0, observedGeneration=1), 'deployment "web" successfully rolled out', True),
    ],
)
def test_rollout_sentences(found: dict[str, Any], sentence: str, over: bool) -> None:
    assert progress(found) == (sentence, over)


def test_a_missed_deadline_is_an_error() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    with pytest.raises(KubeError, match='deployment "web" exceeded its progress deadline'):
        progress(deployment(observedGeneration=1, conditions=[late]))


def replica_set(revision: int, image: str, owner: str = "d") -> dict[str, Any]:
    annotations = {"deployment.kubernetes.io/revision": str(revision)}
    meta = {"annotations": annotations, "ownerReferences": [{"uid": owner}]}
    template = {"metadata": {"labels": {"app": "web", "pod-template-hash": image}}, "spec": {"image": image}}
    return {"metadata": meta, "spec": {"template": template}}


def test_history_and_undo() -> None:
    sets = owned(deployment(), [replica_set(1, "a"), replica_set(3, "c"), replica_set(2, "b", owner="other")])
    assert history(sets) == ["REVISION  CHANGE-CAUSE", "1         <none>", "3         <none>"]
    revision, template = template_to_restore(deployment(), sets, 0)
    assert (revision, template["spec"], template["metadata"]["labels"]) == (1, {"image": "a"}, {"app": "web"})
    with pytest.raises(KubeError, match="unable to find specified revision 9 in history"):
        template_to_restore(deployment(), sets, 9)


def condition(status: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "status": {"conditions": [{"type": "Ready", "status": status}], **more}}


@pytest.mark.parametrize(
    ("wanted", "found", "holds"),
    [
        ("condition=Ready", condition("True"), True),
        ("condition=ready", condition("False"), False),
        ("condition=Ready=false", condition("False"), True),
        ("condition=Ready", condition("True", observedGeneration=1), False),
        ("condition=Other", condition("True"), False),
        ("condition=Ready", None, False),
        ("delete", None, True),
        ("delete", {}, False),
        ("create", None, False),
        ("create", {}, True),
        ("jsonpath={.status.n}=3", {"status": {"n": 3}}, True),
        ("jsonpath={.status.n}=4", {"status": {"n": 3}}, False),
        ("jsonpath={.status.n}", {"status": {"n": 3}}, True),
        ("jsonpath={.status.n}", {"status": {}}, False),
    ],
)
def test_what_wait_asks(wanted: str, found: dict[str, Any] | None, holds: bool) -> None:
    assert asked(wanted)(found) is holds


@pytest.mark.parametrize("wanted", ["", "luck", "condition=", "jsonpath={.a}=", "jsonpath=a", "jsonpath={.a}b"])
def test_what_wait_does_not_understand(wanted: str) -> None:
    with pytest.raises(UsageError):
        asked(wanted)


def test_selectors_as_text() -> None:
    assert pods.selector_text({"app": "web", "tier": "front"}) == "app=web,tier=front"
    expression = {"key": "tier", "operator": "In", "values": ["b", "a"]}
    assert pods.selector_text({"matchLabels": {"app": "web"}, "matchExpressions": [expression]}) == (
        "app=web,tier in (a,b)"
    )


def test_the_default_container(capsys: pytest.CaptureFixture[str]) -> None:
    pod = {"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}}
    assert pods.container_of(pod, "b") == "b"
    assert pods.container_of(pod, "") == "a"
    assert capsys.readouterr().err == 'Defaulted container "a" out of: a, b, i (init)\n'
    pod["metadata"] = {"annotations": {"kubectl.kubernetes.io/default-container": "b"}}
    assert pods.container_of(pod, "") == "b"


def test_json_path() -> None:
    document = {"items": [{"a": {"b.c": 1}}, {"a": {"b.c": "x"}}], "n": True}
    assert JsonPath("{.items[*].a['b.c']}").render(document) == "1 x"
    assert JsonPath('{range .items[*]}<{.a["b.c"]}>{"\\n"}{end}').render(document) == "<1>\n<x>\n"
    assert JsonPath("{.n}").values(document) == ["true"]
    assert JsonPath("{.items[-1].a.b\\.c}").render(document) == "x"
    with pytest.raises(UsageError, match="one expression in braces expected"):
        JsonPath("a{.n}").values(document)
    with pytest.raises(UsageError, match="is not offered"):
        JsonPath("{.items[?(@.a)]}").render(document)


def test_words_and_durations() -> None:
    assert [(r.plural, n) for r, n in targets(["deploy/web", "po/p"])] == [("deployments", "web"), ("pods", "p")]
    assert [(r.plural, n) for r, n in targets(["svc", "a", "b"])] == [("services", "a"), ("services", "b")]
    assert seconds_of("1m30s") == 90.0
    assert seconds_of("-1s") == 7 * 86400.0
    with pytest.raises(UsageError):
        seconds_of("soon")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("get pods", "get pods"),
        ("-n shop get pods", "get -n shop pods"),
        ("-nshop get pods", "get -nshop pods"),
        ("--namespace=shop exec p -- ls -n", "exec --namespace=shop p -- ls -n"),
        ("-n shop", "-n shop"),
        ("-x get", "-x get"),
    ],
)
def test_the_namespace_may_come_first(typed: str, meant: str) -> None:
    assert kube.verb_first(typed.split()) == meant.split()
