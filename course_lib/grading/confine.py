"""What a student's process does to itself, before it runs a line of theirs: limits, seccomp and Landlock, through plain system calls.

Nothing here can be undone from inside. In the bubblewrap sandbox this is the second wall; where bubblewrap can't run, Landlock and
seccomp are the only one, and enough for files, network, signals and other processes' memory (Linux 6.12 or newer).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 4, 38, 36
SCOPED_ABI = 6
"""Landlock keeps signals and abstract sockets inside since then (Linux 6.12)."""


def prctl(option: int, value: int) -> None:
    """One ``prctl`` call, or `OSError`."""
    if LIBC.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def die_with_parent(how: int = signal.SIGKILL) -> None:
    """Get a signal when the parent dies."""
    prctl(PR_SET_PDEATHSIG, how)


def limits(memory: int, seconds: int, files: int, processes: int | None) -> None:
    """Resource limits of this process and its children.

    Args:
        memory: bytes that it may have more than now.
        seconds: of CPU time.
        files: largest file, in bytes.
        processes: of this user, or None where counting them says nothing.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    address = pages * resource.getpagesize() + memory
    wanted = {
        resource.RLIMIT_AS: address,
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: files,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 2**16,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if processes is not None:
        wanted[resource.RLIMIT_NPROC] = processes
    for what, most in wanted.items():
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def drop_capabilities() -> None:
    """Give up every capability for good, so that a process of root's has no more rights than its files give it."""
    for capability in range(64):
        LIBC.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; refused beyond the last, and to whoever has none
    header, nothing = struct.pack("=IiII", 0x20080522, 0, 0, 0), bytes(24)
    if LIBC.capset(ctypes.c_char_p(header), ctypes.c_char_p(nothing)):
        raise OSError(ctypes.get_errno(), "capset")


# -- seccomp -------------------------------------------------------------------------------------------------------------------

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Numbers on x86-64 and on 64-bit ARM. None of these is of use to a notebook; each was a way out or a place to hide something.
FORBIDDEN = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "personality": (135, 92),
}
PRLIMIT, SCHED_SETAFFINITY, SOCKET, CLONE, CLONE3 = (302, 261), (203, 122), (41, 198), (56, 220), (435, 435)
NEW_NAMESPACES = 0x7E020000  # mount, cgroup, uts, ipc, user, pid, net
ALLOW, DENY, NO_SUCH_CALL = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS
LOAD, EQUAL, ANY_BIT, AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06


def filter_program() -> bytes | None:
    """The seccomp filter for this machine, or None where its system calls are not in the table."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        return None
    column = list(ARCHITECTURES).index(machine)
    code: list[tuple[int, int, int, int]] = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, DENY)]
    code.append((LOAD, 0, 0, 0))
    if machine == "x86_64":  # the x32 numbers
        code += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, DENY)]
    for numbers in FORBIDDEN.values():
        code += [(EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, DENY)]
    code += [
        (EQUAL, 0, 1, CLONE3[column]),
        (RETURN, 0, 0, NO_SUCH_CALL),
    ]  # its flags lie in memory; the C library falls back to clone
    # A process may set limits and cores of itself alone: argument 0 must be 0.
    for call in (PRLIMIT, SCHED_SETAFFINITY):
        code += [(EQUAL, 0, 4, call[column]), (LOAD, 0, 0, 16), (EQUAL, 1, 0, 0), (RETURN, 0, 0, DENY), (RETURN, 0, 0, ALLOW)]
    code += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, 16), (ANY_BIT, 0, 1, NEW_NAMESPACES), (RETURN, 0, 0, DENY)]
    code += [(RETURN, 0, 0, ALLOW)]
    code += [(EQUAL, 0, 4, SOCKET[column]), (LOAD, 0, 0, 16), (EQUAL, 1, 0, 1), (RETURN, 0, 0, DENY)]  # AF_UNIX alone
    code += [(RETURN, 0, 0, ALLOW)]
    code += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *line) for line in code)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def seccomp() -> bool:
    """Forbid the calls that a notebook has no use for; whether this machine's calls are known.

    Raises:
        OSError: the kernel refuses the filter.
    """
    program = filter_program()
    if program is None:
        return False
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    wanted = _Program(len(program) // 8, program)
    if LIBC.prctl(22, 2, ctypes.byref(wanted), 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")
    return True


# -- Landlock ------------------------------------------------------------------------------------------------------------------

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ, ALL_FILES = 0b1101, (1 << 16) - 1  # execute, read a file, read a folder; and everything up to ioctl on devices (ABI 5)
ONE_FILE = 0b1000000000000111 | 1 << 14  # the rights that a file can have: execute, write, read, truncate, ioctl
NET, SCOPE = 0b11, 0b11


def landlock_abi() -> int:
    """The version of Landlock that the kernel has; 0 if none."""
    return max(0, LIBC.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def landlock(readable: list[str], writable: list[str]) -> None:
    """See ``readable`` alone, write to ``writable`` alone, signal and connect to nobody outside.

    Raises:
        OSError: the kernel refuses.
    """
    abi = landlock_abi()
    files = ALL_FILES if abi >= 5 else ALL_FILES >> 1 if abi >= 3 else ALL_FILES >> 2
    attributes = struct.pack("QQQ", files, NET if abi >= 4 else 0, SCOPE if abi >= SCOPED_ABI else 0)
    size = 24 if abi >= SCOPED_ABI else 16 if abi >= 4 else 8
    ruleset = LIBC.syscall(CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for paths, rights in ((readable, READ), (writable, files)):
        for path in paths:
            if not Path(path).exists():
                continue
            allowed = rights & files if Path(path).is_dir() else rights & files & ONE_FILE
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", allowed, place)
            if LIBC.syscall(ADD_RULE, ruleset, 1, ctypes.c_char_p(rule), 0):
                raise OSError(ctypes.get_errno(), "landlock_add_rule", path)
            os.close(place)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if LIBC.syscall(RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)
