"""Landlock: files readable below given folders and nowhere else, nothing writable, no TCP, no signals outwards."""

import ctypes
import os
import struct
from collections.abc import Sequence

CREATE, ADD_RULE, RESTRICT = 444, 445, 446  # the same on every machine
VERSION = 1
PATH_BENEATH = 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many kinds of access to files each version of the interface knows; later ones as the last."""


def restrict(readable: Sequence[str]) -> None:
    """Confine this thread and all that it starts; `no_new_privs` must be set. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: object) -> int:
        result: int = libc.syscall(number, *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), "landlock")
        return result

    version = call(CREATE, None, ctypes.c_size_t(0), VERSION)
    files = (1 << FILE_RIGHTS[min(version, 5)]) - 1
    # struct landlock_ruleset_attr: files; TCP bind and connect from version 4; abstract sockets and signals from version 6
    attributes = [files, *([3] if version >= 4 else []), *([3] if version >= 6 else [])]
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    ruleset = call(CREATE, packed, ctypes.c_size_t(len(packed)), 0)
    for folder in readable:
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", READ_FILE | READ_DIR, place), 0)
        os.close(place)
    call(RESTRICT, ruleset, 0)
    os.close(ruleset)
