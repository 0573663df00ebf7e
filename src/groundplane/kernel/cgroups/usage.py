"""Everything a group's controllers count, for who looks closely (`events`); `Stats` is the short form for everybody.

Times are nanoseconds and sizes bytes, on both versions. A part is None, or empty, where its controller is not there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.kernel.cgroups.tree import Tree

NO_LIMIT = 2**64 - 1


class Pressure:
    """How long tasks stood still for want of a resource: one line of a PSI file (accounting/psi.rst)."""

    __slots__ = ("avg10", "avg60", "avg300", "total")

    def __init__(self, avg10: float, avg60: float, avg300: float, total: int) -> None:
        self.avg10 = avg10  # percent of the last ten seconds
        self.avg60 = avg60
        self.avg300 = avg300
        self.total = total  # microseconds since the group was made, as the kernel counts them


class Cpu:
    """Time used and time denied; `per_cpu*` are version 1's alone."""

    __slots__ = (
        "kernel",
        "per_cpu",
        "per_cpu_kernel",
        "per_cpu_user",
        "periods",
        "pressure",
        "throttled_periods",
        "throttled_time",
        "total",
        "user",
    )

    def __init__(self, total: int = 0, user: int = 0, kernel: int = 0) -> None:
        self.total = total
        self.user = user
        self.kernel = kernel
        self.per_cpu: list[int] = []
        self.per_cpu_user: list[int] = []
        self.per_cpu_kernel: list[int] = []
        self.periods = 0
        self.throttled_periods = 0
        self.throttled_time = 0
        self.pressure: dict[str, Pressure] = {}  # by `some` and `full`


class Amount:
    """A counter with its limit: `failures` is how often the limit was hit."""

    __slots__ = ("failures", "limit", "most", "used")

    def __init__(self, used: int = 0, limit: int = 0, most: int = 0, failures: int = 0) -> None:
        self.used = used
        self.limit = limit
        self.most = most
        self.failures = failures


class Memory:
    """`swap` is memory and swap together, as version 1 counts; `kernel` and `kernel_tcp` are version 1's alone."""

    __slots__ = ("cache", "events", "kernel", "kernel_tcp", "pressure", "stat", "swap", "used")

    def __init__(self) -> None:
        self.cache = 0
        self.used = Amount()
        self.swap = Amount()
        self.kernel = Amount()
        self.kernel_tcp = Amount()
        self.stat: dict[str, int] = {}  # memory.stat verbatim
        self.events: dict[str, int] = {}  # memory.events (v2): low, high, max, oom, oom_kill …
        self.pressure: dict[str, Pressure] = {}


class Io:
    """`tables` by name (`service_bytes`, `serviced`, …): rows of (major, minor, `Read` …, value)."""

    __slots__ = ("pressure", "tables")

    def __init__(self) -> None:
        self.tables: dict[str, list[tuple[int, int, str, int]]] = {}
        self.pressure: dict[str, Pressure] = {}


class Usage:
    """A group's counters at one moment."""

    __slots__ = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids", "pids_limit", "rdma")

    def __init__(self) -> None:
        self.cpu: Cpu | None = None
        self.cpuset: dict[str, str] = {}  # v1's files without their prefix: `cpus`, `mems`, `cpu_exclusive` …
        self.memory: Memory | None = None
        self.io: Io | None = None
        self.pids: int | None = None
        self.pids_limit = 0  # 0: none
        self.hugetlb: dict[str, Amount] = {}  # by page size (`2MB`)
        self.rdma: dict[str, dict[str, int]] = {}  # by device: hca_handle, hca_object


def optional(tree: Tree, file: str) -> str:
    """A file's text; empty where this kernel has none."""
    return tree.read(file).strip() if tree.exists(file) else ""


def number(text: str) -> int:
    """A counter's text; `max` is NO_LIMIT, and nothing is 0."""
    if text == "max":
        return NO_LIMIT
    return int(text or 0)


def pressure(text: str) -> dict[str, Pressure]:
    """`some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`."""
    found = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=") for pair in pairs)
        averages = [float(values.get(name, 0)) for name in ("avg10", "avg60", "avg300")]
        found[kind] = Pressure(averages[0], averages[1], averages[2], int(values.get("total", 0)))
    return found


def page_sizes(tree: Tree) -> list[str]:
    """The huge pages of this host as the controller names them: `64KB`, `2MB`, `1GB`."""
    names = []
    for entry in tree.children("/sys/kernel/mm/hugepages"):  # hugepages-2048kB
        size = int(entry.partition("-")[2].removesuffix("kB"))
        for unit in ("KB", "MB", "GB"):
            if size < 1024 or unit == "GB":
                names.append(f"{size}{unit}")
                break
            size //= 1024
    return sorted(names)


def rdma(text: str) -> dict[str, dict[str, int]]:
    """`mlx4_0 hca_handle=2 hca_object=2000` lines of rdma.current."""
    found = {}
    for line in text.splitlines():
        device, *pairs = line.split()
        found[device] = {name: number(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    return found
