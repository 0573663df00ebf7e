"""What to do next for one pod: a pure function of the pod, what is observed, and the time.

kubelet's computePodActions (pkg/kubelet/kuberuntime/kuberuntime_manager.go) as values. The worker observes, plans,
performs, writes the status, and waits for the next event or for `wait`, whichever comes first.

    observed ──► plan ──► Plan(create_sandbox | kill… | start… | remove…, wait) ──► perform ──► observed' …

A plan never asks for two things that depend on each other: a sandbox is made alone, an init container started alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from groundplane.base.clock import parse_rfc3339
from groundplane.node.views import (
    ContainerSpec,
    ContainerView,
    Observed,
    Pod,
    app_containers,
    init_containers,
    is_sidecar,
)

# kubelet: MaxContainerBackOff and containerBackOffPeriod; a run longer than twice the maximum forgets the past.
FIRST_BACKOFF = 10.0
LAST_BACKOFF = 300.0
FORGET_AFTER = 2 * LAST_BACKOFF
DEFAULT_GRACE = 30
_LEAST_GRACE = 2.0  # kuberuntime_container.go, minimumGracePeriodInSeconds: for who had to wait for the others' end


@dataclass(frozen=True, slots=True)
class Start:
    container: ContainerSpec
    attempt: int
    backoff: int
    init: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    view: ContainerView
    reason: str  # the event's sentence
    grace: float
    replace: bool = False  # another attempt follows, whatever the restart policy says


@dataclass(frozen=True, slots=True)
class Plan:
    """`terminate`: everything is to end; `finished`: nothing runs and nothing will (again)."""

    create_sandbox: bool = False
    start: tuple[Start, ...] = ()
    kill: tuple[Kill, ...] = ()
    remove: tuple[ContainerView, ...] = ()  # older attempts that nobody asks about any more
    wait: float | None = None  # seconds until something changes by itself
    terminate: bool = False
    finished: bool = False


def plan(pod: Pod, observed: Observed, now: float, monotonic: float) -> Plan:
    """`now` is wall time (seconds), `monotonic` the clock of `Failure.retry_at`."""
    remove = tuple(_surplus(observed))
    if pod["metadata"].get("deletionTimestamp") or deadline_passed(pod, now):
        return _termination(pod, observed, remove, now)
    if terminal(pod, observed) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return _termination(pod, observed, remove, now)
    if not observed.sandbox:
        return Plan(create_sandbox=True, remove=remove)
    kill = tuple(_unfit(pod, observed))
    start, waits = _next_starts(pod, observed, now, monotonic)
    waits.extend(_until_deadline(pod, now))
    return Plan(start=tuple(start), kill=kill, remove=remove, wait=min(waits, default=None))


def _surplus(observed: Observed) -> Iterator[ContainerView]:
    """kubelet keeps one dead container per name: the one that lastState and `logs --previous` show."""
    for attempts in observed.containers.values():
        yield from attempts[2:]


def _termination(pod: Pod, observed: Observed, remove: tuple[ContainerView, ...], now: float) -> Plan:
    """All but sidecars end together; those then one by one, the last first (KEP-753, terminationOrdering)."""
    running = [view for view in observed.all() if view.running]
    order = [c["name"] for c in init_containers(pod) if is_sidecar(c)]
    apps = {c["name"] for c in app_containers(pod)}
    kill = [Kill(v, f"Stopping container {v.name}", grace_of(pod)) for v in running if v.name not in order]
    sidecars = sorted((v for v in running if v.name in order), key=lambda v: order.index(v.name))
    if sidecars and not any(v.name in apps for v in running):
        last = sidecars[-1]
        kill.append(Kill(last, f"Stopping container {last.name}", _grace_left(pod, observed, now)))
    return Plan(kill=tuple(kill), remove=remove, terminate=True, finished=not running)


def _grace_left(pod: Pod, observed: Observed, now: float) -> float:
    """What the others have left of the grace period: it is the whole pod's."""
    grace = grace_of(pod)
    if asked := pod["metadata"].get("deletionTimestamp"):  # the moment at which the period is over
        left = parse_rfc3339(asked) - now
    else:
        ends = [v.finished_at / 1e9 for c in app_containers(pod) if (v := observed.latest(c["name"])) is not None]
        left = max(ends, default=now) + grace - now
    return min(grace, max(left, _LEAST_GRACE))


def grace_of(pod: Pod) -> float:
    """Seconds between the stop signal and SIGKILL: the deletion's, else the pod's own."""
    for value in (pod["metadata"].get("deletionGracePeriodSeconds"), pod["spec"].get("terminationGracePeriodSeconds")):
        if value is not None:
            return float(value)
    return float(DEFAULT_GRACE)


def deadline_passed(pod: Pod, now: float) -> bool:
    """spec.activeDeadlineSeconds, counted from status.startTime."""
    return any(left <= 0 for left in _until_deadline(pod, now))


def _until_deadline(pod: Pod, now: float) -> list[float]:
    deadline, started = pod["spec"].get("activeDeadlineSeconds"), (pod.get("status") or {}).get("startTime")
    return [parse_rfc3339(started) + deadline - now] if deadline is not None and started else []


def deadline_hit(pod: Pod, observed: Observed, now: float) -> bool:
    """Whether the pod still ran at its deadline; one that had ended before has its own result."""
    past = [-left for left in _until_deadline(pod, now) if left <= 0]
    if not past or not terminal(pod, observed):
        return bool(past)
    sidecars = {c["name"] for c in init_containers(pod) if is_sidecar(c)}  # these end after the pod has
    return any(v.finished_at / 1e9 > now - past[0] for v in observed.all() if v.name not in sidecars)


