"""Complaints in upstream's words: one table of new objects, one of changes."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.base.jsonyaml import dumps, loads
from groundplane.kinds import decode, defaults, resources, schema, strategies
from groundplane.kinds.validation import cron, names
from groundplane.kinds.validation.errors import FieldError, quoted, summary

NOW = "2026-01-02T03:04:05Z"


def _made(group: str, plural: str, data: dict[str, Any], version: str = "v1") -> tuple[strategies.Strategy, Any]:
    resource = resources.find(group, version, plural)
    assert resource is not None
    type_ = schema.type_of(group, version, resource.kind)
    assert type_ is not None
    data = {
        **data,
        "metadata": {"name": "x", **({"namespace": "n"} if resource.namespaced else {}), **data.get("metadata", {})},
    }
    return strategies.of(resource), defaults.apply(resource, decode.decode(type_, loads(dumps(data)))[0])


def _create(group: str, plural: str, data: dict[str, Any], version: str = "v1") -> list[str]:
    strategy, obj = _made(group, plural, data, version)
    strategy.prepare_create(obj, NOW)
    return [str(error) for error in strategy.validate_create(obj)]


def _update(group: str, plural: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    strategy, before = _made(group, plural, old)
    strategy.prepare_create(before, NOW)
    _, after = _made(group, plural, new)
    strategy.prepare_update(after, before, NOW)
    return [str(error) for error in strategy.validate_update(after, before)]


def _pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def _workload(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}}


def _container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "i", **fields}]}}


MOUNT = {"name": "v", "mountPath": "/x"}
NOT_REQUIRED = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


@pytest.mark.parametrize(
    ("data", "complaints"),
    [
        (_pod(), []),
        (_pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), []),
        (_pod(restartPolicy="Never", activeDeadlineSeconds=0), [
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"]),
        (_pod(volumes=[{"name": "v", "secret": {}}]), ["spec.volumes[0].secret.secretName: Required value"]),
        (_pod(volumes=[{"name": "v", "configMap": {"name": "a", "defaultMode": 0o1000}}]), [
            "spec.volumes[0].configMap.defaultMode: Invalid value: 512:"
            " must be a number between 0 and 0777 (octal), both inclusive"]),
        (_pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]), [
            'spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain \'..\'']),
        (_container(volumeMounts=[MOUNT, MOUNT]), [
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
            'spec.containers[0].volumeMounts[1].name: Not found: "v"',
            'spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique']),
        (_container(resources={"limits": {"foo": "1"}}), [
            'spec.containers[0].resources.limits[foo]: Invalid value: "foo":'
            " must be a standard resource for containers",
            'spec.containers[0].resources.requests[foo]: Invalid value: "foo":'
            " must be a standard resource for containers"]),
        (_container(resources={"limits": {"a.example/gpu": "500m"}}), [
            'spec.containers[0].resources.limits[a.example/gpu]: Invalid value: "500m": must be an integer',
            'spec.containers[0].resources.requests[a.example/gpu]: Invalid value: "500m": must be an integer']),
        (_container(env=[{"name": "A", "valueFrom": {}}]), [
            f'spec.containers[0].env[0].valueFrom: Invalid value: "": {NOT_REQUIRED}']),
        (_container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}]), [
            'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.foo":'
            " error converting fieldPath: field label not supported: spec.foo"]),
        (_container(envFrom=[{"configMapRef": {}}]), [
            "spec.containers[0].envFrom[0].configMapRef.name: Required value"]),
        (_container(lifecycle={"preStop": {"exec": {}}}), [
            "spec.containers[0].lifecycle.preStop.exec.command: Required value"]),
        (_container(securityContext={"seccompProfile": {"type": "Localhost"}}), [
            "spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value:"
            " must be set when seccomp type is Localhost"]),
        (_pod(initContainers=[{"name": "c", "image": "i"}]), ['spec.initContainers[0].name: Duplicate value: "c"']),
        (_pod(initContainers=[{"name": "i", "image": "i", "lifecycle": {}}]), [
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without"
            " restartPolicy=Always"]),
        (_pod(schedulingGates=[{"name": "g"}, {"name": "g"}]), ['spec.schedulingGates[1]: Duplicate value: "g"']),
        (_pod(hostUsers=False, hostPID=True), ["spec.hostPID: Forbidden: when `hostUsers` is false"]),
    ],
)  # fmt: skip
def test_new_pods(data: dict[str, Any], complaints: list[str]) -> None:
    assert _create("", "pods", data) == complaints


SERVICE_PORT = {"port": 80}


@pytest.mark.parametrize(
    ("group", "plural", "data", "complaints"),
    [
        ("apps", "deployments", _workload(), []),
        ("apps", "deployments", _workload(progressDeadlineSeconds=5, minReadySeconds=5), [
            "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"]),
        ("apps", "deployments", _workload(strategy={"type": "Recreate", "rollingUpdate": {}}), [
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]),
        ("apps", "daemonsets", _workload(updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}), [
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1:"
            " may not be set when `maxUnavailable` is non-zero"]),
        ("apps", "statefulsets", _workload(podManagementPolicy="Odd"), [
            'spec.podManagementPolicy: Invalid value: "Odd": must be \'OrderedReady\' or \'Parallel\'']),
        ("", "services", {"spec": {"ports": [SERVICE_PORT]}}, []),
        ("", "services", {"metadata": {"name": "1a"}, "spec": {"ports": [SERVICE_PORT]}}, [
            'metadata.name: Invalid value: "1a": a DNS-1035 label must consist of lower case alphanumeric characters or'
            " '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or"
            " 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"]),
        ("", "services", {"spec": {"type": "ExternalName"}}, ["spec.externalName: Required value"]),
        ("", "services", {"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}}, [
            'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,'
            '"NodePort":0}']),
        ("", "services", {"spec": {"ports": [{"port": 80, "nodePort": 30000}]}}, [
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]),
        ("", "endpoints", {"subsets": [{}]}, [
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        ("", "secrets", {"type": "kubernetes.io/basic-auth"}, [
            "data[username]: Required value", "data[password]: Required value"]),
        ("", "events", {"involvedObject": {"namespace": "other"}}, [
            'involvedObject.namespace: Invalid value: "other": does not match event.namespace']),
        ("", "persistentvolumeclaims", {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "0"}}}}, [
            'spec.resources[storage]: Invalid value: "0": must be greater than zero']),
        ("coordination.k8s.io", "leases", {"spec": {"leaseDurationSeconds": 0}}, [
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]),
        ("storage.k8s.io", "storageclasses", {}, ["provisioner: Required value"]),
        ("networking.k8s.io", "ingresses", {}, [
            "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
        ("scheduling.k8s.io", "priorityclasses", {"metadata": {"name": "system-x"}}, [
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only"]),
        ("batch", "cronjobs", {"metadata": {"name": "x" * 53}, "spec": {"schedule": "TZ=UTC * * * * *"}}, [
            f'metadata.name: Invalid value: "{"x" * 53}": must be no more than 52 characters',
            'spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field'
            " instead",
            "spec.jobTemplate.spec.template.spec.containers: Required value",
            'spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
    ],
)  # fmt: skip
def test_new_objects(group: str, plural: str, data: dict[str, Any], complaints: list[str]) -> None:
    assert _create(group, plural, data) == complaints


GATED = {"schedulingGates": [{"name": "g"}]}
TOLERATION = {"key": "k", "operator": "Exists"}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@pytest.mark.parametrize(
    ("group", "plural", "old", "new", "complaints"),
    [
        ("", "pods", _pod(), {"spec": {"containers": [{"name": "c", "image": "other"}]}}, []),
        ("", "pods", _pod(), _pod(tolerations=[TOLERATION], activeDeadlineSeconds=5), []),
        ("", "pods", _pod(tolerations=[TOLERATION]), _pod(), [
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]),
        ("", "pods", _pod(), _pod(initContainers=[{"name": "i", "image": "i"}]), [
            "spec.initContainers: Forbidden: pod updates may not add or remove containers"]),
        ("", "pods", _pod(**GATED), _pod(nodeSelector={"a": "b"}), []),
        ("", "pods", _pod(), _pod(**GATED), None),
        ("apps", "replicasets", _workload(), _workload(selector={"matchLabels": {"a": "b", "c": "d"}}), [
            'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`',
            'spec.selector: Invalid value: {"matchLabels":{"a":"b","c":"d"}}: field is immutable']),
        ("apps", "statefulsets", _workload(), _workload(replicas=5), []),
        ("", "configmaps", {"immutable": True, "data": {"a": "1"}}, {"immutable": True, "data": {"a": "2"}}, [
            "data: Forbidden: field is immutable when `immutable` is set"]),
        ("", "persistentvolumeclaims", {"spec": CLAIM}, {"spec": {**CLAIM, "volumeName": "pv"}}, []),
        ("", "persistentvolumeclaims", {"spec": CLAIM}, {"spec": {**CLAIM, "volumeMode": "Block"}}, None),
        ("", "namespaces", {}, {"metadata": {"labels": {"a": "b"}}}, []),
        ("storage.k8s.io", "storageclasses", {"provisioner": "a"}, {"provisioner": "b"}, [
            "provisioner: Forbidden: updates to provisioner are forbidden."]),
        ("scheduling.k8s.io", "priorityclasses", {"value": 1}, {"value": 2}, [
            "value: Forbidden: may not be changed in an update."]),
    ],
)  # fmt: skip
def test_changes(
    group: str, plural: str, old: dict[str, Any], new: dict[str, Any], complaints: list[str] | None
) -> None:
    found = _update(group, plural, old, new)
    if complaints is None:  # refused; the sentence shows a difference, which has its own test
        assert found
    else:
        assert found == complaints


def test_a_refused_pod_update_shows_the_difference() -> None:
    (text,) = _update("", "pods", _pod(), _pod(terminationGracePeriodSeconds=3))
    head, _, shown = text.partition("\n")
    assert head.startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,")
    assert '- "TerminationGracePeriodSeconds": 30,\n+ "TerminationGracePeriodSeconds": 3,' in shown


def test_ended_containers_stay_ended() -> None:
    strategy, old = _made("", "pods", _pod(restartPolicy="Never"))
    strategy.prepare_create(old, NOW)
    old["status"]["containerStatuses"] = [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]
    new = loads(dumps(old))
    new["status"]["containerStatuses"][0]["state"] = {"running": {}}
    text = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    assert [str(error) for error in strategy.validate_status(new, old)] == [text]


def test_metadata_cannot_be_given_away() -> None:
    strategy, old = _made("", "configmaps", {"metadata": {"uid": "1", "deletionTimestamp": NOW, "finalizers": ["a/b"]}})
    _, new = _made("", "configmaps", {"metadata": {"uid": "2", "finalizers": ["a/b", "c/d"]}})
    strategy.prepare_update(new, old, NOW)
    assert [str(error) for error in strategy.validate_update(new, old)] == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"c/d"}',
        'metadata.uid: Invalid value: "2": field is immutable',
    ]


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ("* * * * *", ""),
        ("*/15 0-5,20 1 jan mon-fri", ""),
        ("@hourly", ""),
        ("@every 5m", ""),
        ("@never", "unrecognized descriptor: @never"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
    ],
)
def test_schedules(schedule: str, complaint: str) -> None:
    assert cron.complaint(schedule) == complaint


def test_names() -> None:
    assert names.label("a" * 64) == ("must be no more than 63 bytes",)
    assert names.qualified_name("a/b/c")[0].startswith("a qualified name must consist of")
    assert names.qualified_name("/a") == ("prefix part must be non-empty",)
    assert names.path_segment("a/b%") == ("may not contain '/'", "may not contain '%'")
    assert names.config_key("..a") == ("must not start with '..'",)
    assert names.parse_ip("010.0.0.1") is not None
    assert names.cidr("10.0.0.0/33") != ()
    assert names.prefix_of(names.label)("a-") == ()


def test_warnings_tell_what_is_probably_not_meant() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    ports = [{"containerPort": 80}, {"containerPort": 80}]
    strategy, pod = _made(
        "", "pods", {"metadata": {"name": "a.b", "finalizers": ["x"]}, **_container(env=env, ports=ports)}
    )
    found = strategy.warnings(pod)
    assert found[0].startswith('metadata.finalizers: "x": prefer a domain-qualified finalizer name')
    assert found[1].startswith("metadata.name: this is used in the Pod's hostname")
    assert found[2:] == [
        'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply',
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
    ]
    assert strategy.warnings(pod, pod) == []


def test_complaints_are_summed_up() -> None:
    one, two = FieldError("r", "a", "x"), FieldError("r", "b", "y")
    assert summary([one]) == "a: x"
    assert summary([one, two, one]) == "[a: x, b: y]"
    assert quoted('a"\n\x01é') == '"a\\"\\n\\x01é"'


def test_a_config_map_that_is_too_large_has_upstreams_odd_field() -> None:
    large = {"data": {"a": "x" * (1 << 20), "b": "y"}}
    assert _create("", "configmaps", large) == ["[]: Too long: may not be more than 1048576 bytes"]
