"""Starting one container of a pod: image, environment, mounts, log directory, engine. Failures become waiting states.

kubelet's startContainer (pkg/kubelet/kuberuntime/kuberuntime_container.go) and image manager; reasons and events are
theirs. Pulling from registries is not offered yet: an image is here or it is missing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from groundplane.base.errors import GroundError
from groundplane.engine.contract import ContainerSpec, ImageInfo, Mount, NoSuchImage, State
from groundplane.node import hosts
from groundplane.node.context import Context
from groundplane.node.env import environment
from groundplane.node.plan import Start
from groundplane.node.spec import engine_spec
from groundplane.node.views import Failure, Pod, full_name
from groundplane.oci.image_names import BadReference, parse_reference

_FIRST_PULL_BACKOFF = 10.0
_LAST_PULL_BACKOFF = 300.0
_CONFIG_RETRY = 1.0


class StartFailure(GroundError):
    """The container could not be started; `failure` is what its status shows until the next try."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def start_container(
    context: Context, pod: Pod, start: Start, sandbox: str, address: str, before: Failure | None
) -> str:
    """Create and start one attempt; its id. `before` is the failure of the last try. Raises StartFailure."""
    name = start.container["name"]
    image = _image(context, pod, start, before)
    try:
        spec = await _specification(context, pod, start, image, sandbox, address)
    except (GroundError, OSError) as error:
        context.tell(pod, "Warning", "Failed", f"Error: {error}", name)
        raise StartFailure(_soon(context, "CreateContainerConfigError", str(error))) from error
    try:
        container_id = await context.engine.containers.create(spec)
    except (GroundError, OSError) as error:
        context.tell(pod, "Warning", "Failed", f"Error: {error}", name)
        raise StartFailure(_soon(context, "CreateContainerError", str(error))) from error
    context.tell(pod, "Normal", "Created", "Container created", name)
    try:
        await context.engine.containers.start(container_id)
    except (GroundError, OSError) as error:
        context.tell(pod, "Warning", "Failed", f"Error: {error}", name)
        if context.engine.containers.get(container_id).state is State.CREATED:
            await context.engine.containers.remove(container_id, force=True)  # its name is the next try's
            raise StartFailure(_soon(context, "RunContainerError", str(error))) from error
        # The attempt exists and has ended with 126, 127 or 128: from here on it is a crash like any other.
        return container_id
    context.tell(pod, "Normal", "Started", "Container started", name)
    return container_id


def _image(context: Context, pod: Pod, start: Start, before: Failure | None) -> ImageInfo:
    wanted, name = start.container.get("image", ""), start.container["name"]
    try:
        image = context.engine.images.resolve(wanted)
    except NoSuchImage as error:
        _check_name(context, pod, wanted, name)
        raise StartFailure(_missing_image(context, pod, start, before)) from error
    message = f'Container image "{wanted}" already present on machine and can be accessed by the pod'
    context.tell(pod, "Normal", "Pulled", message, name)
    return image


def _check_name(context: Context, pod: Pod, image: str, name: str) -> None:
    """image_manager.go, EnsureImageExists: what is no image's name is told apart. Raises StartFailure."""
    try:
        parse_reference(image)
    except BadReference as error:
        message = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {error}'
        context.tell(pod, "Warning", "InspectFailed", message, name)
        context.tell(pod, "Warning", "Failed", "Error: InvalidImageName", name)
        raise StartFailure(_later(context, "InvalidImageName", message, image)) from error


def _later(context: Context, reason: str, message: str, image: str) -> Failure:
    return Failure(reason, message, context.clock.monotonic() + _FIRST_PULL_BACKOFF, _FIRST_PULL_BACKOFF, image)


def _missing_image(context: Context, pod: Pod, start: Start, before: Failure | None) -> Failure:
    wanted, name = start.container.get("image", ""), start.container["name"]
    if start.container.get("imagePullPolicy") == "Never":
        message = f'Container image "{wanted}" is not present with pull policy of Never'
        context.tell(pod, "Warning", "ErrImageNeverPull", message, name)
        context.tell(pod, "Warning", "Failed", "Error: ErrImageNeverPull", name)
        return _later(context, "ErrImageNeverPull", message, wanted)
    reason = (
        f'failed to pull image "{wanted}": no registry is configured; make it here: ground image from-host --name …'
    )
    now = context.clock.monotonic()
    if before is None or before.reason not in ("ErrImagePull", "ImagePullBackOff") or before.image != wanted:
        context.tell(pod, "Warning", "Failed", f'Failed to pull image "{wanted}": {reason}', name)
        context.tell(pod, "Warning", "Failed", "Error: ErrImagePull", name)
        return Failure("ErrImagePull", reason, now + 1.0, 0.0, wanted)
    delay = min(max(before.delay * 2, _FIRST_PULL_BACKOFF), _LAST_PULL_BACKOFF)
    context.tell(pod, "Normal", "BackOff", f'Back-off pulling image "{wanted}"', name)
    context.tell(pod, "Warning", "Failed", "Error: ImagePullBackOff", name)
    message = f'Back-off pulling image "{wanted}": ErrImagePull: {reason}'
    return Failure("ImagePullBackOff", message, now + delay, delay, wanted)


def _soon(context: Context, reason: str, message: str) -> Failure:
    return Failure(reason, message, context.clock.monotonic() + _CONFIG_RETRY, _CONFIG_RETRY)


async def _specification(
    context: Context, pod: Pod, start: Start, image: ImageInfo, sandbox: str, address: str
) -> ContainerSpec:
    place = context.place
    container = start.container
    env = await environment(pod, container, context.services(), address, place.address, context.sources)
    uid = pod["metadata"]["uid"]
    directory = context.volumes.directory(uid)
    mounts = context.volumes.mounts(pod, container, env)
    mounts += hosts.mounts(directory, container)
    mounts.append(_message_mount(directory, container, start.attempt))
    log_path = os.path.join(log_directory(context, pod), container["name"], f"{start.attempt}.log")
    os.makedirs(os.path.dirname(log_path), mode=0o755, exist_ok=True)
    return engine_spec(
        pod,
        start,
        image,
        sandbox,
        env,
        mounts,
        node_name=place.name,
        log_path=log_path,
        host=context.host,
    )


def log_directory(context: Context, pod: Pod) -> str:
    """`/var/log/pods/NAMESPACE_NAME_UID`, where kubelet puts them and log collectors look."""
    meta = pod["metadata"]
    return os.path.join(context.place.logs, f"{meta['namespace']}_{meta['name']}_{meta['uid']}")


def message_path(directory: str, name: str, attempt: int) -> str:
    """The host's side of a container's termination message file."""
    return os.path.join(directory, "containers", name, str(attempt))


def _message_mount(directory: str, container: Mapping[str, Any], attempt: int) -> Mount:
    path = message_path(directory, container["name"], attempt)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    os.fchmod(fd, 0o666)  # any user of the container may write it; the umask must not matter
    os.close(fd)
    return Mount(container.get("terminationMessagePath") or "/dev/termination-log", path)


def crash_sentence(pod: Pod, name: str) -> str:
    return f"Back-off restarting failed container {name} in pod {full_name(pod)}"