def restarts(pod: Pod, container: ContainerSpec, view: ContainerView, *, init: bool) -> bool:
    """Whether an ended container is to run again under the pod's restart policy."""
    if view.replaced or (init and is_sidecar(container)):
        return True
    policy = pod["spec"].get("restartPolicy", "Always")
    failed = view.exit_code != 0
    if policy == "Never":
        return False
    return failed if policy == "OnFailure" or init else True


def terminal(pod: Pod, observed: Observed) -> bool:
    """The pod has run to its end: no container runs and none will be started again."""
    for container in init_containers(pod):
        if not is_sidecar(container):
            view = observed.latest(container["name"])
            if view is not None and view.ended and view.exit_code != 0:
                return not restarts(pod, container, view, init=True)
    views = [(c, observed.latest(c["name"])) for c in app_containers(pod)]
    return all(v is not None and v.ended and not restarts(pod, c, v, init=False) for c, v in views)


def _unfit(pod: Pod, observed: Observed) -> Iterator[Kill]:
    """Running containers that must end so that a better attempt can follow.

    Init containers run to their end with the image that they were started with, unless they are sidecars.
    """
    never = pod["spec"].get("restartPolicy", "Always") == "Never"
    for container in (*filter(is_sidecar, init_containers(pod)), *app_containers(pod)):
        view = observed.latest(container["name"])
        if view is None or not view.running:
            continue
        who = f"Init container {view.name}" if is_sidecar(container) else f"Container {view.name}"
        again = "" if never or is_sidecar(container) else ", will be restarted"
        if container.get("image") != view.image:
            yield Kill(view, f"{who} definition changed, will be restarted", grace_of(pod), replace=True)
        elif probe := observed.verdict(view).unhealthy:
            grace = (container.get(f"{probe}Probe") or {}).get("terminationGracePeriodSeconds")
            reason = f"{who} failed {probe} probe{again}"
            yield Kill(view, reason, grace_of(pod) if grace is None else float(grace))


def _next_starts(pod: Pod, observed: Observed, now: float, monotonic: float) -> tuple[list[Start], list[float]]:
    starts: list[Start] = []
    waits: list[float] = []
    app_begun = any(_here(observed, c) for c in app_containers(pod))
    for container in init_containers(pod):
        view = _here(observed, container)
        if view is not None and view.ended and view.exit_code == 0 and not is_sidecar(container):
            continue
        if view is not None and view.running:
            if is_sidecar(container) and observed.verdict(view).started:
                continue
            return starts, waits  # the next one waits for this one
        if app_begun and not is_sidecar(container):
            continue  # initialisation is over once an application container was started
        _consider(pod, container, observed, now, monotonic, starts, waits, init=True)
        if not app_begun:
            return starts, waits
    for container in app_containers(pod):
        view = observed.latest(container["name"])
        if view is None or not view.running:
            _consider(pod, container, observed, now, monotonic, starts, waits, init=False)
    return starts, waits


def _here(observed: Observed, container: ContainerSpec) -> ContainerView | None:
    """The latest attempt in this sandbox: initialisation starts again in a new one (the host was restarted)."""
    view = observed.latest(container["name"])
    return view if view is not None and view.sandbox == observed.sandbox else None


def _consider(
    pod: Pod,
    container: ContainerSpec,
    observed: Observed,
    now: float,
    monotonic: float,
    starts: list[Start],
    waits: list[float],
    *,
    init: bool,
) -> None:
    """Start the container now, or say how long it has to wait."""
    failure = observed.failures.get(container["name"])
    same = failure is not None and failure.image in ("", container.get("image", ""))
    if failure is not None and same and failure.retry_at > monotonic:
        waits.append(failure.retry_at - monotonic)
        return
    view = observed.latest(container["name"])
    if view is None:
        starts.append(Start(container, 0, 0, init))
        return
    # What has done its work in a former sandbox has done it; only initialisation begins anew.
    if view.ended and (not init or _here(observed, container)) and not restarts(pod, container, view, init=init):
        return
    left = backoff_left(container, view, observed, now)
    if left > 0:
        waits.append(left)
    else:
        backoff = next_backoff(view) if _same(container, view, observed) else 0
        starts.append(Start(container, view.attempt + 1, backoff, init))


def next_backoff(view: ContainerView) -> int:
    """How many quick ends in a row there will have been before the next attempt."""
    ran = (view.finished_at - view.started_at) / 1e9 if view.started_at else 0.0
    return 1 if ran > FORGET_AFTER else view.backoff + 1


def backoff_of(view: ContainerView) -> float:
    """The delay after this attempt's end: none after the first, then 10 s doubling to 5 min."""
    ends = next_backoff(view)
    return 0.0 if ends <= 1 else min(FIRST_BACKOFF * 2.0 ** (ends - 2), LAST_BACKOFF)


def _same(container: ContainerSpec, view: ContainerView, observed: Observed) -> bool:
    """Whether this attempt's end says something about the next: not if the host ended it, or the image was changed."""
    return view.sandbox == observed.sandbox and view.image == container.get("image", "")


def backoff_left(container: ContainerSpec, view: ContainerView, observed: Observed, now: float) -> float:
    """Seconds until the next attempt; none where the clock was set back behind this one's end."""
    since = now - view.finished_at / 1e9
    if not view.ended or since < 0 or not _same(container, view, observed):
        return 0.0
    return backoff_of(view) - since
