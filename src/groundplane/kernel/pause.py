"""A program that waits for ever: the first process of a PID namespace that several containers share.

It replaces whoever would wait otherwise, so that nothing of that one is left for the containers to find: no memory with
other pods' secrets, no command line with the host's paths (a container may have CAP_SYS_PTRACE, which Kubernetes'
manual recommends for debugging in such pods). Its children are reaped by the kernel where SIGCHLD was ignored before
it was executed, because execve(2) leaves that as it is.
"""

from __future__ import annotations

from groundplane.kernel import tiny
from groundplane.kernel.calls.numbers import architecture

_X86_64 = """
6a22          push 34                   # pause()
58            pop rax
0f05          syscall
ebf9          jmp .-5
"""

_AARCH64 = """
000080d2      mov x0, #0                // ppoll(NULL, 0, NULL, NULL)
010080d2      mov x1, #0
020080d2      mov x2, #0
030080d2      mov x3, #0
28098052      mov w8, #73
010000d4      svc #0
faffff17      b .-24
"""

LISTINGS = {"x86_64": _X86_64, "aarch64": _AARCH64}


def open_pause() -> int:
    """A descriptor (close-on-exec) for execveat(2). Raises KernelError, where memory files must not be executed too."""
    return tiny.sealed("pause", tiny.elf(tiny.code(LISTINGS[architecture()]), architecture()))
