"""The programs of a few instructions: their bytes are what their listings say, and they do what is said of them."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from groundplane.kernel import pause, tiny, trampoline
from groundplane.kernel.calls.numbers import ARCHITECTURES, architecture


def assembled(listing: str, machine: str, directory: Path) -> bytes:
    """The listing's mnemonics as the assembler sees them."""
    lines = [line.split(maxsplit=1)[1] for line in listing.strip().split("\n")]
    source, found = directory / "t.s", directory / "t.o"
    head = ".intel_syntax noprefix\n" if machine == "x86_64" else ""
    source.write_text(head + "\n".join(lines) + "\nend:\n")
    subprocess.run(["as", str(source), "-o", str(found)], check=True)
    text = directory / "t.bin"
    subprocess.run(["objcopy", "-O", "binary", "--only-section=.text", str(found), str(text)], check=True)
    return text.read_bytes()


@pytest.mark.needs("assembler")
def test_the_bytes_are_what_the_listing_says(tmp_path: Path) -> None:
    machine = architecture()  # the assembler's own
    code = trampoline.image(7, machine)[176:]  # behind the headers
    assert code == assembled(trampoline.LISTINGS[machine], machine, tmp_path) + b"\7\0\0\0"
    assert tiny.code(pause.LISTINGS[machine]) == assembled(pause.LISTINGS[machine], machine, tmp_path)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_file_is_one_of_its_machine(machine: str) -> None:
    image = trampoline.image(3, machine)
    assert image[:7] == b"\x7fELF\x02\x01\x01"
    assert image[18:20] == {"x86_64": b"\x3e\0", "aarch64": b"\xb7\0"}[machine]
    assert len(image) < 300


def run(directory: Path, path: str, *arguments: str, machine: str = "") -> tuple[int, bytes, bytes]:
    """Its exit code, what it reported, what the program wrote; another machine's is emulated."""
    report, end = os.pipe()
    file = directory / "trampoline"
    file.write_bytes(trampoline.image(end, machine or architecture()))
    file.chmod(0o755)
    first = trampoline.report(path)
    words = [f"qemu-{machine}-static", "-0", first, str(file)] if machine else [first]
    done = subprocess.run(
        [*words, *arguments],
        executable=None if machine else str(file),
        pass_fds=[end],
        env={**os.environ, "COLOUR": "green"},
        stdout=subprocess.PIPE,
        check=False,
    )
    os.close(end)
    with os.fdopen(report, "rb") as said:
        return done.returncode, said.read(), done.stdout


def test_it_executes_with_arguments_and_environment(tmp_path: Path) -> None:
    script = 'echo "$0/$1/$COLOUR"; ls /proc/self/fd | wc -l; exit 5'
    done = run(tmp_path, "/bin/sh", "sh", "-c", script, "name", "argument")
    assert done == (5, b"", b"name/argument/green\n4\n")  # 0, 1, 2 and that of ls


@pytest.mark.parametrize("path, number", [("/nothing/here", errno.ENOENT), ("/etc/passwd", errno.EACCES)])
def test_it_reports_a_refusal(tmp_path: Path, path: str, number: int) -> None:
    code, said, _ = run(tmp_path, path, "name")
    word, _, text = said.decode(errors="surrogateescape").partition(" ")
    assert (code, word, trampoline.read_report(text)) == (1, "refused", (number, path))


@pytest.mark.needs("qemu-aarch64")
def test_the_other_machines_program_does_the_same(tmp_path: Path) -> None:
    done = run(tmp_path, "/bin/sh", "sh", "-c", 'echo "$0/$1/$COLOUR"', "name", "argument", machine="aarch64")
    assert done == (0, b"", b"name/argument/green\n")
    assert run(tmp_path, "/nothing", "name", machine="aarch64") == (1, b"refused \x02/nothing", b"")


@pytest.mark.needs("qemu-aarch64")
def test_the_other_machines_pause_waits(tmp_path: Path) -> None:
    file = tmp_path / "pause"
    file.write_bytes(tiny.elf(tiny.code(pause.LISTINGS["aarch64"]), "aarch64"))
    file.chmod(0o755)
    with subprocess.Popen(["qemu-aarch64-static", "-strace", str(file)], stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            said = b""
            while b"ppoll(" not in said:  # it writes a line in pieces
                piece = os.read(process.stderr.fileno(), 4096)
                assert piece, said
                said += piece
            assert process.poll() is None
        finally:
            process.kill()


def test_nobody_writes_to_it() -> None:
    fd = trampoline.open_trampoline(9)
    try:
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        for change in (lambda: os.pwrite(again, b"x", 0), lambda: os.ftruncate(again, 0)):
            with pytest.raises(OSError) as caught:
                change()
            assert caught.value.errno == errno.EPERM
        os.close(again)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
