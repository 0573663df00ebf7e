"""The verbs of `ground`: name → (module below groundplane.cli, summary, group). One line makes a verb.

Order is that of the help. Groups: engine verbs follow docker, `kube` follows kubectl, the platform's are our own.
"""

from __future__ import annotations

CONTAINERS, IMAGES, ENGINE, PLATFORM, CLUSTER, ROLES = (
    "Containers",
    "Images",
    "Engine",
    "Platform",
    "Cluster",
    "Single roles",
)

VERBS: dict[str, tuple[str, str, str]] = {
    "run": ("run", "Create and run a new container from an image", CONTAINERS),
    "create": ("create", "Create a new container", CONTAINERS),
    "start": ("start", "Start one or more stopped containers", CONTAINERS),
    "stop": ("stop", "Stop one or more running containers", CONTAINERS),
    "restart": ("restart", "Restart one or more containers", CONTAINERS),
    "kill": ("kill", "Kill one or more running containers", CONTAINERS),
    "rm": ("rm", "Remove one or more containers", CONTAINERS),
    "ps": ("ps", "List containers", CONTAINERS),
    "logs": ("logs", "Fetch the logs of a container", CONTAINERS),
    "exec": ("exec", "Execute a command in a running container", CONTAINERS),
    "attach": ("attach", "Attach to a running container's input and output", CONTAINERS),
    "wait": ("wait", "Wait until containers stop, then print their exit codes", CONTAINERS),
    "top": ("top", "Show the running processes of a container", CONTAINERS),
    "stats": ("stats", "Show containers' use of CPU and memory", CONTAINERS),
    "inspect": ("inspect", "Show all that is known of containers or images", CONTAINERS),
    "images": ("images", "List images", IMAGES),
    "image": ("image", "Make an image from files of this host; list, inspect, tag, remove images", IMAGES),
    "rmi": ("rmi", "Remove one or more images", IMAGES),
    "version": ("version", "Show the version", ENGINE),
    "info": ("info", "Show what the engine is and has", ENGINE),
    "events": ("events", "Follow what happens to containers", ENGINE),
    "up": ("platform.up", "Bring the platform up: engine, Kubernetes control plane, node", PLATFORM),
    "down": ("platform.down", "Take it down; with --purge, remove every trace of it", PLATFORM),
    "status": ("platform.status", "Show which roles run here, and where", PLATFORM),
    "doctor": ("platform.doctor", "Say what this host offers, what is missing, and how to mend it", PLATFORM),
    "store": ("platform.store", "Look after the cluster's store: status, backup, restore, compact, check", PLATFORM),
    "kubeconfig": ("platform.kubeconfig", "Print the path of the cluster's kubeconfig", PLATFORM),
    "kube": ("kube", "Work with the cluster: get, apply, delete, logs, exec, wait, scale, rollout", CLUSTER),
    "apiserver": ("platform.apiserver", "Run a Kubernetes API server alone", ROLES),
    "controllers": ("platform.controllers", "Run the controllers alone", ROLES),
    "scheduler": ("platform.scheduler", "Run the scheduler alone", ROLES),
    "node": ("platform.node", "Run a node of a cluster elsewhere", ROLES),
}

_REGISTRY = "registries are not offered yet: make an image with `ground image from-host`"
_NETWORK = "networks of one's own are not offered yet: use --network host or none"

# Docker's verbs that are not offered yet: name → what works instead.
NOT_OFFERED: dict[str, str] = {
    **dict.fromkeys(("pull", "push", "login", "logout", "search"), _REGISTRY),
    **dict.fromkeys(
        ("build", "builder", "buildx", "commit"), "building is not offered yet: use `ground image from-host`"
    ),
    **dict.fromkeys(("save", "load", "import", "export"), "image archives are not offered yet"),
    **dict.fromkeys(("network", "port"), _NETWORK),
    "volume": "named volumes are not offered yet: use -v with a directory of the host",
    "compose": "compose files are not offered: write Kubernetes manifests, and use `ground kube apply`",
    "swarm": "swarm is not offered: this machine's cluster speaks Kubernetes (`ground up`)",
    "cp": "copying files is not offered yet: use a bind mount (-v), or `ground exec -i` with tar",
    "pause": "pausing is not offered yet",
    "unpause": "pausing is not offered yet",
    "rename": "renaming is not offered yet",
    "update": "updating limits is offered by the API only (POST /containers/{id}/update)",
    "diff": "diff is not offered yet",
}
