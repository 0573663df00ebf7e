"""Images: list, inspect, history, tag, remove; and our own from-host."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from groundplane.dockerapi.create import Reader
from groundplane.dockerapi.door import door, json_answer, no_content
from groundplane.dockerapi.query import Filters, filters, flag, json_body, labels_match, moment
from groundplane.dockerapi.shapes import inspect_image, list_image, repo_digests
from groundplane.engine.contract import BadParameter, ImageInfo, Images
from groundplane.engine.images.from_host.contract import DEFAULT_PATH, Add, FromHost
from groundplane.oci.image_names import parse_reference

_LIST_FILTERS = frozenset({"dangling", "label", "reference", "before", "since", "until"})


async def list_images(request: web.Request) -> web.Response:
    here = door(request)
    wanted = filters(request, _LIST_FILTERS)
    used = Counter(container.image_id for container in here.engine.containers.list(hidden=True))
    stamps = _stamps(here.engine.images, wanted)
    found = [image for image in here.engine.images.list() if _wanted(image, wanted) and _made_then(image, stamps)]
    return json_answer([list_image(image, used[image.id]) for image in found])


def _stamps(images: Images, wanted: Filters) -> dict[str, list[int]]:
    """The moments that the filters name: `before` and `since` by image, `until` by time (nanoseconds)."""
    found = {name: [images.resolve(text).created_at for text in wanted.get(name, ())] for name in ("before", "since")}
    return {**found, "until": [moment(text, "until") for text in wanted.get("until", ())]}


def _made_then(image: ImageInfo, stamps: Mapping[str, Sequence[int]]) -> bool:
    older_than = (*stamps["before"], *stamps["until"])
    return all(image.created_at < at for at in older_than) and all(image.created_at > at for at in stamps["since"])


def _wanted(image: ImageInfo, wanted: Filters) -> bool:
    if "dangling" in wanted and (not image.names) != (wanted["dangling"][-1:] in (["true"], ["1"])):
        return False
    settings = image.config.get("config") or {}
    if not labels_match(settings.get("Labels") or {}, wanted.get("label", [])):
        return False
    patterns = wanted.get("reference")
    return patterns is None or any(_matches(name, pattern) for name in image.names for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    """A familiar name against a shell pattern, with or without its tag (reference.FamiliarMatch)."""
    reference = parse_reference(name)
    return fnmatch.fnmatchcase(reference.familiar, pattern) or fnmatch.fnmatchcase(
        reference.familiar_repository, pattern
    )


async def inspect(request: web.Request) -> web.Response:
    image = door(request).engine.images.resolve(request.match_info["name"])
    return json_answer(inspect_image(image))


async def history(request: web.Request) -> web.Response:
    here = door(request)
    image = here.engine.images.resolve(request.match_info["name"])
    sizes = [size for _, size in here.engine.image_layers(image.id)]
    steps = list(image.config.get("history") or [])
    answer: list[dict[str, Any]] = []
    for step in steps:
        size = 0 if step.get("empty_layer") else (sizes.pop(0) if sizes else 0)
        answer.append(
            {
                "Id": "<missing>",
                "Created": image.created_at // 1_000_000_000,
                "CreatedBy": step.get("created_by", ""),
                "Tags": None,
                "Size": size,
                "Comment": step.get("comment", ""),
            }
        )
    answer.reverse()
    if answer:
        answer[0] |= {"Id": image.id, "Tags": list(image.names) or None}
    return json_answer(answer)


async def tag(request: web.Request) -> web.Response:
    repository, name = request.query.get("repo", ""), request.query.get("tag", "")
    await door(request).engine.tag_image(request.match_info["name"], f"{repository}:{name}" if name else repository)
    return no_content(201)


async def remove(request: web.Request) -> web.Response:
    images = door(request).engine.images
    lines = await images.remove(request.match_info["name"], force=flag(request, "force"))
    return json_answer([dict([line.split(": ", 1)]) for line in lines])


async def from_host(request: web.Request) -> web.Response:
    """`POST /ground/images/from-host`: an image of programs of this host. All paths are absolute."""
    here = door(request)
    read = Reader(await json_body(request))
    adds = []
    for item in read.list("adds"):
        if not isinstance(item, dict):
            raise BadParameter("invalid adds: a list of objects expected")
        adds.append(Add(Reader(item).text("source"), Reader(item).text("destination")))
    epoch = read.document.get("source_date_epoch")
    made = await here.engine.image_from_host(
        FromHost(
            name=read.text("name"),
            programs=read.texts("programs"),
            adds=adds,
            env=read.strings("env"),
            entrypoint=read.texts("entrypoint"),
            command=read.texts("command"),
            working_dir=read.text("working_dir"),
            user=read.text("user"),
            labels=read.strings("labels"),
            exposed_ports=read.texts("exposed_ports"),
            search_path=read.text("search_path") or DEFAULT_PATH,
            source_date_epoch=None if epoch is None else read.number("source_date_epoch"),
            forbidden=(here.settings.root, here.settings.run),
        )
    )
    image = made.image
    return json_answer(
        {
            "id": image.id,
            "digest": image.digest,
            "names": list(image.names),
            "repo_digests": repo_digests(image),
            "size": image.size,
            "warnings": list(made.warnings),
        },
        status=201,
    )
