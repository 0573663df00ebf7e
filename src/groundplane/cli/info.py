"""`ground info`: what the engine is and has."""

from __future__ import annotations

from groundplane.cli.api import Api
from groundplane.cli.options import Command, text
from groundplane.cli.place import Place
from groundplane.cli.tables import show
from groundplane.cli.units import human_binary

COMMAND = Command(
    "info",
    "[OPTIONS]",
    "Display system-wide information",
    (text("format", "f", "string", "Format output: json, or a Go template"),),
    maximum=0,
)


def run(args: list[str], place: Place) -> int:
    if (given := COMMAND.parse(args)) is None:
        return 0
    found = Api(place).json("GET", "/info")
    form = given.text("format")
    if form == "json":
        import json

        show(json.dumps(found) + "\n")
    elif form:
        from groundplane.cli.template import Template

        show(Template(form).render(found) + "\n")
    else:
        rows = (
            ("Containers", found["Containers"]),
            (" Running", found["ContainersRunning"]),
            (" Paused", found["ContainersPaused"]),
            (" Stopped", found["ContainersStopped"]),
            ("Images", found["Images"]),
            ("Server Version", found["ServerVersion"]),
            ("Storage Driver", found["Driver"]),
            ("Logging Driver", found["LoggingDriver"]),
            ("Cgroup Driver", found["CgroupDriver"]),
            ("Cgroup Version", found["CgroupVersion"]),
            ("Default Runtime", found["DefaultRuntime"]),
            ("Kernel Version", found["KernelVersion"]),
            ("Operating System", found["OperatingSystem"]),
            ("Architecture", found["Architecture"]),
            ("CPUs", found["NCPU"]),
            ("Total Memory", human_binary(found["MemTotal"])),
            ("Name", found["Name"]),
            ("Root Dir", found["DockerRootDir"]),
        )
        show("".join(f"{name}: {value}\n" for name, value in rows))
    return 0
