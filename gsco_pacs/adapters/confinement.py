"""Takes from this process what a decoder never needs: the network, other programs, other processes, changing files (Linux)."""

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

_DENIED = (
    # network: socket, connect, accept, sendmsg, recvmsg, bind, listen, socketpair, accept4
    41, 42, 43, 46, 47, 49, 50, 53, 288,
    # programs and processes: clone, fork, vfork, execve, execveat, clone3, kill, tkill, ptrace, process_vm_*, pidfd_*
    56, 57, 58, 59, 322, 435, 62, 200, 101, 310, 311, 424, 434, 438,
    # files: truncate, ftruncate, rename*, mkdir*, rmdir, creat, link*, unlink*, symlink*, mknod*, chmod*, chown*, openat2
    76, 77, 82, 264, 316, 83, 258, 84, 85, 86, 265, 87, 263, 88, 266, 133, 259, 90, 91, 268, 92, 93, 94, 260, 437,
    # kernel: mount, umount2, add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd, io_uring_*
    165, 166, 248, 249, 250, 298, 321, 323, 425, 426, 427,
)  # fmt: skip
"""System calls by their number on x86-64 (Linux, arch/x86/entry/syscalls/syscall_64.tbl)."""
_OPEN, _OPENAT = 2, 257
_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Classic BPF over struct seccomp_data (linux/seccomp.h, linux/bpf_common.h).
_LOAD, _EQUAL, _FROM, _ANY_OF, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_X86_64, _X32 = 0xC000003E, 0x40000000
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def confine(memory_bytes: int) -> bool:
    """From here on: no socket, no program, no process, no file changed, at most ``memory_bytes`` of address space.

    Returns whether system calls are filtered, which needs Linux on x86-64; the limits hold everywhere. The kernel is
    told to end this process first when memory runs out.
    """
    Path("/proc/self/oom_score_adj").write_text("500")
    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    if platform.machine() != "x86_64":
        return False
    instructions = b"".join(_filter())
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def limit_cpu(seconds: float) -> None:
    """SIGXCPU ends this process when it has used so much more CPU time; the next call starts anew."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _filter() -> Iterator[bytes]:
    yield _step(_LOAD, _ARCHITECTURE)
    yield _step(_EQUAL, _X86_64, then=1)
    yield _step(_ANSWER, _KILL)
    yield _step(_LOAD, _NUMBER)
    yield from _refused_if(_FROM, _X32)
    for number in _DENIED:
        yield from _refused_if(_EQUAL, number)
    for number, argument in ((_OPEN, 1), (_OPENAT, 2)):
        yield _step(_EQUAL, number, otherwise=4)
        yield _step(_LOAD, _FIRST_ARGUMENT + 8 * argument)
        yield from _refused_if(_ANY_OF, _CHANGING)
        yield _step(_ANSWER, _ALLOW)
    yield _step(_ANSWER, _ALLOW)


def _refused_if(test: int, value: int) -> Iterator[bytes]:
    yield _step(test, value, otherwise=1)
    yield _step(_ANSWER, _REFUSE)


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """One instruction; ``then`` and ``otherwise`` are how many of the next ones are jumped over."""
    return struct.pack("=HBBI", code, then, otherwise, value)
