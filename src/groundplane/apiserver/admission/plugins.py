"""The default plug-ins in upstream's order (pkg/kubeapiserver/options/plugins.go, AllOrderedPlugins).

Not offered yet, and said so in docs/design/apiserver.md: webhooks and admission policies, ResourceQuota.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver.access.escalation import Escalation
from groundplane.apiserver.admission.access import EscalationCheck, NodeRestriction
from groundplane.apiserver.admission.accounts import ServiceAccount
from groundplane.apiserver.admission.certificates import CertificateRequester
from groundplane.apiserver.admission.contract import Plugin
from groundplane.apiserver.admission.limits import LimitRanger
from groundplane.apiserver.admission.namespaces import NamespaceLifecycle
from groundplane.apiserver.admission.podsecurity.plugin import PodSecurity
from groundplane.apiserver.admission.scheduling import (
    DefaultTolerationSeconds,
    Priority,
    RuntimeClass,
    TaintNodesByCondition,
)
from groundplane.apiserver.admission.storage import (
    DefaultIngressClass,
    DefaultStorageClass,
    StorageObjectInUseProtection,
)

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine


def default(machine: Machine, escalation: Escalation) -> list[Plugin]:
    """What every server runs."""
    from groundplane.apiserver.machine import CachedObjects  # late: the machine's module imports the chain

    return [
        NamespaceLifecycle(),
        LimitRanger(),
        ServiceAccount(),
        NodeRestriction(CachedObjects(machine)),
        TaintNodesByCondition(),
        PodSecurity(),
        Priority(),
        DefaultTolerationSeconds(),
        StorageObjectInUseProtection(),
        RuntimeClass(),
        DefaultIngressClass(),
        DefaultStorageClass(),
        CertificateRequester(),
        EscalationCheck(escalation),
    ]
