"""Resources that are questions: access reviews, token reviews, and the few that only point elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from groundplane.apiserver import lifecycle
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Answer, Call, One
from groundplane.apiserver.subresources import binding
from groundplane.apiserver.verbs import body, options
from groundplane.kinds import schema

if TYPE_CHECKING:
    from groundplane.apiserver.chain import Verb
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

Review = Callable[["Machine", Call, Object], Object]


def _asked(evaluate: Review) -> Verb:
    """A POST that is answered by a pure function and kept nowhere."""

    async def create(machine: Machine, endpoint: Endpoint, call: Call) -> Answer:
        resource = endpoint.resource
        question = body.read(call, resource.group, resource.version, resource.kind)
        options.check_write(call, "CreateOptions")
        if resource.namespaced:
            question = lifecycle.match_namespace(question, call.namespace)
        return One(evaluate(machine, call, question), code=201)

    return create


def _reviews(name: str) -> Review:
    def evaluate(machine: Machine, call: Call, question: Object) -> Object:
        review: Object = getattr(machine.reviews, name)(question, call.user, call.namespace)
        return review

    return evaluate


async def _no_components(machine: Machine, endpoint: Endpoint, call: Call) -> Answer:
    """componentstatuses: deprecated upstream since 1.19; there is nothing to report on, so the list is empty."""
    if call.name:
        raise endpoint.not_found(call.name)
    kind, version = endpoint.resource.kind + "List", endpoint.api_version
    assert schema.type_of("", "v1", kind) is not None
    return One({"kind": kind, "apiVersion": version, "metadata": {}, "items": []})


VIRTUAL_VERBS: dict[tuple[str, str], dict[str, Verb]] = {
    ("", "bindings"): {"create": binding.create},
    ("", "componentstatuses"): {"get": _no_components, "list": _no_components},
    ("authentication.k8s.io", "tokenreviews"): {"create": _asked(_reviews("token"))},
    ("authentication.k8s.io", "selfsubjectreviews"): {"create": _asked(_reviews("self_subject"))},
    ("authorization.k8s.io", "selfsubjectaccessreviews"): {"create": _asked(_reviews("self_access"))},
    ("authorization.k8s.io", "subjectaccessreviews"): {"create": _asked(_reviews("subject_access"))},
    ("authorization.k8s.io", "localsubjectaccessreviews"): {"create": _asked(_reviews("local_access"))},
    ("authorization.k8s.io", "selfsubjectrulesreviews"): {"create": _asked(_reviews("self_rules"))},
}
