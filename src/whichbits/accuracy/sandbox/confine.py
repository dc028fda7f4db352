"""Give up, in a fresh process and for good, everything that a calculation has no use for."""

import ctypes
import os
import resource
import select
import signal
import struct
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from . import landlock, seccomp

NAMESPACES, LANDLOCK = "namespaces", "landlock"

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
MOUNT_SETATTR, AT_RECURSIVE = 442, 0x8000
ATTR_READ_ONLY, ATTR_NOSUID, ATTR_NODEV = 0x1, 0x2, 0x4
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION_3 = 0x20080522
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38

LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)


def library_folders(more: Sequence[str]) -> list[str]:
    """Folders that Python's standard library and the shared libraries under it live in, and `more`."""
    folders = [str(Path(sysconfig.get_path("stdlib")).parent), "/usr/lib", "/usr/lib64", "/lib", "/lib64", *more]
    return [folder for folder in dict.fromkeys(folders) if Path(folder).is_dir()]


def confine(mode: str, *, memory_bytes: int, cpu_seconds: int, parent: int, libraries: Sequence[str]) -> None:
    """Confine this process, which ends with process `parent`; raises OSError where the kernel refuses.

    Folders of `libraries` stay readable, beside the standard library.

    With `namespaces` the calling process stays behind as a parent that waits and ends with its child, and the call returns in
    the child only: process 1 of its own process, network, mount, IPC and user name spaces, on a read-only root that holds
    nothing but libraries. With `landlock` the calling process itself is confined.
    """
    folders = library_folders(libraries)
    asked_by = os.pidfd_open(parent)
    die_with_parent(asked_by)
    if mode == NAMESPACES:
        asked_by = _enter_namespaces(folders, asked_by)
    # Anew: a process that has got other credentials or was forked is no longer killed.
    die_with_parent(asked_by)
    os.close(asked_by)
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    _check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if mode == LANDLOCK:
        landlock.restrict(folders)
    _drop_capabilities()
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))
    seccomp.install()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, a pidfd, ends; ends at once where the parent has ended already."""
    _check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent-death signal")
    if select.select([parent], [], [], 0)[0]:
        os._exit(1)


def _enter_namespaces(folders: list[str], parent: int) -> int:
    """Go on in a child, as `confine` says; returns the pidfd of its parent."""
    user, group = os.geteuid(), os.getegid()
    everything = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    _check(LIBC.unshare(everything), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path(f"/proc/self/{name}").write_text(text, encoding="utf-8")
    die_with_parent(parent)
    myself = os.pidfd_open(os.getpid())
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    os.close(parent)
    _new_root(folders)
    return myself


def _new_root(folders: list[str]) -> None:
    """Make a root of libraries alone, read-only, and let go of the old one."""
    machine = os.uname().machine
    real = {os.path.realpath(folder) for folder in folders}
    sources = {folder: os.open(folder, os.O_PATH) for folder in sorted(real) if not _inside(folder, real)}
    _check(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    root = "/tmp"  # any folder that exists; the mount is seen by this process alone
    _check(LIBC.mount(b"tmpfs", root.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, b"size=1m,mode=755"), "tmpfs")
    attributes = struct.pack("=4Q", ATTR_READ_ONLY | ATTR_NOSUID | ATTR_NODEV, 0, 0, 0)
    for folder, place in sources.items():
        target = root + folder
        Path(target).mkdir(parents=True)
        _check(LIBC.mount(f"/proc/self/fd/{place}".encode(), target.encode(), None, MS_BIND | MS_REC, None), f"bind {folder}")
        _check(LIBC.syscall(MOUNT_SETATTR, -1, target.encode(), AT_RECURSIVE, attributes, len(attributes)), f"protect {folder}")
        os.close(place)
    for folder in folders:
        if Path(folder).is_symlink():
            Path(root + folder).symlink_to(Path(folder).resolve())
    os.chdir(root)
    _check(LIBC.syscall(PIVOT_ROOT[machine], b".", b"."), "pivot_root")
    _check(LIBC.umount2(b".", MNT_DETACH), "leave the old root")
    os.chdir("/")
    _check(LIBC.syscall(MOUNT_SETATTR, -1, b"/", 0, attributes, len(attributes)), "protect the root")


def _inside(folder: str, others: set[str]) -> bool:
    return any(folder.startswith(other + "/") for other in others)


def _drop_capabilities() -> None:
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    _check(LIBC.syscall(CAPSET[os.uname().machine], header, b"\0" * 24), "capset")
