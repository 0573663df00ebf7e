"""Who asks for a certificate (pkg/registry/certificates/certificates, csrStrategy.PrepareForCreate).

Upstream's strategy sees the user, ours do not; so this stands among the plug-ins.
"""

from __future__ import annotations

from groundplane.apiserver.admission.contract import Attempt, Base, Operation
from groundplane.apiserver.cache.stored import Object

_WHO = ("username", "uid", "groups", "extra")


class CertificateRequester(Base):
    """A signer decides by these fields: they say who asked, whatever the request says."""

    name = "CertificateRequester"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        asked = (group, resource, subresource) == ("certificates.k8s.io", "certificatesigningrequests", "")
        return asked and operation is Operation.CREATE

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        user = attempt.user
        spec = {k: v for k, v in obj["spec"].items() if k not in _WHO} | {"username": user.name}
        if user.uid:
            spec["uid"] = user.uid
        if user.groups:
            spec["groups"] = list(user.groups)
        if user.extra:
            spec["extra"] = {key: list(values) for key, values in user.extra.items()}
        return {**obj, "spec": spec}
