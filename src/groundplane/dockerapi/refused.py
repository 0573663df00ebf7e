"""What Docker's API has and this one does not offer yet: (method, path, the sentence). Answered with 501."""

from __future__ import annotations

_NETWORKS = "user-defined networks are not offered yet: use `--network host` or `--network none`"
_VOLUMES = "named volumes are not offered yet: use -v with a directory of the host"
_REGISTRY = "registries are not offered yet: make an image of this host's files with `ground image from-host`"
_SWARM = "swarm is not offered: this machine's cluster speaks Kubernetes (`ground up`)"
_ARCHIVE = "copying files in and out of containers is not offered yet: use a bind mount, or exec with tar"

REFUSED: tuple[tuple[str, str, str], ...] = (
    ("POST", "/build", "building from a Dockerfile is not offered yet: use `ground image from-host`"),
    ("POST", "/session", "BuildKit sessions are not offered"),
    ("POST", "/images/create", _REGISTRY),
    ("POST", "/images/load", "loading image archives is not offered yet"),
    ("GET", "/images/get", "saving image archives is not offered yet"),
    ("GET", "/images/search", _REGISTRY),
    ("POST", "/images/prune", "image prune is not offered yet: use `ground rmi`"),
    ("POST", "/images/{name:.+}/push", _REGISTRY),
    ("GET", "/images/{name:.+}/get", "saving image archives is not offered yet"),
    ("POST", "/auth", _REGISTRY),
    ("POST", "/commit", "commit is not offered yet"),
    ("POST", "/containers/prune", "container prune is not offered yet: use `ground rm`"),
    ("POST", "/containers/{id}/pause", "pause is not offered yet"),
    ("POST", "/containers/{id}/unpause", "pause is not offered yet"),
    ("POST", "/containers/{id}/rename", "rename is not offered yet"),
    ("GET", "/containers/{id}/export", "export is not offered yet"),
    ("GET", "/containers/{id}/changes", "diff is not offered yet"),
    ("GET", "/containers/{id}/attach/ws", "attach over websockets is not offered: use POST /containers/{id}/attach"),
    ("GET", "/containers/{id}/archive", _ARCHIVE),
    ("HEAD", "/containers/{id}/archive", _ARCHIVE),
    ("PUT", "/containers/{id}/archive", _ARCHIVE),
    ("POST", "/networks/create", _NETWORKS),
    ("POST", "/networks/prune", _NETWORKS),
    ("POST", "/networks/{id}/connect", _NETWORKS),
    ("POST", "/networks/{id}/disconnect", _NETWORKS),
    ("DELETE", "/networks/{id}", _NETWORKS),
    ("POST", "/volumes/create", _VOLUMES),
    ("POST", "/volumes/prune", _VOLUMES),
    ("DELETE", "/volumes/{name}", _VOLUMES),
    ("GET", "/system/df", "disk usage is not offered yet"),
    ("GET", "/distribution/{name:.+}/json", _REGISTRY),
    ("GET", "/plugins", "plugins are not offered"),
    ("POST", "/swarm/init", _SWARM),
    ("POST", "/swarm/join", _SWARM),
    ("GET", "/swarm", _SWARM),
    ("GET", "/nodes", _SWARM),
    ("GET", "/nodes/{id}", _SWARM),
    ("GET", "/services", _SWARM),
    ("GET", "/services/{id}", _SWARM),
    ("GET", "/tasks", _SWARM),
    ("GET", "/tasks/{id}", _SWARM),
    ("GET", "/secrets", _SWARM),
    ("GET", "/secrets/{id}", _SWARM),
    ("GET", "/configs", _SWARM),
)
