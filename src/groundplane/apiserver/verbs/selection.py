"""Which objects a list, watch or collection deletion means: label and field selectors over one resource."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call
from groundplane.kinds import selectors

if TYPE_CHECKING:
    from groundplane.apiserver.registry import Endpoint


@dataclass(frozen=True, slots=True)
class Selection:
    """`matches` is None where everything below `prefix` is meant."""

    prefix: str
    matches: Callable[[Object], bool] | None


def select(endpoint: Endpoint, call: Call) -> Selection:
    """The selection of a request. Raises BadRequest for selectors that do not parse or name unknown fields."""
    labels_text, fields_text = call.query.get("labelSelector", ""), call.query.get("fieldSelector", "")
    prefix = endpoint.objects.scope(call.namespace)
    if call.name:  # the deprecated watch of one object by path
        name = f"metadata.name={call.name}"
        fields_text = f"{fields_text},{name}" if fields_text else name
    if not labels_text and not fields_text:
        return Selection(prefix, None)
    try:
        labels, fields = selectors.parse_labels(labels_text), selectors.parse_fields(fields_text)
    except selectors.SelectorError as error:
        raise statuses.bad_request(str(error)) from error
    for requirement in fields.requirements:
        if (problem := endpoint.unknown_field(requirement.path)) is not None:
            raise statuses.bad_request(problem)
    name_wanted = fields.required("metadata.name")
    if name_wanted and (call.namespace or not endpoint.resource.namespaced):
        prefix = endpoint.objects.key(call.namespace, name_wanted)
    every_label, every_field, selectable = labels.everything, fields.everything, endpoint.selectable

    def matches(obj: Object) -> bool:
        if not every_label and not labels.matches(obj["metadata"].get("labels")):
            return False
        return every_field or fields.matches(selectable(obj))

    return Selection(prefix, None if every_label and every_field else matches)
