"""The kernel and the fake Linux under one suite, and what the fake is for: a container's steps without root."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contracts.linux_suite import CASES
from tests.fakes.linux import installed

from groundplane.kernel import caps
from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls import process as p
from groundplane.kernel.errors import KernelError
from groundplane.oci.runtime import read_config
from groundplane.runtime.plan import Host, plan_container
from groundplane.runtime.stages import outside
from groundplane.runtime.steps.base import Inside
from groundplane.runtime.steps.labels import LabelFile
from groundplane.runtime.talk import pair
from groundplane.runtime.verbs.spec import example


def apart(work: Callable[[], None]) -> None:
    """Run it in a process that is thrown away; what it raises is the failure here."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 because the child must not go on with the parent's tests
            os.write(write, traceback.format_exc().encode()[-30000:])
        finally:
            os._exit(1)
    os.close(write)
    status = os.waitpid(pid, 0)[1]
    text = os.read(read, 30000).decode()
    os.close(read)
    assert status == 0, text


@pytest.mark.needs("root")
@pytest.mark.parametrize("case", CASES)
def test_the_kernel(case: Callable[[Path], None], tmp_path: Path) -> None:
    def work() -> None:
        p.unshare(p.CLONE_NEWNS)
        m.mount_setattr(m.AT_FDCWD, "/", propagation=m.MS_PRIVATE, recursive=True)
        case(tmp_path)

    apart(work)


def _without_rights(directory: Path) -> None:
    """What a developer without root has; as root we become such a user first."""
    os.umask(0o022)
    if os.geteuid() == 0:
        directory.chmod(0o777)
        for parent in directory.parents:
            if parent != Path("/tmp"):
                os.chmod(parent, parent.stat().st_mode | 0o001)
            else:
                break
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    with pytest.raises(KernelError):
        p.unshare(p.CLONE_NEWNS)


@pytest.mark.parametrize("case", CASES)
def test_the_fake(case: Callable[[Path], None], tmp_path: Path) -> None:
    def work() -> None:
        _without_rights(tmp_path)
        with installed():
            case(tmp_path)

    apart(work)


def test_the_fake_is_gone_afterwards() -> None:
    real = (m.fsmount, p.unshare)
    with installed():
        assert m.fsmount is not real[0]
    assert (m.fsmount, p.unshare) == real


def test_all_steps_of_a_container_without_root(tmp_path: Path) -> None:
    """The plan of a usual document, applied to the fake: every mount, node, link, mask and right in its place."""

    def work() -> None:
        _without_rights(tmp_path)
        root = tmp_path / "rootfs"
        root.mkdir()
        document = example()
        document["process"]["capabilities"]["ambient"] = ["CAP_KILL"]
        document["process"]["capabilities"]["inheritable"] = ["CAP_KILL"]
        document["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7]}
        document["process"].pop("rlimits")
        document["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        document["mounts"] = [one for one in document["mounts"] if one["type"] != "cgroup"]
        host = Host(permitted=(1 << 41) - 1, last_capability=40)
        ours, theirs = pair()
        with installed() as fake:
            outside.make_network(outside.Child(0, -1, theirs))
            config = read_config(document)
            plan = plan_container(
                config, host, id="c", bundle="/b", root=str(root), views=(), console=False, enters=False
            )
            at = Inside(ours, enters=False)
            for step in plan.steps:
                step.apply(at)
            mounted = fake.mounted()
            assert {"proc", "dev", "pts", "shm", "mqueue", "sys", "keys", "bus"} <= set(mounted)
            assert mounted["sys"].attributes & m.MOUNT_ATTR_RDONLY
            assert mounted["bus"].attributes & m.MOUNT_ATTR_RDONLY
            assert fake.host.attributes & m.MOUNT_ATTR_RDONLY, "root.readonly"
            names = sorted(os.listdir(mounted["dev"].directory))
            assert {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "ptmx"} <= set(names)
            assert fake.names["hostname"] == document["hostname"]
            assert fake.unshared & p.CLONE_NEWCGROUP
            assert (fake.ids, fake.groups) == ({"uid": 1000, "gid": 1000}, [7])
            assert caps.names(fake.sets["ambient"]) == ["CAP_KILL"]
            assert caps.names(fake.sets["bounding"]) == ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]
            assert {"no_new_privs", "keyring _ses.c"} <= fake.flags
            assert fake.loopback

    apart(work)


def test_labels_go_where_the_kernel_takes_them(tmp_path: Path) -> None:
    """SELinux and AppArmor on a kernel that has them: proc(5), attr; mount(8), `context=`; keyrings(7)."""

    def work() -> None:
        _without_rights(tmp_path)
        root = tmp_path / "rootfs"
        root.mkdir()
        document = example()
        document["process"] |= {"apparmorProfile": "box", "selinuxLabel": "u:r:t:s0:c1,c2"}
        document["process"].pop("rlimits")
        document["linux"] |= {"mountLabel": "u:r:file:s0:c1,c2", "maskedPaths": [], "readonlyPaths": []}
        wanted = ("proc", "tmpfs", "mqueue", "sysfs")
        document["mounts"] = [one for one in document["mounts"] if one["type"] in wanted]
        ours, theirs = pair()
        with installed() as fake:
            outside.make_network(outside.Child(0, -1, theirs))
            host = Host(permitted=(1 << 41) - 1, last_capability=40)
            plan = plan_container(
                read_config(document), host, id="c", bundle="/b", root=str(root), views=(), console=False, enters=False
            )
            at = Inside(ours, enters=False)
            for step in plan.steps:
                if isinstance(step, LabelFile):  # the attribute is the kernel's to give: not everyone may set it
                    assert (step.path, step.label) == ("/dev/mqueue", "u:r:file:s0:c1,c2")
                else:
                    step.apply(at)
            mounted = fake.mounted()
            for name in ("dev", "shm"):
                assert "context=u:r:file:s0:c1,c2" in mounted[name].options
            for name in ("proc", "sys", "mqueue"):
                assert not any(option.startswith("context=") for option in mounted[name].options)
            assert fake.labels() == [
                "keycreate=u:r:t:s0:c1,c2",
                "keycreate=\n",
                "apparmor/exec=exec box",
                "exec=u:r:t:s0:c1,c2",
            ]
        names = [type(step).__name__ for step in plan.steps]
        first = names.index("SetLabel")
        assert names[first : first + 3] == ["SetLabel", "NewSession", "SetLabel"], "the keyring is made in between"

    apart(work)
