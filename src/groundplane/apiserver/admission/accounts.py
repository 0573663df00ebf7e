"""ServiceAccount: a pod runs as an account that is there, and gets its token (plugin/pkg/admission/serviceaccount)."""

from __future__ import annotations

from groundplane.apiserver.admission.contract import Attempt, Base, Operation
from groundplane.apiserver.cache.stored import Object
from groundplane.base import ids

DEFAULT = "default"
MIRROR = "kubernetes.io/config.mirror"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
# An hour and a bit: for old clients that never read the file again, `access.tokens` extends a token of this life.
_TOKEN_SECONDS = 3607
_FILE_MODE = 0o644
_CONTAINERS = ("initContainers", "containers")


class ServiceAccount(Base):
    name = "ServiceAccount"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return operation is Operation.CREATE and (group, resource, subresource) == ("", "pods", "")

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        if MIRROR in (obj["metadata"].get("annotations") or {}):
            self._check_mirror(attempt, obj["spec"])
            return obj
        spec = obj["spec"]
        if not spec.get("serviceAccountName"):
            spec = {**spec, "serviceAccountName": DEFAULT, "serviceAccount": DEFAULT}
        name = spec["serviceAccountName"]
        account = attempt.machine.find("", "serviceaccounts", attempt.namespace, name)
        if account is None:
            where = f"{attempt.namespace}/{name}"
            raise attempt.refuse(f'error looking up service account {where}: serviceaccount "{name}" not found')
        if _wants_token(spec, account.object):
            spec = _with_token(spec)
        secrets = account.object.get("imagePullSecrets")
        if secrets and not spec.get("imagePullSecrets"):
            spec = {**spec, "imagePullSecrets": secrets}
        return obj if spec is obj["spec"] else {**obj, "spec": spec}

    def _check_mirror(self, attempt: Attempt, spec: Object) -> None:
        """A static pod's image in the API may not borrow anybody's rights."""
        if spec.get("serviceAccountName"):
            raise attempt.refuse("a mirror pod may not reference service accounts")
        for volume in spec.get("volumes") or ():
            if "secret" in volume:
                raise attempt.refuse("a mirror pod may not reference secrets")


def _wants_token(spec: Object, account: Object) -> bool:
    for wish in (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if wish is not None:
            return bool(wish)
    return True


def _with_token(spec: Object) -> Object:
    """The spec with the token volume mounted wherever nothing else is at its place."""
    name, used = f"kube-api-access-{ids.name_suffix()}", False
    changed: Object = {}
    for field in _CONTAINERS:
        containers = []
        for container in spec.get(field) or ():
            mounts = container.get("volumeMounts") or []
            if not any(m.get("mountPath") == TOKEN_PATH for m in mounts):
                mount = {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}
                container = {**container, "volumeMounts": [*mounts, mount]}
                used = True
            containers.append(container)
        if field in spec:
            changed[field] = containers
    if not used:
        return spec
    return {**spec, **changed, "volumes": [*(spec.get("volumes") or []), _volume(name)]}


def _volume(name: str) -> Object:
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
            "defaultMode": _FILE_MODE,
        },
    }
