"""A program of two system calls, to execute another from: a file in memory that nobody can write to and nobody needs.

Why: whatever a process executes can reach that process's own file. A container's program that is a link to
/proc/self/exe, a `#!/proc/self/exe` script, or an ELF file with that interpreter, opens the file of whoever calls
execve(2): CVE-2019-5736. If that is the host's Python, the host's Python can be overwritten. So the runtime's last step
is not Python's: it executes this file, which is sealed and forgotten, and this file executes the container's program.
(runc had the same thought, and a C program for it; the rules of when it must not be used are in runtime/protect.py.)

The program gets the arguments `REPORT, ARGUMENTS…` and the environment of the one that it executes:

    REPORT = "refused " + one byte + PATH

    fcntl(fd, F_SETFD, FD_CLOEXEC)         the descriptor to report to ends with a successful execve
    execve(PATH, ARGUMENTS, environment)
    write(fd, REPORT)                      only where it failed: the byte is now errno
    exit_group(1)

It needs no stack beyond its arguments, no library and no relocation, so it is written out here, as bytes with their
meaning beside them, and checked against the assembler in tests/unit/test_kernel_trampoline.py.
"""

from __future__ import annotations

from groundplane.kernel import tiny
from groundplane.kernel.calls.numbers import architecture

# At entry the stack holds argc, then the pointers to the arguments, NULL, the environment, NULL (System V ABI).
_X86_64 = """
4c8b6c2408    mov r13, [rsp+8]          # REPORT
4c8b2424      mov r12, [rsp]            # argc
8b3d47000000  mov edi, [rip+end]        # fcntl(fd, F_SETFD, FD_CLOEXEC)
6a02          push 2
5e            pop rsi
6a01          push 1
5a            pop rdx
6a48          push 72
58            pop rax
0f05          syscall
498d7d09      lea rdi, [r13+9]          # execve(PATH, argv + 1, argv + argc + 1)
488d742410    lea rsi, [rsp+16]
4a8d54e410    lea rdx, [rsp+r12*8+16]
6a3b          push 59
58            pop rax
0f05          syscall
f7d8          neg eax                   # here is only who was refused
41884508      mov [r13+8], al
8b3d1d000000  mov edi, [rip+end]        # write(fd, REPORT, argv[1] - argv[0] - 1)
4c89ee        mov rsi, r13
488b542410    mov rdx, [rsp+16]
4c29ea        sub rdx, r13
ffca          dec edx
6a01          push 1
58            pop rax
0f05          syscall
6a01          push 1                    # exit_group(1)
5f            pop rdi
b8e7000000    mov eax, 231
0f05          syscall
f4            hlt
"""

_AARCH64 = """
f40340f9      ldr x20, [sp]             // argc
f30740f9      ldr x19, [sp, #8]         // REPORT
c0020018      ldr w0, end               // fcntl(fd, F_SETFD, FD_CLOEXEC)
41008052      mov w1, #2
22008052      mov w2, #1
28038052      mov w8, #25
010000d4      svc #0
60260091      add x0, x19, #9           // execve(PATH, argv + 1, argv + argc + 1)
e1430091      add x1, sp, #16
220c148b      add x2, x1, x20, lsl #3
a81b8052      mov w8, #221
010000d4      svc #0
e003004b      neg w0, w0                // here is only who was refused
60220039      strb w0, [x19, #8]
40010018      ldr w0, end               // write(fd, REPORT, argv[1] - argv[0] - 1)
e10313aa      mov x1, x19
e20b40f9      ldr x2, [sp, #16]
420013cb      sub x2, x2, x19
420400d1      sub x2, x2, #1
08088052      mov w8, #64
010000d4      svc #0
20008052      mov w0, #1                // exit_group(1)
c80b8052      mov w8, #94
010000d4      svc #0
"""

LISTINGS = {"x86_64": _X86_64, "aarch64": _AARCH64}


def image(report_fd: int, machine: str) -> bytes:
    """The ELF file for `machine`, reporting to `report_fd`, whose number stands where the listings say `end`."""
    return tiny.elf(tiny.code(LISTINGS[machine]) + report_fd.to_bytes(4, "little"), machine)


def open_trampoline(report_fd: int) -> int:
    """A descriptor (close-on-exec) for execveat(2). Raises KernelError, where memory files must not be executed too."""
    return tiny.sealed("trampoline", image(report_fd, architecture()))


def report(path: str) -> str:
    """The first argument for the trampoline."""
    return f"refused ?{path}"


def read_report(text: str) -> tuple[int, str]:
    """errno and PATH of a report's text, which is what follows its first word."""
    return ord(text[0]), text[1:]
